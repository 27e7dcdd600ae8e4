"""Peers: what one daemon asks the others, so that whoever is asked can answer for all.

Clients reach any daemon. What only the owner of an instance knows is asked of him; what
concerns all daemons is asked of each. Who does not answer in time is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import trio

from protocols import headers as h
from protocols import subjects
from protocols.api import runs as api
from protocols.errors import MovantError
from protocols.ports import Outgoing

if TYPE_CHECKING:
    from runtime.daemon import Daemon

ANSWER_S: Final = 1.0

Answer = TypeVar("Answer", bound=msgspec.Struct)


class Standing(msgspec.Struct, frozen=True):
    """What an owner knows of its instances beyond what the streams tell.

    ``statuses`` has those that are not simply running, ``waiting`` the first thing that each of
    the asked ones waits for, ``finished`` when those ended whose record is still under way.
    """

    statuses: dict[str, str] = {}
    waiting: dict[str, str] = {}
    finished: dict[str, int] = {}


class StandingOf(msgspec.Struct, frozen=True):
    """Ask for the standing of some instances."""

    ids: list[str] = []


class Registered(msgspec.Struct, frozen=True):
    """Tell that workflows have a new definition, or that definitions are about to be needed."""

    workflows: list[str] = []
    definitions: list[str] = []


class Peers:
    """The other daemons, as one daemon sees them."""

    def __init__(self, daemon: Daemon) -> None:
        self._parts = daemon.parts
        self._key = daemon.key

    @property
    def others(self) -> list[str]:
        """The keys of the other daemons that live."""
        return [key for key in self._parts.leases.members if key != self._key]

    def owner_of(self, partition: int) -> str:
        """Return the key of the other daemon that owns a partition; empty: this one, or none."""
        owners = self._parts.assignment.owners
        owner = owners[partition] if owners else ""
        known = owner != self._key and owner in self._parts.leases.members
        return owner if known and partition not in self._parts.owner.partitions.owned else ""

    async def ask(
        self,
        member: str,
        verb: str,
        request: msgspec.Struct,
        kind: type[Answer],
        timeout_s: float = ANSWER_S,
    ) -> Answer:
        """Ask one daemon. Raises what it answers, or that it does not."""
        frame = await self._parts.transport.request(
            Outgoing(subjects.peer(member, verb), msgspec.json.encode(request)), timeout_s
        )
        if h.SERVICE_ERROR.encode() in frame.headers:
            raise api.to_error(msgspec.json.decode(frame.payload, type=api.ErrorReply))
        return msgspec.json.decode(frame.payload, type=kind)

    async def ask_all(
        self, verb: str, request: msgspec.Struct, kind: type[Answer]
    ) -> dict[str, Answer]:
        """Ask all others at once; return the answers of those that gave one, by key."""
        answers: dict[str, Answer] = {}

        async def one(member: str) -> None:
            try:
                answers[member] = await self.ask(member, verb, request, kind)
            except (MovantError, msgspec.DecodeError):
                return  # it is about to end, or too busy: the rest is told without it

        async with trio.open_nursery() as nursery:
            for member in self.others:
                nursery.start_soon(one, member)
        return answers

    def tell_all(self, verb: str, message: msgspec.Struct) -> None:
        """Tell all daemons something. At most once: it only makes things quicker."""
        self._parts.transport.publish(
            Outgoing(subjects.peer(subjects.PEERS, verb), msgspec.json.encode(message))
        )
