"""An MCP server that is a program: its standard input and output as a transport of the library.

The library's own transport takes lines of any length, and copies all of one with each piece of it:
a tool that answers with a few hundred megabytes would hold the whole process. Here a message has
a limit, and what is longer fails the call that it answers.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from subprocess import PIPE
from typing import Any, Final

import anyio
import trio
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import ErrorData, JSONRPCError, jsonrpc_message_adapter

from protocols.connectors.mcp import McpConnector
from protocols.error_kinds import OVER_LIMIT
from protocols.service import Failed
from runtime.connectors.secrets import Secrets
from runtime.connectors.subprocess import exited, signal_all, stop

GRACE_S: Final = 2.0
"""How long a program may take to end when its input does, and again when it is told to."""
TOO_LONG: Final = -32_093
"""Code of our own: the answer is longer than it may be."""
_CHUNK: Final = 65_536
_ID: Final = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*([0-9]{1,9})\b')
"""How an answer to a request of ours begins, as libraries write it."""


@asynccontextmanager
async def program(
    settings: McpConnector, secrets: Secrets, ended: Callable[[], None]
) -> AsyncIterator[tuple[Any, Any]]:
    """Run the program, and yield the streams to read from and to write to.

    ``ended`` is called when it ends, also while nobody asks anything. Raises OSError when it
    cannot be started, and Failed, in a group, when it says too much and not to whom.
    """
    passed = {name: os.environ[name] for name in settings.environment if name in os.environ}
    given = {name: secrets.reveal(text).reveal() for name, text in settings.variables.items()}
    process = await trio.lowlevel.open_process(
        list(settings.command),
        stdin=PIPE,
        stdout=PIPE,
        stderr=sys.__stderr__ or sys.stderr,
        cwd=secrets.base / settings.directory,
        env={**get_default_environment(), **passed, **given},
        start_new_session=True,
    )
    told, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, asked = anyio.create_memory_object_stream[SessionMessage](0)

    async def listen() -> None:
        with suppress(anyio.BrokenResourceError, trio.BrokenResourceError):  # nobody reads more
            async with told:
                async for line in _lines(process, settings.response_bytes_max):
                    await told.send(_message(line, settings.response_bytes_max))
        ended()

    async def say() -> None:
        assert process.stdin is not None
        try:
            async with asked:
                async for each in asked:
                    text = each.message.model_dump_json(by_alias=True, exclude_unset=True)
                    await process.stdin.send_all(text.encode() + b"\n")
        except trio.ClosedResourceError:
            pass  # by our own end
        except trio.BrokenResourceError:
            signal_all(process, signal.SIGKILL)  # it reads no more: who waits has to know

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        nursery.start_soon(say)
        try:
            yield read, write
        finally:
            read.close()
            write.close()
            await _end(process)
            nursery.cancel_scope.cancel()


async def _end(process: trio.Process) -> None:
    """End the program and all that it has started: by the end of its input, if it heeds that."""
    assert process.stdin is not None
    with trio.CancelScope(shield=True):
        await process.stdin.aclose()
        with trio.move_on_after(GRACE_S):
            await exited(process)
        await stop(process, GRACE_S)
        signal_all(process, signal.SIGKILL)
        await process.wait()


async def _lines(process: trio.Process, bytes_max: int) -> AsyncIterator[bytes]:
    """Yield what it says, line by line; of one that is too long only the beginning."""
    assert process.stdout is not None
    begun = bytearray()
    skipping = False
    while chunk := await process.stdout.receive_some(_CHUNK):
        *whole, rest = chunk.split(b"\n")
        for each in whole:
            if not skipping:
                yield bytes(begun + each)
            begun.clear()
            skipping = False
        if skipping:
            continue
        begun += rest
        if len(begun) > bytes_max:
            skipping = True
            yield bytes(begun)
            begun.clear()


def _message(line: bytes, bytes_max: int) -> SessionMessage | Exception:
    """Return a message; an error that answers its request in place of one that is too long.

    Raises Failed when there is no telling which request that is.
    """
    if len(line) <= bytes_max:
        try:
            return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
        except ValueError as error:
            return error
    request = _ID.match(line)
    if request is None:
        raise Failed(OVER_LIMIT, too_long(bytes_max))
    told = ErrorData(code=TOO_LONG, message=too_long(bytes_max))
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=int(request[1]), error=told))


def too_long(bytes_max: int) -> str:
    """Return what is said of an answer that is too long."""
    return f"an answer of more than {bytes_max} bytes"
