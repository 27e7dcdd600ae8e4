"""A machine for the tests: a permit on its way through four offices."""

from __future__ import annotations

from typing import Any, Final

from actors.motions.interpreter import MotionWorkflow
from protocols.directives import Directive
from protocols.effects import AnyEffect, Emit
from protocols.machines.machine import Hook, Machine, Next, State
from protocols.policy import Retry
from tests.kernel.mailbox import Mailbox, events

QUICK: Final = Retry(attempts=2, delays=(5.0,), jitter=0.0)

PERMIT: Final = Machine(
    name="permit",
    description="A permit: filed, reviewed by the council, built, inspected.",
    initial="FILED",
    reviewer="council",
    kinds=("flooded",),
    on_error={"flooded": "halt_and_alert"},
    states={
        "FILED": State(owner="clerk", operation="check", next="REVIEWED"),
        "REVIEWED": State(
            owner="council",
            operation="vote",
            timeout="7d",
            next=(Next(to="BUILDING", when="result.ayes > result.noes"), "DENIED"),
            signals={"table": "TABLED"},
            on_error={"timeout": "halt_and_alert"},
        ),
        "TABLED": State(
            parked=True, signals={"untable": Next(to="REVIEWED", when="has(signal.who)")}
        ),
        "BUILDING": State(
            owner="builder",
            operation="build",
            timeout="1h",
            next=("INSPECTED",),
            signals={"withdraw": "DENIED"},
            on_error={
                "timeout": Directive(do="retry", policy=QUICK),
                "network": Directive(
                    do="retry",
                    policy=QUICK,
                    then=Directive(do="fallback", services=("mason", "carpenter")),
                ),
            },
        ),
        "INSPECTED": State(
            owner="inspector",
            next="DONE",
            on_entry=(Hook(service="diary", operation="note", critical=False),),
            on_error={"over_limit": "continue"},
        ),
        "DONE": State(owner="clerk", operation="file", terminal=True),
        "DENIED": State(terminal="failed"),
    },
)


def motion(machine: Machine = PERMIT) -> Mailbox:
    """Return the mailbox of a motion."""
    return Mailbox(MotionWorkflow(machine), "m-1")


def told(effects: list[AnyEffect], kind: str) -> list[Any]:
    """Return the data of the events of a kind."""
    return [each.data for each in effects if isinstance(each, Emit) and each.event == kind]


def went(box: Mailbox) -> list[tuple[str, str, str]]:
    """Return from, to and cause of every transition so far."""
    facts = told(box.effects, "transition")
    return [(each["from"], each["to"], each["cause"]) for each in facts]


def of_motion(effects: list[AnyEffect]) -> list[str]:
    """Return the kinds of the events that a motion told."""
    return [kind for kind in events(effects) if kind not in {"started", "completed"}]


def in_building(machine: Machine = PERMIT) -> Mailbox:
    """Return a motion that is being built."""
    box = motion(machine)
    box.start({"plot": 7})
    box.reply("/states/FILED/clerk.check", "complete")
    box.reply("/states/REVIEWED/council.vote", {"ayes": 3, "noes": 1})
    return box
