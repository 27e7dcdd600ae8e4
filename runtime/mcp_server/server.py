"""The MCP server over stdin and stdout: one process for each client, beside the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import mcp_types
import msgspec
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from protocols.errors import MovantError
from runtime.client.client import Client
from runtime.mcp_server.tools import TOOLS, Desk, Tool, schema
from runtime.version import VERSION

NAME: Final = "movant"
INSTRUCTIONS: Final = (
    "Durable workflows. A started run goes on by itself; ask for its status. At a gate a person "
    "decides: show what get_enhanced_workflow_status tells, and ask before you decide."
)


async def serve(
    url: str | None = None,
    *,
    store: Path | None = None,
    speaks_for: str = "",
    read_only: bool = False,
) -> None:
    """Serve one client until it closes stdin. Raises as ``Client.connect``."""
    async with Client.connect(url, store=store, name="movant-mcp") as client:
        server = made(Desk(client, speaks_for), read_only=read_only)
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())


def made(desk: Desk, *, read_only: bool = False) -> Server[Any]:
    """Return the server; with ``read_only`` it has only tools that change nothing."""
    tools = {name: each for name, each in TOOLS.items() if each.reads or not read_only}

    async def listed(_: Any, __: Any) -> mcp_types.ListToolsResult:
        return mcp_types.ListToolsResult(tools=[_told(*each) for each in tools.items()])

    async def called(_: Any, asked: mcp_types.CallToolRequestParams) -> mcp_types.CallToolResult:
        tool = tools.get(asked.name)
        if tool is None:
            return _wrong("not_found", f"there is no tool {asked.name[:60]!r}", "tools/list")
        try:
            request = msgspec.convert(asked.arguments or {}, tool.request)
            answer = msgspec.to_builtins(await tool.answer(desk, request), str_keys=True)
        except msgspec.ValidationError as error:
            return _wrong("invalid_arguments", str(error), "see the tool's schema")
        except MovantError as error:
            return _wrong(error.code, error.message, error.hint)
        return _result(answer)

    return Server(
        NAME,
        version=VERSION,
        instructions=INSTRUCTIONS,
        on_list_tools=listed,
        on_call_tool=called,
    )


def _told(name: str, tool: Tool) -> mcp_types.Tool:
    return mcp_types.Tool(
        name=name,
        description=tool.description,
        input_schema=schema(tool),
        annotations=mcp_types.ToolAnnotations(
            read_only_hint=tool.reads,
            destructive_hint=not tool.reads,
            open_world_hint=False,
        ),
    )


def _result(answer: dict[str, Any], *, is_error: bool = False) -> mcp_types.CallToolResult:
    """Return an answer twice: for programs, and as text for clients that know only that."""
    text = msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()
    return mcp_types.CallToolResult(
        content=[mcp_types.TextContent(type="text", text=text)],
        structured_content=answer,
        is_error=is_error,
    )


def _wrong(code: str, message: str, hint: str) -> mcp_types.CallToolResult:
    return _result({"code": code, "message": message, "hint": hint}, is_error=True)
