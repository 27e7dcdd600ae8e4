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
from tests.support.web import Web

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
    "recite": {"reads_only": True},
    "write": {"tool": "recite"},
    "lost": {},
    "later": {},
}
BYTES_MAX: Final = 100_000
STDIO: Final[dict[str, Any]] = {
    "command": SERVER,
    "environment": ["PATH"],
    "variables": {"GREETING": "Welcome.", "PYTHONPATH": str(ROOT)},
    "response_bytes_max": BYTES_MAX,
}


@asynccontextmanager
async def desk(base: Path = ROOT, /, **how: Any) -> AsyncIterator[Any]:
    """Open the connector; call what it yields with operation, key and arguments."""
    read = parse(msgspec.json.encode({"connectors": {"desk": {"kind": "mcp", **how}}}))
    assert read.problems == []
    assert read.value is not None
    secrets = Secrets(base, {"TOKEN": TOKEN})
    async with opened("desk", read.value.connectors["desk"], secrets) as found:

        async def ask(operation: str, key: str = "", /, **values: Any) -> Any:
            if operation == "check":
                return await found.check()
            call = Call("desk", operation, key=key)
            return await found.service.operations[operation].function(values, call)

        yield ask


@contextmanager
def http_server(
    port: int = 0, *more: str
) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """Run the server over HTTP; yield its process, and the settings to reach it."""
    if not port:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
    process = subprocess.Popen([*SERVER, str(port), *more], cwd=ROOT)
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
                "response_bytes_max": BYTES_MAX,
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
        await limited(ask)
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
        **dict.fromkeys(
            ("add", "greet", "book", "slow", "who", "die", "recite", "lost", "later"), True
        ),
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
            await limited(ask)  # as an event
            with pytest.raises(Unknown) as lost:
                await ask("lost")
            with pytest.raises(Failed) as later:
                await ask("later")
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

    assert lost.value.kind == later.value.kind == away.value.kind == "network"
    assert later.value.retry_after_s == 9.0
    assert booked == {"seats": 1}
    assert "401" in locked_out.value.message


async def limited(ask: Any) -> None:
    """See that an answer that is too long fails its call, and that the session goes on."""
    with pytest.raises(Refused) as read:
        await ask("recite", size=BYTES_MAX * 4)
    with pytest.raises(Unknown) as wrote:
        await ask("write", size=BYTES_MAX * 4)
    assert read.value.kind == wrote.value.kind == "over_limit"
    assert len(await ask("recite", size=BYTES_MAX - 1_000)) == BYTES_MAX - 1_000


async def test_a_server_is_told_who_asks_with_tokens(web: Web, tmp_path: Path) -> None:
    """Each request has one; where none is to be had, nothing was sent."""
    (tmp_path / "secret").write_text("client-secret")
    client = {"client_id": "desk", "client_secret": "${file:secret}"}

    def auth(query: str) -> dict[str, Any]:
        return {"oauth2": {"token_url": f"{web.url}/token?{query}", **client}}

    with http_server(0, "json") as (_, how):
        del how["headers"]
        async with desk(tmp_path, **how, auth=auth("life=0"), tools=TOOLS) as ask:
            await limited(ask)
            (tmp_path / "secret").unlink()
            with pytest.raises(Failed) as gone:
                await ask("book", seats=1)
        (tmp_path / "secret").write_text("client-secret")
        async with desk(
            tmp_path, **how, auth=auth("status=401"), tools=TOOLS, timeout="500ms"
        ) as ask:
            with pytest.raises(Failed) as unknown:
                await ask("book", seats=1)

    assert "cannot be read" in gone.value.message
    assert "no token: HTTP 401" in unknown.value.message


def test_mistakes_are_found_when_the_file_is_read() -> None:
    """A server has a program or an address, and tools that may be called."""
    given = {
        "both": {"kind": "mcp", "command": ["x"], "url": "http://x", "tools": {"a": {}}},
        "none": {"kind": "mcp", "url": "ftp://x", "tools": {}},
        "told": {"kind": "mcp", "command": ["x"], "tools": {"a": {}}, "proxy": "http://x"},
    }

    read = parse(msgspec.json.encode({"connectors": given}))

    assert [each.message for each in read.problems] == [
        "it has exactly one of 'command' and 'url'",
        "'ftp://x' is no address of http or https",
        "no tool may be called",
        "a program over stdio gets no proxy",
    ]
