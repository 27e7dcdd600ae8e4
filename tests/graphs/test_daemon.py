"""Graphs whose steps wait, on a real server: a daemon dies in the middle, another one goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemon import daemon
from tests.support.nats import NatsServer

OUTER = """
name: outer
timeout: 1h
steps:
  nap: {sleep: 50ms}
  paid: {signal: paid, needs: nap, timeout: 20s}
  rooms: {child: inner, needs: nap, foreach: [a, b], params: {room: "{{item}}"}, timeout: 20s}
  late: {signal: never, needs: nap, timeout: 300ms, on_error: {timeout: continue}}
  note: {set: {rooms: "{{steps.rooms.result[*].room}}", by: "{{steps.paid.result.by}}"},
         needs: [paid, rooms, late]}
outputs: {note: "{{steps.note.result}}", late: "{{steps.late.status}}"}
"""
INNER = """
name: inner
input: {room: string}
steps:
  go: {signal: go}
  room: {set: {room: "{{input.room}}"}, needs: go}
outputs: "{{steps.room.result}}"
"""


@pytest.mark.server
async def test_waiting_steps_survive_their_daemon(nats_server: NatsServer, tmp_path: Path) -> None:
    """What was waited for comes in while nobody is there, or after; nothing is started twice."""
    files = [tmp_path / "inner.yaml", tmp_path / "outer.yaml"]
    for file, text in zip(files, (INNER, OUTER), strict=True):
        file.write_text(text)
    async with daemon(nats_server.url, workflows=files) as first:
        await first("run.start", workflow="outer", id="o-1")
        view = await first.waits("o-1", "child", times=2)
        children = [
            each["detail"].split()[1] for each in view["waiting"] if each["kind"] == "child"
        ]
        await first("run.signal", id=children[0], name="go")
        await first.view_when("o-1", lambda view: view["state"]["steps.rooms"] == "1 of 2")
        shown = (await first("run.show", id="o-1"))["state"]
        first.crash()
    async with daemon(nats_server.url, workflows=files) as second:
        await second.ready()
        await second("run.signal", id="o-1", name="paid", data={"by": "card"})
        await second("run.signal", id=children[1], name="go")
        ended = await second.ended("o-1")

    assert shown["steps.nap"] == "done"
    assert shown["steps.paid"] == "waits for signal paid"
    assert ended["status"] == "completed", ended
    assert ended["result"] == {"note": {"rooms": ["a", "b"], "by": "card"}, "late": "failed"}
    assert ended["state"]["by"] == "card"
