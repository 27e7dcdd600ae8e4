"""Heartbeats on a real server: work that goes on is let alone, silence is not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import pytest
import trio

from actors.files.definitions import parse
from actors.owning import passivation
from protocols import headers as h
from protocols.ports import Frame, Outgoing
from protocols.service import Call, Service
from runtime.bridge import connect
from runtime.cli.service import load_attribute
from tests.docs.tables import DOCS
from tests.support.daemon import daemon, offered
from tests.support.nats import NatsServer

LONG: Final = """
name: long
defaults: {timeout: 1h, retry: {attempts: 3, delay_s: 0, jitter: 0}}
steps:
  grind: {service: mill, operation: grind, heartbeat: 800ms}
  press: {service: mill, operation: press, heartbeat: 800ms}
outputs: ["{{steps.grind.result}}", "{{steps.press.result}}"]
"""
ONE: Final = """
name: one
steps:
  grind:
    {service: raw, operation: grind, timeout: 1h, heartbeat: 400ms,
     retry: {attempts: 9, delay_s: 0, jitter: 0}}
outputs: "{{steps.grind.result}}"
"""


@pytest.mark.server
async def test_who_beats_is_let_alone_also_when_the_owner_changes(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """One attempt each, on trio and in a thread; what a beat says is shown, and never stored."""
    mill = Service("mill")
    stop = trio.Event()

    @mill.operation()
    async def grind(_: Any, call: Call) -> int:
        while not stop.is_set():
            call.heartbeat({"tons": 3})
            await trio.sleep(0.02)
        return call.attempt

    @mill.operation()
    def press(_: Any, call: Call) -> int:
        while not stop.is_set():
            call.heartbeat()
            time.sleep(0.02)  # noqa: TID251 - a blocking handler
        return call.attempt

    file = tmp_path / "long.yaml"
    file.write_text(LONG)
    async with offered(nats_server.url, mill):
        async with daemon(nats_server.url, workflows=[file]) as movant:
            await movant("run.start", workflow="long", id="l-1", input=None)
            view = await movant.view_when(
                "l-1", lambda view: any(each.get("beat") for each in view["waiting"])
            )
            movant.crash()
        async with daemon(nats_server.url, workflows=[file]) as movant:
            await movant.view_when(
                "l-1", lambda view: any(each.get("beat") for each in view["waiting"])
            )
            await trio.sleep(1.0)
            shown = await movant("run.show", id="l-1")
            stop.set()
            ended = await movant.ended("l-1")
            history = await movant("run.history", id="l-1")

    (grinds,) = [each for each in view["waiting"] if "grind" in each["path"]]
    assert grinds["beat"] == {"tons": 3}
    assert ended["result"] == [1, 1]
    assert {each["attempt"] for each in shown["waiting"]} == {1}
    kinds = [each["kind"] for each in history["entries"]]
    assert kinds.count("reply") == 2
    assert "owner.refused" not in kinds


@pytest.mark.server
async def test_a_run_out_of_memory_comes_back_with_a_beat_and_then_counts_silence(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a wake of the former owner covers is not asked for again; its silence is noticed."""
    monkeypatch.setattr(passivation, "IDLE_S", 0.2)
    monkeypatch.setattr(passivation, "COVER_AFTER_S", 0.2)
    monkeypatch.setattr(passivation, "WAKE_MIN_S", 600.0)
    asked: list[tuple[dict[str, str], str]] = []
    file = tmp_path / "one.yaml"
    file.write_text(ONE.replace("400ms", "1s"))
    async with connect(nats_server.url, name="raw") as raw:

        def take(frames: Any) -> None:
            asked.extend((h.decode(each.headers) or {}, each.reply) for each in frames)

        alive = True

        async def beats(subject: str) -> None:
            while alive:
                raw.publish(Outgoing(subject, b'{"done":1}'))
                await trio.sleep(0.1)

        await raw.subscribe("movant.svc.raw.grind", take, queue="q")
        async with trio.open_nursery() as nursery:
            async with daemon(nats_server.url, workflows=[file]) as movant:
                await movant("run.start", workflow="one", id="o-2", input=None)
                await movant.waits("o-2", "step")
                with trio.fail_after(10):
                    while not asked:
                        await trio.sleep(0.01)
                nursery.start_soon(beats, asked[0][0][h.BEAT])
                with trio.fail_after(10):
                    while not movant.daemon.parts.owner.passivation.wakes:
                        await trio.sleep(0.05)
            monkeypatch.undo()
            async with daemon(nats_server.url, workflows=[file]) as movant:
                await movant.view_when("o-2", lambda view: view["waiting"][0].get("beat"))
                before = len(asked)
                alive = False
                with trio.fail_after(10):
                    while len(asked) == before:
                        await trio.sleep(0.05)
                    raw.publish(Outgoing(asked[-1][1], b'"ground"'))
                    ended = await movant.ended("o-2")

    assert before == 1
    assert [found[h.ATTEMPT] for found, _ in asked] == ["1", "2"]
    assert unquote(asked[1][0][h.LAST]) == '{"done":1}'
    assert ended["result"] == "ground"


