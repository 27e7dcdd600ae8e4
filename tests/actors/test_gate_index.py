"""The list of open gates: made of events, whatever their order, and of which runs have ended."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.owning.letters import Delivery
from actors.views import gate_index
from actors.views.gate_index import GateFacts, GateIndex, GateRows, Inbox
from actors.views.run_index import Row
from protocols.gates.absences import Absence
from tests.actors.test_turns import Log, World

PATH = "/gate.payout"


def take(rows: GateRows, kind: str, run: str = "a", gate: str = PATH, **facts: Any) -> None:
    """Take an event."""
    payload = msgspec.json.encode({"gate": gate, "name": "payout", **facts})
    rows.take(Delivery(1, 1, f"movant.event.claim.{run}.{kind}", b"", payload), kind)


def listed(rows: GateRows, **ended: str) -> list[tuple[str, str]]:
    """Return runs and paths of the open gates; some runs have ended."""
    runs = {run: Row(run, "claim", "", 0, status=status) for run, status in ended.items()}
    return [(run, each.gate) for run, each in rows.open(runs, sum(map(bool, ended.values())))]


def test_open_gates_are_listed_the_oldest_first() -> None:
    """Until they are decided or withdrawn, or their run ends."""
    rows = GateRows()
    for run, at in (("a", 4), ("b", 3), ("c", 2), ("d", 1)):
        take(rows, "gate_opened", run, opened_at=at)
    everything = listed(rows, d="")

    take(rows, "gate_decided", "a")
    take(rows, "gate_withdrawn", "b")

    assert everything == [("d", PATH), ("c", PATH), ("b", PATH), ("a", PATH)]
    assert listed(rows, c="failed") == [("d", PATH)]
    assert len(rows.rows) == 1


def test_an_event_that_is_published_again_opens_nothing() -> None:
    """A daemon that takes over publishes what it is not sure of; a new gate has a new path."""
    rows = GateRows()
    take(rows, "gate_decided")

    for kind in ("gate_opened", "gate_escalated", "gate_voted"):
        take(rows, kind, escalated=True, approved=1)
    take(rows, "gate_opened", gate=f"{PATH}#2")

    assert listed(rows) == [("a", f"{PATH}#2")]


def test_votes_and_escalations_are_shown() -> None:
    """Each once, also when the opening is published again after them."""
    rows = GateRows()
    take(rows, "gate_opened", quorum=3, roles=["finance"])
    take(rows, "gate_voted", approved=2)
    take(rows, "gate_voted", approved=1)
    take(rows, "gate_escalated", quorum=3, roles=["finance", "board"], escalated=True)
    take(rows, "gate_opened", quorum=3, roles=["finance"])

    ((_, row),) = rows.open({}, 0)

    assert (row.approved, row.quorum, row.roles) == (2, 3, ("finance", "board"))
    assert row.escalated


def test_what_is_no_event_of_a_gate_is_passed_over() -> None:
    """Workflows of former versions may have had events of these names."""
    rows = GateRows()

    for payload in (b"", b"{", b"[]", b'{"gate": 1}', b'{"name": "x"}', b"\xff"):
        rows.take(Delivery(1, 1, "movant.event.x.a.gate_opened", b"", payload), "gate_opened")

    assert listed(rows) == []


def test_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten."""
    monkeypatch.setattr(gate_index, "GATES_MAX", 2)
    rows = GateRows()

    for run in "abc":
        take(rows, "gate_opened", run)

    assert [run for run, _ in listed(rows)] == ["b", "c"]


class Replica(Log):
    """A stream with replicas: nobody says how far a read will see."""

    async def extent(self) -> tuple[int, int]:
        """Return the first message, and no last one."""
        await self._grow()
        return 1, 0


@pytest.mark.parametrize("kind", [Log, Replica])
@pytest.mark.parametrize("seed", range(10))
async def test_events_that_are_read_late_are_all_taken(seed: int, kind: type[Log]) -> None:
    """Whichever replica lags: in the end what is open is shown, with its votes."""
    world = World(seed)
    events: list[Delivery] = []
    index = GateIndex(kind(world, events))  # type: ignore[arg-type]
    votes: dict[str, int] = {}
    for number in range(60):
        if world.chance.randrange(3) or not votes:
            run, what, approved = f"r{number}", "gate_opened", 0
            votes[run] = 0
        else:
            run = world.chance.choice(list(votes))
            what = world.chance.choice(["gate_voted", "gate_voted", "gate_decided"])
            approved = votes[run] = votes[run] + 1
            if what == "gate_decided":
                del votes[run]
        body = {"gate": PATH, "opened_at": number, "approved": approved}
        world.put(events, f"movant.event.claim.{run}.{what}", body)
        if not world.chance.randrange(3):
            await index.refresh()
    for _ in range(40):
        await index.refresh()

    assert {run: each.approved for run, each in index.open({}, 0)} == votes


def test_an_inbox_has_what_somebody_may_decide_himself_or_for_who_is_away() -> None:
    """Not what he is excluded from, nor what would come through somebody who is."""
    away = {
        who: Absence(id=who, who=who, to=to, since=0, until=9, roles=roles)
        for who, to, roles in (("ann", "bob", ("hr",)), ("bob", "cid", ()))
    }
    gates = {
        "anybody": GateFacts(gate="/a"),
        "excluded": GateFacts(gate="/b", excluded=("cid",)),
        "named": GateFacts(gate="/c", approvers=("cid", "ann")),
        "ann": GateFacts(gate="/d", approvers=("ann",)),
        "hr": GateFacts(gate="/e", roles=("hr",)),
        "through": GateFacts(gate="/f", approvers=("ann",), excluded=("bob",)),
        "finance": GateFacts(gate="/g", roles=("finance",)),
    }

    cids, financiers = Inbox("cid", "", away), Inbox("cid", "finance", {})

    assert [name for name, each in gates.items() if cids.has(each)] == [
        "anybody",
        "named",
        "ann",
        "hr",
    ]
    assert {name: found for name, each in gates.items() if (found := cids.instead_of(each))} == {
        "ann": ["ann"],
        "hr": ["ann"],
    }
    assert [name for name, each in gates.items() if financiers.has(each)] == [
        "anybody",
        "named",
        "finance",
    ]
    assert all(map(Inbox("", "", {}).has, gates.values()))
