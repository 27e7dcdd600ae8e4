"""Ask a server whether it serves clients and JetStream: the NATS protocol by hand.

No client library here: a health check must not share a connection, a thread or a failure with
what it checks.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import trio

_CHUNK_BYTES: Final = 65_536
_ANSWER_BYTES_MAX: Final = 1024**2
"""INFO and the account information have a few kB; more is not a NATS server."""
_INBOX: Final = "_INBOX.movant.health"


class Health(msgspec.Struct, frozen=True):
    """What a server said. ``problem`` is empty when it serves clients and JetStream."""

    version: str = ""
    problem: str = ""
    code: int = 0
    """The JetStream error code of the problem, 0 when it has none."""


async def ask(
    host: str,
    port: int,
    timeout_s: float,
    user: str = "",
    password: str = "",
    *,
    jetstream: bool = True,
) -> Health:
    """Return the health of the server at ``host`` and ``port``. Never raises for its state.

    Without ``jetstream`` only that it serves clients: a node of a cluster that has no majority
    is well, though JetStream waits for the others.
    """
    seen = b""
    try:
        with trio.fail_after(timeout_s):
            stream = await trio.open_tcp_stream(host, port)
            async with stream:
                await stream.send_all(_hello(user, password))
                while len(seen) < _ANSWER_BYTES_MAX:
                    chunk = await stream.receive_some(_CHUNK_BYTES)
                    seen += chunk
                    answer = read(seen, ended=not chunk, jetstream=jetstream)
                    if answer is not None:
                        return answer
        return Health(problem="the answer does not end")
    except trio.TooSlowError:
        return Health(problem=f"no answer in {timeout_s:g} s")
    except (OSError, trio.BrokenResourceError) as error:
        return Health(problem=f"no connection: {error}")


def read(seen: bytes, *, ended: bool, jetstream: bool = True) -> Health | None:
    """Return what the bytes so far mean, None when more are needed."""
    info_line, _, rest = seen.partition(b"\r\n")
    if not rest and not ended:
        return None
    try:
        info = json.loads(info_line.removeprefix(b"INFO "))
        version = str(info["version"])
    except (ValueError, KeyError, TypeError):
        return Health(problem="this is no NATS server")
    if b"-ERR" in rest:
        refusal = rest[rest.index(b"-ERR") :].partition(b"\r\n")[0]
        return Health(version, f"refused: {refusal.decode(errors='replace')}")
    if not jetstream and b"PONG\r\n" in rest:
        return Health(version)
    body = _body(rest)
    if body is not None:
        error = body.get("error") or {}
        return Health(version, str(error.get("description", "")), int(error.get("err_code", 0)))
    if b"HMSG " in rest and b" 503" in rest:
        return Health(version, "JetStream is not enabled or was switched off")
    return Health(version, "the connection was closed") if ended else None


def _hello(user: str, password: str) -> bytes:
    options: dict[str, Any] = {
        "verbose": False,
        "pedantic": False,
        "headers": True,
        "no_responders": True,
        "name": "movant health",
    }
    if user:
        options |= {"user": user, "pass": password}
    return (
        f"CONNECT {json.dumps(options)}\r\nSUB {_INBOX} 1\r\n"
        f"PUB $JS.API.INFO {_INBOX} 0\r\n\r\nPING\r\n"
    ).encode()


def _body(rest: bytes) -> dict[str, Any] | None:
    """Return the JSON body of the first complete MSG, if there is one."""
    start = rest.find(f"MSG {_INBOX} ".encode())
    if start < 0 or (start and rest[start - 1 : start] == b"H"):
        return None
    head, _, tail = rest[start:].partition(b"\r\n")
    try:
        length = int(head.rsplit(b" ", 1)[1])
        if len(tail) < length + 2:
            return None
        body = json.loads(tail[:length])
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
