"""Updates: signals that are answered. What becomes of one is what the fold says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.kernel import answers
from actors.kernel.context import Context
from actors.kernel.instance import Instance
from protocols import codec
from protocols.effects import AnyEffect, Continue, Emit
from protocols.mail import Snapshot
from tests.kernel.mailbox import Mailbox


class Item(msgspec.Struct):
    """What is added."""

    name: str


async def basket(ctx: Context, most: int) -> list[str]:
    """Take items until the basket is full; each is priced first."""
    items: list[str] = []
    while len(items) < most:
        update = await ctx.update("add", takes=Item)
        if update.data.name in items:
            update.reject(f"{update.data.name} is in it", kind="twice")
            continue
        update.accept()
        price = await ctx.call("prices", "of", update.data)
        items.append(update.data.name)
        update.answer({"price": price, "items": len(items)})
    return items


def told(effects: list[AnyEffect]) -> list[Any]:
    """Return what the events say: message id, status, and what came of it."""
    found = [each.data for each in effects if isinstance(each, Emit) and "update" in each.event]
    return [
        (
            each["message_id"],
            each["status"],
            each["failure"]["kind"] if each["failure"] else each["result"],
        )
        for each in found
    ]


def stands(instance: Instance, message_id: str) -> Any:
    """Return how an update stands, for whoever asks."""
    found = instance.answer(message_id)
    if found is None:
        return None
    if found.failure is not None:
        return found.status, found.failure.kind
    return found.status, codec.decode(found.result) if found.result else None


def test_an_update_is_accepted_and_answered_and_a_second_sender_is_told_the_same() -> None:
    """Before the start it waits; a repeat of its message id changes nothing."""
    box = Mailbox(basket)
    box.signal("add", {"name": "nut"}, message_id="m-1")
    assert stands(box.instance, "m-1") == ("pending", None)

    assert told(box.start(2)) == [("m-1", "accepted", None)]
    assert stands(box.refold(), "m-1") == ("accepted", None)
    assert told(box.reply("/prices.of", 7)) == [
        ("m-1", "completed", {"price": 7, "items": 1}),
    ]
    assert told(box.signal("add", {"name": "bolt"}, message_id="m-1")) == []
    assert told(box.signal("add", {"name": "nut"}, message_id="m-2")) == [
        ("m-2", "rejected", "twice"),
    ]

    assert stands(box.instance, "m-1") == ("completed", {"price": 7, "items": 1})
    assert stands(box.refold(), "m-2") == ("rejected", "twice")
    assert stands(box.instance, "m-3") is None
    assert [each.kind for each in box.instance.waiting()] == ["update"]


def test_data_of_another_type_are_rejected_by_the_fold_and_the_wait_goes_on() -> None:
    """Also what waited in the mailbox, what is no value, and keys that are very long."""
    box = Mailbox(basket)
    hostile: list[Any] = [None, 7, {"name": 7}, {"n" * 200_000: 1}, [{}] * 1_000]
    for number, data in enumerate(hostile[:2]):
        box.signal("add", data, message_id=f"m-{number}")
    box.start(1)
    for number, data in enumerate(hostile[2:], 2):
        box.signal("add", data, message_id=f"m-{number}")
    box.signal("add", body=b"{", message_id="m-5")

    effects = box.signal("add", {"name": "nut"}, message_id="m-6")

    assert told(effects) == [("m-6", "accepted", None)]
    kinds = [stands(box.instance, f"m-{number}") for number in range(6)]
    assert kinds == [("rejected", "validation")] * 5 + [("rejected", "protocol")]
    box.refold()


def test_what_is_not_answered_when_the_run_ends_has_failed_for_its_sender() -> None:
    """What was accepted, what nobody has taken, and what comes behind the end."""
    box = Mailbox(basket)
    box.start(1)
    box.signal("add", {"name": "nut"}, message_id="m-1")
    box.signal("add", {"name": "bolt"}, message_id="m-2")

    effects = box.cancel()
    box.signal("add", {"name": "cog"}, message_id="m-3")

    assert told(effects) == [("m-1", "failed", "unanswered")]
    assert [each.event for each in effects if isinstance(each, Emit)][-1] == "cancelled"
    assert stands(box.refold(), "m-1") == ("failed", "unanswered")
    assert stands(box.instance, "m-2") == ("rejected", "unanswered")
    assert stands(box.instance, "m-3") == ("rejected", "unanswered")


async def tally(ctx: Context, count: int) -> int:
    """Answer one update in each generation, and take another one without an answer."""
    update = await ctx.update("vote")
    update.answer(count)
    await ctx.update("vote")
    if count < 2:
        ctx.continue_as(count + 1)
    return count


def test_answers_go_along_into_the_next_generation_and_open_ones_are_failed() -> None:
    """A fold that begins with the snapshot gives the same answers; what nobody took is kept."""
    box = Mailbox(tally)
    box.start(1)
    box.signal("vote", message_id="m-1")

    effects = box.signal("vote", message_id="m-2")
    (snapshot,) = [each.snapshot for each in effects if isinstance(each, Continue)]
    stored = msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot)
    instance = Instance.from_snapshot("i-1", stored, box.load)
    instance.begin()

    assert told(effects) == [("m-2", "failed", "unanswered")]
    assert instance.state_hash() == box.instance.state_hash()
    for each in (instance, box.refold()):
        assert stands(each, "m-1") == ("completed", 1)
        assert stands(each, "m-2") == ("failed", "unanswered")
    box.signal("vote", message_id="m-3")
    box.signal("vote", message_id="m-3")
    box.signal("vote", message_id="m-1")
    assert box.instance.status == "running"
    assert stands(box.instance, "m-3") == ("completed", 2)


def test_of_many_answers_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for another one is told that nobody knows any more."""
    monkeypatch.setattr(answers, "ANSWERED_MAX", 2)
    monkeypatch.setattr(answers, "ANSWERED_BYTES_MAX", 1)

    async def echo(ctx: Context, rounds: int) -> None:
        for _ in range(3):
            update = await ctx.update("say")
            update.answer(update.data)
        ctx.continue_as(rounds)

    box = Mailbox(echo)
    box.start(1)
    box.signal("say", 1, message_id="m-1")
    box.signal("say", 2, message_id="m-2")
    assert stands(box.instance, "m-1") == ("completed", 1)
    box.signal("say", 3, message_id="m-3")
    box.signal("say", 4, message_id="m-4")

    remembered = [stands(box.refold(), f"m-{number}") for number in range(1, 5)]
    assert remembered == [
        ("rejected", "unanswered"),
        ("rejected", "unanswered"),
        ("completed", 3),
        ("completed", 4),
    ]


