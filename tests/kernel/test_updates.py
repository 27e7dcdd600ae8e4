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
from protocols.rng import Rng
from tests.kernel.mailbox import Mailbox, asks


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
    monkeypatch.setattr(answers, "ANSWERED_MAX", 3)
    monkeypatch.setattr(answers, "ANSWERED_BYTES_MAX", 1)

    async def echo(ctx: Context, rounds: int) -> None:
        for _ in range(4):
            update = await ctx.update("say")
            update.answer(update.data)
        ctx.continue_as(rounds)

    box = Mailbox(echo)
    box.start(1)
    remembered = []
    for number in range(1, 6):
        box.signal("say", number, message_id=f"m-{number}")
        found = [stands(box.refold(), f"m-{each}") for each in range(1, number + 1)]
        remembered.append([value for status, value in found if status == "completed"])

    assert remembered == [[1], [1, 2], [1, 2, 3], [4], [4, 5]]
    assert stands(box.instance, "m-3") == ("rejected", "unanswered")


async def twice(ctx: Context, how: str) -> None:
    """Answer an update in ways that are none."""
    update = await ctx.update("go")
    if how == "again":
        update.accept()
        await ctx.signal("on")
    update.answer(1)
    if how == "again":
        update.answer(2)
    elif how == "reject":
        update.reject("no")
    await ctx.signal("end")


@pytest.mark.parametrize("how", ["again", "reject"])
def test_a_second_answer_blocks_and_nothing_is_told_of_that_message(how: str) -> None:
    """Repaired code may answer otherwise; a cancel ends the wait."""
    box = Mailbox(twice)
    box.start(how)
    box.signal("go", message_id="m-1")
    box.signal("on")

    assert box.instance.blocked is not None
    assert "answer each update once" in box.instance.blocked.message
    before = [("m-1", "accepted", None)] if how == "again" else []
    assert told(box.effects) == before
    assert stands(box.refold(), "m-1") == ("accepted" if before else "pending", None)
    assert told(box.cancel()) == [("m-1", "failed", "unanswered")]


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


async def market(ctx: Context, rounds: int) -> None:
    """Take updates in two branches and within a time, answer some, and go on for ever."""
    for _ in range(2):
        with ctx.move_on_after(3):
            won = await ctx.race(item=ctx.update("add", takes=Item), any=ctx.update("go"))
            update = won.value
            match ctx.randint(0, 4):
                case 0:
                    update.reject("no")
                case 1:
                    update.accept()
                    update.answer(await ctx.call("a", "b"))
                case 2:
                    update.fail("broken")
                case 3:
                    update.accept()
                case _:
                    pass
    await ctx.signal("go")
    ctx.continue_as(rounds + 1)


def act(box: Mailbox, rng: Rng) -> None:
    """Write a mail: mostly a signal, whose id may be one of before, and whose data may not fit."""
    box.pass_time(rng.integer(0, 2))
    chosen = rng.integer(0, 9)
    if chosen < 7:
        name, data = ("add", {"name": "x"}) if chosen < 3 else ("go", chosen)
        box.signal(
            name,
            data if rng.integer(0, 5) else 7,
            message_id=f"m-{rng.integer(0, 40)}",
            asks=chosen % 2 == 0,
        )
    elif chosen < 9 and (open_steps := asks(box.effects)):
        box.reply(open_steps[-1].path, 1)
    else:
        box.pass_time(4)
        for each in box.instance.waiting():
            if each.kind == "timer":
                box.fire(each.path)


@pytest.mark.parametrize("seed", range(25))
def test_an_answer_never_changes_whatever_comes(seed: int) -> None:
    """Not at a repeat, a refold, in a new generation or at a cancel; and it is told once."""
    rng = Rng(f"updates/{seed}")
    box = Mailbox(market, f"i-{seed}")
    ended: dict[str, Any] = {}
    for number in range(60):
        if number == 3:
            box.start(1)
        elif number == 58 and seed % 3 == 0:
            box.cancel()
        else:
            act(box, rng)
        assert {each: stands(box.instance, each) for each in ended} == ended
        for message_id, status, _ in told(box.effects):
            if status != "accepted":
                ended[message_id] = stands(box.instance, message_id)

    told_once = [each[0] for each in told(box.effects) if each[1] != "accepted"]
    assert sorted(told_once) == sorted(ended)
    assert box.instance.blocked is None
    *_, begun = [each for each in box.effects if isinstance(each, Continue)]
    again = Instance.from_snapshot(box.instance.id, begun.snapshot, box.load)
    again.begin()
    for mail in box.mails[begun.cause :]:
        again.fold(mail)
    assert again.state_hash() == box.refold().state_hash()
    assert {each: stands(again, each) for each in ended} == ended
