"""What the model of packs knows of the world: what is stored, and what daemons remember."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias, cast

from msgspec import Struct
from msgspec.structs import replace

Message: TypeAlias = tuple[object, ...]
Log: TypeAlias = tuple[Message, ...]
Seqs: TypeAlias = frozenset[int]

ABSENT, MARKED, LOADED, ACTING, GONE = range(5)
NOWHERE: Final = -1
HIGH: Final = 99
"""Above every sequence."""
NOBODY: Final[frozenset[int]] = frozenset()
MINE: Final = frozenset({"start", "step", "end", "late", "pin"})


class Checkpoint(Struct, frozen=True, gc=False):
    """What is stored of the partition."""

    position: int = 1
    mark: int = 0
    listed: int = NOWHERE
    """The lowest cause of an unsettled effect."""


class Pass(Struct, frozen=True, gc=False):
    """A pass that is under way."""

    bottom: int
    top: int
    found: Seqs
    decided: str = ""


class Owner(Struct, frozen=True, gc=False):
    """One daemon's memory of the partition."""

    phase: int = ABSENT
    folded: int = 0
    due: frozenset[str] = frozenset()
    """Effects that are not acknowledged."""
    recording: int = NOWHERE
    """The position in the record that is under way."""
    pinned: bool = False
    loaded: Checkpoint | None = None
    current: bool = False
    """Whether the checkpoint is still the one that it knows."""
    mark: int = 0
    pass_: Pass | None = None


class Reader(Struct, frozen=True, gc=False):
    """Somebody who reads the mailbox in two portions."""

    who: int
    cut: int
    floor: int
    seen: Seqs
    reach: int


class State(Struct, frozen=True, gc=False):
    """The stored world, and who acts on it. ``log`` is everything that was ever stored."""

    log: Log
    owners: tuple[Owner, ...]
    floor: int = 0
    checkpoint: Checkpoint = Checkpoint()
    other: int = 0
    """The least mark of the other partitions: at the beginning, or above everything here."""
    record: int = NOWHERE
    bundles: tuple[tuple[int, Seqs], ...] = ()
    event: bool = False
    packs: int = 0
    purges: tuple[tuple[int, int], ...] = ()
    """Length of the log and floor at each purge, where replicas are asked."""
    reader: Reader | None = None
    swept: int = NOWHERE
    """Length of the log when it was first purged past the record's position."""
    forgotten: bool = False
    excess: str = ""


def raw(log: Log) -> Seqs:
    """Return all messages of the instance."""
    return frozenset(seq for seq, message in enumerate(log) if message[0] in MINE)


def readable(state: State, low: int = 0, top: int | None = None) -> Seqs:
    """Return the messages that stand in the mailbox, raw or in packs."""
    found: set[int] = set()
    for seq in range(max(low, state.floor), len(state.log) if top is None else top):
        message = state.log[seq]
        if message[0] == "pack":
            found |= cast("Seqs", message[1])
        elif message[0] in MINE:
            found.add(seq)
    return frozenset(found)


def packed(state: State) -> Seqs:
    """Return the copies in all packs."""
    packs = (cast("Seqs", each[1]) for each in state.log[state.floor :] if each[0] == "pack")
    return frozenset[int]().union(*packs)


def portion(state: State, low: int, top: int) -> tuple[Seqs, int]:
    """Return what a read finds, and how far its packs reach."""
    reach = 0
    for seq in range(max(low, state.floor), top):
        message = state.log[seq]
        if message[0] == "pack":
            reach = max(reach, cast("int", message[2]))
    return readable(state, low, top), reach


def views(state: State, *, replicas: bool) -> Iterator[State]:
    """Return the state, and what a replica may have of it: each earlier one."""
    yield state
    if replicas:
        for length in range(1, len(state.log) + 1):
            before = [at for at in state.purges if at[0] <= length]
            for floor in {before[-1][1] if before else 0} | {
                (state.purges[number - 1][1] if number else 0)
                for number, at in enumerate(state.purges)
                if at[0] == length
            }:
                if (length, floor) != (len(state.log), state.floor):
                    yield replace(state, log=state.log[:length], floor=floor)


def with_owner(state: State, index: int, owner: Owner) -> State:
    """Return a state in which an owner has changed."""
    owners = state.owners
    return replace(state, owners=(*owners[:index], owner, *owners[index + 1 :]))


def fence(state: State) -> State:
    """Make the revision that everybody knows an old one."""
    owners = tuple(replace(each, current=False) for each in state.owners)
    return replace(state, owners=owners)


def said(state: State, message: Message) -> State:
    """Return a state in which one more message is stored."""
    return replace(state, log=(*state.log, message))
