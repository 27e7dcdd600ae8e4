"""Answers: how many round trips and one-way messages a second cross the bridge.

A real server and an echo process; 200 B payloads. ``--variant stock`` measures the same
against nats-py as it is: its ``publish``, its subscription callbacks, an own token table,
on one asyncio loop without any bridge, so it is the best that nats-py itself could do.

Run it with ``python -m benchmarks.bridge --json``.
"""

from __future__ import annotations

import argparse
import asyncio  # noqa: TID251 - the stock variant is nats-py at home
import itertools
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import nats  # noqa: TID251 - see above
import structlog
import trio
from nats.aio.client import Client  # noqa: TID251 - see above
from nats.aio.msg import Msg  # noqa: TID251 - see above

from benchmarks.stage import cpu_s, machine, peak_mb, report
from protocols.errors import MovantError
from protocols.ports import Frame, Outgoing
from runtime.bridge import connect
from runtime.bridge.transport import NatsTransport
from runtime.bridge.wire import PING, PONG, Reader
from runtime.server.binary import find

PAYLOAD: Final = b"x" * 200
ECHO: Final = "bench.echo"
FLOOD: Final = "bench.flood"
NOTHING: Final = "bench.nothing"
READY_S_MAX: Final = 10.0


def run(
    *,
    messages: int = 100_000,
    in_flight: int = 1_000,
    singles: int = 2_000,
    variant: str = "bridge",
) -> dict[str, Any]:
    """Measure and return the figures."""
    with _server() as url, _echo(url):
        if variant == "stock":
            figures = asyncio.run(_stock(url, messages, in_flight, singles))
        else:
            figures = trio.run(_bridge, url, messages, in_flight, singles)
    return {
        "benchmark": "bridge",
        "variant": variant,
        "messages": messages,
        "in_flight": in_flight,
        **figures,
        "rss_mb": {"client": peak_mb(os.getpid())},
        "cpu_s": {"client": cpu_s(os.getpid())},
        **machine(),
    }


async def _bridge(url: str, messages: int, in_flight: int, singles: int) -> dict[str, Any]:
    async with connect(url, name="benchmark") as transport:
        await _until_served(lambda: transport.request(Outgoing(ECHO, b"?"), 1.0), trio.sleep)
        round_trips = [await _told(transport, messages, in_flight) for _ in range(3)]
        awaited = await _awaited(transport, messages, in_flight)
        start = time.perf_counter()
        for _ in range(messages):
            while True:
                try:
                    transport.publish(Outgoing(NOTHING, PAYLOAD))
                    break
                except MovantError:  # the queue is full: what a producer does then is wait
                    await trio.sleep(0.002)
        await transport.request(Outgoing(ECHO, b"end"), 10.0)
        out = messages / (time.perf_counter() - start)
        flooded = await _flooded(transport, messages)
        times = []
        for _ in range(singles):
            start = time.perf_counter()
            await transport.request(Outgoing(ECHO, PAYLOAD), 5.0)
            times.append(time.perf_counter() - start)
        return _figures(round_trips, awaited, out, flooded, times)


async def _told(transport: NatsTransport, messages: int, in_flight: int) -> float:
    """Round trips with ``request_soon``: what actors use."""
    finished = trio.Event()
    left = messages
    unsent = messages - in_flight

    def done(told: Frame | MovantError) -> None:
        nonlocal left, unsent
        assert isinstance(told, Frame), told
        left -= 1
        if unsent > 0:
            unsent -= 1
            transport.request_soon(Outgoing(ECHO, PAYLOAD), 30.0, done)
        elif not left:
            finished.set()

    start = time.perf_counter()
    for _ in range(in_flight):
        transport.request_soon(Outgoing(ECHO, PAYLOAD), 30.0, done)
    await finished.wait()
    return messages / (time.perf_counter() - start)


