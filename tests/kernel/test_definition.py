"""Definitions: names, types from annotations, and what is wrong with an input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from protocols.definition import Workflow, workflow
from protocols.errors import ConfigurationError, InvalidIdError, InvalidInputError
from protocols.policy import Retry, StepOptions
from tests.kernel.mailbox import Mailbox, asks

if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]  # it must not exist

    from actors.kernel.context import Context


class Address(msgspec.Struct):
    """A part of an input."""

    city: str
    zip_code: str = msgspec.field(name="zip")


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """An input."""

    count: int
    address: Address
    note: str = ""


@workflow
async def plain(_ctx: Context, value: Any = 7) -> Any:
    """Return the input."""
    return value


@workflow("civic.order", steps=StepOptions(retry=Retry(attempts=2), timeout_s=3))
async def order(ctx: Context, order: Order) -> str:
    """Take an order."""
    await ctx.call("a", "b")
    return order.address.city


def test_the_name_comes_from_the_function_or_is_given() -> None:
    """Both forms of the decorator."""
    assert (plain.name, order.name) == ("plain", "civic.order")
    assert order.options.description == "Take an order."


def test_types_come_from_the_annotations() -> None:
    """Also when the context's type is imported for type checking only."""
    assert (order.input_type, order.result_type) == (Order, str)
    assert (plain.input_type, plain.result_type) == (Any, Any)
    assert order.input_schema()["$ref"] == "#/$defs/Order"


def test_a_wrong_input_names_all_of_its_fields() -> None:
    """One round trip is enough to mend it."""
    with pytest.raises(InvalidInputError) as caught:
        order.check_input({"count": "x", "address": {"zip": 1}, "size": 3})

    assert caught.value.fields == {
        "count": "Expected `int`, got `str`",
        "address.city": "is missing",
        "address.zip": "Expected `str`, got `int`",
        "size": "is not known",
    }


def test_an_input_that_is_no_object_is_named_as_a_whole() -> None:
    """The path of the whole is empty."""
    with pytest.raises(InvalidInputError) as caught:
        order.check_input([1])

    assert caught.value.fields == {"": "Expected `object`, got `array`"}


def test_the_default_of_the_input_is_taken_for_an_empty_body() -> None:
    """A raw start may have no body at all."""
    box = Mailbox(plain)

    box.start(None)

    assert box.result == 7


def test_the_options_of_a_workflow_are_the_defaults_of_its_steps() -> None:
    """A call that names none takes them."""
    box = Mailbox(order)

    (ask,) = asks(box.start({"count": 1, "address": {"city": "Ulm", "zip": "1"}}))
    box.reply("/a.b")

    assert (ask.options.retry.attempts, ask.options.timeout_s) == (2, 3)
    assert box.result == "Ulm"


def test_a_type_that_is_not_known_is_a_fault_of_the_definition() -> None:
    """The author learns where types have to be defined."""

    @workflow
    async def lost(_ctx: Context, _value: Unknown) -> None:
        """Take what nobody knows."""

    box = Mailbox(lost)

    box.start()

    with pytest.raises(ConfigurationError) as caught:
        lost.check_input(1)
    assert "module level" in caught.value.hint
    assert box.instance.blocked is not None
    assert box.instance.blocked.reason == "definition"


def test_only_coroutine_functions_with_a_fitting_name_are_workflows() -> None:
    """Told where the workflow is declared."""

    def sync(_ctx: Context) -> None:
        """Do nothing."""

    async def crowded(_ctx: Context, _one: Any, _two: Any) -> None:
        """Take too much."""

    with pytest.raises(ConfigurationError):
        Workflow("sync", sync)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(ConfigurationError):
        Workflow("crowded", crowded)
    with pytest.raises(InvalidIdError):
        Workflow("no/slash", plain.function)
