"""Absences: in whose place somebody may decide, and what cannot be said."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from protocols.gates.absences import Absence, Ahead, ahead, conflict, holding, line
from protocols.gates.gate import Gate
from protocols.gates.words import Delegation, GateState, GateWord, Vote
from protocols.witness import Operator

PATH = "/gate.payout"
APPROVE = GateWord(gate=PATH, do="approve")
ANN, BOB = Operator(who="ann", where="desk", why="leave"), Operator(who="bob")


def absence(who: str, to: str, since: int = 0, until: int = 10, **more: Any) -> Absence:
    """Return an absence that its person has said."""
    by = Operator(who=who, where="desk", why="leave")
    return Absence(id=f"{who}-{since}", who=who, to=to, since=since, until=until, by=by, **more)


def state(**gate: Any) -> GateState:
    """Return an open gate."""
    return GateState(path=PATH, name="payout", gate=Gate(**gate), opened_at=0)


def asked(found: GateState, *absences: Absence, who: str = "bob", now: int = 5) -> Any:
    """Return what comes of an approval."""
    return ahead(found, APPROVE, Operator(who=who), holding(absences, now))


def test_who_stands_in_decides_behind_a_word_of_who_is_away() -> None:
    """Which says why; it begins, ends and is taken back to the moment."""
    found = state(approvers="ann")
    away = absence("ann", "bob", 3, 7)

    told = [asked(found, away, now=now) for now in (2, 3, 6, 7)]
    early = asked(found, absence("ann", "bob", 3, 7, ended_by=ANN, ended_at=5))
    other = asked(found, away, who="cid")

    why = "bob stands in until 1970-01-01T00:00:00Z: leave"
    handing = GateWord(gate=PATH, do="delegate", to="bob")
    assert told[1] == ("", Ahead(handing, Operator(who="ann", where="desk", why=why)))
    assert told[2] == told[1]
    for each in (told[0], told[3], early):
        assert each == ("bob may not decide here: ann may", None)
    assert other[0] == "cid may not decide here: ann may"


def test_nobody_is_handed_what_he_may_not_have() -> None:
    """The barred, who has voted, who may himself; and what is not who is away's any more."""
    away = absence("ann", "bob")
    barred, both = state(approvers="ann", excluded="bob"), state(approvers=("ann", "bob"))
    absent = state(approvers="ann", excluded="ann")
    voted = state(approvers=("ann", "bob"), quorum=2)
    voted.votes = [Vote(by=BOB, at=1)]
    handed = state(approvers="ann")
    handed.delegations = [Delegation(by=ANN, to="cid", at=1)]

    assert asked(barred, away) == ("bob may not decide here", None)
    assert asked(both, away) == ("", None)
    assert asked(absent, away)[1] is None
    assert asked(voted, away) == ("bob has approved already: 1 of 2", None)
    assert asked(handed, away) == ("bob may not decide here: cid may", None)
    assert asked(handed, away, absence("cid", "bob"))[1].by.who == "cid"
    wrong = ahead(state(approvers="ann"), GateWord(gate=PATH, do="skip"), BOB, {"ann": away})
    assert wrong == ("skip cannot be decided here: approve, reject can", None)


def test_roles_go_along_when_that_is_said() -> None:
    """A role is what somebody says to have: only who says it knows."""
    found = state(roles="finance")

    alone = asked(found, absence("ann", "bob"))
    word, by = asked(found, absence("ann", "bob", roles=("hr", "finance")))[1]

    assert alone == ("bob may not decide here: the role finance may", None)
    assert (word.role, by.who) == ("finance", "ann")


def test_a_say_goes_on_to_who_stands_in_for_who_stands_in() -> None:
    """Over four people at most, through nobody who is barred, and in no circle."""
    names = ["ann", "bob", "cid", "dan", "eve", "fay"]
    chain = [absence(who, to, until=9) for who, to in pairwise(names)]
    away = holding([*chain, absence("fay", "ann", until=9)], 5)

    _, said = asked(state(approvers="ann"), *chain, who="cid")

    assert line(away, "ann") == ["bob", "cid", "dan", "eve"]
    assert line(away, "ann", ["cid"]) == ["bob"]
    assert line(holding([chain[0], absence("bob", "ann")], 5), "ann") == ["bob"]
    assert said.word.to == "cid"
    assert ", through bob: leave" in said.by.why
    assert asked(state(approvers="ann", excluded="bob"), *chain, who="cid")[1] is None
    assert asked(state(approvers="ann"), *chain, who="fay")[1] is None


@pytest.mark.parametrize(
    ("new", "wrong"),
    [
        (absence("ann", "cid", 9, 20), "ann is away already"),
        (absence("ann", "cid", 10, 20), ""),
        (absence("bob", "ann", 9, 20), "ann is away meanwhile, and it would come back to bob"),
        (absence("bob", "ann", 10, 20), ""),
        (absence("cid", "ann", 0, 9), "ann is away meanwhile, and it would come back to cid"),
        (absence("cid", "ann", 0, 5), ""),
    ],
)
def test_absences_neither_overlap_nor_come_back(new: Absence, wrong: str) -> None:
    """At no moment of their time; what was taken back is in nobody's way."""
    known = [
        absence("ann", "bob", 0, 10),
        absence("bob", "cid", 5, 9),
        absence("ann", "dan", 10, 20, ended_by=ANN, ended_at=1),
    ]

    assert conflict(known, new)[: len(wrong) or None] == wrong
