"""Turns over several daemons that read MAIL, ARCHIVE and each other's claims late."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio

from actors.owning.letters import Delivery
from actors.owning.turns import Turns
from actors.retention.packs import Copy
from actors.retention.sealing import packed
from actors.store.kv import Entry
from actors.views.queues import InLine, Queues, next_ones
from actors.views.run_index import RunIndex
from protocols import headers as h
from protocols.effects import Enqueue
from protocols.errors import AlreadyExistsError, UnavailableError
from protocols.mail import Start, TurnWord
from protocols.tokens import KeyRing

LIMIT = 2
RUNS = 24


class Log:
    """A stream, as one daemon reads it: some of its end may not be there yet."""

    def __init__(self, world: World, messages: list[Delivery]) -> None:
        self._world = world
        self._messages = messages
        self._seen = 0
        self.first = 1
        """What is below was purged."""
        self.purged_while_read = 0
        """The same, from the next look at what can be read on."""

    async def extent(self) -> tuple[int, int]:
        """Return what surely can be read."""
        await self._grow()
        first = self.first
        self.first = max(first, self.purged_while_read)
        return first, self._seen

    async def _grow(self) -> None:
        await self._world.pause()
        self._seen = max(self._seen, len(self._messages) - self._world.chance.randrange(4))

    async def follow(self, pattern: str, after: int) -> AsyncIterator[list[Delivery]]:
        """Yield what is there."""
        await self._grow()
        kinds = pattern.removesuffix(".>").rsplit("*.", 1)[-1]
        for each in self._messages[max(after, self.first - 1) : self._seen]:
            if kinds == "*" or f".{kinds}" in each.subject:
                yield [each]


class World:
    """One MAIL, one ARCHIVE, one value, and the runs as they really are."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - the same walk again
        self.mail: list[Delivery] = []
        self.archive: list[Delivery] = []
        self.value: tuple[bytes, int] = (b"", 0)
        self.begun: list[str] = []
        self.active: dict[str, None] = {}
        self.most = 0
        self.dead: set[int] = set()

    async def pause(self) -> None:
        """Let others go first, for a while."""
        for _ in range(self.chance.randrange(4)):
            await trio.lowlevel.checkpoint()

    def put(self, to: list[Delivery], subject: str, body: Any) -> int:
        """Store a message."""
        to.append(Delivery(len(to) + 1, 1, subject, b"", msgspec.json.encode(body)))
        return len(to)

    async def last(self, _: str) -> list[Any]:
        """Tell that there are limits."""
        return [1]

    async def leader(self, key: str) -> Entry | None:
        """Return the value."""
        await self.pause()
        value, revision = self.value
        return Entry(key, value, revision) if revision else None

    async def put_value(self, _: str, value: bytes, *, revision: int) -> int:
        """Store the value, unless another was quicker; the answer may be lost."""
        await self.pause()
        if revision != self.value[1]:
            raise AlreadyExistsError("changed")
        self.value = (value, revision + 1)
        if not self.chance.randrange(6):
            raise UnavailableError("the answer is lost")
        return revision + 1

    def end(self, run: str) -> None:
        """Let a run end."""
        del self.active[run]
        record = {
            "id": run,
            "workflow": "w",
            "definition": "d",
            "status": "completed",
            "started_at": 1,
            "finished_at": 2,
            "through": 1,
            "position": 1,
        }
        self.put(self.archive, f"movant.done.0.{run}", record)


