"""HoldCommands: the verbs that pause, resume, and force breakers, and what they look like."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from protocols import subjects
from protocols.api import runs as api
from protocols.errors import BadValueError, MovantError
from protocols.flow import EVERYTHING, Hold
from protocols.witness import Operator
from runtime.api.peers import Peers

if TYPE_CHECKING:
    from runtime.daemon import Daemon


SAID_CHARS_MAX: Final = 500
"""Of each text that says who, from where and why: a hold is read by every daemon, for ever."""


class Held(msgspec.Struct, frozen=True):
    """Tell another daemon that a key of the holds has changed."""

    key: str


class HoldCommands:
    """Writes what people say; the answer comes when every daemon that answers knows it."""

    def __init__(self, daemon: Daemon, peers: Peers) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._peers = peers

    async def pause(self, request: api.Pause) -> api.Message:
        """Pause something. What a service has already goes on."""
        return await self._say(request, paused=True)

    async def resume(self, request: api.Resume) -> api.Message:
        """Resume something."""
        return await self._say(request, paused=False)

    async def force(self, request: api.ServiceForce) -> api.Message:
        """Force the breaker of a service, or let it decide by itself again."""
        subjects.check_name(request.name, "service")
        forced = "" if request.state == "auto" else request.state
        hold = Hold(kind="breaker", name=request.name, forced=forced)
        return await self._write(hold, request)

    async def held(self, told: Held) -> api.Message:
        """Take the news from another daemon; when this answers it counts here."""
        await self._parts.holds.look(told.key)
        return api.Empty()

    async def _say(self, request: api.Pause, *, paused: bool) -> api.Message:
        if request.kind == EVERYTHING:
            if request.name:
                raise BadValueError("everything has no name", hint="leave the name out")
        elif request.kind == "run":
            subjects.check_id(request.name)
        else:
            subjects.check_name(request.name, request.kind)
        return await self._write(
            Hold(kind=request.kind, name=request.name, paused=paused), request
        )

    async def _write(self, hold: Hold, said: api.Pause | api.ServiceForce) -> api.Message:
        by = Operator(who=said.by) if isinstance(said.by, str) else said.by or Operator()
        if max(len(by.who), len(by.where), len(by.why)) > SAID_CHARS_MAX:
            raise BadValueError(f"`by` has texts of at most {SAID_CHARS_MAX} characters")
        hold = msgspec.structs.replace(
            hold,
            reason=said.reason or by.why,
            by=by.who,
            origin=by.where,
            at=self._daemon.clock.now_ns(),
        )
        await self._parts.holds.write(hold)
        unaware: list[str] = []

        async def tell(member: str) -> None:
            try:
                await self._peers.ask(member, "held", Held(hold.key), api.Empty)
            except MovantError:
                known = self._parts.leases.members.get(member)
                unaware.append(known.name if known is not None else member)

        # Who joins reads the holds behind its own record: either of the two sees the other.
        others = {*self._peers.others}
        with suppress(MovantError):
            others |= {*await self._parts.leases.newcomers()} - {self._daemon.key}
        async with trio.open_nursery() as nursery:
            for member in others:
                nursery.start_soon(tell, member)
        return api.HoldTold(hold=hold_view(hold), unaware=sorted(unaware))


def hold_view(hold: Hold) -> api.HoldView:
    """Return a hold as the API shows it."""
    by = Operator(who=hold.by, where=hold.origin) if hold.by or hold.origin else None
    return api.HoldView(
        kind=hold.kind,
        name=hold.name,
        paused=hold.paused,
        forced=hold.forced,
        reason=hold.reason,
        by=by,
        at=hold.at,
    )
