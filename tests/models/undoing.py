"""Compensation: whatever happens, each effect in the world is the value, undone, or listed.

A workflow takes one or two steps, each with an undo; two services can do them. A request may
be delivered late and, after a re-ask, twice; a reply may come late or not at all. The code may
go on, end or fail whenever its step is decided, and an operator may cancel at any moment.
Service ``p`` *fences*: it answers an undo for a key that it never saw, and refuses that key
afterwards. Service ``q`` cannot and declares ``settle``: its undo of an unknown attempt waits,
and it may answer "never seen".

What is claimed when the workflow has ended: each effect in the world is the value of a step of
a completed workflow, undone, or listed (unknown, could not undo, told after the end); what a
service told in time is not merely listed as unknown. No undo begins while something that was
begun later is not undone. And if what a service has not begun within ``settle`` never happens
(``honest``), nothing that is listed as unknown is in the world.

Each of ``RULES`` is needed. The shortest counterexamples without

    undecided           4 steps: cancelled in flight, nothing to undo; the request arrives
    unknown             5 steps: done and not told, its time is over, nothing to undo
    late success        6 steps: done, given up, the code ends without it; then the reply comes
    reverse             6 steps: of two steps the first one is undone first
    surplus             7 steps: p and q are asked in turn and both do it; one is the value
    each service        7 steps: p and q are asked in turn, q refuses, p has done it
    one answer          7 steps: one copy is refused, the other one is done and not told
    undo before do      8 steps: the undo overtakes the request
    settle              8 steps: the same at q, though waiting would have told
    never seen          9 steps: the same at q, which says "never seen" and does it then
    undone is refused  10 steps: done and undone; then a second copy of the request arrives
    late while undoing 10 steps: q says "never seen", does it, and both are folded in this order

The code may also ask again for the step that it has just given up, under the same key
(``again``); that step joins what is known of the first one. Without

    cut is unknown      8 steps: cut short, asked again and refused; the first request arrives
    told meanwhile      8 steps: done, given up, asked again; told now, and nobody has its value
    wanted again       10 steps: cut short and asked again; the value is undone with what was cut
    spent key          11 steps: done late and undone, while it is asked for again by that key

*One answer* is a rule for services that nothing here can replace: the fold takes a refusal as
"no effect", so a service that is asked twice for one attempt must not refuse and do it.

Bound: one step of two attempts at two services, two steps of one attempt, and one step that is
asked for again, one request asked twice: 172,000 states in 10 s. ``python -m tests.models
--bound 2``: two steps of two attempts, and two services for a step that is asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import astuple, replace

from tests.models.search import Found, Step, explore

RULES: Final[Mapping[str, str]] = {
    "unknown": "the plan covers steps of which nobody knows whether they happened",
    "undecided": "no undo begins while an attempt is undecided",
    "undo before do": "a service that fences refuses a key after its undo, though it never saw it",
    "undone is refused": "every service refuses a key that it has undone",
    "settle": "the undo of an unknown attempt waits at a service that cannot fence",
    "never seen": "the answer 'never seen' leaves the attempt unknown",
    "late success": "a success that comes late is undone, or listed after the end",
    "late while undoing": "one that comes before its undo's 'never seen' is undone once more",
    "surplus": "what another service may have done for a step that has its value is undone",
    "each service": "every service that was asked for a step is in the plan",
    "reverse": "what was begun last is undone first",
    "one answer": "a service answers all copies of an attempt in the same way",
    "wanted again": "what was given up is not undone while it is asked for again, or is the value",
    "cut is unknown": "what was cut short and is asked for again may have been done before",
    "spent key": "a key whose undo was asked for is not asked for again",
    "told meanwhile": "a success of before counts as late when asking again came to nothing",
}
LISTED: Final = ("unknown", "could not")


class Bound(Struct, frozen=True, gc=False):
    """How much can happen."""

    steps: int = 1
    attempts: int = 2
    services: str = "pq"
    copies: int = 1
    """Re-asks in the whole history."""
    honest: bool = False
    """Nothing arrives at a service after ``settle``."""
    again: int = 0
    """How often the code asks again for a step that it has given up."""

    def __str__(self) -> str:
        more = (", honest" if self.honest else "") + (", again" if self.again else "")
        return f"{self.steps} steps, {self.attempts} attempts at {self.services}{more}"


SMALL: Final = (
    Bound(),
    Bound(honest=True),
    Bound(steps=2, attempts=1, services="p"),
    Bound(steps=2, attempts=1, services="q", honest=True),
    Bound(attempts=1, services="p", again=1),
    Bound(attempts=1, services="q", again=1),
)
LARGE: Final = (
    *SMALL,
    Bound(attempts=1, again=1),
    Bound(steps=2, services="p"),
    Bound(steps=2, services="q"),
)


class Entry(Struct, frozen=True, gc=False):
    """What the fold knows of one step at one service."""

    outcome: str = ""  # ok, unknown; nothing: not asked, or without an effect
    waits: bool = False
    """An attempt is undecided: neither its reply nor its deadline has come."""
    settled: bool = False
    unwanted: bool = False
    late: bool = False
    """Its success came when it counted for nothing any more."""
    told: bool = False
    """It came after the end: an incident offers the undo."""
    undo: str = ""  # asked, says <answer>, undone, unknown, could not
    asked_as: str = ""

    @property
    def happened(self) -> bool:
        """Whether there may be an effect that no undo was asked for."""
        return bool(self.outcome) and not self.undo


class One(Struct, frozen=True, gc=False):
    """One step as the fold knows it: who was asked, and what came of it."""

    asked: str = ""  # the service of each attempt
    open: bool = False
    value: str = ""
    entries: tuple[Entry, ...] = ()
    before: int = 0
    """Attempts before it was asked for again."""


class Message(Struct, frozen=True, gc=False, order=True):
    """A request, or a reply, that is on its way."""

    step: int
    attempt: int
    service: str
    says: str = ""


class State(Struct, frozen=True, gc=False):
    """The fold, what is on its way, and what was really done."""

    steps: tuple[One, ...] = ()
    phase: str = "runs"  # undoes all, tidies, ended
    failed: bool = False
    requests: frozenset[Message] = frozenset()
    again: int = 0
    """Requests that were sent twice."""
    wanted: int = 0
    """Steps that were asked for again."""
    replies: frozenset[Message] = frozenset()
    world: frozenset[tuple[int, str]] = frozenset()
    fenced: frozenset[tuple[int, str]] = frozenset()
    denied: frozenset[Message] = frozenset()
    known: frozenset[tuple[int, str]] = frozenset()
    """Whose success was folded, whenever that was."""


class Undoing:
    """The model under some rules."""

    def __init__(self, bound: Bound = SMALL[0], *, without: str = "") -> None:
        assert without in {"", *RULES}
        self.bound = bound
        self.without = without

    def explore(self) -> Found:
        """Search everything."""
        return explore(State(), self.steps, wrong=self.wrong)

    def on(self, rule: str) -> bool:
        """Tell whether a rule holds."""
        return rule != self.without

    def wrong(self, state: State) -> str:
        """Each effect is accounted for when the workflow has ended; the order is reversed."""
        last = None
        for at, _, entry in self._entries(state):
            if entry.undo == "asked" and not entry.unwanted and last not in {None, at}:
                return f"step {at} is undone before step {last}"
            if entry.happened and not entry.late and state.failed:
                last = at if last is None else last
        if state.phase != "ended":
            return ""
        for at, service in sorted(state.world):
            one, entry = state.steps[at], state.steps[at].entries["pq".index(service)]
            if not state.failed and one.value == service:
                continue
            kept = not state.failed and not entry.unwanted and entry.outcome  # it is shown as such
            if not (entry.undo in LISTED or entry.told or kept):
                return f"nobody knows what {service} did for step {at}"
            if (at, service) in state.known and entry.undo != "could not" and not entry.told:
                return f"{service} told that it did step {at}, and that was forgotten"
            if self.bound.honest and entry.undo == "unknown" and not entry.told:
                return f"{service} did what is listed as unknown for step {at}"
        values = {(at, one.value) for at, one in enumerate(state.steps) if one.value}
        lost = set() if state.failed else values - state.world
        return f"values of {sorted(lost)} were undone" if lost else ""

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Return everything that can happen next."""
        for what, after in (
            *self._code(state),
            *self._services(state),
            *self._deadlines(state),
            *self._undoes(state),
        ):
            yield Step(what, after)
        for reply in sorted(state.replies):
            known = {(reply.step, reply.service)} if reply.says == "ok" else set()
            after = replace(state, replies=state.replies - {reply}, known=state.known | known)
            yield Step(("folds", *astuple(reply)), self._fold(after, reply))

    # What the code and an operator do

    def _code(self, state: State) -> Iterator[tuple[tuple[object, ...], State]]:
        if state.phase != "runs":
            return
        if not (state.steps and state.steps[-1].open):
            if len(state.steps) < self.bound.steps:
                one = One(entries=(Entry(), Entry()))
                begun = replace(state, steps=(*state.steps, one))
                for service in self.bound.services:
                    yield (
                        ("asks", service, "for step", len(state.steps)),
                        _ask(begun, len(state.steps), service),
                    )
            yield from self._again(state)
            if state.steps:
                yield ("code ends",), replace(state, phase="tidies")
                yield ("code fails",), replace(state, phase="undoes all", failed=True)
        else:
            after = _given_up(state)
            yield ("cancel",), replace(after, phase="undoes all", failed=True)
            if state.wanted < self.bound.again:
                yield ("cuts step", len(state.steps) - 1), after

    def _again(self, state: State) -> Iterator[tuple[tuple[object, ...], State]]:
        """Ask again for the latest step: under its key, or as a step of its own."""
        if not state.steps or state.steps[-1].value or state.wanted == self.bound.again:
            return
        at = len(state.steps) - 1
        one = state.steps[at]
        wanted = replace(state, wanted=state.wanted + 1)
        for service in self.bound.services:
            entry = one.entries["pq".index(service)]
            if entry.undo and self.on("spent key"):
                new = replace(wanted, steps=(*state.steps, One(entries=(Entry(), Entry()))))
                yield ("asks anew", service, "for step", at), _ask(new, at + 1, service)
                continue
            if self.on("wanted again"):
                entry = replace(entry, unwanted=False)
            if entry.waits and self.on("cut is unknown"):
                entry = replace(entry, outcome=entry.outcome or "unknown")
            joined = _enter(wanted, at, service, entry)
            joined = _with(joined, at, replace(joined.steps[at], before=len(one.asked)))
            yield ("asks again", service, "for step", at), _ask(joined, at, service)

    # What services do

    def _services(self, state: State) -> Iterator[tuple[tuple[object, ...], State]]:
        for request in sorted(state.requests):
            key = (request.step, request.service)
            one = state.steps[request.step]
            is_open = one.open and len(one.asked) == request.attempt
            if state.again < self.bound.copies and is_open and not request.says:
                again = replace(request, says="again")
                yield (
                    ("asks again", request.service, "for step", request.step),
                    replace(state, requests=state.requests | {again}, again=state.again + 1),
                )
            taken = replace(state, requests=state.requests - {request})
            ok = replace(request, says="ok")
            no = replace(request, says="no")
            if key not in state.fenced and no not in state.denied:
                done = replace(taken, world=state.world | {key}, replies=state.replies | {ok})
                yield (request.service, "does step", request.step), done
            if key not in state.world:
                denied = state.denied | {no} if self.on("one answer") else state.denied
                refused = replace(taken, replies=state.replies | {no}, denied=denied)
                yield (request.service, "refuses step", request.step), refused

    # What the fold makes of replies and deadlines

    def _fold(self, state: State, reply: Message) -> State:
        one = state.steps[reply.step]
        at = "pq".index(reply.service)
        entry = one.entries[at]
        current = len(one.asked) == reply.attempt
        if reply.says == "no":
            if not (current and entry.waits):
                return state
            after = _enter(state, reply.step, reply.service, replace(entry, waits=False))
            if one.open:
                return self._over(after, reply.step)
            return after
        before = reply.attempt <= one.before
        if one.open and before and not entry.unwanted:
            return _enter(state, reply.step, reply.service, replace(entry, outcome="ok"))
        if one.open and not before:
            entries = list(one.entries)
            for other, each in enumerate(entries):
                if other == at:
                    entries[at] = replace(each, outcome="ok", waits=False)
                elif self.on("surplus") and (each.outcome or each.waits):
                    entries[other] = replace(each, unwanted=True)
            return _with(
                state,
                reply.step,
                replace(one, open=False, value=reply.service, entries=tuple(entries)),
            )
        if one.value == reply.service or not self.on("late success"):
            return state
        undo = "" if entry.undo == "unknown" and state.phase != "ended" else entry.undo
        late = not (current and entry.waits)
        told = state.phase == "ended"
        done = replace(entry, outcome="ok", waits=False, unwanted=True, undo=undo)
        return _enter(state, reply.step, reply.service, replace(done, late=late, told=told))

    def _over(self, state: State, at: int, service: str = "") -> State:
        """Go on after an attempt that failed: with ``service``, or without the step."""
        one = state.steps[at]
        if service and len(one.asked) < one.before + self.bound.attempts:
            return _ask(state, at, service)
        if self.on("told meanwhile"):
            entries = [
                replace(each, unwanted=True) if each.outcome == "ok" else each
                for each in one.entries
            ]
            one = replace(one, entries=tuple(entries))
        return _with(state, at, replace(one, open=False))

    def _deadlines(self, state: State) -> Iterator[tuple[tuple[object, ...], State]]:
        for at, one in enumerate(state.steps):
            for service, entry in zip("pq", one.entries, strict=True):
                if not entry.waits or state.phase == "ended":
                    continue
                lost = replace(entry, waits=False, outcome=entry.outcome or "unknown")
                after = _enter(state, at, service, lost)
                if not one.open or service != one.asked[-1]:
                    yield ("time is over for step", at, "at", service), after
                    continue
                yield ("time is over, given up: step", at), self._over(after, at)
                if len(one.asked) < one.before + self.bound.attempts:
                    for other in self.bound.services:
                        yield (
                            ("time is over, next", other, "for step", at),
                            self._over(after, at, other),
                        )

    # Compensation

    def _entries(self, state: State) -> list[tuple[int, str, Entry]]:
        """Return all entries, the ones that are undone first first."""
        found = [
            (at, service, entry)
            for at, one in enumerate(state.steps)
            for service, entry in zip("pq", one.entries, strict=True)
        ]
        return found[::-1]

    def _undoes(self, state: State) -> Iterator[tuple[tuple[object, ...], State]]:
        if state.phase == "ended":
            return
        for at, service, entry in self._entries(state):
            if entry.undo == "asked":
                yield from self._undone(state, at, service, entry)
                return
            if entry.undo.startswith("says "):
                yield ("folds the undo of step", at), self._answered(state, at, service, entry)
                return
        yield from self._next(state)

    def _next(self, state: State) -> Iterator[tuple[tuple[object, ...], State]]:
        """Ask for the undo that is due, wait for what has to come before it, or end."""
        entries = self._entries(state)
        undecided = self.on("undecided") and any(each.waits for _, _, each in entries)
        for at, service, entry in entries if self.on("reverse") else entries[::-1]:
            if not self._planned(state, at, service, entry):
                continue
            if entry.waits if state.phase == "runs" else undecided:
                return
            waits = service == "q" and entry.outcome == "unknown" and self.on("settle")
            if waits and not entry.settled:
                coming = any((x.step, x.service) == (at, service) for x in state.requests)
                if not (self.bound.honest and coming):
                    settled = replace(entry, settled=True)
                    yield ("settle is over for", at), _enter(state, at, service, settled)
                return
            asked = replace(entry, undo="asked", asked_as=entry.outcome)
            yield ("asks", service, "to undo step", at), _enter(state, at, service, asked)
            return
        if (
            state.phase != "runs"
            and not (undecided and any(each.waits and each.unwanted for _, _, each in entries))
            and not (undecided and state.failed)
        ):
            yield ("ends",), replace(state, phase="ended")

    def _planned(self, state: State, at: int, service: str, entry: Entry) -> bool:
        if not entry.happened or (entry.outcome == "unknown" and not self.on("unknown")):
            return False
        if not self.on("each service") and state.steps[at].asked[-1] != service:
            return False
        return entry.unwanted or state.phase == "undoes all"

    def _undone(
        self, state: State, at: int, service: str, entry: Entry
    ) -> Iterator[tuple[tuple[object, ...], State]]:
        key = (at, service)
        says = "ok"
        after = replace(state, world=state.world - {key})
        if key in state.world:
            if self.on("undone is refused"):
                after = replace(after, fenced=state.fenced | {key})
        elif service == "q":
            says = "never" if self.on("never seen") else "ok"
        elif self.on("undo before do"):
            after = replace(after, fenced=state.fenced | {key})
        yield (
            (service, "undoes step", at, says),
            _enter(after, at, service, replace(entry, undo=f"says {says}")),
        )
        yield (
            (service, "cannot undo step", at),
            _enter(state, at, service, replace(entry, undo="could not")),
        )

    def _answered(self, state: State, at: int, service: str, entry: Entry) -> State:
        if entry.undo == "says ok":
            undo = "undone"
        elif entry.asked_as == "ok":
            undo = "could not"  # it has done it and never saw it
        else:
            came = entry.outcome == "ok" and self.on("late while undoing")
            undo = "" if came else "unknown"
        return _enter(state, at, service, replace(entry, undo=undo))


def _ask(state: State, at: int, service: str) -> State:
    one = state.steps[at]
    asked = one.asked + service
    entry = replace(one.entries["pq".index(service)], waits=True)
    after = _with(state, at, replace(one, asked=asked, open=True))
    request = Message(at, len(asked), service)
    return replace(_enter(after, at, service, entry), requests=state.requests | {request})


def _given_up(state: State) -> State:
    """Return the state in which nobody wants the latest step any more."""
    at = len(state.steps) - 1
    one = state.steps[at]
    entries = tuple(
        replace(each, unwanted=True) if each.outcome or each.waits else each
        for each in one.entries
    )
    return _with(state, at, replace(one, open=False, entries=entries))


def _with(state: State, at: int, one: One) -> State:
    return replace(state, steps=(*state.steps[:at], one, *state.steps[at + 1 :]))


def _enter(state: State, at: int, service: str, entry: Entry) -> State:
    one = state.steps[at]
    entries = list(one.entries)
    entries["pq".index(service)] = entry
    return _with(state, at, replace(one, entries=tuple(entries)))
