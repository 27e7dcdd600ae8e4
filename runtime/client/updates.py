"""UpdateCalls: the part of the Client about updates, which are signals that are answered."""
# ruff: noqa: A002 - an id is called id, as in the API

from __future__ import annotations

from typing import Any, Final

import trio

from protocols.api.updates import RunAnswer, RunUpdate, RunUpdated
from protocols.subjects import check_id, check_name
from protocols.updates import Until, is_over
from protocols.witness import Operator
from runtime.client.blobs import LargeValues
from runtime.client.calls import Calls, new_message_id

SLICE_S: Final = 4.0
"""One request waits this long, as for the end of a run; the next one follows."""


class UpdateCalls:
    """Send an update, and ask for its answer."""

    _calls: Calls
    large: LargeValues

    async def update(
        self,
        id: str,
        name: str,
        data: Any = None,
        *,
        until: Until = "answered",
        timeout_s: float = float("inf"),
        message_id: str = "",
        by: Operator | None = None,
    ) -> RunUpdated:
        """Send a signal that the workflow answers; wait until it is answered, or accepted.

        The ``status`` of the answer is ``completed``, with the ``result``; ``rejected`` or
        ``failed``, with the ``failure``; or, after ``timeout_s`` or when the run is blocked,
        ``accepted`` or ``pending``. A repeat by ``message_id`` is told what the first one was.
        """
        value, blob = await self.large.given(id, data)
        first_s = min(timeout_s, SLICE_S)
        request = RunUpdate(
            id=check_id(id),
            name=check_name(name, "signal name"),
            data=value,
            data_blob=blob,
            message_id=message_id or new_message_id(),
            until=until,
            timeout_s=first_s,
            by=by,
        )
        began = trio.current_time()
        found = await self._calls.call("run.update", request, RunUpdated, extra_s=first_s)
        left_s = timeout_s - (trio.current_time() - began)
        if is_over(found.status, until) or found.blocked or left_s <= 0:
            return found
        return await self.answer(id, request.message_id, until=until, timeout_s=left_s)

    async def answer(
        self, id: str, message_id: str, *, until: Until = "answered", timeout_s: float = 0.0
    ) -> RunUpdated:
        """Return what has become of an update, as ``update`` does. Raises NotFoundError."""
        deadline = trio.current_time() + timeout_s
        while True:
            slice_s = max(0.0, min(SLICE_S, deadline - trio.current_time()))
            request = RunAnswer(
                id=check_id(id), message_id=message_id, until=until, timeout_s=slice_s
            )
            found = await self._calls.call("run.answer", request, RunUpdated, extra_s=slice_s)
            over = is_over(found.status, until) or found.blocked
            if over or trio.current_time() >= deadline:
                return found
