"""The connector kind ``mcp``: tools of a server of the Model Context Protocol as operations.

The arguments are checked against the tool's schema before the call. MCP has no idempotency: of a
call that got no answer nobody can say what it did, unless the tool only reads. The key of the
step goes along in the request's ``_meta``, for servers that can use it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import jsonschema
import mcp
import msgspec
import structlog
import trio
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
    CallToolResult,
    TextContent,
)
from referencing import Registry

from protocols.connectors.mcp import McpConnector, McpTool
from protocols.error_kinds import NETWORK, OVER_LIMIT, SYSTEM, TIMED_OUT, kind_of_status
from protocols.failure import TIMEOUT, VALIDATION
from protocols.service import Call, Failed, Refused, Service, Unknown
from runtime.connectors.frame import Check, Opened
from runtime.connectors.mcp_link import BROKEN, NOT_SENT, STATUS, Link
from runtime.connectors.mcp_program import TOO_LONG
from runtime.connectors.secrets import Secrets
from runtime.connectors.wire import NOT_DONE, TURNED_AWAY, retry_after_s

CHECK_S: Final = 15.0
_SERVER_ERRORS: Final = 500

log = structlog.get_logger()


@asynccontextmanager
async def opened(name: str, settings: McpConnector, secrets: Secrets) -> AsyncIterator[Opened]:
    """Offer the tools of a server."""
    service = Service(name, version="1.0.0", description=settings.description)
    link = Link(name, settings, secrets)
    for operation, tool in settings.tools.items():
        service.operation(operation)(_operation(link, settings, operation, tool))
        service.operations[operation] = msgspec.structs.replace(
            service.operations[operation], description=tool.description
        )

    async def check() -> list[Check]:
        began = trio.current_time()
        try:
            await link.session(began + CHECK_S)
        except Failed as error:
            return [Check(what="session", ok=False, detail=error.message)]
        wanted = [tool.tool or operation for operation, tool in settings.tools.items()]
        found = [
            Check(what=each, ok=each in link.tools, detail="" if each in link.tools else _ABSENT)
            for each in wanted
        ]
        return [Check(what="session", ok=True, took_s=trio.current_time() - began), *found]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.keep)
        try:
            yield Opened(service, check)
        finally:
            nursery.cancel_scope.cancel()


_ABSENT: Final = "the server has no such tool"


def _operation(
    link: Link, settings: McpConnector, operation: str, tool: McpTool
) -> Callable[..., Any]:
    wanted = tool.tool or operation

    async def call_tool(request: Any, call: Call) -> Any:
        left_s = min(call.timeout_s or settings.timeout_s, float(tool.timeout or 86_400))
        until = trio.current_time() + left_s
        client = await link.session(until)
        _check_arguments(link.tools.get(wanted), request)
        try:
            result = await client.call_tool(
                wanted,
                request or {},
                read_timeout_seconds=max(0.001, until - trio.current_time()),
                progress_callback=_progress(call),
                meta=_meta(call),
            )
        except mcp.MCPError as error:
            closed = error.code == CONNECTION_CLOSED and not _is_too_long(error)
            if closed or _is_forgotten(error):
                link.lost()
            raise _problem(error, tool) from error
        return _result(result, tool)

    return call_tool


def _check_arguments(tool: mcp.Tool | None, request: Any) -> None:
    """Raise Refused unless a tool is there and takes these arguments."""
    if tool is None:
        raise Refused(SYSTEM, _ABSENT)
    # Its own registry, for the default one would fetch what a server's schema refers to.
    checker = jsonschema.Draft202012Validator(tool.input_schema, registry=Registry())
    try:
        wrong = next(checker.iter_errors(request or {}), None)
    except Exception as error:
        raise Refused(SYSTEM, f"the schema of the tool cannot be used: {error}") from error
    if wrong is not None:
        where = wrong.json_path.removeprefix("$").removeprefix(".")
        raise Refused(VALIDATION, f"{where}: {wrong.message}" if where else wrong.message)


def _meta(call: Call) -> Any:
    """Return what goes along with a call: the key of the step, and the trace."""
    found = {"movant/key": call.key, "traceparent": call.traceparent}
    return {name: text for name, text in found.items() if text} or None


def _progress(call: Call) -> Callable[..., Any]:
    async def told(progress: float, total: float | None, message: str | None) -> None:
        log.debug(
            "connector.progress",
            connector=call.service,
            operation=call.operation,
            key=call.key,
            progress=progress,
            total=total,
            said=message or "",
        )

    return told


def _result(result: CallToolResult, tool: McpTool) -> Any:
    """Return what a tool gave: its structure, its text, or its blocks where they are no text."""
    texts = [each.text for each in result.content if isinstance(each, TextContent)]
    if result.is_error:
        said = "\n".join(texts)[:1000] or "the tool says that it failed"
        raise _unclear(tool, SYSTEM, said)
    if result.structured_content is not None:
        return result.structured_content
    if len(texts) == len(result.content):
        return "\n".join(texts)
    return [
        each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in result.content
    ]


def _problem(error: mcp.MCPError, tool: McpTool) -> Exception:
    """Return the answer for an error of the session or of the server."""
    code, message = error.code, error.message
    if _is_forgotten(error):
        return Failed(NETWORK, "the server was restarted and knows the session no more")
    if code == NOT_SENT:
        return _not_sent(error.data, message)
    if _is_too_long(error):
        return (Refused if tool.reads_only else Unknown)(OVER_LIMIT, message)
    if code == REQUEST_TIMEOUT:
        return _unclear(tool, TIMEOUT, "no answer in time")
    if code in {BROKEN, CONNECTION_CLOSED}:
        return _unclear(tool, NETWORK, f"the session was lost: {message}")
    if code == INVALID_PARAMS:
        return Refused(VALIDATION, message, details=error.data)
    if code == METHOD_NOT_FOUND:
        return Refused(SYSTEM, message, details=error.data)
    if code == STATUS and isinstance(error.data, dict):
        return _of_status(error.data, message, tool)
    return _unclear(tool, SYSTEM, message)


def _is_forgotten(error: mcp.MCPError) -> bool:
    """Tell whether the server does not know the session: it did not look at the request."""
    return error.code == INVALID_REQUEST and error.message == "Session terminated"


def _is_too_long(error: mcp.MCPError) -> bool:
    """Tell whether an answer was longer than it may be; of an event the library says so itself."""
    return error.code == TOO_LONG or "event exceeded the" in error.message


def _not_sent(data: Any, message: str) -> Exception:
    """Return the answer for a request that did not reach the server: nothing was done."""
    why = data if isinstance(data, dict) else {}
    kind = str(why.get("kind", NETWORK))
    if why.get("refused"):
        return Refused(kind, message)
    return Failed(kind, message, retry_after_s=why.get("after_s"))


def _of_status(data: dict[str, Any], message: str, tool: McpTool) -> Exception:
    status = int(data["status"])
    kind = kind_of_status(status)
    after_s = retry_after_s(str(data["retry_after"]))
    if status in NOT_DONE or (status == TURNED_AWAY and after_s is not None):
        return Failed(kind, message, retry_after_s=after_s)
    if status < _SERVER_ERRORS:
        return Refused(kind, message)
    return _unclear(tool, kind, message)


def _unclear(tool: McpTool, kind: str, message: str) -> Exception:
    """Return the answer for an end that says nothing of the effect."""
    if not tool.reads_only:
        return Unknown(kind, message)
    return Failed(TIMED_OUT if kind == TIMEOUT else kind, message)
