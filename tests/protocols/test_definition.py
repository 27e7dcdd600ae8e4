"""Definitions of workflows and services: what a decorator takes, and what it refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocols.definition import Workflow, workflow
from protocols.errors import ConfigurationError, InvalidIdError, InvalidInputError
from protocols.policy import NO_RETRY, StepOptions
from protocols.service import Call, Failed, Refused, Service
from protocols.tokens import KeyRing


class Line(msgspec.Struct):
    """A part of an order."""

    sku: str
    amount: int = 1


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """An input with parts."""

    lines: list[Line]
    first: Line
    note: str = ""


@workflow("shop.order", steps=StepOptions(retry=NO_RETRY))
async def order(ctx: Any, value: Order) -> Line:  # noqa: ARG001 -- the shape of a workflow
    """Take an order."""
    return value.first


@workflow
async def plain(ctx: Any) -> None:
    """Take nothing."""


@workflow(description="in words")
async def optional(ctx: Any, value: int = 7) -> None:
    """Take a number, or none."""


async def _loose(ctx, value): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 -- authors may leave it out


loose = workflow("loose")(_loose)


@workflow("broken")
async def broken(ctx: Any, value: Gone) -> None:  # type: ignore[name-defined]  # noqa: F821 -- the subject
    """Take what is not defined."""


async def test_a_workflow_knows_its_name_types_and_options() -> None:
    """From the decorator and the annotations; calling it calls the function."""
    line = Line("a")

    result = await order(None, Order(lines=[], first=line))

    assert result is line
    assert (order.name, plain.name, optional.name) == ("shop.order", "plain", "optional")
    assert (order.input_type, order.result_type, order.takes_input) == (Order, Line, True)
    assert (plain.input_type, plain.takes_input, loose.input_type) == (Any, False, Any)
    assert order.options.steps.retry == NO_RETRY
    assert (order.options.description, optional.options.description) == (
        "Take an order.",
        "in words",
    )
    assert repr(order) == "<workflow shop.order>"


def test_the_input_schema_is_that_of_the_annotation() -> None:
    """Clients of other languages get it from the daemon."""
    schema = order.input_schema()

    assert schema["$ref"] == "#/$defs/Order"
    assert loose.input_schema() == {}


def test_a_fitting_input_becomes_its_type() -> None:
    """A missing input takes the default; without an annotation everything fits."""
    taken = order.check_input({"lines": [], "first": {"sku": "a"}})

    assert taken == Order(lines=[], first=Line("a"))
    assert optional.check_input(None) == 7
    assert loose.check_input({"any": 1}) == {"any": 1}


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ({"lines": []}, {"first": "is missing"}),
        ({"first": {"sku": 1}}, {"lines": "is missing", "first.sku": "Expected `str`, got `int`"}),
        (
            {"lines": [{"sku": 1}], "first": {"sku": "a"}, "odd": 1},
            {"lines[0].sku": "Expected `str`, got `int`", "odd": "is not known"},
        ),
        ({"lines": 1, "first": {"sku": "a"}}, {"lines": "Expected `array`, got `int`"}),
        ({"lines": [], "first": {"amount": 2}}, {"first.sku": "is missing"}),
        (3, {"": "Expected `object`, got `int`"}),
        (None, {"": "Expected `object`, got `null`"}),
    ],
)
def test_a_wrong_input_names_every_wrong_field(value: Any, fields: dict[str, str]) -> None:
    """All at once, so that a person mends them at once."""
    with pytest.raises(InvalidInputError) as caught:
        order.check_input(value)

    assert caught.value.fields == fields
    assert caught.value.hint


def test_an_unknown_annotation_is_said_when_it_is_needed() -> None:
    """Types may be defined below the function, but not nowhere."""
    with pytest.raises(ConfigurationError, match="Gone"):
        broken.input_schema()


@pytest.mark.parametrize(
    "function",
    [lambda ctx: ctx, Workflow.check_input, test_a_workflow_knows_its_name_types_and_options],
)
def test_what_is_no_workflow_function_is_refused(function: Any) -> None:
    """A coroutine function with one or two parameters, and nothing else."""
    with pytest.raises(ConfigurationError, match="no coroutine function"):
        workflow("w")(function)


def test_a_bad_workflow_name_is_refused() -> None:
    """It becomes part of subjects."""
    with pytest.raises(InvalidIdError):
        workflow("a b")(plain.function)


def test_a_service_knows_its_operations() -> None:
    """Names, types, what a handler takes, and whether it blocks."""
    service = Service("shop", version="1.2.3-rc.1", description="d")

    @service.operation()
    async def take_order(request: Order, call: Call) -> Line: ...  # type: ignore[empty-body]  # never called

    @service.operation("pack", concurrency=3)
    def wrap(info: Call) -> None:
        """Wrap it."""

    service.operation("ping")(lambda: None)

    taken, packed = service.operations["take-order"], service.operations["pack"]
    pinged = service.operations["ping"]
    assert (taken.request_type, taken.result_type) == (Order, Line)
    assert (taken.takes_request, taken.takes_call, taken.blocking, taken.concurrency) == (
        True,
        True,
        False,
        100,
    )
    assert (packed.takes_request, packed.takes_call, packed.blocking, packed.concurrency) == (
        False,
        True,
        True,
        3,
    )
    assert (pinged.request_type, pinged.takes_call, pinged.concurrency) == (Any, False, 8)
    assert packed.description == "Wrap it."


def test_a_wrong_service_is_refused_where_it_is_declared() -> None:
    """Names are tokens of subjects, versions are what NATS micro takes."""
    service = Service("shop")
    service.operation("ping")(lambda: None)

    with pytest.raises(ConfigurationError, match="has a dot"):
        Service("shop.orders")
    with pytest.raises(ConfigurationError, match="no semantic version"):
        Service("shop", version="1")
    with pytest.raises(ConfigurationError, match="is taken"):
        service.operation("ping")(lambda: None)
    with pytest.raises(ConfigurationError, match="3 parameters"):
        service.operation("pong")(lambda a, b, c: (a, b, c))


def test_answers_of_a_service_carry_what_policies_need() -> None:
    """A kind, a message, details, and when to come back."""
    no, later = Refused("card_expired", details=1), Failed(message="busy", retry_after_s=3)

    assert (no.kind, no.message, no.details) == ("card_expired", "card_expired", 1)
    assert (later.kind, later.message, later.retry_after_s) == ("failed", "busy", 3)


def test_reply_tokens_are_for_one_attempt_and_survive_a_rotation() -> None:
    """Old keys verify, only the current one signs; the value is pinned."""
    old = KeyRing("k1", {"k1": b"a"})
    new = KeyRing("k2", {"k1": b"a", "k2": b"b"})

    signed = old.sign("i", "charge", 1)

    assert signed == "k1-cb3c00063b37"
    assert new.verify(signed, "i", "charge", 1)
    assert new.sign("i", "charge", 1).startswith("k2-")
    assert not new.verify(signed, "i", "charge", 2)
    assert not old.verify("k9-00", "i", "charge", 1)
    assert not old.verify("", "i", "charge", 1)
    with pytest.raises(ConfigurationError, match="k3"):
        KeyRing("k3", {})