class One:
    """One daemon: the owner of the runs whose number leaves its rest."""

    def __init__(self, world: World, number: int, of: int) -> None:
        self.world, self.number, self.of = world, number, of
        self.live: dict[str, Any] = {}
        self.crashes: dict[str, Any] = {}
        self.owned = {number}
        keys = KeyRing("k", {"k": b"x" * 32})
        mail, archive, events = (Log(world, each) for each in (world.mail, world.archive, []))
        index = RunIndex(mail, archive, events, keys)  # type: ignore[arg-type]
        kv = SimpleNamespace(last=world.last, leader=world.leader, put=world.put_value)
        self.turns = Turns(kv, index, self, self.part_of, self.decide)  # type: ignore[arg-type]
        self.index = index

    def part_of(self, run: str) -> int:
        """Return the partition of a run."""
        return int(run[1:]) % self.of

    def acts_in(self, partition: int) -> bool:
        """Tell whether it is ours."""
        return partition in self.owned and self.number not in self.world.dead

    def epoch_of(self, _: int) -> int:
        """Return the epoch."""
        return 1

    def rouse(self, run: str, *_: Any) -> None:
        """Bring a run back: it asks again."""
        self.ask(run)

    def ask(self, run: str, place: int = 0, priority: int = 0) -> None:
        """Let a run ask, as its fold does."""
        known: Any = self.live.get(run)
        if known is None:
            instance = SimpleNamespace(status="queued", place=place, priority=priority)
            known = self.live[run] = SimpleNamespace(
                id=run, partition=self.part_of(run), activating=False, holding=False
            )
            known.instance = instance
        if run in self.world.begun:
            known.instance.status = "running"
            return
        effect = Enqueue(
            cause=known.instance.place,
            workflow="w",
            group="",
            limit=LIMIT,
            priority=known.instance.priority,
            place=known.instance.place,
            refuse=False,
        )
        self.turns.ask(known, effect)

    def decide(self, actor: Any, _: str, body: dict[str, Any], written: Any) -> None:
        """Write what the owner says, unless it dies at this moment."""
        world = self.world
        if not world.chance.randrange(8):
            written(0, UnavailableError("not written"))
            return
        seq = world.put(world.mail, f"movant.mail.0.{actor.id}.owner.turn", body)
        if body["word"]["said"] == "granted" and actor.id not in world.begun:
            world.begun.append(actor.id)
            world.active[actor.id] = None
            world.most = max(world.most, len(world.active))
            actor.instance.status = "running"
        written(seq, None)

    async def work(self) -> None:
        """Look again and again, as ``Turns.run`` does."""
        while self.number not in self.world.dead:
            with suppress(UnavailableError):
                await self.turns.look()
            await trio.sleep(0.01)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.usefixtures("autojump_clock")
async def test_never_more_than_the_limit_and_everybody_comes(seed: int) -> None:
    """Three daemons read late, one dies and the next takes its runs, claims get lost answers."""
    world = World(seed)
    daemons = [One(world, number, 3) for number in range(3)]
    async with trio.open_nursery() as nursery:
        for each in daemons:
            nursery.start_soon(each.work)
        for number in range(RUNS):
            run = f"r{number}"
            place = world.put(world.mail, f"movant.mail.0.{run}.start.w", None)
            owner = next(each for each in daemons if each.acts_in(each.part_of(run)))
            owner.ask(run, place, world.chance.choice((0, 0, 5)))
            if number == RUNS // 2:
                world.dead.add(2)
                daemons[0].owned.add(2)
                for each in [x for x in daemons[2].live.values() if x.id not in world.begun]:
                    daemons[0].ask(each.id, each.instance.place, each.instance.priority)
            if world.active and world.chance.randrange(2):
                world.end(world.chance.choice(list(world.active)))
            await trio.sleep(world.chance.choice((0, 0.005, 0.02)))
        with trio.fail_after(60):
            while len(world.begun) < RUNS:
                if len(world.active) == LIMIT or not world.chance.randrange(9):
                    for run in list(world.active)[:1]:
                        world.end(run)
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()

    assert world.most == LIMIT
    assert len(set(world.begun)) == RUNS


def words(*said: Any) -> list[Copy]:
    """Return the mailbox of a run of which its owner said something."""
    history = [Copy(1, 1, "start.w", b"", b"null")]
    for number, each in enumerate(said, 2):
        word = TurnWord(said=each, group="a b", limit=3, priority=5, place=1)
        body = msgspec.json.encode({"epoch": 1, "word": word})
        history.append(Copy(number, number, "owner.turn", b"", body))
    return history


def put(world: World, *history: Copy) -> None:
    """Store messages of a mailbox as they are."""
    for each in history:
        found = Delivery(
            len(world.mail) + 1, each.at, f"movant.mail.0.r1.{each.rest}", b"", each.payload
        )
        world.mail.append(found)


