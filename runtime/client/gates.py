"""GateCalls: the part of the Client about gates: which are open, to decide, and who is away."""
# ruff: noqa: A002 - an id is called id, as in the API

from __future__ import annotations

from typing import Any

from protocols.api import absences as said
from protocols.api import runs as api
from protocols.gates.absences import Absence
from protocols.gates.words import Said
from protocols.subjects import check_id
from protocols.witness import Operator
from runtime.client.calls import Calls, new_message_id


class GateCalls:
    """List, show, decide."""

    _calls: Calls

    async def gates(
        self,
        *,
        workflow: str | None = None,
        run: str | None = None,
        name: str = "",
        who: str = "",
        role: str = "",
        limit: int = 50,
        after: str = "",
    ) -> api.GatePage:
        """Return a page of the open gates of all runs, the oldest first.

        With ``who`` those where that person may decide, in that ``role`` or for who is away.
        """
        request = api.GateList(
            workflow=workflow, run=run, name=name, who=who, role=role, limit=limit, after=after
        )
        return await self._calls.call("gate.ls", request, api.GatePage)

    async def gate(
        self, id: str, gate: str = "", *, raw: bool = False, by: Operator | None = None
    ) -> api.GateView:
        """Return what a person has to know of a gate, by its name or path.

        What is sensitive is masked, as in ``show``, unless ``raw``. Raises NotFoundError;
        RefusedError when several could be meant.
        """
        request = api.GateShow(id=check_id(id), gate=gate, raw=raw, by=by)
        return await self._calls.call("gate.show", request, api.GateView)

    async def decide(
        self,
        id: str,
        do: Said,
        gate: str = "",
        *,
        values: dict[str, Any] | None = None,
        role: str = "",
        to: str = "",
        step: str = "",
        message_id: str = "",
        by: Operator | None = None,
    ) -> api.GateDecided:
        """Decide at a gate; the answer has the decision, or that others have to approve as well.

        ``values`` belong to ``modify``, ``step`` to ``retry``; ``delegate`` hands it over ``to``
        somebody else.

        Raises AlreadyDecidedError, which says who has decided what, when another decision was
        first; RefusedError for a word that does not count; NotFoundError.
        """
        request = api.GateDecide(
            id=check_id(id),
            do=do,
            gate=gate,
            values=values,
            role=role,
            to=to,
            step=step,
            message_id=message_id or new_message_id(),
            by=by,
        )
        return await self._calls.call("gate.decide", request, api.GateDecided)

    async def stand_in(
        self,
        who: str,
        to: str,
        until: int,
        *,
        since: int = 0,
        roles: tuple[str, ...] = (),
        message_id: str = "",
        by: Operator,
    ) -> Absence:
        """Let ``to`` decide what would be ``who``'s, at all gates, ``until`` in ns since 1970.

        It begins at ``since``, or now. With ``roles`` also where those may decide. Raises
        RefusedError when ``who`` is away already, when it would come back to ``who``, or when
        ``to`` says it; BadValueError.
        """
        request = said.GateAway(
            who=who,
            to=to,
            until=until,
            since=since,
            roles=roles,
            message_id=message_id or new_message_id(),
            by=by,
        )
        return (await self._calls.call("gate.away", request, said.AbsenceTold)).absence

    async def end_stand_in(self, who: str, id: str = "", *, by: Operator) -> Absence:
        """Take it back: the one of that id, or the only one that is not over.

        Raises NotFoundError; RefusedError when several could be meant.
        """
        request = said.GateBack(who=who, id=id, by=by)
        return (await self._calls.call("gate.back", request, said.AbsenceTold)).absence

    async def absences(self, who: str = "", *, over: bool = False) -> list[Absence]:
        """Return who is away or will be: all, or where ``who`` is away or stands in."""
        request = said.GateAbsences(who=who, over=over)
        return (await self._calls.call("gate.absences", request, said.AbsencePage)).absences
