"""directed: a step of a Python workflow that follows directives."""

from __future__ import annotations

from typing import Any

import pytest

from actors.directed import directed
from actors.kernel.context import Context
from protocols.directives import Directive
from protocols.errors import StepFailedError
from runtime.cli.service import load_attribute
from tests.docs.tables import DOCS
from tests.kernel.mailbox import Mailbox, asks, events, paths
from tests.motions.machines import told

CHARGE = load_attribute(f"{DOCS / 'examples' / 'charge.py'}:charge")
PAY = "/bank.pay"
INCIDENT = "resume.bank.pay"


def charged() -> Mailbox:
    """Return the example of the page, whose bank is asked."""
    box = Mailbox(CHARGE)
    box.start({"amount": 7})
    return box


def test_a_step_goes_the_way_that_its_directives_say() -> None:
    """Retried, then paid at another bank; no points, and a warning."""
    box = charged()
    for attempt in (1, 2, 3):
        box.fail(PAY, "network", attempt=attempt, retryable=False)
    (other,) = asks(box.fail(PAY, "network", attempt=4))
    box.reply("/other-bank.pay", "paid")

    effects = box.refuse("/points.give", "no_responders")

    assert other.service == "other-bank"
    assert events(effects)[:2] == ["directive", "warning"]
    assert box.result == {"paid": "paid", "by": "other-bank", "points": None}
    assert [each["directive"] for each in told(box.effects, "directive")] == [
        "retry",
        "fallback",
        "continue",
    ]
    box.refold()


def test_a_reviewer_gives_a_value_or_has_the_step_asked_again() -> None:
    """Under its key; what is no decision leads to a halt."""
    box = charged()
    (first,) = asks(box.effects)
    box.fail(PAY, "permission")
    (again,) = asks(box.reply("/boss.review", "retry"))
    box.fail(again.path, "permission")

    box.reply("/boss.review#2", {"result": "on the house"})
    box.reply("/points.give", 3)

    assert again.key == first.key
    assert box.result == {"paid": "on the house", "by": "", "points": 3}
    box.refold()


@pytest.mark.parametrize("kind", ["system", "validation", "compliance", "never heard of"])
def test_a_step_halts_where_nobody_says_more(kind: str) -> None:
    """Also for the defaults that belong to machines; the incident names the signal."""
    box = charged()
    (first,) = asks(box.effects)

    effects = box.fail(PAY, kind, retryable=False)
    odd = box.signal(INCIDENT, "perhaps")
    (again,) = asks(box.signal(INCIDENT))

    assert paths(effects) == []
    assert told(effects, "incident")[0]["signal"] == INCIDENT
    assert events(odd) == ["incident"]
    assert again.key == first.key
    box.refold()


def test_an_operator_may_end_a_halted_step() -> None:
    """It fails as it did; the workflow's code may catch that."""
    box = charged()
    box.fail(PAY, "system")

    box.signal(INCIDENT, "halt")

    assert box.instance.status == "failed"
    assert box.instance.failure
    assert box.instance.failure.kind == "system"


def test_no_other_service_is_asked_after_an_unknown_outcome() -> None:
    """Unless the directive has a word for it."""
    box = charged()
    for attempt in (1, 2, 3):
        box.fail(PAY, "network", attempt=attempt, unknown=True)

    effects = box.fail(PAY, "network", attempt=4, unknown=True)

    assert paths(effects) == []
    assert events(effects)[-1] == "incident"


@pytest.mark.parametrize(
    "wrong",
    [
        "return_to_previous",
        "compensate",
        "review",
        Directive(do="continue", to="X"),
        Directive(do="retry", then="compensate"),
    ],
)
def test_what_only_a_machine_can_do_is_refused(wrong: Any) -> None:
    """At the call, whatever comes: not when it first fails."""

    async def flow(ctx: Context) -> Any:
        return await directed(ctx, "bank", "pay", on_error={"system": wrong})

    box = Mailbox(flow)
    box.start()

    assert box.instance.blocked
    assert asks(box.effects) == []


def test_an_error_of_a_directed_step_can_be_caught() -> None:
    """It is the error that every step raises."""

    async def flow(ctx: Context) -> str:
        try:
            await directed(ctx, "bank", "pay", on_error={})
        except StepFailedError as error:
            return error.kind
        return ""

    box = Mailbox(flow)
    box.start()
    box.fail(PAY, "system")
    box.signal(INCIDENT, {"do": "halt"})

    assert box.result == "system"
