"""An MCP server for tests, as a process: ``python -m tests.support.mcp_server [PORT [json]]``.

With a port it serves streamable HTTP at ``/mcp`` to whoever has the token, or one that was
granted; else it speaks stdio. It answers with events, or with plain JSON.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Any

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

TOKEN = "let-me-in-please"  # noqa: S105 - of a server that lives for a test

server = MCPServer("desk", log_level="CRITICAL")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(structured_output=False)
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}! {os.environ.get('GREETING', '')}".strip()


@server.tool()
def book(seats: int) -> dict[str, Any]:
    """Book seats, or not."""
    if seats > 10:
        raise ToolError("there are only ten seats")
    return {"seats": seats}


@server.tool(structured_output=False)
async def slow(ctx: Context[Any, Any]) -> str:
    """Take a while, and tell how far it is."""
    for step in range(3):
        await ctx.report_progress(step, 3, f"step {step}")
    await anyio.sleep(30)
    return "done"


@server.tool(structured_output=False)
async def who(ctx: Context[Any, Any]) -> str:
    """Tell the key of the step, and the process."""
    meta = dict(ctx.request_context.meta or {})
    return f"{meta.get('movant/key')} {os.getpid()}"


@server.tool(structured_output=False)
def die() -> str:
    """End the process."""
    os._exit(1)


@server.tool(structured_output=False)
def recite(size: int) -> str:
    """Say something long."""
    return "x" * size


@server.tool()
def lost() -> None:
    """Answer nothing: somebody between says 503 for it."""


@server.tool()
def later() -> None:
    """Answer nothing: it is turned away, until later."""


async def serve(port: int, *, as_json: bool) -> None:
    """Serve HTTP."""
    inner = server.streamable_http_app(json_response=as_json)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        given, tool = headers.get(b"authorization", b""), headers.get(b"mcp-name")
        known = given.startswith((f"Bearer {TOKEN}".encode(), b"Bearer granted-token-"))
        if scope["type"] == "http" and not known:
            await PlainTextResponse("who are you?", 401)(scope, receive, send)
        elif tool in {b"lost", b"later"}:
            after = {"retry-after": "9"} if tool == b"later" else {}
            await PlainTextResponse("no", 503, after)(scope, receive, send)
        else:
            await inner(scope, receive, send)

    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        anyio.run(partial(serve, as_json="json" in sys.argv), int(sys.argv[1]))
    else:
        server.run("stdio")
