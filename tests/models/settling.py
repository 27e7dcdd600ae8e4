"""Settling, wakes, checkpoint and takeover: no effect is lost, none is repeated for ever.

One partition with two instances, X and Y. Its owners come one after the other; each may crash
at any point, or be so slow that the next one takes over while it still acts. Acknowledgements,
firings and replies come late or, once, not at all. Three small workflows ask for every kind of
effect: a decision of the owner that has to be folded, a request that follows it; a request, a
signal to the other instance and its event; two requests that wait side by side.

What is claimed, in every reachable state:

    safety      what stood below a stored checkpoint, settled and under no wake that fired, is
                not done again
    nothing lost  in peace every effect comes to the world, without another crash or takeover
    liveness    the checkpoint can be brought to the head, though no service answers any more

``RULES`` has the clauses of the design's paragraphs "Settled" and "Checkpoint", and what the
code adds to them. Each is needed: without it there is a shortest counterexample of

     3 steps  redo from position
     3 steps  request by reply
     4 steps  folded position
     5 steps  listed
     5 steps  parked is unsettled
     5 steps  position goes on
     5 steps  redo listed
     5 steps  wake in a tail
     5 steps  wake makes due
     5 steps  wake until folded
     6 steps  acknowledged
     6 steps  wake acknowledged
     7 steps  not more
     8 steps  owner message folded
     8 steps  redo woken
     9 steps  lowest listed
     9 steps  wake of any number
    10 steps  lowest since
    14 steps  replacement

``python -m tests.models --without CLAUSE`` prints it. In short:

- *owner message folded*: B marks, A stores its decision behind the marker (void), gets the
  acknowledgement, stores a checkpoint without an entry, and B loads it.
- *wake until folded*: the wake fires and is folded before its acknowledgement comes.
- *wake of any number*: a former owner's wake replaces that of the new one (one subject per
  instance), fires, is folded; then the new owner's own acknowledgement comes, for a wake that
  exists no more.
- *wake in a tail*: the firing arrives while the instance is being read from its mailbox, and
  is folded by a second read whose effects do not include those of the first.
- *lowest since*, *lowest listed*: the younger of two open requests is answered, the older one
  is forgotten.
- *replacement*: B arms a wake for a new request; it replaces the one that covered an old one.

One clause is not among them. That a checkpoint is stored against the revision which the owner
knows keeps no effect as long as the log keeps everything: a stale checkpoint stays a true
statement, as the firing of a wake comes above it. This model lets former owners overwrite
checkpoints freely, and with that clause it has exactly as many states. Once the log is purged
it is needed: see *claim* and *compare and set* in ``packs``.

A hand-over between daemons (stop reading, fold, store the checkpoint, release) is a checkpoint
and an end, so it is among these histories.

Measured, with all rules and one wake an owner: 94,474 states of *pinned* and 152,535 of *chain*
with three owners of which one at a time acts, and 73,836 of *two asks* with two of them;
246,715 of *pinned* and 175,428 of *chain* with two owners that act at the same time: 25 s.
``python -m tests.models`` adds 422,391 of *two asks* with two that act at the same time (16 s);
``--bound 2``, 70 s, 731,778 of *two asks* with three owners, and two wakes an owner (643,714).
``--bound 3`` has three owners that may all act at the same time; it was not run to its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias, cast

from msgspec import Struct
from msgspec.structs import replace

from tests.models.search import ALL, NONE, Found, Step, explore

Message: TypeAlias = tuple[object, ...]
Log: TypeAlias = tuple[Message, ...]

RULES: Final[Mapping[str, str]] = {
    "acknowledged": "an effect is settled when it is acknowledged, not when it is handed over",
    "owner message folded": "an owner message is settled only when it is folded as valid",
    "request by reply": "a request is settled by its reply or a wake, not by being sent",
    "parked is unsettled": "a request that is not sent yet is unsettled as well",
    "wake acknowledged": "a wake covers when it is acknowledged, not when it is handed over",
    "wake until folded": "a wake that is acknowledged after its firing was folded covers nothing",
    "wake of any number": "nor does one after the firing of another wake, which replaced it",
    "wake makes due": "a folded wake makes what it covered due again",
    "wake in a tail": "so does one that is folded while the instance is read from its mailbox",
    "lowest since": "`since` is the lowest cause that a wake covers",
    "replacement": "a wake that replaces another one covers what that one did",
    "listed": "an instance with an unsettled effect stands in the checkpoint",
    "lowest listed": "with the lowest cause",
    "folded position": "everything below the position is folded, not merely handed over",
    "redo from position": "a new owner redoes what was caused at or above the position",
    "redo listed": "and what was caused at or above an instance's entry",
    "redo woken": "and at or above the `since` of a wake at or above the position",
    "not more": "and nothing else",
    "position goes on": "an unsettled effect holds no position: it is listed instead",
}


ABSENT, MARKED, ACTING, GONE = range(4)
EVENT, SIGNAL, OWNER, REQUEST = "event", "signal", "owner message", "request"
COVERABLE: Final = frozenset({OWNER, REQUEST})
LOST: Final = 0
HEAD: Final = 1
WITHOUT_SERVICE: Final = frozenset({HEAD})
"""Helps the checkpoint, though no service answers any more."""
BY_SERVICE: Final = frozenset({LOST})

PROGRAMS: Final[Mapping[str, Mapping[str, tuple[tuple[str, str], ...]]]] = {
    "pinned": {"start": (("pin", OWNER),), "pin": (("ask", REQUEST),)},
    "chain": {"start": (("ask", REQUEST),), "re:ask": (("go", SIGNAL),), "go": (("went", EVENT),)},
    "two asks": {"start": (("ask", REQUEST),), "poke": (("also", REQUEST),)},
}
"""What each message makes the workflow ask for. Signals and pins are messages themselves."""


class Effect(Struct, frozen=True, gc=False):
    """What a fold asks for."""

    kind: str
    instance: str
    cause: int
    done: bool


class Arming(Struct, frozen=True, gc=False):
    """A wake whose acknowledgement is awaited."""

    number: tuple[int, int]
    instance: str
    covers: frozenset[str]
    since: int


class Owner(Struct, frozen=True, gc=False):
    """One daemon's memory of the partition: what it forgot has to be settled."""

    phase: int = ABSENT
    folded: int = 0
    due: frozenset[str] = frozenset()
    sent: frozenset[str] = frozenset()
    arming: Arming | None = None
    armed: int = 0


