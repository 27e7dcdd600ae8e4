"""Packs, purge and archive: every mailbox stays whole, and nothing is kept for ever.

One partition with one instance, and a least mark of all the others. Its owners come one after
the other; each may crash at any point, or be so slow that the next one takes over while it
still packs, bundles, records, marks and stores its checkpoint. A mailbox is the union of its
messages and of the copies in its packs; a fold is a function of the valid ones among them, so
two folds are equal when these sets are. ``log`` is everything that was ever stored, ``floor``
the first sequence that is not purged.

What is claimed, in every reachable state:

    whole         a read that is accepted as complete has exactly the valid messages that were
                  ever stored, up to where its owner knows the markers
    nothing lost  what an instance without a record needs can be read; the history of one that
                  has a record can be read, or the look-up finds it in a bundle
    one outcome   so a message behind the end, or a repeated start, never makes it run again
    effects       the record and the event come to the world, in peace
    no garbage    in peace everything of an instance that ended is purged
    no return     when its record is forgotten nothing of an instance stands in the mailbox: it
                  would be taken for one that has not ended

A pass waits for the records that are under way, reads from the mark to a top, decides, writes,
raises the mark in memory; the mark is stored with the checkpoint, and the stream is purged to
the stored one. What the code calls a chunk is a pass here.

``RULES`` has what is needed for that. Without a rule there is a shortest counterexample of

     3 steps  least mark
     4 steps  contains the newest
     7 steps  acknowledged
     9 steps  tick
    10 steps  handed position, position at or above, reads to its top, valid only
    12 steps  absence at the leader, floor at the end, look-up, marker below
    13 steps  by evidence, whole history
    14 steps  claim, first that has it
    15 steps  compare and set, covering pack, from the archive, swept twice
    19 steps  below the position
    20 steps  whole read

``python -m tests.models --without RULE`` prints it. In short:

- *whole history*: a pass copies the beginning of X into a pack at the head. The next pass ends
  below that pack, X has a record: its bundle lacks the beginning.
- *by evidence*: a pass copied X forward although it has a record, because its replica did not
  know the record, or because a former owner stored it late and the new one could not fold X
  (*blind*). For the next pass the record is older than the mark, as if X were bundled already;
  but its history is in the pack.
- *from the archive*: X has a record, its event is not acknowledged. X is bundled and purged, its
  owner dies, the next one finds no mailbox to fold and never emits the event.
- *whole read*: a former owner reads the end of X and freezes; its successor bundles X and purges.
  The former owner finds no packs any more and stores a bundle of the end, which is nearer to
  the record than the complete one. So the look at what is purged comes after the last read.
- *claim*: B reads the checkpoint, A stores a newer one and the stream is purged up to it: B
  begins below what is purged, and each of its passes is thrown away.
- *compare and set*: A stores a newer one over B's claim, with the same end; B may then store its
  own, with what A knew to be open left out.
- *covering pack*: between two portions of a read everything is purged; the first portion had a
  pack that reaches less far.
- *swept twice*: a pass copies X forward, the next one bundles it and MAIL is purged up to there.
  The pack stands above; without its record X would be copied forward for ever.
- *absence at the leader*: one portion comes from the leader, the second from a replica that does
  not have the pack yet.

A former draft let a pass reach beyond all packs that earlier ones wrote, and copied forward what
had unsettled effects: as good, but a pass could not be cut into small steps. That a pass waits
for records makes look-ups shorter; with *by evidence* it is not needed for safety.

Bound of the test, with all rules and one pack: two owners one after the other, with reads,
196,444 states; two that overlap, 176,544; three of which the second cannot fold, 183,858; pins,
69,140; replicas, 11,574; one owner, two packs, a late message, 160,627: 50 s together.
``python -m tests.models --bound 2`` adds two overlapping owners with reads, with a late message,
with two packs, three owners one after the other, pins with reads, and replicas with a late
message (135,011 states, with two packs more): about a million states and one to three minutes
for the larger ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, cast

from msgspec import Struct
from msgspec.structs import astuple, replace

from tests.models.packs_world import (
    ABSENT,
    ACTING,
    GONE,
    HIGH,
    LOADED,
    MARKED,
    MINE,
    NOBODY,
    NOWHERE,
    Checkpoint,
    Log,
    Owner,
    Pass,
    Reader,
    Seqs,
    State,
    fence,
    packed,
    portion,
    raw,
    readable,
    said,
    views,
    with_owner,
)
from tests.models.search import ALL, NONE, Found, Step, explore

RULES: Final[Mapping[str, str]] = {
    "acknowledged": "the mark rises when what is needed is stored elsewhere, not before",
    "below the position": "a pass takes only what its owner has folded",
    "whole history": "a bundle takes what stands in packs above the top, too",
    "whole read": "a pass under which something was purged, up to its last read, is thrown away",
    "from the archive": "a new owner redoes what is not settled from a bundled history, too",
    "position at or above": "a record that was written at or above the top does not count yet",
    "by evidence": "a history that a pack still carries is bundled, however old the record",
    "first that has it": "the look-up goes on until a bundle has the instance",
    "handed position": "a record's position is at or above the message that ended its instance",
    "valid only": "a pack leaves out what is void",
    "marker below": "the last marker below the mark is kept beside it",
    "least mark": "nothing is purged above any partition's mark",
    "tick": "the mark of a quiet partition rises as well",
    "claim": "a new owner stores the checkpoint that it read again, before it relies on it",
    "compare and set": "a checkpoint replaces only the one that its owner knows",
    "look-up": "a mailbox of a purged stream that no pack covers is looked up",
    "covering pack": "a pack spares the look-up only when it reaches up to what is purged",
    "contains the newest": "a read counts when it has the newest message that was handed over",
    "absence at the leader": "that there is no record and no such pack only the leader can tell",
    "reads to its top": "a pass reads from a replica that has everything below its top",
    "floor at the end": "what is purged is asked after the last portion of a read",
    "swept twice": "a record stays until all is purged that stood there when its end was",
}


class Bound(Struct, frozen=True, gc=False):
    """How far a search goes."""

    owners: int = 2
    overlap: int = 1
    """How many takeovers may happen while the former owner still acts."""
    packs: int = 1
    pins: bool = False
    reads: bool = True
    blind: bool = False
    """Whether the second owner fails to fold the instance."""
    replicas: bool = False
    """Whether reads may be answered by a replica, whose log is a prefix."""
    script: tuple[str, ...] = ("start", "end")


LATE: Final = ("start", "end", "late")
SMALL: Final = (
    Bound(overlap=0),
    Bound(reads=False),
    Bound(owners=3, reads=False, blind=True),
    Bound(pins=True, reads=False, script=("start",)),
    Bound(owners=1, replicas=True),
    Bound(owners=1, packs=2, script=LATE),
)
"""Seconds each; ``LARGE`` takes minutes."""
LARGE: Final = (
    Bound(),
    Bound(owners=3, overlap=0, reads=False),
    Bound(reads=False, script=LATE),
    Bound(reads=False, packs=2),
    Bound(pins=True, script=("start",)),
    Bound(owners=1, replicas=True, script=LATE),
    Bound(owners=1, packs=2, replicas=True, script=LATE),
)


class Packs:
    """The model under some rules."""

    def __init__(self, bound: Bound, *, without: str = "") -> None:
        assert without in {"", *RULES}
        self.bound = bound
        self.without = without
        self._valid: dict[tuple[Log, int], Seqs] = {}

    def explore(self) -> Found:
        """Search everything."""
        goals = [("an effect is lost", self.settled), ("garbage stays", self.collected)]
        if "end" not in self.bound.script:
            goals = []
        owners = [Owner(ACTING, 1, current=True), *[Owner()] * (self.bound.owners - 1)]
        first = State((("marker", 1),), tuple(owners))
        return explore(first, self.steps, wrong=self.wrong, goals=goals)

    def on(self, rule: str) -> bool:
        """Tell whether a rule holds."""
        return rule != self.without

    # Claims.

    def wrong(self, state: State) -> str:
        """Return what is wrong: a lost message, a lost history, or a wrong fold."""
        if state.excess:
            return state.excess
        if state.forgotten:
            stands = readable(state) or packed(state)
            return "the record of what stands in the mailbox is forgotten" if stands else ""
        whole = self.valid(state.log, 0)
        seen = readable(state)
        packs = (cast("Seqs", each[1]) for each in state.log if each[0] == "pack")
        if any(not copies <= whole for copies in packs):
            return "a void message stands in a pack"
        if whole <= seen:
            return ""
        if state.record == NOWHERE:
            return "a message of an unfinished instance is purged"
        end = state.log.index(("end",))
        needed = {seq for seq in whole if seq <= end}
        if not (needed <= seen or needed <= self.history(state)):
            return "the history of a finished instance is lost"
        return ""

    def settled(self, state: State) -> bool:
        """Every effect is in the world."""
        return state.event and (state.record != NOWHERE or state.forgotten)

    def collected(self, state: State) -> bool:
        """Nothing is stored of an instance that ended."""
        return ("end",) in state.log and not any(
            message[0] == "pack" or message[0] in MINE for message in state.log[state.floor :]
        )

    # What is stored.

    def valid(self, log: Log, since: int, top: int | None = None) -> Seqs:
        """Return the valid messages of the instance, as told by the markers from ``since``."""
        if top is not None:
            log = log[:top]
        known = self._valid.get((log, since))
        if known is None:
            epoch = 0
            found = set()
            for seq, message in enumerate(log):
                if message[0] == "marker" and seq >= since:
                    epoch = max(epoch, cast("int", message[1]))
                elif message[0] in MINE and not (
                    message[0] == "pin" and cast("int", message[1]) < epoch
                ):
                    found.add(seq)
            known = self._valid[log, since] = frozenset(found)
        return known

    def history(self, state: State) -> Seqs:
        """Return what the look-up finds of a finished instance."""
        for top, found in sorted(state.bundles, key=lambda each: each[0]):
            if top > state.record and (found or not self.on("first that has it")):
                return found
        return frozenset()

    # What can happen.

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Return everything that can happen next."""
        if state.forgotten:
            return
        peace = not any(each.phase in {MARKED, LOADED, ACTING} for each in state.owners)
        for index, owner in enumerate(state.owners):
            name = "ABC"[index]
            if owner.phase == ABSENT:
                if peace or index <= self.bound.overlap:
                    log = (*state.log, ("marker", index + 1))
                    marked = replace(with_owner(state, index, Owner(MARKED)), log=log)
                    yield Step((name, "marks"), marked, ALL if peace else NONE)
                break
            if owner.phase == MARKED:
                yield Step((name, "reads the checkpoint"), self._load(state, index))
            elif owner.phase == LOADED:
                yield Step((name, "begins"), self._begin(state, index, owner))
            elif owner.phase == ACTING:
                for what, after, helps in self._acts(state, index, owner):
                    yield Step((name, *what), after, helps)
            if owner.phase != GONE and index < len(state.owners) - 1:
                # Somebody will replace a daemon that cannot fold what others can.
                helps = ALL if self.bound.blind and index == 1 else NONE
                yield Step((name, "crashes"), with_owner(state, index, Owner(GONE)), helps)
        yield from self._outside(state)

    def _outside(self, state: State) -> Iterator[Step[State]]:
        for kind in self.bound.script:
            if (kind,) not in state.log:
                yield Step(("stored:", kind), said(state, (kind,)))
                break
        least = min(state.checkpoint.mark, state.other)
        if not self.on("least mark"):
            least = min(max(state.checkpoint.mark, state.other), len(state.log))
        if least > state.floor:
            purged = replace(state, floor=least)
            if NOWHERE < state.record < least and state.swept == NOWHERE:
                purged = replace(purged, swept=len(state.log))
            if self.bound.replicas:
                purged = replace(purged, purges=(*state.purges, (len(state.log), least)))
            yield Step(("purged below", least), purged)
        if self._may_forget(state):
            forgotten = replace(state, record=NOWHERE, forgotten=True)
            yield Step(("the record is forgotten",), forgotten, NONE)
        if self.on("tick") and not state.other:
            yield Step(("the other mark rises",), replace(state, other=HIGH))
        if self.bound.reads:
            yield from self._reads(state)

    def _may_forget(self, state: State) -> bool:
        """Tell whether a record may go, which is kept for longer than a pass or a read takes."""
        under_way = any(each.pass_ for each in state.owners) or state.reader is not None
        if state.record == NOWHERE or not state.event or under_way:
            return False
        if not self.on("swept twice"):
            return state.floor > state.record
        return state.swept != NOWHERE and state.floor > state.swept

    def _load(self, state: State, index: int) -> State:
        """Read the checkpoint; claim it, so that nobody else can replace it any more."""
        loaded = Owner(LOADED, loaded=state.checkpoint, current=True)
        if self.on("claim"):
            state = fence(state)
        return with_owner(state, index, loaded)

    def _begin(self, state: State, index: int, owner: Owner) -> State:
        """Read what follows the checkpoint up to the own marker; redo what may be unsettled."""
        marker = state.log.index(("marker", index + 1))
        at = owner.loaded
        assert at is not None
        begun = replace(
            owner,
            phase=ACTING,
            folded=marker + 1,
            mark=at.mark,
            loaded=None,
        )
        read = range(max(at.position, state.floor), marker)
        noticed = at.listed != NOWHERE or any(state.log[seq][0] in MINE for seq in read)
        end = state.log.index(("end",)) if ("end",) in state.log else len(state.log)
        view = readable(state)
        if state.record != NOWHERE and self.on("from the archive"):
            view |= self.history(state)
        if noticed and end <= marker and end in view:
            if not (self.bound.blind and index == 1):
                again = end >= at.position or NOWHERE < at.listed <= end
                if again:
                    due = frozenset({"record", "event"})
                    begun = replace(begun, due=due, recording=self._position(state, marker))
            else:
                begun = replace(begun, due=frozenset({"nobody can"}))
        return with_owner(state, index, begun)

    def _known(self, owner: Owner) -> int:
        """Return from where on an owner knows the markers."""
        return 0 if self.on("marker below") else owner.mark

    def _position(self, state: State, handed: int) -> int:
        return handed if self.on("handed position") else state.checkpoint.position - 1

    def _acts(
        self, state: State, index: int, owner: Owner
    ) -> Iterator[tuple[tuple[object, ...], State, frozenset[int]]]:
        if owner.folded < len(state.log):
            yield self._folds_next(state, index, owner)
        if "event" in owner.due:
            done = replace(owner, due=owner.due - {"event"})
            yield ("stores the event",), replace(with_owner(state, index, done), event=True), ALL
        if owner.recording != NOWHERE:
            done = replace(owner, recording=NOWHERE, due=owner.due - {"record"})
            stored = with_owner(state, index, done)
            if state.record == NOWHERE:
                stored = replace(stored, record=owner.recording)
            yield ("stores the record at", owner.recording), stored, ALL
        if self.bound.pins and not owner.pinned and ("start",) in state.log[: owner.folded]:
            pinned = with_owner(state, index, replace(owner, pinned=True))
            yield ("pins",), said(pinned, ("pin", index + 1)), ALL
        end = state.log.index(("end",)) if owner.due else NOWHERE
        new = Checkpoint(owner.folded, owner.mark, end)
        if new != state.checkpoint and (owner.current or not self.on("compare and set")):
            stored = replace(fence(state), checkpoint=new)
            yield (
                ("stores checkpoint", *astuple(new)),
                with_owner(stored, index, replace(owner, current=True)),
                ALL,
            )
        if owner.pass_ is None:
            yield from self._passes(state, index, owner)
        else:
            yield from self._collects(state, index, owner, owner.pass_)

    def _folds_next(
        self, state: State, index: int, owner: Owner
    ) -> tuple[tuple[object, ...], State, frozenset[int]]:
        next_ = replace(owner, folded=len(state.log))
        for seq in range(owner.folded, len(state.log)):
            message = state.log[seq]
            if message[0] == "marker" and cast("int", message[1]) > index + 1:
                return ("stops at a marker",), with_owner(state, index, Owner(GONE)), ALL
            if message == ("end",):
                if self.bound.blind and index == 1:
                    next_ = replace(next_, due=frozenset({"nobody can"}))
                else:
                    next_ = replace(
                        next_,
                        due=frozenset({"record", "event"}),
                        recording=self._position(state, seq),
                    )
        return ("folds up to", next_.folded), with_owner(state, index, next_), ALL

    def _passes(
        self, state: State, index: int, owner: Owner
    ) -> Iterator[tuple[tuple[object, ...], State, frozenset[int]]]:
        """Begin a pass: read what is stored from the mark to some top."""
        high = owner.folded if self.on("below the position") else len(state.log)
        for top in range(owner.mark + 1, high + 1):
            if state.log[top - 1][0] == "marker" and top < high:
                continue
            sources = [state]
            if not self.on("reads to its top"):
                sources += [
                    each
                    for each in views(state, replicas=self.bound.replicas)
                    if len(each.log) < top
                ]
            for view in sources:
                found = readable(view, owner.mark, min(top, len(view.log)))
                if self.on("valid only"):
                    known = self.valid(state.log, self._known(owner), top)
                    found -= raw(state.log[:top]) - known
                if found:
                    begun = replace(owner, pass_=Pass(owner.mark, top, found))
                    yield ("reads", owner.mark, "to", top), with_owner(state, index, begun), ALL

    def _collects(
        self, state: State, index: int, owner: Owner, pass_: Pass
    ) -> Iterator[tuple[tuple[object, ...], State, frozenset[int]]]:
        yield ("gives up its pass",), with_owner(state, index, replace(owner, pass_=None)), ALL
        top = pass_.top
        if not pass_.decided:
            if self.on("whole read") and state.floor > pass_.bottom:
                return
            if "record" in owner.due:
                return  # a pass waits for the records that are under way
            yield self._decides(state, index, owner, state.record)
            # A replica may miss the record; where the beginning is missing the leader is asked.
            begun = state.log.index(("start",)) in pass_.found
            if self.bound.replicas and (begun or not self.on("absence at the leader")):
                yield self._decides(state, index, owner, NOWHERE)
            return
        next_ = replace(owner, mark=top, pass_=None)
        if pass_.decided == "bundle":
            others = tuple(each for each in state.bundles if each[0] != top)
            stored = replace(state, bundles=tuple(sorted((*others, (top, pass_.found)))))
            yield ("stores bundle", top, pass_.found), with_owner(stored, index, next_), ALL
        elif state.packs < self.bound.packs:
            stored = replace(said(state, ("pack", pass_.found, top)), packs=state.packs + 1)
            others = (
                (*state.bundles, (top, NOBODY))
                if top not in dict(state.bundles)
                else state.bundles
            )
            stored = replace(stored, bundles=tuple(sorted(others)))
            yield ("stores pack", pass_.found), with_owner(stored, index, next_), ALL

    def _decides(
        self, state: State, index: int, owner: Owner, record: int
    ) -> tuple[tuple[object, ...], State, frozenset[int]]:
        assert owner.pass_ is not None
        decided = self._decide(owner.pass_, record)
        found = owner.pass_.found
        if decided == "bundle" and self.on("whole history"):
            found |= packed(state)
        next_ = replace(owner, pass_=replace(owner.pass_, decided=decided, found=found))
        if decided == "drop":
            next_ = replace(next_, mark=owner.pass_.top, pass_=None)
        elif not self.on("acknowledged"):
            next_ = replace(next_, mark=owner.pass_.top)
        return ("decides to", decided), with_owner(state, index, next_), ALL

    def _decide(self, pass_: Pass, position: int) -> str:
        if not pass_.found:
            return "drop"
        if position == NOWHERE or (position >= pass_.top and self.on("position at or above")):
            return "pack"
        if position >= pass_.bottom:
            return "bundle"
        if self.on("by evidence") and min(pass_.found) <= position:
            return "bundle"
        return "drop"

    # Reads of the mailbox, in two portions.

    def _reads(self, state: State) -> Iterator[Step[State]]:
        reader = state.reader
        if reader is None:
            for who, owner in enumerate(state.owners):
                if owner.phase == ACTING:
                    yield from self._begins_reading(state, who)
            return
        done = replace(state, reader=None)
        owner = state.owners[reader.who]
        if owner.phase != ACTING:
            yield Step(("nobody reads on",), done, NONE)
            return
        for view in views(state, replicas=self.bound.replicas):
            seen, reach = portion(view, reader.cut, len(view.log))
            seen |= reader.seen
            what = self._accepts(state, reader, seen, max(reach, reader.reach))
            told = ("reads the rest",) if view is state else ("reads the rest of", len(view.log))
            yield Step(told, replace(done, excess=what), NONE)

    def _begins_reading(self, state: State, who: int) -> Iterator[Step[State]]:
        for view in views(state, replicas=self.bound.replicas):
            for cut in range(view.floor, len(view.log) + 1):
                if cut == view.floor or view.log[cut - 1][0] != "marker":
                    seen, reach = portion(view, 0, cut)
                    begun = replace(state, reader=Reader(who, cut, state.floor, seen, reach))
                    yield Step(("ABC"[who], "reads the mailbox below", cut), begun, NONE)

    def _accepts(self, state: State, reader: Reader, seen: Seqs, reach: int) -> str:
        """Return what is wrong with a read that is accepted, or nothing."""
        owner = state.owners[reader.who]
        truth = self.valid(state.log, 0, owner.folded)
        newest = max(truth, default=NOWHERE)
        behind = newest not in seen and reach <= newest
        if self.bound.replicas and self.on("contains the newest") and behind:
            return ""  # it asks again
        floor = state.floor if self.on("floor at the end") else reader.floor
        covered = reach >= floor if self.on("covering pack") else reach > 0
        if floor and not covered and self.on("look-up"):
            if self.on("absence at the leader"):
                if state.record != NOWHERE or portion(state, 0, len(state.log))[1] > reach:
                    return ""
            elif state.record != NOWHERE and not self.bound.replicas:
                return ""
        known = self.valid(state.log, self._known(owner), owner.folded)
        void = raw(state.log[: owner.folded]) - known
        view = frozenset(seq for seq in seen if seq < owner.folded) - void
        if view == truth:
            return ""
        return f"an activation folds {sorted(view)} instead of {sorted(truth)}"
