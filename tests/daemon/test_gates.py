"""Gates on a real server: dormant, decided by two at once, and across the death of a daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from actors.owning import passivation
from protocols import headers as h
from protocols import subjects
from protocols.errors import (
    AlreadyDecidedError,
    NotFoundError,
    OverloadedError,
    RefusedError,
)
from protocols.ports import Outgoing
from protocols.service import Service
from protocols.witness import Operator
from runtime.cli.service import load_attribute
from runtime.client.client import Client
from tests.docs.tables import DOCS
from tests.support.daemon import daemon, until
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

INBOX = DOCS / "examples" / "inbox.py"
FILES = [DOCS / "examples" / "claim.yaml", DOCS / "examples" / "claim.py"]
ANN = Operator(who="ann", where="desk 4", why="I know them")
BOB = Operator(who="bob", where="desk 5")


class Office:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.office, self.bank = Service("office"), Service("bank")

        def assess(claim: Any) -> Any:
            self.asked.append("assess")
            return {"amount": claim["amount"], "report": "all papers"}

        def pay(order: Any) -> str:
            self.asked.append("pay")
            return f"paid {order['amount']}"

        self.office.operation("assess")(assess)
        self.office.operation("close")(lambda undo: undo["key"])
        self.bank.operation("pay")(pay)


async def opens(client: Client, count: int) -> Any:
    """Return the open gates when there are so many."""
    found: Any = None
    with trio.fail_after(10):
        while True:
            found = await client.gates()
            if found.total == count:
                return found
            await trio.sleep(0.02)


async def test_a_decision_stands_and_repeats_nothing_though_the_daemon_dies(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two decide at once; the daemon dies before what comes behind the gate was done."""
    monkeypatch.setattr(passivation, "IDLE_S", 0.05)
    one = Office()
    async with (
        daemon(nats_server.url, workflows=FILES, services=[one.office]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        await client.start("claim", {"who": "eve", "amount": 120}, id="c-1")
        await client.start("claim-in-python", {"who": "eve", "amount": 7}, id="c-2")
        page = await opens(client, 2)
        await until(lambda: not movant.daemon.parts.owner.live)
        view = await client.gate("c-1", "payout")
        await refuses(client)
        # Past the checks of the API: what the fold does not take is not decided.
        await movant.daemon.parts.transport.request(forged("c-1"), 5.0)

        told = await at_once(client, ANN, BOB)
        await opens(client, 1)
        movant.crash()
    async with (
        daemon(nats_server.url, workflows=FILES, services=[one.office, one.bank]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        ended = await client.wait("c-1", timeout_s=20)
        left = await opens(client, 1)
        small = await by_a_program(client)
        once = await client.decide("c-2", "skip", message_id="m", by=ANN)
        again = await client.decide("c-2", "skip", message_id="m", by=ANN)
        skipped = await client.wait("c-2", timeout_s=20)
        with pytest.raises(AlreadyDecidedError, match="was skipped by ann at desk 4: I know them"):
            await client.decide("c-2", "approve", by=BOB)
        none = await opens(client, 0)
        history = await movant("run.history", id="c-1")
        verified = await movant("run.verify", id="c-1")
        after = await client.gate("c-1")

    (error,) = [each for each in told if isinstance(each, AlreadyDecidedError)]
    (first,) = [each for each in told if not isinstance(each, AlreadyDecidedError)]
    assert [(row.id, row.name, row.title) for row in page.gates] == [
        ("c-1", "payout", "Pay 120 to eve?"),
        ("c-2", "payout", "Pay 7 to eve?"),
    ]
    assert page.gates[0].due > page.gates[0].opened_at
    assert (view.open, view.decisions["approve"]) == (True, "begins pay")
    assert view.done == ["/steps/assess/office.assess"]
    assert first.decision is not None
    assert first.decision.by is not None
    assert f"was {first.decision.text}" in error.message
    assert ended.status == "completed"
    assert ended.result == {"decision": "modify", "by": first.decision.by.who, "paid": "paid 90"}
    assert small == (["c-3"], "paid 5")
    assert one.asked.count("assess") == 3
    assert one.asked.count("pay") == 2
    assert [row.id for row in left.gates] == ["c-2"]
    assert once == again
    assert skipped.result == "not paid"
    assert none.gates == []
    said = [each for each in history["entries"] if each["kind"] == "control.gate"]
    assert {each["by"]["who"] for each in said} == {"mallory", "ann", "bob"}
    assert said[1]["body"] == {"amount": 90}
    assert not verified["findings"]
    assert after.decision == first.decision


async def by_a_program(client: Client) -> tuple[list[str], Any]:
    """Run the example that decides; return which runs it lets go on, and what became of it."""
    await client.start("claim-in-python", {"who": "eve", "amount": 5}, id="c-3")
    await opens(client, 2)
    approved = await load_attribute(f"{INBOX}:approve_small")(client, 6)
    return approved, (await client.wait("c-3", timeout_s=20)).result


async def refuses(client: Client) -> None:
    """Check that words that do not count are refused before they are written."""
    with pytest.raises(RefusedError, match="eve may not decide here"):
        await client.decide("c-1", "approve", by=Operator(who="eve"))
    with pytest.raises(RefusedError, match="cancel cannot be decided here"):
        await client.decide("c-1", "cancel", by=ANN)
    with pytest.raises(RefusedError, match="values: "):
        await client.decide("c-1", "modify", values={"amount": 501}, by=ANN)
    with pytest.raises(NotFoundError):
        await client.decide("c-1", "approve", "other", by=ANN)


async def at_once(client: Client, *people: Operator) -> list[Any]:
    """Let several decide at the same time; return what each of them is told."""
    told: list[Any] = []

    async def decide(by: Operator) -> None:
        try:
            told.append(await client.decide("c-1", "modify", values={"amount": 90}, by=by))
        except AlreadyDecidedError as error:
            told.append(error)

    async with trio.open_nursery() as nursery:
        for by in people:
            nursery.start_soon(decide, by)
    return told


def forged(run: str) -> Outgoing:
    """Return a decision that nobody may make, as a daemon would write it."""
    word = {"gate": "/steps/payout/gate.payout", "do": "cancel"}
    lines = h.encode({h.MESSAGE_ID: "forged", h.WHO: "mallory"})
    return Outgoing(subjects.to_control(run, "gate"), msgspec.json.encode(word), lines)


LETTER = """
name: letter
approval_mode: "{{input.mode ?? ''}}"
input: {mode: {type: string, optional: true}}
profiles: {dev: {services: {office: office-dev}}}
limits: {max_active: 4, on_limit: refuse}
steps:
  draft: {service: office, operation: draft, undo: shred}
  allow:
    needs: draft
    gate: {decisions: [approve, retry, reject], approvers: [ann, bob], four_eyes: true}
outputs: {text: "{{steps.draft.result}}", by: "{{steps.allow.result.by}}"}
"""


class Writers:
    """Two services that draft: which one is asked, a profile says."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.services = [self.service(name) for name in ("office", "office-dev")]

    def service(self, name: str) -> Service:
        """Return one of them."""
        made = Service(name)

        def draft(_: Any) -> str:
            self.asked.append(f"{name} draft")
            return f"{name} {len(self.asked)}"

        made.operation("draft")(draft)
        made.operation("shred")(lambda _: self.asked.append(f"{name} shred"))
        return made


async def test_people_send_back_hand_over_and_find_gates_older_than_all_events(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a run under a profile, and behind a daemon that has seen none of it."""
    monkeypatch.setattr(passivation, "IDLE_S", 0.05)
    file = tmp_path / "letter.yaml"
    file.write_text(LETTER)
    writers = Writers()
    async with (
        daemon(nats_server.url, workflows=[file], services=writers.services) as movant,
        Client.connect(nats_server.url) as client,
    ):
        await client.start("letter", {}, id="l-1", profile="dev", by=ANN)
        for number in (2, 3, 4):
            await client.start("letter", {"mode": "batch"}, id=f"l-{number}")
        await opens(client, 4)
        with pytest.raises(OverloadedError, match="max_active is 4"):
            await client.start("letter", {}, id="l-5")
        again = await client.start("letter", {}, id="l-1")
        with pytest.raises(RefusedError, match="no profile 'prod'"):
            await client.start("letter", {}, profile="prod")
        with pytest.raises(RefusedError, match="ann may not decide here"):
            await client.decide("l-1", "approve", by=ANN)
        await client.decide("l-1", "retry", by=BOB)
        with trio.fail_after(10):
            while writers.asked.count("office-dev draft") < 2:
                await trio.sleep(0.02)
        page = await opens(client, 4)
        await movant.daemon.parts.transport.request(
            Outgoing("$JS.API.STREAM.PURGE.EVENTS", b""), 5.0
        )
        movant.crash()
    async with (
        daemon(nats_server.url, workflows=[file], services=writers.services),
        Client.connect(nats_server.url) as client,
    ):
        found = await opens(client, 4)
        view = await client.gate("l-1")
        handed = await client.decide("l-1", "delegate", by=BOB, to="carl", message_id="m")
        repeated = await client.decide("l-1", "delegate", by=BOB, to="carl", message_id="m")
        await client.decide("l-1", "approve", by=Operator(who="carl"))
        ended = await client.wait("l-1", timeout_s=20)
        left = await client.gates(workflow="letter", name="allow")

    assert not again.created
    assert writers.asked.index("office-dev shred") < len(writers.asked) - 1
    assert writers.asked.count("office-dev draft") == 2
    assert [each.id for each in found.gates] == [each.id for each in page.gates]
    assert [each.mode for each in left.gates] == ["batch"] * 3
    assert view.steps["draft"] == "done"
    assert view.undoes == ["/steps/draft#2/office-dev.draft"]
    assert view.excluded == ["ann"]
    assert (handed.delegated, repeated) == ("carl", handed)
    assert ended.result["by"] == "carl"
    assert ended.result["text"].startswith("office-dev ")