def test_a_handler_goes_on_where_the_attempt_before_has_come_to() -> None:
    """The example of the documents; where nobody listens a heartbeat does nothing."""
    mill = load_attribute(f"{DOCS / 'examples' / 'mill.py'}:mill")
    grind, said = mill.operations["grind"].function, list[Any]()

    assert grind({"bags": 3}, Call("mill", "grind", last={"done": 1}, beats=said.append)) == 3
    assert said == [{"done": 2}, {"done": 3}]
    assert grind({"bags": 2}, Call("mill", "grind")) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{service: s, operation: o, heartbeat: 1m, timeout: 30s}", "longer than the call may"),
        ("{sleep: 1h, heartbeat: 1m}", "heartbeat"),
    ],
)
def test_a_heartbeat_that_bounds_nothing_is_told(text: str, told: str) -> None:
    """At its place, before anything runs; of states as well."""
    graph = parse(f"name: a\nsteps:\n  b: {text}\n".encode()).problems
    states = "{owner: s, heartbeat: 1m, timeout: 30s, next: C}", "{parked: true, heartbeat: 1m}"
    state = states["sleep" in text].replace("}", ", signals: {x: C}}" if "sleep" in text else "}")
    text = f"name: a\ninitial: B\nstates:\n  B: {state}\n  C: {{terminal: true}}\n"
    machine = parse(text.encode()).problems

    assert told in graph[0].message
    assert [each.line for each in (*graph, *machine)] == [3, 4]


@pytest.mark.server
async def test_silence_is_a_timeout_and_the_next_attempt_learns_what_was_said(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Beats of another attempt, without its token, or of nobody's, prolong nothing."""
    asked: list[dict[str, str]] = []
    file = tmp_path / "one.yaml"
    file.write_text(ONE)
    async with (
        connect(nats_server.url, name="raw") as raw,
        daemon(nats_server.url, workflows=[file]) as movant,
    ):

        def beat(subject: str, said: Any) -> None:
            raw.publish(Outgoing(subject, msgspec.json.encode(said)))

        def take(frames: Any) -> None:
            frame: Frame
            for frame in frames:
                found = h.decode(frame.headers) or {}
                asked.append(found)
                if len(asked) == 1:
                    beat(found[h.BEAT], {"done": 7})
                elif len(asked) >= 3:
                    raw.publish(Outgoing(frame.reply, b'"ground"'))

        await raw.subscribe("movant.svc.raw.grind", take, queue="q")
        await movant("run.start", workflow="one", id="o-1", input=None)
        with trio.fail_after(20):
            while len(asked) < 2:
                await trio.sleep(0.01)
            while len(asked) < 3:
                former, forged = asked[0][h.BEAT], asked[1][h.BEAT][:-1] + "x"
                for subject in (former, forged, "movant.beat.o-1", "movant.beat.x.y.9.z"):
                    beat(subject, {"done": 8})
                await trio.sleep(0.05)
        ended = await movant.ended("o-1")
        history = await movant("run.history", id="o-1")

    assert ended["result"] == "ground"
    assert [each[h.ATTEMPT] for each in asked[:3]] == ["1", "2", "3"]
    assert asked[0][h.HEARTBEAT] == "0.4"
    assert h.LAST not in asked[0]
    assert [msgspec.json.decode(unquote(each[h.LAST])) for each in asked[1:3]] == [{"done": 7}] * 2
    refused = [each for each in history["entries"] if each["kind"] == "owner.refused"]
    assert [each["summary"] for each in refused[:2]] == ["no heartbeat within 0.4s"] * 2
    assert refused[0]["failure"]["kind"] == "timeout"
