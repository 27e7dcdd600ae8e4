"""AbsenceCommands: who is away, and who decides at gates meanwhile.

    gate.away, gate.back ──> movant_definitions, ``away.<digest of the person>``
    gate.decide, gate.show, gate.ls <── what holds now

One key has the absences of one person, each write is against its revision. A cycle that two
people make at the same moment stands, and leads nowhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from actors.store.kv import Kv
from protocols.api import absences as said
from protocols.errors import (
    AlreadyExistsError,
    BadValueError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from protocols.gates.absences import (
    PEOPLE_MAX,
    PERIODS_MAX,
    ROLES_MAX,
    SPAN_NS_MAX,
    Absence,
    Ahead,
    ahead,
    conflict,
    holding,
    line,
)
from protocols.gates.words import NAME_CHARS_MAX, GateState, GateWord
from protocols.witness import Operator
from runtime.api.holds import SAID_CHARS_MAX

if TYPE_CHECKING:
    from runtime.daemon import Daemon

BUCKET: Final = "movant_definitions"
TRIES: Final = 5
Absences = tuple[Absence, ...]

log = structlog.get_logger()

_decoder: Final = msgspec.json.Decoder(Absences)


class AbsenceCommands:
    """The verbs about absences, and what holds at a moment."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._kv = Kv(daemon.parts.transport, BUCKET)

    async def away(self, request: said.GateAway) -> said.AbsenceTold:
        """Let somebody stand in. A repeat by its message id is answered with what it became.

        Raises BadValueError, RefusedError for what may not be or is beyond a limit.
        """
        now = self._daemon.clock.now_ns()
        by = _person(request.by)
        new = Absence(
            id=request.message_id or self._daemon.new_id(),
            who=request.who,
            to=request.to,
            since=max(request.since, now),
            until=request.until,
            roles=tuple(dict.fromkeys(request.roles)),
            by=by,
            at=now,
        )
        _check(new, now)
        others = [each for each in await self._all() if each.who != new.who]

        def to(known: Absences) -> tuple[Absences, Absence]:
            for each in known:
                if each.id == new.id:
                    return known, each
            if wrong := conflict((*others, *known), new):
                raise RefusedError(wrong, hint=f"movant gate absences {new.who}")
            return _kept((*known, new), now), new

        await self._make_room(others, now)
        return await self._change(new.who, to)

    async def back(self, request: said.GateBack) -> said.AbsenceTold:
        """Take an absence back. Raises NotFoundError; RefusedError when several could be meant."""
        now, by = self._daemon.clock.now_ns(), _person(request.by)

        def to(known: Absences) -> tuple[Absences, Absence]:
            found = [each for each in known if request.id in {"", each.id}]
            left = [each for each in found if each.end > now]
            if len(left) > 1:
                ids = ", ".join(each.id for each in left)
                raise RefusedError(f"{request.who} is away more than once", hint=f"one of: {ids}")
            if not left and found and found[-1].ended_by == by:
                return known, found[-1]  # asked again, because the answer was lost
            if not left:
                raise NotFoundError(f"{request.who} is not away", hint="movant gate absences")
            (one,) = left
            ended = msgspec.structs.replace(one, ended_by=by, ended_at=now)
            return tuple(ended if each is one else each for each in known), ended

        return await self._change(request.who, to)

    async def absences(self, request: said.GateAbsences) -> said.AbsencePage:
        """List absences."""
        now = self._daemon.clock.now_ns()
        found = [
            each
            for each in await self._all()
            if request.who in {"", each.who, each.to} and (request.over or each.end > now)
        ]
        found.sort(key=lambda each: (each.since, each.who))
        return said.AbsencePage(absences=found, server_time=now)

    async def now(self) -> dict[str, Absence]:
        """Return the absences that hold now, by who is away."""
        return holding(await self._all(), self._daemon.clock.now_ns())

    async def ahead(
        self, state: GateState, word: GateWord, by: Operator
    ) -> tuple[str, Ahead | None]:
        """Return why a word does not count, and what has to be said before it.

        What was read may come from a replica that lags: who is between the two is read once
        more from the leader, so that what was taken back counts no more.
        """
        away = await self.now()
        near = [each for each in away if by.who in line(away, each)]
        fresh = [each for who in near for each in await self._of(who)]
        away = {who: each for who, each in away.items() if who not in near}
        away |= holding(fresh, self._daemon.clock.now_ns())
        return ahead(state, word, by, away)

    async def _make_room(self, others: Iterable[Absence], now: int) -> None:
        """Forget who was away the longest ago, when there are too many people."""
        last: dict[str, int] = {}
        for each in others:
            last[each.who] = max(each.end, last.get(each.who, 0))
        if len(last) < PEOPLE_MAX:
            return
        who = min(last, key=last.__getitem__)
        entry = await self._kv.leader(_key(who))
        if last[who] > now or entry is None:
            raise RefusedError(f"{PEOPLE_MAX} people are away or will be, the limit")
        with suppress(AlreadyExistsError):  # away once more, at this moment
            await self._kv.put(_key(who), b"[]", revision=entry.revision)

    async def _all(self) -> list[Absence]:
        """Return all; what cannot be read gives nobody a say."""
        found: list[Absence] = []
        for entry in await self._kv.all("away.*"):
            try:
                found += _decoder.decode(entry.value)
            except msgspec.MsgspecError as error:
                log.error("absence.unreadable", key=entry.key, reason=str(error))
        return found

    async def _of(self, who: str) -> Absences:
        entry = await self._kv.leader(_key(who))
        return () if entry is None else _decoder.decode(entry.value)

    async def _change(
        self, who: str, to: Callable[[Absences], tuple[Absences, Absence]]
    ) -> said.AbsenceTold:
        """Write a person's absences as ``to`` makes them of those that are stored."""
        for _ in range(TRIES):
            entry = await self._kv.leader(_key(who))
            known = () if entry is None else _decoder.decode(entry.value)
            changed, one = to(known)
            if changed is known:
                return said.AbsenceTold(absence=one)
            revision = 0 if entry is None else entry.revision
            try:
                await self._kv.put(_key(who), msgspec.json.encode(changed), revision=revision)
            except AlreadyExistsError:
                continue
            log.info("absence.changed", **msgspec.to_builtins(one))
            return said.AbsenceTold(absence=one)
        raise UnavailableError(f"others change this of {who} at this moment", hint="try again")