async def _awaited(transport: NatsTransport, messages: int, in_flight: int) -> float:
    """Round trips with ``await request`` in as many trio tasks as are in flight."""

    async def ask() -> None:
        for _ in range(messages // in_flight):
            await transport.request(Outgoing(ECHO, PAYLOAD), 30.0)

    start = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(ask)
    return messages / (time.perf_counter() - start)


async def _flooded(transport: NatsTransport, messages: int) -> float:
    """One way in: the echo process sends as fast as it can."""
    seen = 0
    finished = trio.Event()

    def sink(frames: Sequence[Frame]) -> None:
        nonlocal seen
        seen += len(frames)
        if seen >= messages:
            finished.set()

    subject = transport.new_inbox()
    subscription = await transport.subscribe(subject, sink)
    start = time.perf_counter()
    transport.publish(Outgoing(FLOOD, b"%d" % messages, reply=subject))
    await finished.wait()
    subscription.unsubscribe()
    return messages / (time.perf_counter() - start)


async def _stock(url: str, messages: int, in_flight: int, singles: int) -> dict[str, Any]:
    client: Client = await nats.connect(url)
    waiting: dict[str, asyncio.Future[Msg]] = {}
    tokens = itertools.count()
    prefix = f"{client.new_inbox()}."
    loop = asyncio.get_running_loop()

    async def answered(message: Msg) -> None:
        waiting.pop(message.subject[len(prefix) :]).set_result(message)

    async def request(payload: bytes) -> Msg:
        token = str(next(tokens))
        future: asyncio.Future[Msg] = loop.create_future()
        waiting[token] = future
        await client.publish(ECHO, payload, reply=prefix + token)
        return await future

    await client.subscribe(f"{prefix}*", cb=answered)
    await _until_served(lambda: client.request(ECHO, b"?", timeout=1.0), asyncio.sleep)

    async def ask() -> None:
        for _ in range(messages // in_flight):
            await request(PAYLOAD)

    round_trips = []
    for _ in range(3):
        start = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(in_flight)))
        round_trips.append(messages / (time.perf_counter() - start))
    start = time.perf_counter()
    for _ in range(messages):
        await client.publish(NOTHING, PAYLOAD)
    await request(b"end")
    out = messages / (time.perf_counter() - start)
    seen = 0
    finished = asyncio.Event()

    async def flooded(_message: Msg) -> None:
        nonlocal seen
        seen += 1
        if seen >= messages:
            finished.set()

    subject = client.new_inbox()
    await client.subscribe(subject, cb=flooded, pending_msgs_limit=0, pending_bytes_limit=0)
    start = time.perf_counter()
    await client.publish(FLOOD, b"%d" % messages, reply=subject)
    await finished.wait()
    flood = messages / (time.perf_counter() - start)
    times = []
    for _ in range(singles):
        start = time.perf_counter()
        await request(PAYLOAD)
        times.append(time.perf_counter() - start)
    await client.close()
    return _figures(round_trips, max(round_trips), out, flood, times)


def _figures(
    round_trips: list[float], awaited: float, out: float, flooded: float, times: list[float]
) -> dict[str, Any]:
    times.sort()
    return {
        "round_trips_per_s": round(max(round_trips)),
        "round_trips_per_s_all": [round(one) for one in round_trips],
        "awaited_round_trips_per_s": round(awaited),
        "one_way_per_s": round(min(out, flooded)),
        "one_way_out_per_s": round(out),
        "one_way_in_per_s": round(flooded),
        "p50_us": round(times[len(times) // 2] * 1e6),
        "p99_us": round(times[math.ceil(len(times) * 0.99) - 1] * 1e6),
    }


async def _until_served(
    ask: Callable[[], Awaitable[object]], sleep: Callable[[float], Awaitable[object]]
) -> None:
    """Ask until the echo process answers."""
    deadline = time.monotonic() + READY_S_MAX
    while True:
        try:
            await ask()
        except (MovantError, nats.errors.Error):
            if time.monotonic() > deadline:
                raise
            await sleep(0.05)
        else:
            return


@contextmanager
def _server() -> Iterator[str]:
    binary = str(find().path)
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [binary, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", directory],
            stderr=subprocess.DEVNULL,
        )
        try:
            path = Path(directory) / f"{Path(binary).name}_{process.pid}.ports"
            deadline = time.monotonic() + READY_S_MAX
            text = ""
            while not text.endswith("}") and time.monotonic() < deadline:
                text = path.read_text() if path.exists() else ""
            yield json.loads(text)["nats"][0]
        finally:
            process.kill()
            process.wait()


@contextmanager
def _echo(url: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.bridge", "--echo", url])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _serve_echo(url: str) -> None:
    """Answer each request with its payload; flood on demand. Plain sockets, to be no limit."""
    parts = urlsplit(url)
    assert parts.hostname, url
    assert parts.port, url
    connection = socket.create_connection((parts.hostname, parts.port))
    hello = f'CONNECT {{"verbose":false}}\r\nSUB {ECHO} 1\r\nSUB {FLOOD} 2\r\n'
    connection.sendall(hello.encode())
    reader = Reader()
    while data := connection.recv(262_144):
        chunk = reader.feed(data)
        if chunk is None:
            continue
        out = [PONG for line in chunk.controls if line + b"\r\n" == PING]
        for sid, frames in chunk.runs:
            for frame in frames:
                if sid == b"1":
                    line = f"PUB {frame.reply} {len(frame.payload)}\r\n"
                    out.append(b"%b%b\r\n" % (line.encode(), frame.payload))
                else:
                    line = f"PUB {frame.reply} {len(PAYLOAD)}\r\n"
                    one = b"%b%b\r\n" % (line.encode(), PAYLOAD)
                    out += [one] * int(frame.payload)
        connection.sendall(b"".join(out))


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--in-flight", type=int, default=1_000)
    parser.add_argument("--singles", type=int, default=2_000)
    parser.add_argument("--variant", choices=["bridge", "stock"], default="bridge")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument("--echo", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.echo:
        _serve_echo(arguments.echo)
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    figures = run(
        messages=arguments.messages,
        in_flight=arguments.in_flight,
        singles=arguments.singles,
        variant=arguments.variant,
    )
    report(figures, as_json=arguments.json)


if __name__ == "__main__":
    main()
