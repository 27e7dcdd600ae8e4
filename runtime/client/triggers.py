"""TriggerCalls: the part of the Client about triggers."""

from __future__ import annotations

from protocols.api import runs as api
from protocols.api import triggers as said
from protocols.triggers import TriggerFile
from protocols.witness import Operator
from runtime.client.calls import Calls, new_message_id


class TriggerCalls:
    """List, add, remove, pause, fire."""

    _calls: Calls

    async def triggers(self, *, workflow: str | None = None, kind: str = "") -> said.TriggerPage:
        """Return the triggers of all workflows, or of one, or of one kind."""
        request = said.TriggerList(workflow=workflow, kind=kind)
        return await self._calls.call("trigger.ls", request, said.TriggerPage)

    async def trigger(self, name: str) -> said.TriggerView:
        """Return a trigger with all that it says. Raises NotFoundError."""
        return await self._calls.call(
            "trigger.show", said.TriggerShow(name=name), said.TriggerView
        )

    async def add_triggers(self, file: TriggerFile) -> said.TriggerAdded:
        """Add triggers to a workflow; those of the same names are replaced, in one write.

        Raises BadValueError for what is wrong with them, NotFoundError for the workflow.
        """
        request = said.TriggerAdd(workflow=file.workflow, triggers=file.triggers)
        return await self._calls.call("trigger.add", request, said.TriggerAdded)

    async def remove_trigger(self, name: str) -> None:
        """Remove a trigger that was added. Raises AlreadyExistsError for one of a graph."""
        await self._calls.call("trigger.rm", said.TriggerRemove(name=name), api.Empty)

    async def pause_trigger(self, name: str, *, by: Operator | None = None) -> said.TriggerRow:
        """Let a trigger do nothing, until it is resumed."""
        request = said.TriggerPause(name=name, by=by)
        return await self._calls.call("trigger.pause", request, said.TriggerRow)

    async def resume_trigger(self, name: str, *, by: Operator | None = None) -> said.TriggerRow:
        """Let a trigger fire again; what was due meanwhile is not made up for."""
        request = said.TriggerResume(name=name, by=by)
        return await self._calls.call("trigger.resume", request, said.TriggerRow)

    async def fire_trigger(
        self, name: str, *, message_id: str = "", by: Operator | None = None
    ) -> said.TriggerFired:
        """Start the run of a schedule now. A repeat by ``message_id`` gives the same run."""
        request = said.TriggerFire(name=name, message_id=message_id or new_message_id(), by=by)
        return await self._calls.call("trigger.fire", request, said.TriggerFired)

    async def due(self, name: str, *, count: int = 5, after: int = 0) -> said.TriggerTimes:
        """Return the next due times of a schedule, behind ``after`` in ns, or from now on."""
        request = said.TriggerNext(name=name, count=count, after=after)
        return await self._calls.call("trigger.next", request, said.TriggerTimes)

    async def backfill(
        self, name: str, begin: int, end: int, *, by: Operator | None = None
    ) -> said.TriggerBackfilled:
        """Start the runs of past times from ``begin`` up to ``end``, in ns since 1970."""
        request = said.TriggerBackfill(name=name, begin=begin, end=end, by=by)
        return await self._calls.call("trigger.backfill", request, said.TriggerBackfilled)
