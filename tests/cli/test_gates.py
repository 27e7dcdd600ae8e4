"""``movant gate``: what people see, what is asked for, and how a refusal is told."""

from __future__ import annotations

import msgspec
import pytest

from protocols.api import absences as said
from protocols.api import runs as api
from protocols.api.gates import GateAbsence
from protocols.errors import AlreadyDecidedError
from protocols.gates.absences import Absence
from protocols.gates.words import Change, GateDecision, Vote
from protocols.witness import Operator
from runtime.cli.output import clock_time
from tests.cli.conftest import Cli
from tests.client.responder import Responder

pytestmark = pytest.mark.server

NS = 1_000_000_000
NOW = 1_700_000_000 * NS
ANN = Operator(who="ann", where="desk", why="I know them")
PAGE = api.GatePage(
    gates=[
        api.GateRow(
            id="claim-7",
            gate="/gate.payout",
            name="payout",
            workflow="claim",
            title="Pay 120?",
            opened_at=NOW - 90 * NS,
            due=NOW + 3_600 * NS,
            on_expiry="reject",
            decisions=["approve", "reject"],
            quorum=2,
            approved=1,
            approvers=["ann"],
            roles=["finance"],
        )
    ],
    total=1,
    server_time=NOW,
)
VIEW = api.GateView(
    id="claim-7",
    workflow="claim",
    status="running",
    gate="/gate.payout",
    name="payout",
    open=True,
    title="Pay 120?",
    text="All papers are there.",
    values={"amount": 120, "to": "bob"},
    fields={"amount": {"type": "number"}},
    decisions={"approve": "begins pay", "reject": "the gate fails"},
    quorum=2,
    votes=[Vote(by=ANN, at=NOW)],
    opened_at=NOW,
    done=["/office.assess"],
)
RESOLVED = api.RunResolved(id="claim-7")
DECISION = GateDecision(
    gate="/gate.payout",
    do="modify",
    at=NOW,
    by=ANN,
    values={"amount": 90},
    changes=(Change(field="amount", before=120, after=90),),
)


def test_gates_are_listed_and_shown_for_people_and_programs(
    ask: Cli, responder: Responder
) -> None:
    """Who may decide, until when, what each decision does."""
    responder.answers |= {"gate.ls": PAGE, "gate.show": VIEW, "run.resolve": RESOLVED}

    listed = ask("gate", "ls", "--workflow", "claim")
    shown = ask("gate", "show", "claim-7", "payout")
    rows = ask("gate", "ls", "-o", "json").json

    assert dict(responder.asked[:1])["gate.ls"].workflow == "claim"
    assert listed.out.splitlines()[1].split("  ")[0] == "claim-7"
    for each in ("1m30s", "in 1h00m: reject", "ann, role finance", "1 of 2", "Pay 120?"):
        assert each in listed.out
    for each in (
        "120 (may be modified)",
        "1 of 2: ann",
        "begins pay",
        "All papers",
        "/office.assess",
    ):
        assert each in shown.out
    assert "next:  movant gate approve claim-7 payout" in shown.err
    assert rows[0]["id"] == "claim-7"


def test_decisions_are_sent_with_who_where_and_why(ask: Cli, responder: Responder) -> None:
    """Whoever comes second is told who has decided what."""
    asked = [
        ("approve", "--role", "finance", "--reason", "fine"),
        ("modify", "-i", "amount=90"),
        ("reject", "--as", "bob"),
        ("skip",),
        ("cancel",),
    ]
    responder.answers["run.resolve"] = RESOLVED
    responder.answers["gate.decide"] = api.GateDecided(
        id="claim-7", gate="/gate.payout", decision=DECISION
    )

    ended = [ask("gate", do, "claim-7", "payout", *rest) for do, *rest in asked]
    responder.answers["gate.decide"] = api.GateDecided(
        id="claim-7", gate="/gate.payout", open=True, approved=1, quorum=2
    )
    voted = ask("gate", "approve", "claim-7")
    responder.answers["gate.decide"] = AlreadyDecidedError("the gate was approved by ann")
    late = ask("gate", "reject", "claim-7")
    responder.answers["gate.show"] = api.GateView(
        id="claim-7",
        workflow="claim",
        status="running",
        gate="/gate.payout",
        name="payout",
        open=False,
        decision=DECISION,
    )
    decided = ask("gate", "show", "claim-7")

    words = [each for verb, each in responder.asked if verb == "gate.decide"]
    assert [each.do for each in words[:5]] == [do for do, *_ in asked]
    assert (words[0].role, words[0].by.why, words[0].gate) == ("finance", "fine", "payout")
    assert words[0].by.who
    assert words[0].by.where
    assert words[0].message_id
    assert words[1].values == {"amount": 90}
    assert words[2].by.who == "bob"
    assert [each.code for each in ended] == [0] * 5
    assert "modified by ann at desk: I know them" in ended[0].out
    assert "1 of 2" in voted.out
    assert "more people have to approve" in voted.err
    assert late.code
    assert "the gate was approved by ann" in late.err
    assert "120 -> 90" in decided.out


