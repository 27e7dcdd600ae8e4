"""Somebody stands in at gates on a real server: asked for, seen, decided, and over."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

import runtime.api.absences
from protocols import headers as h
from protocols import subjects
from protocols.codec import encode
from protocols.errors import BadValueError, NotFoundError, RefusedError
from protocols.gates.absences import Absence
from protocols.gates.words import GateWord
from protocols.ports import Outgoing
from protocols.witness import Operator
from runtime.client.client import Client
from tests.support.daemon import daemon
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

CLAIM = """
name: claim
steps:
  payout: {gate: {approvers: ann, four_eyes: true}}
"""
ANN, BOB = Operator(who="ann", where="desk 4", why="on leave"), Operator(who="bob")
DAY = 86_400 * 1_000_000_000


async def opens(client: Client, count: int) -> None:
    """Wait until so many gates are open."""
    with trio.fail_after(10):
        while (await client.gates()).total != count:
            await trio.sleep(0.02)


async def test_who_stands_in_decides_until_it_is_over(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mailbox has both words; nobody is handed what he may not decide."""
    file = tmp_path / "claim.yaml"
    file.write_text(CLAIM)
    async with (
        daemon(nats_server.url, workflows=[file]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        for number, who in enumerate(("eve", "eve", "bob", "eve")):
            await client.start("claim", {}, id=f"c-{number}", by=Operator(who=who))
        await opens(client, 4)
        now = movant.daemon.clock.now_ns()
        await refuses(client, now)
        made = await client.stand_in("ann", "bob", now + DAY, message_id="a", by=ANN)
        again = await client.stand_in("ann", "bob", now + DAY, message_id="a", by=ANN)
        later = await client.stand_in("ann", "cid", now + 3 * DAY, since=now + 2 * DAY, by=ANN)
        with pytest.raises(RefusedError, match="it would come back to bob"):
            await client.stand_in("bob", "ann", now + DAY, by=BOB)

        view = await client.gate("c-0")
        inbox = (await client.gates(who="bob")).gates
        nobodys = await client.gates(who="cid")
        decided = await client.decide("c-0", "approve", message_id="m", by=BOB)
        repeated = await client.decide("c-0", "approve", message_id="m", by=BOB)
        # A daemon dies behind the first of the two words: the second one is said again.
        word = GateWord(gate="/steps/payout/gate.payout", do="delegate", to="bob")
        lines = h.encode({h.MESSAGE_ID: "n-ahead", h.WHO: "ann"})
        half = Outgoing(subjects.to_control("c-1", "gate"), encode(word), lines)
        await movant.daemon.parts.transport.request(half, 5.0)
        await client.decide("c-1", "approve", message_id="n", by=BOB)
        with pytest.raises(RefusedError, match="bob may not decide here"):
            await client.decide("c-2", "approve", by=BOB)

        ended = await ends(client, made, later)
        short = await client.stand_in("ann", "bob", movant.daemon.clock.now_ns() + 10**8, by=ANN)
        await trio.sleep(0.1)
        await bob_may_not(client, "c-3")
        all_of_them = await client.absences(over=True)
        monkeypatch.setattr(runtime.api.absences, "PEOPLE_MAX", 1)
        await makes_room(client, now)
        said = [
            [
                (each["by"]["who"], each["by"].get("why", ""))
                for each in (await movant("run.history", id=f"c-{number}"))["entries"]
                if each["kind"] == "control.gate"
            ]
            for number in range(4)
        ]
        verified = await movant("run.verify", id="c-0")

    assert made == again
    assert [(each.who, each.instead, each.reason) for each in view.away] == [
        ("ann", ["bob"], "on leave")
    ]
    assert [(row.id, row.instead_of) for row in inbox] == [
        (f"c-{number}", ["ann"]) for number in (0, 1, 3)
    ]
    assert nobodys.total == 0
    assert decided == repeated
    assert decided.decision is not None
    assert decided.decision.text == "approved by bob"
    (ann, why), bob = said[0]
    assert (ann, bob) == ("ann", ("bob", ""))
    assert why.startswith("bob stands in until ")
    assert why.endswith(": on leave")
    assert [who for who, _ in said[1]] == ["ann", "bob"]
    assert said[2:] == [[], []]
    assert not verified["findings"]
    assert ended.ended_by == BOB
    assert [each.id for each in all_of_them] == [made.id, short.id, later.id]


async def refuses(client: Client, now: int) -> None:
    """Check what is refused before ann is away."""
    await bob_may_not(client, "c-0")
    with pytest.raises(RefusedError, match="bob cannot take the say of ann"):
        await client.stand_in("ann", "bob", now + DAY, by=BOB)
    with pytest.raises(BadValueError, match="366 days"):
        await client.stand_in("ann", "bob", now + 400 * DAY, by=ANN)
    with pytest.raises(BadValueError, match="give a name"):
        await client.stand_in("ann", "bob", now + DAY, by=Operator())


async def bob_may_not(client: Client, run: str) -> None:
    """Check that ann has to decide."""
    with pytest.raises(RefusedError, match="bob may not decide here: ann may"):
        await client.decide(run, "approve", by=BOB)


async def makes_room(client: Client, now: int) -> None:
    """Check that who is not away any more is forgotten, where one person is the limit."""
    dans = await client.stand_in("dan", "bob", now + DAY, by=ANN)
    with pytest.raises(RefusedError, match="the limit"):
        await client.stand_in("ann", "bob", now + DAY, by=ANN)
    assert await client.absences(over=True) == [dans]


async def ends(client: Client, made: Absence, later: Absence) -> Absence:
    """Take both back; return what the first one is then."""
    with pytest.raises(RefusedError, match="away more than once"):
        await client.end_stand_in("ann", by=BOB)
    ended = await client.end_stand_in("ann", made.id, by=BOB)
    assert await client.end_stand_in("ann", made.id, by=BOB) == ended
    await bob_may_not(client, "c-3")
    assert await client.absences("ann") == [later]
    await client.end_stand_in("ann", by=ANN)
    with pytest.raises(NotFoundError):
        await client.end_stand_in("ann", by=BOB)
    return ended