def _key(who: str) -> str:
    return f"away.{hashlib.sha256(who.encode()).hexdigest()[:40]}"


def _kept(absences: Absences, now: int) -> Absences:
    """Return the absences without the oldest that are over, when they are too many."""
    over = [each for each in absences if each.end <= now]
    gone = over[: max(0, len(absences) - PERIODS_MAX)]
    kept = tuple(each for each in absences if each not in gone)
    if len(kept) > PERIODS_MAX:
        raise RefusedError(f"{kept[-1].who} will be away {PERIODS_MAX} times already, the limit")
    return kept


def _person(by: Operator | None) -> Operator:
    """Return who says it. Raises BadValueError when nobody does, or with too much text."""
    if by is None or not by.who:
        raise BadValueError("it matters who says this: give a name", hint="`by` has it")
    if max(len(by.who), len(by.where), len(by.why)) > SAID_CHARS_MAX:
        raise BadValueError(f"`by` has texts of at most {SAID_CHARS_MAX} characters")
    return by


def _check(new: Absence, now: int) -> None:
    """Raise for an absence that makes no sense, or that its own stand-in says."""
    for each in (new.who, new.to, *new.roles):
        if not 0 < len(each) <= NAME_CHARS_MAX:
            raise BadValueError(f"names and roles have 1 to {NAME_CHARS_MAX} characters")
    if len(new.roles) > ROLES_MAX:
        raise BadValueError(f"at most {ROLES_MAX} roles")
    if new.who == new.to:
        raise BadValueError("name somebody else who decides instead")
    if new.by.who == new.to:
        raise RefusedError(
            f"{new.to} cannot take the say of {new.who}", hint="who is away says it, or another"
        )
    if new.until <= new.since:
        raise BadValueError("it is over before it begins")
    if max(new.since - now, new.until - new.since) > SPAN_NS_MAX:
        raise BadValueError("it begins within 366 days, and lasts as long at most")
