"""Why: the sentence for each kind of waiting names what, since when, who wakes it, what if not."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.api.runs import RunView
from protocols.effects import Waiting
from protocols.failure import Failure
from runtime.why import Why, why

S = 1_000_000_000
NOW = 1_800_000_000 * S
BEGAN = NOW - 90 * S


def told(*waiting: Waiting, status: str = "running", **more: Any) -> Why:
    """Return what is said about a run that waits for these."""
    facts = {"id": "r1", "workflow": "orders", "definition": "d", "started_at": BEGAN, **more}
    view = RunView(status=status, waiting=list(waiting), **facts)  # type: ignore[arg-type]
    return why(view, NOW)


def step(**more: Any) -> Waiting:
    """Return a step that is open."""
    facts: dict[str, Any] = {
        "path": "/pay",
        "kind": "step",
        "since": NOW - 5 * S,
        "detail": "billing.charge",
        "attempt": 1,
        "attempts": 3,
        "timeout_s": 60.0,
        "again": True,
        "due": NOW - 5 * S,
        **more,
    }
    return Waiting(**facts)


def timeout(in_s: float) -> Waiting:
    """Return a timeout of the code around what it waits for."""
    due = NOW + round(in_s * S)
    return Waiting(path="/timeout", kind="timer", since=BEGAN, detail="timeout", due=due)


@pytest.mark.parametrize(
    ("found", "kind", "says"),
    [
        (
            told(step()),
            "step",
            ["waits at /pay for billing.charge", "attempt 1 of 3", "5.0s ago", "1m00s", "again"],
        ),
        (told(step(again=False)), "step", ["the step fails"]),
        (
            told(step(kind="review", detail="billing.charge (timeout: no reply)")),
            "review",
            [
                "a person's word whether /pay was done",
                "movant run review r1 /pay",
                "no time limit",
            ],
        ),
        (
            told(Waiting(path="/gate.payout", kind="gate", since=BEGAN, detail="Pay 120?")),
            "gate",
            ["a person's decision (Pay 120?)", "movant gate show r1", "no time limit"],
        ),
        (
            told(Waiting(path="/g", kind="gate", since=BEGAN, detail="x", due=NOW + 60 * S)),
            "gate",
            ["its time is over", "in 1m00s"],
        ),
        (
            told(step(heartbeat_s=60.0, beat_at=NOW - 12 * S, beat={"done": 3})),
            "step",
            ["within 1m00s of a heartbeat", "12.0s ago", '{"done":3}'],
        ),
        (told(step(detail="_local.price")), "step", ["its own function price"]),
        (
            told(step(attempt=2, due=NOW + 20 * S, failed="system: it is down")),
            "backoff",
            ["asks billing.charge for /pay again", "in 20.0s", "attempt 2 of 3", "it is down"],
        ),
        (
            told(step(detail="billing.charge: nobody serves it")),
            "parked",
            ["cannot ask billing.charge", "nobody serves it", "its time does not run"],
        ),
        (
            told(step(detail="billing.charge: its breaker is open until 10:03")),
            "parked",
            ["because its breaker is open until 10:03"],
        ),
        (
            told(Waiting(path="/s", kind="timer", since=BEGAN, detail="sleep", due=NOW + 60 * S)),
            "timer",
            ["sleeps at /s until", "in 1m00s", "1m30s ago", "a durable timer wakes it"],
        ),
        (
            told(Waiting(path="/ok", kind="signal", since=BEGAN, detail="approve")),
            "signal",
            ["for the signal 'approve'", "movant run signal r1 approve", "for ever"],
        ),
        (
            told(Waiting(path="/c", kind="child", since=BEGAN, detail="ship r1-c")),
            "child",
            ["its child r1-c (ship)", "movant why r1-c", "as long as the child takes"],
        ),
        (
            told(Waiting(path="/", kind="pin", since=BEGAN, detail="orders"), status="pending"),
            "pin",
            ["a workflow named 'orders'", "movant workflow register", "pending"],
        ),
        (
            told(status="blocked", blocked="mismatch: the mailbox holds an answer"),
            "blocked",
            ["is blocked (mismatch:", "run migrate r1", "movant run cancel r1"],
        ),
        (
            told(status="blocked", blocked="blob: message 21: chunk 0 is missing", blocked_at=21),
            "blocked",
            ["chunk 0 is missing", "run supply r1 FILE", "run discard r1 21", "run cancel r1"],
        ),
        (
            told(blocked="daemon: MemoryError: "),
            "blocked",
            ["the daemon failed", "restart of the daemon"],
        ),
        (
            told(status="completed", finished_at=NOW),
            "completed",
            ["r1 has completed at", "after 1m30s", "waits for nothing"],
        ),
        (
            told(
                status="failed",
                finished_at=NOW,
                failure=Failure(kind="refused", message="no licence"),
            ),
            "failed",
            ["r1 has failed at", "refused: no licence"],
        ),
        (
            told(
                status="cancelled",
                finished_at=NOW,
                failure=Failure(kind="cancelled", message="enough"),
            ),
            "cancelled",
            ["r1 was cancelled at", "(enough)"],
        ),
        (told(status="pending", started_at=0), "pending", ["never started", "after a day"]),
        (told(), "running", ["waits for nothing", "being folded"]),
    ],
)
def test_each_kind_of_waiting_has_its_sentence(found: Why, kind: str, says: list[str]) -> None:
    """One sentence, with the parts that a person asks for."""
    assert found.kind == kind
    assert [part for part in says if part not in found.sentence] == []
    assert found.sentence.endswith(".")
    assert "\n" not in found.sentence


def test_a_timeout_of_the_code_says_what_happens_if_not() -> None:
    """It is nearer than the time that the service has."""
    found = told(step(), timeout(30))

    assert found.until == NOW + 30 * S
    assert "the timeout /timeout cancels the wait" in found.sentence


def test_a_step_that_fails_before_the_timeout_says_so() -> None:
    """What comes first counts."""
    found = told(step(), timeout(3600))

    assert found.until == NOW + 55 * S
    assert "it is asked again" in found.sentence


def test_of_several_waits_what_nobody_works_on_is_told() -> None:
    """The others are counted."""
    parked = step(path="/ship", detail="post.send: nobody serves it", since=NOW - S)

    found = told(step(), Waiting(path="/ok", kind="signal", since=BEGAN, detail="go"), parked)

    assert found.kind == "parked"
    assert found.others == 2
    assert "and for 2 more" in found.sentence
