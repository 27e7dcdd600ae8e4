"""GateCalls: the part of the Client about gates: which are open, and to decide."""
# ruff: noqa: A002 - an id is called id, as in the API

from __future__ import annotations

from typing import Any

from protocols.api import runs as api
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
        limit: int = 50,
        after: str = "",
    ) -> api.GatePage:
        """Return a page of the open gates of all runs, the oldest first."""
        request = api.GateList(workflow=workflow, run=run, name=name, limit=limit, after=after)
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
