"""How far a run of a graph is: by its steps, by what former runs took, by what has passed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.graphs.progress import Pace, durations, pace_of, progress, step_at
from protocols.api.runs import Progress
from protocols.effects import Waiting
from protocols.gates.words import GateWord
from protocols.graphs.graph import SHOWN
from protocols.graphs.order import Order
from protocols.mail import Decided, Fired, Reply, Signal, Start
from protocols.subjects import step_token
from runtime.cli.run_read import _progress
from tests.graphs.orders import graph_of
from tests.support.daemon import daemon
from tests.support.nats import NatsServer

GRAPH = graph_of("""\
name: release
steps:
  build: {service: builder, operation: build}
  a_test_with_a_long_name: {service: a-service-with-a-long-name, operation: test-all, needs: build}
  lint: {service: linter, operation: lint, needs: build}
  allow: {gate: {title: Publish?}, needs: [a_test_with_a_long_name, lint]}
  calm: {sleep: 10s, needs: allow}
  word: {signal: go, needs: calm}
  publish: {service: registry, operation: publish, needs: word}
""")
ORDER = Order(GRAPH)
S = 1_000_000_000
LONG = "/steps/a_test_with_a_long_name/a-service-with-a-long-name.test-all"


def said(at: int, path: str) -> Reply:
    """Return an answer that came after so many seconds."""
    return Reply(seq=at, at=at * S, step=step_token(path), attempt=1)


def mailbox() -> list[Any]:
    """Return what came in one run."""
    word = GateWord(gate="/steps/allow/gate.allow", do="approve")
    return [
        Start(seq=1, at=100 * S, workflow="release", body=b""),
        said(104, "/steps/build/builder.build"),
        said(105, "/steps/lint/linter.lint"),
        said(110, LONG),
        Decided(seq=6, at=140 * S, word=word),
        Fired(seq=7, at=145 * S, name=step_token("/steps/publish/guard")),
        Fired(seq=8, at=150 * S, name=step_token("/steps/calm/sleep")),
        Signal(seq=9, at=151 * S, name="go", body=b""),
        said(153, "/steps/publish/registry.publish"),
    ]


def state(**texts: str) -> dict[str, str]:
    """Return what a run shows of its steps."""
    return {SHOWN + name: text for name, text in texts.items()}


def test_a_step_takes_from_the_end_of_its_needs_to_its_own() -> None:
    """Also where its token is a hash; timers that only guard tell nothing."""
    assert step_token(LONG).startswith("~")
    took = durations(GRAPH, ORDER, mailbox())
    assert {name: each / S for name, each in took.items()} == {
        "build": 4,
        "lint": 1,
        "a_test_with_a_long_name": 6,
        "allow": 30,
        "calm": 10,
        "word": 1,
        "publish": 2,
    }


def test_without_former_runs_all_steps_count_the_same() -> None:
    """And nobody says when it ends."""
    found = progress(ORDER, state(build="done", lint="skipped: x"), (), Pace(), 0)
    assert (found.percent, found.done, found.total) == (100 * 2 // 7, 2, 7)
    assert (found.expected_at, found.runs) == (0, 0)


def test_former_runs_weigh_the_steps_and_tell_the_end() -> None:
    """Along the longest way through what is left, less what has passed of it."""
    pace = pace_of([durations(GRAPH, ORDER, mailbox())])
    shown = state(build="done", lint="done", a_test_with_a_long_name="running")
    waiting = [Waiting(path=LONG, kind="step", since=197 * S)]

    found = progress(ORDER, shown, waiting, pace, 200 * S)

    assert found.percent == 100 * 5 // 54
    assert found.expected_at == (200 + 3 + 30 + 10 + 1 + 2) * S
    assert found.runs == 1


def test_items_count_in_part_and_only_the_end_is_all() -> None:
    """A step whose items have all ended has not; a run that failed stays where it was."""
    all_done = state(**dict.fromkeys(ORDER.names, "done"))
    assert progress(ORDER, state(build="3 of 6"), (), Pace(), 0).percent == 7
    assert progress(ORDER, state(build="6 of 6"), (), Pace(), 0).done == 0
    assert progress(ORDER, all_done, (), Pace(), 0).percent == 99
    assert progress(ORDER, all_done, (), Pace(), 0, ended="completed").percent == 100
    failed = progress(ORDER, state(build="done"), (), Pace({}, 1), 5, ended="failed")
    assert (failed.percent, failed.expected_at) == (14, 0)


def test_several_runs_are_averaged_and_gaps_are_left_out() -> None:
    """A step that nobody knows counts as the average of the others."""
    pace = pace_of([{"build": 2.0, "lint": 4.0}, {"build": 4.0}])
    assert pace == Pace({"build": 3.0, "lint": 4.0}, 2)
    assert progress(ORDER, state(publish="done"), (), pace, 0).percent == int(350 / (7 + 5 * 3.5))
    assert step_at("/elsewhere/build") == ""
    assert msgspec.to_builtins(progress(ORDER, {}, (), pace, 0))["percent"] == 0


def test_people_are_told_in_one_line() -> None:
    """With the end where somebody knows it and it is not over."""
    found = Progress(percent=40, done=2, total=5)
    later = msgspec.structs.replace(found, expected_at=time.time_ns() + 90 * S)

    assert _progress(found) == "40 %, 2 of 5 steps"
    assert _progress(later).startswith("40 %, 2 of 5 steps, done at about ")
    assert _progress(msgspec.structs.replace(found, expected_at=1)) == "40 %, 2 of 5 steps"


@pytest.mark.server
async def test_a_run_is_told_by_the_one_before(nats_server: NatsServer, tmp_path: Path) -> None:
    """What completed says how long the next one takes; a final run is not expected any more."""
    file = tmp_path / "calm.yaml"
    file.write_text("name: calm\nsteps: {nap: {sleep: 300ms}, word: {signal: go, needs: nap}}\n")
    async with daemon(nats_server.url, workflows=[file]) as movant:
        await movant("run.start", workflow="calm", id="c-1")
        await movant("run.signal", id="c-1", name="go")
        await movant("run.wait", id="c-1", timeout_s=10.0)
        await movant("run.start", workflow="calm", id="c-2")
        open_ = (await movant.waits("c-2", "signal"))["progress"]
        ended = (await movant("run.show", id="c-1"))["progress"]

    assert (open_["runs"], open_["done"], open_["total"]) == (1, 1, 2)
    assert 90 <= open_["percent"] <= 99
    assert open_["expected_at"] > 0
    assert (ended["percent"], ended.get("expected_at", 0)) == (100, 0)
