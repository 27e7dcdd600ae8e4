"""The Conclave: seven seats that vote on motions by what they are about, and review failures.

A seat is for what it likes and twice as much against what it dislikes, word by word. Who is
neither for nor against abstains. A first reading needs four votes; from the second reading on
those who abstained go with the majority, so that a motion does not lie on the table for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

import movant
from examples.governance.branches.request import Request
from examples.governance.records import Records
from examples.governance.text import Clause, Motion

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS journal (
    entry INTEGER PRIMARY KEY, motion TEXT, what TEXT, said TEXT);
"""
QUORUM: Final = 4
BULLETIN_CHARS_MAX: Final = 400
"""A motion has one column in the bulletin."""


class Seat(msgspec.Struct, frozen=True):
    """A member of the Conclave."""

    name: str
    likes: frozenset[str]
    dislikes: frozenset[str]

    def votes(self, words: Iterable[str]) -> int:
        """Return 1 for aye, -1 for no, 0 for an abstention."""
        weight = 0
        for word in words:
            weight += (word in self.likes) - 2 * (word in self.dislikes)
        return (weight > 0) - (weight < 0)


def _seat(name: str, likes: str, dislikes: str) -> Seat:
    return Seat(name, frozenset(likes.split()), frozenset(dislikes.split()))


SEATS: Final = (
    _seat("Ada", "lamps road bridge tram bus stop signs crane", "fireworks statue"),
    _seat("Basil", "school children library books playground", "fireworks noise"),
    _seat("Clio", "trees river park garden clean plant benches", "fell concrete"),
    _seat("Dorian", "market notice stalls fair shops trade publish", "forbid tax"),
    _seat("Edda", "install build repair inspect safe", "forbid statue"),
    _seat("Faro", "fund pay city public open hours", "fireworks statue forbid"),
    _seat("Gwen", "repeal act archive publish names register city", "forbid"),
)


class Reviewed(Request, frozen=True):
    """A request to decide where a directive asked for a review."""

    allowed: tuple[str, ...] = ()


def vote(motion: Motion, clauses: list[Clause], reading: int) -> dict[str, Any]:
    """Return what the seats decide on the clauses of a motion that are left."""
    kept = msgspec.structs.replace(motion, clauses=tuple(clauses))
    votes = {seat.name: seat.votes(kept.words) if clauses else -1 for seat in SEATS}
    ayes, noes = _count(votes)
    if reading > 1 and ayes != noes:
        side = 1 if ayes > noes else -1
        votes = {name: each or side for name, each in votes.items()}
        ayes, noes = _count(votes)
    words = {1: "aye", -1: "no", 0: "abstained"}
    return {
        "reading": reading,
        "ayes": ayes,
        "noes": noes,
        "quorum": ayes + noes >= QUORUM,
        "votes": {name: words[each] for name, each in votes.items()},
    }


def _count(votes: dict[str, int]) -> tuple[int, int]:
    """Return ayes and noes."""
    given = list(votes.values())
    return given.count(1), given.count(-1)


def ruling(asked: Reviewed) -> dict[str, Any]:
    """Return how the Conclave rules on a failure: let it pass, or not.

    Who lacks the authority gets it when two thirds of all seats were for the motion. Minor
    breaches of rules are let pass; grave ones never are.
    """
    kind = (asked.error or {}).get("class")
    details = asked.complaint
    if kind == "permission" and "plan" in details:
        ayes = (asked.data.get("DELIBERATING") or {}).get("ayes", 0)
        if 3 * ayes < 2 * len(SEATS):
            return {"do": "halt", "why": f"{ayes} of {len(SEATS)} seats are no two thirds"}
        plan = {**details["plan"], "warrant": f"{ayes} of {len(SEATS)} seats"}
        return {"to": "EXECUTING", "result": plan, "why": "two thirds were for it"}
    if kind == "compliance":
        grave = [each for each in details.get("breaches", []) if each["severity"] == "grave"]
        if grave:
            return {"do": "halt", "why": f"{grave[0]['rule']} may not be broken"}
        verdict = {"verdict": "let pass", "breaches": details.get("breaches", [])}
        return {"to": "WITNESSING", "result": verdict, "why": "no grave breach"}
    return {"do": "halt", "why": f"the Conclave does not rule on {kind}"}


def bulletin(motion: Motion) -> str:
    """Return a motion as the bulletin prints it. Raises Refused when it is too long."""
    text = f"{motion.title} (by {motion.by}): " + " ".join(each.text for each in motion.clauses)
    if len(text) > BULLETIN_CHARS_MAX:
        raise movant.Refused(
            "over_limit", f"{len(text)} characters, the bulletin has {BULLETIN_CHARS_MAX}"
        )
    return text


def conclave(records: Records) -> movant.Service:
    """Return the service."""
    service = movant.Service("conclave_service", description="Deliberates, reviews, acknowledges")

    def entered(call: movant.Call, motion_id: str, answer: dict[str, Any]) -> dict[str, Any]:
        """Write an answer into the journal, once."""

        def write(db: Any) -> dict[str, Any]:
            said = msgspec.json.encode(answer).decode()
            row = (motion_id, call.operation, said)
            sql = "INSERT INTO journal (motion, what, said) VALUES (?, ?, ?)"
            return {**answer, "entry": db.execute(sql, row).lastrowid}

        return records.once(call, write)

    @service.operation()
    def receive(asked: Request, call: movant.Call) -> dict[str, Any]:
        return entered(call, asked.motion_id, {"bulletin": bulletin(asked.motion)})

    @service.operation()
    def deliberate(asked: Request, call: movant.Call) -> dict[str, Any]:
        before = (asked.data.get("DELIBERATING") or {}).get("struck", [])
        struck = sorted({*before, *asked.complaint.get("clauses", [])})
        kept = [each for each in asked.motion.clauses if each.number not in struck]
        result = vote(asked.motion, kept, asked.entry)
        return entered(call, asked.motion_id, {**result, "struck": struck})

    @service.operation()
    def review(asked: Reviewed, call: movant.Call) -> dict[str, Any]:
        answer = ruling(asked)
        entered(call, asked.motion_id, answer)
        return answer

    @service.operation()
    def acknowledge(asked: Request, call: movant.Call) -> dict[str, Any]:
        record = asked.data.get("WITNESSING") or {}
        head = record.get("head", "")
        return entered(call, asked.motion_id, {"acknowledged": True, "head": head})

    return service
