"""Owners in turn and one step: an effect in the world that no fold accounts for would be a bug.

One step may be tried twice, two services can serve it, and its owner is replaced while it may
still act. A service does its work once per attempt. Owners prefer service ``p`` and ``q`` by
turns: their measurements differ. At every moment each effect in the world has to be accounted
for by the fold of what is stored: as the step's value, as *unknown* (it may have happened), as
surplus (another attempt's success came first), or because its attempt is open.

Who serves an attempt is chosen by its owner, or named by a table (``table=True``): attempt n goes
to candidate n, which everybody knows without a message, and an owner that cannot ask the candidate
may route the attempt to the other service.

With several daemons a partition changes hands often: on purpose, when one of them drains or
another one joins, or because a frozen one seems dead. Claims are numbered in one order, the
markers of who claimed may be stored in another one. A hand-over is a takeover after which the
former owner does nothing: one of the histories here.

What is folded and kept elsewhere is purged from the log (``purges=True``), markers too: the next
owner knows them from the checkpoint. A reader's cursor passes over what is purged without a word,
so a former owner that stood still would read on behind the marker that ends it.

Each of the rules of ``RULES`` is needed. The shortest counterexamples without

    markers              4 steps: the slow first owner refuses the attempt that B sends
    recorded route       4 steps: A sends the attempt to p, B sends the same one to q
    possibly dispatched  5 steps: A sends, B takes over and refuses: "never sent"
    higher marker        8 steps: B claims, freezes, and marks behind C's marker: it goes on to
                         C's attempt 2 and sends it, C refuses it as "never sent"
    surplus              9 steps: attempt 1 succeeds late, attempt 2 is done as well
    kept candidate       3 steps, with a table: A sends attempt 1 to its candidate, B takes over
                         and routes it to the other one
    no gap               4 steps, with purges: A says a route, B takes over and purges; A passes
                         over its own word, and over the marker that ends it

No rule here is a lease or a clock: a former owner may send and write at any time before it
reads the next marker, as it may freeze between its look at the clock and the send. If a clock
could prevent that (``at_once=1``) the markers would not be needed, the other four rules would:
they are about what a former owner sent while it was the owner. So the look at the clock only
makes it rare that a request is sent twice.

Bound: two attempts, two owners, everything else free: 148,493 states in 4 s, with a table
117,013; one attempt with purges 19,639. Three owners of which two act at the same time, if
whoever has to read a higher marker next does so before he acts: 509,728 in 15 s, with a table
373,462.
``python -m tests.models --bound 2``: two attempts with purges, 1,052,567 states in 50 s; three
attempts of two owners, 3,960,717 in 160 s, with a table 4,557,867; three owners that may all act
at the same time, 4 million in 3 min.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from tests.models.search import Found, Step, explore

RULES: Final[Mapping[str, str]] = {
    "markers": "an owner message behind a marker with a higher epoch is void",
    "recorded route": "who serves an attempt is folded before the attempt is sent",
    "possibly dispatched": "an attempt asked for before a marker never ends as without effect",
    "surplus": "every other attempt that may have had an effect is remembered at the success",
    "kept candidate": "an attempt that a former owner may have sent to the candidate of the"
    " table is not routed to another one",
    "higher marker": "who meets a higher marker on the way to his own one never acts",
    "no gap": "who finds that what he has to read next is purged has lost the partition",
}


class Message(Struct, frozen=True, gc=False):
    """What stands in the mailbox, or in the partition's own order."""

    kind: str  # marker, routed, refused, timeout, reply
    epoch: int = 0
    attempt: int = 0
    service: str = ""


Log: TypeAlias = tuple[Message, ...]
Work: TypeAlias = tuple[int, str]
"""An attempt at a service."""


class Owner(Struct, frozen=True, gc=False):
    """One daemon. What it has sent is known to nobody else."""

    acts: bool = False
    folded: int = 0
    sent: frozenset[Work] = frozenset()
    closing: frozenset[int] = frozenset()
    """Attempts that it decided on: it sends them no more."""
    missed: frozenset[int] = frozenset()
    """What it passed over because it was purged."""


GONE: Final = Owner(folded=-1)


class State(Struct, frozen=True, gc=False):
    """The mailbox, the two owners, and what was really done."""

    log: Log
    owners: tuple[Owner, ...]
    done: frozenset[Work] = frozenset()
    purged: int = 0
    """So many messages of the log can be read no more."""


class Fold(Struct, frozen=True, gc=False):
    """What the mailbox says about the step."""

    attempt: int = 1
    value: Work | None = None
    routes: tuple[str, ...] = ("", "")
    unknown: frozenset[int] = frozenset()
    surplus: frozenset[Work] = frozenset()
    over: bool = False
    asked_in: tuple[int, ...] = (1, 0)
    """The epoch in which each attempt was asked for."""
    epoch: int = 1


