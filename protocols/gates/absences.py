"""Absences: who stands in for whom at all gates, and for how long. Pure.

    ann is away ──> bob stands in ──> bob is away as well ──> cid stands in

A fold knows nothing of it. When somebody decides who may not himself, the API asks here in whose
place he may, and writes that person's word ``delegate`` right before his own: the mailbox has
both, and both are checked like every other word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from protocols.events import to_time
from protocols.gates.words import Delegation, GateState, GateWord, refusal
from protocols.witness import Operator

LINKS_MAX: Final = 4
"""Who stands in may be away as well, and so on: so many are looked at."""
PERIODS_MAX: Final = 10
"""Of one person, with those that are over: the oldest of these are forgotten first."""
PEOPLE_MAX: Final = 1_000
"""All of them are read when somebody decides in another's place."""
ROLES_MAX: Final = 20
SPAN_NS_MAX: Final = 366 * 86_400 * 1_000_000_000
"""How long one lasts, and how long ahead it may be said: a say is not given away for ever."""


class Absence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``to`` decides at gates what would be ``who``'s. Times in nanoseconds since 1970.

    It holds from ``since`` until before ``until``. ``roles`` are those in which ``who`` may
    decide, beside under the own name. ``by`` has said it, at ``at``; ``ended_by`` has taken it
    back, at ``ended_at``.
    """

    id: str
    who: str
    to: str
    since: int
    until: int
    roles: tuple[str, ...] = ()
    by: Operator = Operator()
    at: int = 0
    ended_by: Operator | None = None
    ended_at: int = 0

    @property
    def end(self) -> int:
        """When it is over, or was; before ``since`` when it was taken back before it began."""
        return self.ended_at or self.until

    def meets(self, since: int, until: int) -> bool:
        """Tell whether it holds at some moment from ``since`` until before ``until``."""
        return max(self.since, since) < min(self.end, until)

    def has_a_say(self, approvers: Collection[str], roles: Iterable[str]) -> bool:
        """Tell whether who is away is among those who may decide, by name or by role."""
        return self.who in approvers or not set(self.roles).isdisjoint(roles)


class Ahead(NamedTuple):
    """What is said in the name of who is away, before who stands in says his own word."""

    word: GateWord
    by: Operator


def holding(absences: Iterable[Absence], now: int) -> dict[str, Absence]:
    """Return the absences that hold at a moment, by who is away."""
    return {each.who: each for each in absences if each.meets(now, now + 1)}


def line(away: Mapping[str, Absence], who: str, barred: Iterable[str] = ()) -> list[str]:
    """Return who may decide in the place of ``who``, the nearest first.

    It ends before whoever may not decide: a say does not go on through such a person.
    """
    found: list[str] = []
    stop = {who, *barred}
    each = away.get(who)
    while each is not None and each.to not in stop and len(found) < LINKS_MAX:
        found.append(each.to)
        stop.add(each.to)
        each = away.get(each.to)
    return found


def ahead(
    state: GateState, word: GateWord, by: Operator, away: Mapping[str, Absence]
) -> tuple[str, Ahead | None]:
    """Return why a word does not count at a gate, and what has to be said before it.

    Who may decide himself says nothing in another's name: he counts once. ``away`` are the
    absences that hold now.
    """
    wrong = refusal(state, word, by)
    for absent, each in sorted(away.items()) if wrong else ():
        places = line(away, absent, state.excluded)
        if by.who not in places:
            continue
        through = places[: places.index(by.who)]
        said = Operator(
            who=absent, where=each.by.where, why=_why(each, by.who, [away[x] for x in through])
        )
        for role in ("", *each.roles):
            handing = GateWord(gate=word.gate, do="delegate", to=by.who, role=role)
            if refusal(state, handing, said):
                continue
            handed = Delegation(by=said, to=by.who, at=each.at, role=role)
            after = msgspec.structs.replace(state, delegations=[*state.delegations, handed])
            wrong = refusal(after, word, by)
            if not wrong:
                return "", Ahead(handing, said)
    return wrong, None


def _why(absence: Absence, to: str, through: list[Absence]) -> str:
    """Say for the history what a handing over comes from."""
    until = _second(min(each.end for each in (absence, *through)))
    told = f"{to} stands in until {until}"
    if through:
        told += f", through {' and '.join(each.who for each in through)}"
    if absence.by.who != absence.who:
        told += f", as {absence.by.who} has said"
    return f"{told}: {absence.by.why}" if absence.by.why else told


def conflict(known: Iterable[Absence], new: Absence) -> str:
    """Return why an absence cannot be beside those that are known; empty when it can."""
    met = [each for each in known if each.meets(new.since, new.until)]
    for each in met:
        if each.who == new.who:
            since, until = _second(each.since), _second(each.end)
            return f"{each.who} is away already from {since} until {until}: {each.to} stands in"
    if _returns(met, new.to, new.who, (new.since, new.until), LINKS_MAX):
        return f"{new.to} is away meanwhile, and it would come back to {new.who}"
    return ""


def _returns(
    known: list[Absence], at: str, home: str, window: tuple[int, int], links: int
) -> bool:
    """Tell whether it comes from somebody back to ``home`` at some moment of a time."""
    return links > 0 and any(
        each.to == home
        or _returns(
            known,
            each.to,
            home,
            (max(each.since, window[0]), min(each.end, window[1])),
            links - 1,
        )
        for each in known
        if each.who == at and each.meets(*window)
    )


def _second(at: int) -> str:
    return f"{to_time(at).partition('.')[0]}Z"
