"""The connector ``mcp``, with a real server as a process: over stdio and over streamable HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import structlog.testing
import trio

from actors.files.connectors import parse
from protocols.service import Call, Failed, Refused, Unknown
from runtime.connectors.frame import opened
from runtime.connectors.secrets import Secrets

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")

ROOT: Final = Path(__file__).resolve().parents[2]
TOKEN: Final = "let-me-in-please"  # noqa: S105 - of a server that lives for a test
SERVER: Final = [sys.executable, "-m", "tests.support.mcp_server"]
TOOLS: Final[dict[str, Any]] = {
    "sum": {"tool": "add", "reads_only": True},
    "greet": {},
    "book": {},
    "slow": {"timeout": "1s"},
    "look": {"tool": "slow", "reads_only": True, "timeout": "100ms"},
    "who": {},
    "die": {},
    "absent": {},
}
STDIO: Final[dict[str, Any]] = {
    "command": SERVER,
    "environment": ["PATH"],
    "variables": {"GREETING": "Welcome.", "PYTHONPATH": str(ROOT)},
}


@asynccontextmanager
async def desk(**how: Any) -> AsyncIterator[Any]:
    """Open the connector; call what it yields with operation, key and arguments."""
    read = parse(msgspec.json.encode({"connectors": {"desk": {"kind": "mcp", **how}}}))
    assert read.problems == []
    assert read.value is not None
    secrets = Secrets(ROOT, {"TOKEN": TOKEN})
    async with opened("desk", read.value.connectors["desk"], secrets) as found:

        async def ask(operation: str, key: str = "", /, **values: Any) -> Any:
            if operation == "check":
                return await found.check()
            call = Call("desk", operation, key=key)
            return await found.service.operations[operation].function(values, call)

        yield ask


@contextmanager
def http_server(port: int = 0) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """Run the server over HTTP; yield its process, and the settings to reach it."""
    if not port:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
    process = subprocess.Popen([*SERVER, str(port)], cwd=ROOT)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.02)  # noqa: TID251 - a second, outside of trio
        yield (
            process,
            {
                "url": f"http://127.0.0.1:{port}/mcp",
                "headers": {"authorization": "Bearer ${env:TOKEN}"},
            },
        )
    finally:
        process.kill()
        process.wait()


async def test_tools_are_operations_over_stdio() -> None:
    """What they give, what they refuse, what is checked before they are asked, and their end."""
    async with desk(**STDIO, tools=TOOLS) as ask:
        checks = {each.what: each.ok for each in await ask("check")}
        assert await ask("sum", a=2, b=3) == {"result": 5}
        assert await ask("greet", name="Ann") == "Hello, Ann! Welcome."
        with pytest.raises(Refused) as wrong:
            await ask("sum", a="two", b=3)
        with pytest.raises(Refused) as absent:
            await ask("absent")
        with pytest.raises(Unknown) as failed:
            await ask("book", seats=11)
        with structlog.testing.capture_logs() as logs, pytest.raises(Unknown) as late:
            await ask("slow")
        with pytest.raises(Failed) as late_look:
            await ask("look")
        key, _, pid = (await ask("who", "run/1/who")).partition(" ")
        os.kill(int(pid), signal.SIGKILL)
        await _gone(int(pid))
        with pytest.raises(Unknown) as died:  # the next one, in the middle of a call
            await ask("die")

    assert checks == {
        "session": True,
        **dict.fromkeys(("add", "greet", "book", "slow", "who", "die"), True),
        "absent": False,
    }
    assert wrong.value.kind == "validation"
    assert wrong.value.message == "a: 'two' is not of type 'integer'"
    assert absent.value.kind == "system"
    assert "there are only ten seats" in failed.value.message
    assert late.value.kind == "timeout"
    assert [each["said"] for each in logs if each["event"] == "connector.progress"] == [
        "step 0",
        "step 1",
        "step 2",
    ]
    assert late_look.value.kind == "timeout_error"
    assert died.value.kind == "network"
    assert key == "run/1/who"


async def _gone(pid: int) -> None:
    with trio.fail_after(5):
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            await trio.sleep(0.01)


async def test_tools_are_operations_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a token; a server that went away fails, and one that is back serves."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):  # of the environment: not looked at
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with http_server() as (process, how):
        port = int(how["url"].split(":")[2].split("/")[0])
        async with desk(**how, tools=TOOLS) as ask:
            assert await ask("sum", a=2, b=3) == {"result": 5}
            process.kill()
            process.wait()
            with pytest.raises(Failed) as away:
                await ask("book", seats=1)
            with http_server(port):
                booked = await ask("book", seats=1)
                how["headers"] = {}
                async with desk(**how, tools=TOOLS, timeout="500ms") as stranger:
                    with pytest.raises(Failed) as locked_out:
                        await stranger("sum", a=2, b=3)

    assert away.value.kind == "network"
    assert booked == {"seats": 1}
    assert "401" in locked_out.value.message


def test_mistakes_are_found_when_the_file_is_read() -> None:
    """A server has a program or an address, and tools that may be called."""
    given = {
        "both": {"kind": "mcp", "command": ["x"], "url": "http://x", "tools": {"a": {}}},
        "none": {"kind": "mcp", "url": "ftp://x", "tools": {}},
    }

    read = parse(msgspec.json.encode({"connectors": given}))

    assert [each.message for each in read.problems] == [
        "it has exactly one of 'command' and 'url'",
        "'ftp://x' is no address of http or https",
        "no tool may be called",
    ]
