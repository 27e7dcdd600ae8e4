"""The services of the campaign, as processes: one hosted by movant, one with nats-py alone.

    python -m tests.chaos.services hosted|plain|late URL FILE   (late: a plain one)

Each writes every call and every effect into an append-only file with fsync, so that what it
did survives its death. An effect is recorded once per key; a repeat finds the record.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - a service without movant runs on it
import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import nats  # noqa: TID251 - and speaks nats-py
import trio

import movant


class Record(msgspec.Struct, frozen=True):
    """One line of the file. ``what`` is ``call`` or ``effect``."""

    what: str
    tag: str
    key: str
    attempt: int


class Recorder:
    """The append-only file of one service."""

    def __init__(self, path: Path) -> None:
        self._done = {each.key for each in records(path) if each.what == "effect"}
        self._file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)

    def called(self, work: dict[str, Any], key: str, attempt: int) -> None:
        """Note a call."""
        self._write(Record("call", work["tag"], key, attempt))

    def effect(self, work: dict[str, Any], key: str, attempt: int) -> None:
        """Note an effect, once per key."""
        if key not in self._done:
            self._done.add(key)
            self._write(Record("effect", work["tag"], key, attempt))

    def _write(self, record: Record) -> None:
        os.write(self._file, msgspec.json.encode(record) + b"\n")
        os.fsync(self._file)


def records(path: Path) -> list[Record]:
    """Return what a service has recorded so far."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Record) for line in path.read_bytes().splitlines()]


def hosted(name: str, url: str, recorder: Recorder) -> None:
    """Serve with movant."""
    service = movant.Service(name)

    def judged(work: dict[str, Any], call: movant.Call) -> None:
        recorder.called(work, call.key, call.attempt)
        if work.get("refuse"):
            raise movant.Refused("closed", "no")
        if call.attempt <= work.get("fail", 0):
            raise movant.Failed("busy", "not now")

    @service.operation("do")
    async def do(work: dict[str, Any], call: movant.Call) -> str:
        judged(work, call)
        await trio.sleep(work.get("slow_s", 0.0))
        recorder.effect(work, call.key, call.attempt)
        return str(work["tag"])

    @service.operation("block")
    def block(work: dict[str, Any], call: movant.Call) -> str:
        judged(work, call)
        recorder.effect(work, call.key, call.attempt)
        return str(work["tag"])

    movant.run_service(service, nats=url, drain_s=1.0)


async def plain(name: str, url: str, recorder: Recorder) -> None:
    """Serve with nats-py alone, as docs/protocol.md says."""
    client = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    tasks: set[asyncio.Task[None]] = set()

    async def answer(request: Any) -> None:
        work = json.loads(request.data)
        key, attempt = request.headers["Movant-Key"], int(request.headers["Movant-Attempt"])
        recorder.called(work, key, attempt)
        if attempt <= work.get("mute", 0):
            return
        headers: dict[str, str] | None = None
        payload = json.dumps(work["tag"]).encode()
        if work.get("refuse"):
            headers = {"Nats-Service-Error": "no", "Nats-Service-Error-Code": "409"}
            headers["Movant-Error-Kind"] = "closed"
        elif attempt <= work.get("fail", 0):
            headers = {"Nats-Service-Error": "not now", "Nats-Service-Error-Code": "503"}
            headers["Movant-Error-Kind"] = "busy"
        else:
            await asyncio.sleep(work.get("slow_s", 0.0))
            recorder.effect(work, key, attempt)
            if request.subject.endswith(".pack"):
                headers = {"Content-Type": "application/msgpack"}
                payload = msgspec.msgpack.encode(work["tag"])
        await _stored(client, request.reply, payload, headers)

    async def take(request: Any) -> None:
        task = asyncio.create_task(answer(request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    for operation in ("do", "pack"):
        await client.subscribe(f"movant.svc.{name}.{operation}", queue="q", cb=take)
    await asyncio.Event().wait()


async def _stored(client: Any, reply: str, payload: bytes, headers: dict[str, str] | None) -> None:
    """Answer until the mailbox says that it is stored."""
    while True:
        try:
            ack = await client.request(reply, payload, timeout=1, headers=headers)
            if "seq" in json.loads(ack.data):
                return
        except nats.errors.Error:
            await asyncio.sleep(0.2)


def main(kind: str, url: str, file: str) -> None:
    """Run one of them until killed."""
    recorder = Recorder(Path(file))
    if kind == "hosted":
        hosted(kind, url, recorder)
    else:
        asyncio.run(plain(kind, url, recorder))


if __name__ == "__main__":
    main(*sys.argv[1:])
