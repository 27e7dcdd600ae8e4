"""Undoes: the part of the Client about what was done: to undo it, or to say whether it was.

And about values that are lost.
"""
# ruff: noqa: A002 - an id is called id, as in the API

from __future__ import annotations

from typing import Any

from protocols.api import blobs as api_blobs
from protocols.api import runs as api
from protocols.subjects import check_id
from protocols.witness import Operator
from runtime.client.calls import Calls, new_message_id


class Undoes:
    """Undo and review."""

    _calls: Calls

    async def undo(
        self,
        id: str,
        *,
        plan: bool = False,
        reason: str = "",
        message_id: str = "",
        by: Operator | None = None,
    ) -> api.RunUndone:
        """Undo what a run did, or with ``plan`` tell what would be undone.

        One that has not ended is stopped by it; what one left that has ended is undone by
        another run, whose id the answer has. Raises RefusedError when there is nothing to undo.
        """
        request = api.RunUndo(
            id=check_id(id),
            plan=plan,
            reason=reason,
            message_id=message_id or new_message_id(),
            by=by,
        )
        return await self._calls.call("run.undo", request, api.RunUndone)

    async def review(
        self,
        id: str,
        step: str,
        *,
        done: bool,
        result: Any = None,
        message_id: str = "",
        by: Operator | None = None,
    ) -> api.Accepted:
        """Say whether a step was done, with its result; for steps with ``unknown="review"``.

        Raises RefusedError when the run does not wait for that.
        """
        request = api.RunReview(
            id=check_id(id),
            step=step,
            done=done,
            result=result,
            message_id=message_id or new_message_id(),
            by=by,
        )
        return await self._calls.call("run.review", request, api.Accepted)

    async def discard(
        self, id: str, message: int, *, message_id: str = "", by: Operator | None = None
    ) -> api.Accepted:
        """Give up the value of the message that blocks a run, by its sequence: it goes on.

        A signal never came then, an answer is one of which nobody knows what it was, and a run
        whose input it was has failed. Raises RefusedError when that does not block the run.
        """
        request = api_blobs.RunDiscard(
            id=check_id(id), message=message, message_id=message_id or new_message_id(), by=by
        )
        return await self._calls.call("run.discard", request, api.Accepted)