class State(Struct, frozen=True, gc=False):
    """The stored world, and its owners."""

    log: Log
    owners: tuple[Owner, ...]
    position: int = 1
    entries: tuple[tuple[str, int], ...] = ()
    events: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()
    timers: tuple[tuple[str, int, tuple[int, int]], ...] = ()
    losses: int = 1
    excess: str = ""


class Bound(Struct, frozen=True, gc=False):
    """How far a search goes."""

    owners: int = 2
    wakes: int = 1
    losses: int = 1
    overlap: bool = True
    """Whether a former owner may still act when the next one takes over."""


class Settling:
    """The model of one program under some rules."""

    def __init__(self, program: str, bound: Bound, *, without: str = "") -> None:
        assert without in {"", *RULES}
        self.program = PROGRAMS[program]
        self.bound = bound
        self.without = without
        self._folds: dict[Log, Mapping[str, Effect]] = {}
        names = [name for row in self.program.values() for name, _ in row]
        kinds = dict(pair for row in self.program.values() for pair in row)
        self.events = frozenset(name for name in names if kinds[name] == EVENT)
        self.replies = [("re:" + name,) for name in names if kinds[name] == REQUEST]

    def first(self) -> State:
        """Return the beginning: an owner has the partition, and a workflow was started."""
        owners = [Owner(ACTING, 1), *[Owner()] * (self.bound.owners - 1)]
        return State((("marker", 1), ("start",)), tuple(owners), losses=self.bound.losses)

    def wrong(self, state: State) -> str:
        """Nothing that is settled for good is repeated."""
        return state.excess

    def complete(self, state: State) -> bool:
        """Every effect is in the world."""
        return self.events <= state.events and all(each in state.log for each in self.replies)

    def at_head(self, state: State) -> bool:
        """Everything is below the checkpoint."""
        return state.position == len(state.log)

    def explore(self) -> Found:
        """Search everything."""
        goals = (("an effect is lost", self.complete), ("the checkpoint stands", self.at_head))
        return explore(self.first(), self.steps, wrong=self.wrong, goals=goals)

    def on(self, rule: str) -> bool:
        """Tell whether a rule holds."""
        return rule != self.without

    # The fold: a pure function of a prefix of the log.

    def fold(self, log: Log) -> Mapping[str, Effect]:
        """Return what the instances asked for so far."""
        known = self._folds.get(log)
        if known is None:
            known = self._folds[log] = self._fold(log)
        return known

    def _fold(self, log: Log) -> Mapping[str, Effect]:
        effects: dict[str, Effect] = {}
        epoch = 0
        seen = set()
        for at, message in enumerate(log):
            kind = str(message[0])
            if kind == "marker":
                epoch = max(epoch, cast("int", message[1]))
                continue
            void = kind == "pin" and cast("int", message[1]) < epoch
            if void or kind in seen or kind == "wake":
                continue
            seen.add(kind)
            done = kind.removeprefix("re:")
            if done in effects and kind != "go":
                effects[done] = replace(effects[done], done=True)
            for name, asked in self.program.get(kind, ()):
                effects[name] = Effect(asked, "Y" if kind == "go" else "X", at, done=False)
        return effects

    # What can happen.

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Return everything that can happen next."""
        peace = not any(each.phase in {MARKED, ACTING} for each in state.owners)
        for index, owner in enumerate(state.owners):
            name = "ABC"[index]
            if owner.phase == ABSENT:
                if not (peace or self.bound.overlap):
                    break
                # Who still acts may be slow, not dead: but nobody may count on a takeover.
                log = (*state.log, ("marker", index + 1))
                marked = replace(self._with(state, index, Owner(MARKED)), log=log)
                yield Step((name, "marks"), marked, ALL if peace else NONE)
                break
            if owner.phase == MARKED:
                yield Step((name, "begins"), self._begin(state, index))
            elif owner.phase == ACTING:
                for what, after, helps in self._acts(state, index, owner):
                    yield Step((name, *what), after, helps)
            if owner.phase != GONE and index < len(state.owners) - 1:
                yield Step((name, "crashes"), self._with(state, index, Owner(GONE)), NONE)
        yield from self._outside(state)

    def _outside(self, state: State) -> Iterator[Step[State]]:
        """Yield what comes from elsewhere: replies, losses, firings, and a signal."""
        for name in sorted(state.asked):
            rest = replace(state, asked=state.asked - {name})
            yield Step(
                ("service answers", name),
                replace(rest, log=(*state.log, ("re:" + name,))),
                BY_SERVICE,
            )
            if state.losses:
                lost = replace(rest, losses=state.losses - 1)
                yield Step(("lost:", name), lost, NONE)
        for timer in state.timers:
            rest = replace(state, timers=tuple(each for each in state.timers if each != timer))
            yield Step(("fires", timer), replace(rest, log=(*state.log, ("wake", *timer))))
        if "poke" in self.program and ("poke",) not in state.log:
            yield Step(("poked",), replace(state, log=(*state.log, ("poke",))))

    def _begin(self, state: State, index: int) -> State:
        """Load the checkpoint, fold up to the own marker, and redo what may be unsettled."""
        folded = state.log.index(("marker", index + 1)) + 1
        prefix = state.log[:folded]
        listed = dict(state.entries)
        due = set()
        excess = ""
        for name, effect in self.fold(prefix).items():
            if effect.done:
                continue
            position = effect.cause >= state.position
            entry = effect.cause >= listed.get(effect.instance, folded)
            woken = any(
                message[0] == "wake"
                and message[1] == effect.instance
                and effect.cause >= cast("int", message[2])
                for message in prefix[state.position :]
            )
            if not self.on("not more") and not (position or entry or woken):
                excess = f"{name} is done again though it was settled for good"
            if (
                (position and self.on("redo from position"))
                or (entry and self.on("redo listed"))
                or (woken and self.on("redo woken"))
                or not self.on("not more")
            ):
                due.add(name)
        begun = self._with(state, index, Owner(ACTING, folded, frozenset(due)))
        return replace(begun, excess=excess)

    def _acts(self, state: State, index: int, owner: Owner) -> Iterator[Step[State]]:
        effects = self.fold(state.log[: owner.folded])
        if owner.folded < len(state.log):
            yield from self._folds_next(state, index, owner)
        for name in sorted(owner.due | owner.sent):
            yield from self._performs(state, index, owner, name, effects[name])
        yield from self._wakes(state, index, owner, effects)
        yield from self._checkpoints(state, owner, effects)

    def _folds_next(self, state: State, index: int, owner: Owner) -> Iterator[Step[State]]:
        message = state.log[owner.folded]
        if message[0] == "marker" and cast("int", message[1]) > index + 1:
            yield Step(("stops at a marker",), self._with(state, index, Owner(GONE)))
            return
        after = self.fold(state.log[: owner.folded + 1])
        new = {name for name, each in after.items() if each.cause == owner.folded}
        done = {name for name, each in after.items() if each.done}
        next_ = replace(
            owner, folded=owner.folded + 1, due=(owner.due | new) - done, sent=owner.sent - done
        )
        if message[0] != "wake":
            yield Step(("folds", message), self._with(state, index, next_))
            return
        if not self.on("wake in a tail"):
            yield Step(("reads", message, "in a tail"), self._with(state, index, next_))
        _, instance, since, number = message
        again = {
            name
            for name, each in after.items()
            if each.instance == instance and each.cause >= cast("int", since) and not each.done
        }
        if self.on("wake makes due"):
            next_ = replace(next_, due=next_.due | again, sent=next_.sent - again)
        if self._void(owner.arming, number):
            next_ = replace(next_, arming=None)
        yield Step(("folds", message), self._with(state, index, next_))

    def _void(self, arming: Arming | None, number: object) -> bool:
        """Tell whether a firing that is folded makes an awaited acknowledgement worthless."""
        if arming is None or not self.on("wake until folded"):
            return False
        return self.on("wake of any number") or arming.number == number

    def _performs(
        self, state: State, index: int, owner: Owner, name: str, effect: Effect
    ) -> Iterator[Step[State]]:
        if effect.kind == REQUEST:
            if name in owner.due and name not in state.asked and not self._replied(state, name):
                yield Step(
                    ("asks", name),
                    replace(
                        self._with(state, index, self._asked(owner, name)),
                        asked=state.asked | {name},
                    ),
                    BY_SERVICE,
                )
            return
        early = not self.on("acknowledged")
        if name not in owner.sent:
            sent = replace(owner, sent=owner.sent | {name})
            if early:  # settled as soon as the writer has it
                sent = replace(sent, due=sent.due - {name})
                yield Step(("hands over", name), self._with(state, index, sent))
            else:
                stored = self._store(state, name, effect.kind, index + 1)
                yield Step(("stores", name), self._with(stored, index, sent))
        elif early:
            stored = self._store(state, name, effect.kind, index + 1)
            written = replace(owner, sent=owner.sent - {name})
            yield Step(("stores", name), self._with(stored, index, written))
        elif effect.kind != OWNER or not self.on("owner message folded"):
            settled = replace(owner, due=owner.due - {name}, sent=owner.sent - {name})
            yield Step(("gets ack of", name), self._with(state, index, settled))

    def _asked(self, owner: Owner, name: str) -> Owner:
        if not self.on("request by reply"):
            return replace(owner, due=owner.due - {name})
        if not self.on("parked is unsettled"):
            return replace(owner, sent=owner.sent | {name})
        return owner

    def _wakes(
        self, state: State, index: int, owner: Owner, effects: Mapping[str, Effect]
    ) -> Iterator[Step[State]]:
        early = not self.on("wake acknowledged")
        arming = owner.arming
        if arming is not None:
            if early:
                what, after = "stores a wake", self._arm(state, arming)
            else:
                what, after = "gets ack of its wake", state
            due = owner.due if early else owner.due - arming.covers
            yield Step(
                (what, arming.number),
                self._with(after, index, replace(owner, due=due, arming=None)),
            )
            return
        if owner.armed == self.bound.wakes:
            return
        open_ = {
            name: each
            for name, each in effects.items()
            if each.kind in COVERABLE and not each.done
        }
        covers = frozenset(name for name in open_ if name in owner.due)
        if not covers:
            return
        causes = [each.cause for name, each in open_.items() if name in covers]
        if self.on("replacement"):
            causes = [each.cause for each in open_.values()]
        since = min(causes) if self.on("lowest since") else max(causes)
        arming = Arming((index + 1, owner.armed + 1), "X", covers, since)
        next_ = replace(owner, arming=arming, armed=owner.armed + 1)
        if early:
            next_ = replace(next_, due=owner.due - covers)
        after = state if early else self._arm(state, arming)
        yield Step(
            ("arms wake", arming.number, "for", covers, "since", since),
            self._with(after, index, next_),
        )

    def _checkpoints(
        self, state: State, owner: Owner, effects: Mapping[str, Effect]
    ) -> Iterator[Step[State]]:
        position = owner.folded
        if not self.on("folded position"):
            position = len(state.log)
        causes: dict[str, list[int]] = {}
        for name in owner.due:
            each = effects[name]
            parked = each.kind == REQUEST and name not in owner.sent
            if each.cause < position and not (parked and not self.on("parked is unsettled")):
                causes.setdefault(each.instance, []).append(each.cause)
        if not self.on("position goes on"):
            position = min([position, *(each for row in causes.values() for each in row)])
        lowest = min if self.on("lowest listed") else max
        entries = tuple(sorted((instance, lowest(row)) for instance, row in causes.items()))
        if not self.on("listed"):
            entries = ()
        if (position, entries) != (state.position, state.entries):
            stored = replace(state, position=position, entries=entries)
            yield Step(("stores checkpoint", position, entries), stored, WITHOUT_SERVICE)

    # Small changes.

    def _with(self, state: State, index: int, owner: Owner) -> State:
        owners = state.owners
        return replace(state, owners=(*owners[:index], owner, *owners[index + 1 :]))

    def _store(self, state: State, name: str, kind: str, epoch: int) -> State:
        if kind == EVENT:
            return replace(state, events=state.events | {name})
        message: Message = (name, epoch) if kind == OWNER else (name,)
        return replace(state, log=(*state.log, message))

    def _arm(self, state: State, arming: Arming) -> State:
        others = [each for each in state.timers if each[0] != arming.instance]
        timer = (arming.instance, arming.since, arming.number)
        return replace(state, timers=(*others, timer))

    def _replied(self, state: State, name: str) -> bool:
        return ("re:" + name,) in state.log