class TwoOwners:
    """The model under some rules."""

    def __init__(
        self,
        attempts: int = 2,
        *,
        owners: int = 2,
        at_once: int = 2,
        table: bool = False,
        purges: bool = False,
        without: str = "",
    ) -> None:
        self.purges = purges
        self.table = table
        """Attempt n has candidate n, and an owner may route it to the other one."""
        assert without in {"", *RULES}
        self.owners = owners
        self.at_once = at_once
        """How many may act at the same time."""
        self.attempts = attempts
        self.without = without
        self._folds: dict[Log, Fold] = {}

    def explore(self) -> Found:
        """Search everything."""
        owners = (Owner(acts=True, folded=1), *(Owner(),) * (self.owners - 1))
        first = State((Message("marker", 1),), owners)
        return explore(first, self.steps, wrong=self.wrong)

    def on(self, rule: str) -> bool:
        """Tell whether a rule holds."""
        return rule != self.without

    def wrong(self, state: State) -> str:
        """Each effect is accounted for by what is stored."""
        fold = self.fold(state.log)
        for attempt, service in sorted(state.done):
            work = (attempt, service)
            open_ = fold.value is None and not fold.over and attempt == fold.attempt
            routed = (fold.routes[attempt - 1] or self.candidate(attempt)) in {"", service}
            if work == fold.value or work in fold.surplus:
                continue
            if routed and (open_ or attempt in fold.unknown):
                continue
            return f"nobody knows what {service} did for attempt {attempt}"
        for epoch, owner in enumerate(state.owners, 1):
            if owner.missed and self.seen(state, owner) != self.fold(state.log[: owner.folded]):
                return f"{'ABC'[epoch - 1]} folds what nobody else does"
        return ""

    def seen(self, state: State, owner: Owner) -> Fold:
        """Return the fold of what an owner has read."""
        if not owner.missed:
            return self.fold(state.log[: owner.folded])
        read = enumerate(state.log[: owner.folded])
        fold = self.fold(tuple(each for number, each in read if number not in owner.missed))
        # That it does not know the epoch is no harm; what follows from it is.
        return replace(fold, epoch=max(fold.epoch, self.fold(state.log[: owner.folded]).epoch))

    def candidate(self, attempt: int) -> str:
        """Return whom the table names for an attempt: everybody knows, so no message says it."""
        return "qp"[attempt % 2] if self.table else ""

    def fold(self, log: Log) -> Fold:
        """Return what a mailbox says; the same for everybody, for ever."""
        known = self._folds.get(log)
        if known is None:
            before = self.fold(log[:-1]) if log else None
            known = (
                Fold(asked_in=(0,) * self.attempts)
                if before is None
                else self._fold(before, log[-1])
            )
            if before is None:
                known = replace(
                    known, asked_in=(1, *(0,) * (self.attempts - 1)), routes=("",) * self.attempts
                )
            self._folds[log] = known
        return known

    def _fold(self, fold: Fold, message: Message) -> Fold:
        if message.kind == "marker":
            return replace(fold, epoch=max(fold.epoch, message.epoch))
        if message.kind == "reply":
            return self._reply(fold, (message.attempt, message.service))
        if self.on("markers") and message.epoch < fold.epoch:
            return fold
        at = message.attempt - 1
        if message.kind == "routed":
            if fold.routes[at]:
                return fold
            return replace(
                fold, routes=(*fold.routes[:at], message.service, *fold.routes[at + 1 :])
            )
        if message.attempt != fold.attempt or fold.value or fold.over:
            return fold
        # A refusal says that the attempt was never sent. That is known only of one's own time.
        possibly = self.on("possibly dispatched") and fold.asked_in[at] < message.epoch
        if message.kind == "timeout" or possibly:
            fold = replace(fold, unknown=fold.unknown | {message.attempt})
        if fold.attempt == self.attempts:
            return replace(fold, over=True)
        asked_in = (*fold.asked_in[: at + 1], fold.epoch, *fold.asked_in[at + 2 :])
        return replace(fold, attempt=fold.attempt + 1, asked_in=asked_in)

    def _reply(self, fold: Fold, work: Work) -> Fold:
        if fold.value is None and not fold.over:
            fold = replace(fold, value=work)
            if self.on("surplus") and work[0] != fold.attempt:
                fold = replace(fold, unknown=fold.unknown | {fold.attempt})
            return fold
        if work != fold.value and self.on("surplus"):
            fold = replace(fold, surplus=fold.surplus | {work})
        return fold

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Return everything that can happen next."""
        room = sum(each.acts for each in state.owners) < self.at_once
        for epoch, owner in enumerate(state.owners, 1):
            name = "ABC"[epoch - 1]
            if owner.acts and epoch < self.owners:
                yield Step((name, "dies"), _with(state, epoch, GONE))
            if owner.acts:
                for what, after in self._acts(state, epoch, owner):
                    yield Step((name, *what), after)
            elif room and not owner.folded:
                yield Step((name, "takes over"), self._take_over(state, epoch))
            newest = owner.acts and all(not each.folded for each in state.owners[epoch:])
            if self.purges and newest and owner.folded > state.purged:
                yield Step((name, "purges"), replace(state, purged=owner.folded))
        for attempt, service in sorted(state.done):
            reply = Message("reply", 0, attempt, service)
            if reply not in state.log:
                yield Step(
                    (service, "replies to attempt", attempt),
                    replace(state, log=(*state.log, reply)),
                )

    def _take_over(self, state: State, epoch: int) -> State:
        """Write a marker and read up to it. Claims are numbered, markers come in any order."""
        marked = _said(state, Message("marker", epoch))
        higher = any(each.kind == "marker" and each.epoch > epoch for each in state.log)
        acts = not (higher and self.on("higher marker"))
        return _with(marked, epoch, Owner(acts=acts, folded=len(marked.log)))

    def _acts(
        self, state: State, epoch: int, owner: Owner
    ) -> Iterator[tuple[tuple[object, ...], State]]:
        if owner.folded < state.purged:
            if self.on("no gap"):
                yield ("finds a gap",), _with(state, epoch, GONE)
            else:
                missed = owner.missed | {*range(owner.folded, state.purged)}
                passed = replace(owner, folded=state.purged, missed=missed)
                yield ("passes over a gap",), _with(state, epoch, passed)
        elif owner.folded < len(state.log):
            message = state.log[owner.folded]
            if message.kind == "marker" and message.epoch > epoch:
                yield ("stops at a marker",), _with(state, epoch, GONE)
                if self.owners > 2:  # else there are too many histories
                    return
            else:
                yield (
                    ("reads", message.kind),
                    _with(state, epoch, replace(owner, folded=owner.folded + 1)),
                )
        fold = self.seen(state, owner)
        if fold.value is None and not fold.over:
            yield from self._works(state, epoch, owner)

    def _may_route(self, fold: Fold, epoch: int, owner: Owner) -> bool:
        """Tell whether an owner may choose: before anybody can have asked the candidate."""
        if not self.on("recorded route"):
            return False
        if not self.table:
            return True
        mine = any(attempt == fold.attempt for attempt, _ in owner.sent)
        before = self.on("kept candidate") and fold.asked_in[fold.attempt - 1] < epoch
        return not (mine or before)

    def _works(
        self, state: State, epoch: int, owner: Owner
    ) -> Iterator[tuple[tuple[object, ...], State]]:
        fold = self.seen(state, owner)
        routed = fold.routes[fold.attempt - 1]
        candidate = self.candidate(fold.attempt)
        other = {"p": "q", "q": "p", "": "qp"[epoch % 2]}[candidate]
        said = Message("routed", epoch, fold.attempt, other)
        if not routed and said not in state.log and self._may_route(fold, epoch, owner):
            yield (
                ("routes attempt", fold.attempt, "to", other),
                _with(_said(state, said), epoch, owner),
            )
        # Without the rule an owner acts on its choice at once, and nobody is told.
        chosen = [routed or candidate] if self.on("recorded route") else [routed or other]
        if said in state.log and not routed:
            chosen = []  # it waits for its own word
        for service in filter(None, chosen):
            work = (fold.attempt, service)
            if work not in owner.sent and fold.attempt not in owner.closing:
                sent = replace(owner, sent=owner.sent | {work})
                yield (
                    ("sends attempt", fold.attempt, "to", work[1]),
                    _with(replace(state, done=state.done | {work}), epoch, sent),
                )
        mine = any(attempt == fold.attempt for attempt, _ in owner.sent)
        for kind in ("timeout",) if mine else ("timeout", "refused"):
            decision = Message(kind, epoch, fold.attempt)
            if fold.attempt not in owner.closing:
                closing = replace(owner, closing=owner.closing | {fold.attempt})
                yield (
                    (kind, "of attempt", fold.attempt),
                    _with(_said(state, decision), epoch, closing),
                )


def _with(state: State, epoch: int, owner: Owner) -> State:
    owners = state.owners
    return replace(state, owners=(*owners[: epoch - 1], owner, *owners[epoch:]))


def _said(state: State, message: Message) -> State:
    return replace(state, log=(*state.log, message))