def test_work_is_sent_back_and_handed_over(ask: Cli, responder: Responder) -> None:
    """With the step, and with who decides instead."""
    responder.answers["run.resolve"] = RESOLVED
    responder.answers["gate.decide"] = api.GateDecided(
        id="claim-7", gate="/gate.payout", open=True, delegated="bob"
    )

    handed = ask("gate", "delegate", "claim-7", "--to", "bob")
    ask("gate", "retry", "claim-7", "payout", "--step", "assess")
    nobody = ask("gate", "retry")

    first, second = (each for verb, each in responder.asked if verb == "gate.decide")
    assert (first.do, first.to) == ("delegate", "bob")
    assert (second.do, second.step) == ("retry", "assess")
    assert "handed over to  bob" in handed.out
    assert nobody.code == 2


def test_who_is_away_has_a_stand_in(ask: Cli, responder: Responder) -> None:
    """Whole days of this machine's zone; the inbox and the gate tell in whose place."""
    away = Absence(id="m-1", who="ann", to="bob", since=NOW, until=NOW + NS, by=ANN)
    back = msgspec.structs.replace(away, ended_by=ANN, ended_at=NOW + 1)
    row = msgspec.structs.replace(PAGE.gates[0], instead_of=["ann"])
    absent = GateAbsence(who="ann", until=NOW, instead=["bob"], reason="leave")
    responder.answers |= {
        "gate.away": said.AbsenceTold(absence=away),
        "gate.back": said.AbsenceTold(absence=back),
        "gate.absences": said.AbsencePage(absences=[away]),
        "gate.ls": api.GatePage(gates=[row], total=1, server_time=NOW),
        "gate.show": msgspec.structs.replace(VIEW, away=[absent]),
        "run.resolve": RESOLVED,
    }
    days = ("--from", "2026-12-01", "--until", "2026-12-14")

    begun = ask("gate", "away", "ann", "--to", "bob", *days, "--reason", "leave")
    ended = ask("gate", "back", "ann", "--as", "ann", "-o", "json").json
    rows = ask("gate", "absences", "bob", "--all")
    listed = ask("gate", "ls", "--for", "bob", "--role", "hr")
    shown = ask("gate", "show", "claim-7")
    wrong = [ask("gate", "away", "ann", "--to", "bob", "--until", x) for x in ("2026-13-01", "x")]

    asked = dict(responder.asked)
    assert clock_time(asked["gate.away"].since).startswith("2026-12-01 00:00:00")
    assert clock_time(asked["gate.away"].until).startswith("2026-12-15 00:00:00")
    assert (asked["gate.away"].to, asked["gate.away"].by.why) == ("bob", "leave")
    assert asked["gate.away"].message_id
    assert asked["gate.back"].by.who == "ann"
    assert (asked["gate.absences"].who, asked["gate.absences"].over) == ("bob", True)
    assert (asked["gate.ls"].who, asked["gate.ls"].role) == ("bob", "hr")
    assert "next:  movant gate ls --for bob" in begun.err
    assert ended["ended_by"]["who"] == "ann"
    assert "I know them" in rows.out
    assert "1 of 2), instead of ann" in listed.out
    assert ": leave; bob may instead" in shown.out
    assert [each.code for each in wrong] == [2, 2]


def test_many_gates_are_approved_after_asking_back(ask: Cli, responder: Responder) -> None:
    """But those that are to be looked at one by one; without a yes nothing is approved."""
    row = PAGE.gates[0]
    rows = [
        msgspec.structs.replace(row, id=f"claim-{number}", mode=mode)
        for number, mode in enumerate(("", "batch", "interactive"))
    ]
    responder.answers["gate.ls"] = api.GatePage(gates=rows, total=3, server_time=NOW)
    responder.answers["gate.decide"] = api.GateDecided(
        id="claim-0", gate="/gate.payout", decision=DECISION
    )

    asked = ask("gate", "approve", "--all", "--workflow", "claim")
    before = [verb for verb, _ in responder.asked if verb == "gate.decide"]
    done = ask("gate", "approve", "--all", "--workflow", "claim", "--yes", "-o", "json").json
    both = ask("gate", "approve", "claim-7", "--all")

    words = [each.id for verb, each in responder.asked if verb == "gate.decide"]
    assert "approve 2 gates of claim?" in asked.err
    assert asked.code
    assert before == []
    assert words == ["claim-0", "claim-1"]
    assert [each["id"] for each in done] == words
    assert both.code == 2
