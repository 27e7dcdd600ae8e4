"""What the benchmarks of motions count, without a server."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.motions.interpreter import MotionWorkflow
from actors.owning.letters import Delivery
from benchmarks import faults, motions
from benchmarks.flow import PATH, is_right, submission, transitions, way
from benchmarks.workflows import PAYLOAD, flow
from protocols.archive import ArchiveRecord

SECOND = 1_000_000_000


def ended(id: str, result: Any, status: str = "completed") -> ArchiveRecord:  # noqa: A002
    """Return a made-up record."""
    return ArchiveRecord(
        id=id,
        workflow="bench.flow",
        definition="0",
        status=status,
        started_at=1,
        finished_at=2,
        through=9,
        result=msgspec.Raw(msgspec.json.encode(result)),
    )


def acknowledged(number: int, **changes: Any) -> dict[str, Any]:
    """Return what a motion that went all the way ends with."""
    return {
        "state": "ACKNOWLEDGED",
        "data": {state: {"number": number} for state in sorted(PATH)},
        "warnings": [],
        "transitions": 8,
        **changes,
    }


def told(motion: str, number: int, at_s: float) -> Delivery:
    """Return an event of a transition, stored half a second after what it tells."""
    subject = f"movant.event.bench-flow.{motion}.transition"
    payload = msgspec.json.encode({"to": "X", "witness": {"at": int(at_s * SECOND)}})
    return Delivery(number, int((at_s + 0.5) * SECOND), subject, b"", payload)


def test_the_machine_goes_the_way_that_its_load_expects() -> None:
    """The states with owners, in order, are the way to the end."""
    assert MotionWorkflow(flow).machine is flow
    assert [flow.states[each].nexts[0].to for each in PATH] == [*PATH[1:], "ACKNOWLEDGED"]
    assert len(msgspec.json.encode(submission(17))) == pytest.approx(200, abs=20)
    assert way(8) == (PATH, "ACKNOWLEDGED")
    assert way(9) == (PATH[:2], "REJECTED")
    assert (transitions(8), transitions(9)) == (8, 3)


def test_a_motion_is_right_only_where_its_number_says() -> None:
    """Another end, a skipped state, somebody else's answer or a warning are wrong."""
    right = acknowledged(8)

    assert is_right(ended("a", right), 8)
    assert not is_right(ended("a", right, "failed"), 8)
    assert not is_right(ended("a", right), 9)
    assert not is_right(ended("a", {**right, "state": "REJECTED"}), 8)
    assert not is_right(ended("a", {**right, "transitions": 9}), 8)
    assert not is_right(ended("a", {**right, "warnings": [{}]}), 8)
    assert not is_right(ended("a", {**right, "data": {"INTRODUCED": {"number": 8}}}), 8)
    assert not is_right(ended("a", acknowledged(7)), 8)


def test_a_number_counts_once() -> None:
    """Two motions with one number do not stand for the one that is missing."""
    alone = {f"alone-{n}": ended(f"alone-{n}", acknowledged(0)) for n in range(motions.ALONE_RUNS)}
    first = {"a": ended("a", acknowledged(0)), "b": ended("b", acknowledged(1))}

    assert motions.lost({**alone, **first}, 2) == 0
    assert motions.lost({**alone, **first, "c": ended("c", acknowledged(1))}, 3) == 1
    assert motions.lost({**alone, "b": first["b"]}, 2) == 1


def test_a_transition_takes_the_time_since_the_one_before() -> None:
    """Motions side by side, and those that ran alone, are not mixed; the cold one is left out."""
    events = [
        told("cold", 1, 90.0),
        told("cold", 2, 95.0),
        told("alone", 3, 96.0),
        told("alone", 4, 96.002),
        told("a", 5, 100.5),
        told("b", 6, 100.5),
        told("a", 7, 101.0),
        told("b", 8, 101.5),
    ]

    found = motions.figures(events, ["a", "b"], 100.0, ["cold", "alone"])

    assert found["transitions"] == 4
    assert found["transitions_per_s"] == 2
    assert found["motions_per_s"] == 1
    assert found["done_s"] == 2.0
    assert found["transition_p99_ms"] == 1_000.0
    assert found["alone_p50_ms"] == 2.0


def test_what_has_no_record_is_lost_and_what_has_a_bad_one_ended_wrong() -> None:
    """The two are counted apart."""
    found = {
        "m-8": ended("m-8", acknowledged(8)),
        "m-9": ended("m-9", acknowledged(9)),
        "w-1": ended("w-1", PAYLOAD),
        "w-2": ended("w-2", PAYLOAD, "failed"),
    }

    assert faults.judged(["m-8", "w-1"], found) == {"lost": 0, "wrong_ends": 0}
    assert faults.judged(["m-8", "m-9", "m-7", "w-1", "w-2"], found) == {
        "lost": 1,
        "wrong_ends": 2,
    }


def test_only_what_ended_while_services_were_killed_is_throughput() -> None:
    """What is left for afterwards counts neither as transitions nor as steps."""
    ends = {"m-8": 1.0, "m-9": 1.5, "w-1": 1.0, "w-2": 3.0}

    assert faults.throughput(ends, 0.0, 2.0) == {
        "ended_per_s": 2,
        "transitions_per_s": 6,
        "steps_per_s": 4,
    }
    assert faults.timeline(ends, 0.0) == [(0, 0), (1, 3), (2, 0), (3, 1)]