async def twice(ctx: Context, how: str) -> None:
    """Answer an update in ways that are none."""
    update = await ctx.update("go")
    update.answer(1)
    if how == "again":
        update.answer(2)
    elif how == "reject":
        update.reject("no")
    await ctx.signal("end")


@pytest.mark.parametrize("how", ["again", "reject"])
def test_a_second_answer_blocks_and_nothing_is_told_of_that_message(how: str) -> None:
    """Repaired code may answer otherwise: until then it is pending."""
    box = Mailbox(twice)
    box.start(how)

    effects = box.signal("go", message_id="m-1")

    assert box.instance.blocked is not None
    assert "answer each update once" in box.instance.blocked.message
    assert told(effects) == []
    assert stands(box.instance, "m-1") == ("pending", None)


async def plain(ctx: Context, count: int) -> list[Any]:
    """Take signals by name and of any name, and do not know who waits."""
    named = [await ctx.signal("go", returns=int) for _ in range(count)]
    return [*named, await ctx.any_signal()]


def test_a_plain_signal_whose_sender_asks_is_answered_when_it_is_taken() -> None:
    """Data that do not fit are rejected, and the code is told as ever; others hear nothing."""
    box = Mailbox(plain)
    box.signal("go", 1, message_id="m-1", asks=True)
    box.signal("go", 2, message_id="m-2")

    assert told(box.start(2)) == [("m-1", "completed", None)]
    assert told(box.signal("on", message_id="m-3", asks=True)) == [("m-3", "completed", None)]

    assert box.result == [1, 2, ["on", None]]
    box = Mailbox(plain)
    box.start(2)
    effects = box.signal("go", "x", message_id="m-1", asks=True)
    assert told(effects) == [("m-1", "rejected", "validation")]
    assert box.refold().status == "failed"


async def strays(ctx: Context, how: str) -> Any:
    """Take what was sent as a signal, or answer what cannot be one."""
    if how == "signal":
        taken = await ctx.signal("go")
        await ctx.signal("end")
        return taken
    update = await ctx.update("go")
    update.answer("x" * 40_000 if how == "large" else float("nan"))
    return None


@pytest.mark.parametrize(
    ("how", "status", "answer"),
    [
        ("signal", "running", ("rejected", "unanswered")),
        ("large", "blocked", ("pending", None)),
        ("nan", "blocked", ("pending", None)),
    ],
)
def test_what_the_code_does_not_answer(
    how: str, status: str, answer: tuple[str, str | None]
) -> None:
    """What was taken as a plain signal never is; what is no answer blocks the run."""
    box = Mailbox(strays)
    box.start(how)

    box.signal("go", message_id="m-1")

    assert box.instance.status == status
    assert stands(box.refold(), "m-1") == answer