def pack(world: World, *history: Copy) -> None:
    """Store a pack of them."""
    start = Start(seq=1, at=1, workflow="w", body=b"null", definition="d")
    (found,) = packed("r1", 20, history, start)
    subject = f"movant.mail.0.r1.pack.20.{len(world.mail)}"
    world.mail.append(Delivery(len(world.mail) + 1, 9, subject, h.block(found.headers), b""))


def reading(world: World) -> tuple[RunIndex, Log]:
    """Return an index that reads everything at once, and its MAIL."""
    world.chance = SimpleNamespace(randrange=lambda _: 0)  # type: ignore[assignment]
    index = One(world, 0, 1).index
    return index, index._mail  # type: ignore[return-value]


WAITS = {"r1": (("w", "a b"), InLine(-5, 1, "r1", 3))}
ACTIVE = {("w", "a b"): 1}


@pytest.mark.parametrize("said", ["queued", "granted"])
async def test_who_reads_only_the_pack_of_a_run_knows_that_it_waits(said: Any) -> None:
    """What its owner has said is purged; another daemon counts it all the same."""
    world = World(0)
    put(world, *words(said))
    pack(world, *words(said))
    index, mail = reading(world)
    mail.first = 3
    await index.refresh()

    assert index.queues.waiting == (WAITS if said == "queued" else {})
    assert index.queues.active == ({} if said == "queued" else ACTIVE)


@pytest.mark.parametrize("read_before", [True, False])
async def test_a_place_that_was_given_unheard_is_counted(*, read_before: bool) -> None:
    """A daemon that read "queued" stood still while "granted" came and was purged."""
    world = World(0)
    put(world, *words("queued"))
    pack(world, *words("queued"))
    index, mail = reading(world)
    if read_before:
        await index.refresh()
        assert index.queues.waiting == WAITS
    put(world, words("granted")[1])
    pack(world, *words("queued", "granted"))
    mail.first = 3 if not read_before else 5
    world.mail[3] = msgspec.structs.replace(world.mail[3], subject="movant.mail.0.r1.gone")
    await index.refresh()

    assert index.queues.waiting == {}
    assert index.queues.active == ACTIVE


async def test_a_run_whose_start_is_purged_while_it_is_read_is_there() -> None:
    """It stands in a pack that came when the packs were read already."""
    world = World(0)
    put(world, *words())
    pack(world, *words())
    index, mail = reading(world)
    mail.purged_while_read = 2
    await index.refresh()

    assert set(index.rows) == {"r1"}


def test_the_next_ones_are_taken_in_order_and_nobody_passes() -> None:
    """By priority, then by the start; one whose own limit is reached holds those behind it."""
    line = [InLine(-5, 9, "urgent", 3), InLine(0, 1, "old", 3), InLine(0, 3, "tight", 2)]
    fresh = [InLine(0, 8, "late", 9), InLine(0, 2, "new", 3)]

    assert [each.id for each in next_ones(line, fresh, 0)] == ["urgent", "old", "new"]
    assert [each.id for each in next_ones(line, [], 0)] == ["urgent", "old"]
    assert list(next_ones(line, fresh, 3)) == []


def test_queues_count_who_is_active_and_tell_where_a_run_stands() -> None:
    """A run that was started by a plain message is counted by its group when that is told."""
    queues = Queues()
    key = ("w", "g")
    for _ in range(3):
        queues.started("w", "")
    queues.started("w", "g")

    def say(said: Any, place: int, priority: int = 0) -> Any:
        word = TurnWord(said=said, group="g", limit=1, priority=priority, place=place)
        return queues.turned(f"r{place}", ("w", ""), word)

    assert [say("granted", 1), say("queued", 2), say("queued", 3, 9)] == [key] * 3
    assert queues.active == Counter({key: 2})
    assert [queues.standing(f"r{n}") for n in (1, 2, 3)] == [None, (2, 2, 2, 1), (1, 2, 2, 1)]
    assert say("queued", 1) == ("w", "")  # late: it has its place
    say("granted", 3)
    queues.ended("r3", key)
    queues.ended("r2", key)
    queues.ended("r1", key)
    assert (queues.active, queues.waiting, queues.granted) == (Counter({key: 1}), {}, set())
    assert queues.workflows == set()
