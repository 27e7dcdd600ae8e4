"""UndoCommands: what would be undone, to undo it by hand, and to say whether a step was done.

running, blocked    a message into its mailbox: it stops and undoes, as after a failure
ended               a run of ``movant.undo``: its outcome stays as it is
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from actors.definitions.registry import Definitions
from actors.kernel.context import LOCAL
from protocols import subjects
from protocols.api import runs as api
from protocols.compensation import UNDO_WORKFLOW, PlannedUndo
from protocols.effects import FINAL
from protocols.errors import RefusedError
from runtime.api.runs import RunCommands
from runtime.stored import StoredRuns
from runtime.undoing import order_of, plan_of, register

TRIES_MAX: Final = 20
"""Runs of ``movant.undo`` for the same steps; each may be started when the last one failed."""
_PREFIX_CHARS: Final = 100


class UndoCommands:
    """Undoes by hand."""

    def __init__(self, definitions: Definitions, commands: RunCommands, runs: StoredRuns) -> None:
        self._definitions = definitions
        self._commands = commands
        self._runs = runs

    async def undo(self, request: api.RunUndo) -> api.Message:
        """Show what would be undone, or undo it. Raises RefusedError when there is nothing."""
        subjects.check_id(request.id)
        instance = await self._runs.fold(request.id)
        plan = await plan_of(self._runs, instance.undo_plan())
        if request.plan:
            return api.RunUndone(id=request.id, status=instance.status, plan=plan)
        if not plan:
            raise RefusedError(
                f"{request.id} has nothing to undo ({instance.status})",
                hint=f"movant run show {request.id}",
            )
        if instance.status in FINAL:
            run = await self._afterwards(request, plan)
            return api.RunUndone(id=request.id, status=instance.status, plan=plan, run=run)
        seq = await self._commands.order(
            request.id, "undo", request.reason, request.message_id, request.by
        )
        return api.RunUndone(id=request.id, status=instance.status, plan=plan, seq=seq)

    async def review(self, request: api.RunReview) -> api.Message:
        """Write a person's word about a step. Raises RefusedError when nobody waits for it."""
        subjects.check_id(request.id)
        instance = await self._runs.fold(request.id)
        waiting = {x.path: x.attempt for x in instance.waiting() if x.kind == "review"}
        if request.step not in waiting:
            raise RefusedError(
                f"{request.id} waits for nobody's word about {request.step}",
                hint=f"it does about {', '.join(waiting)}"
                if waiting
                else f"movant why {request.id}",
            )
        word = {
            "step": request.step,
            "attempt": waiting[request.step],
            "done": request.done,
            "result": request.result,
        }
        seq = await self._commands.order(
            request.id, "review", word, request.message_id, request.by
        )
        return api.Accepted(id=request.id, seq=seq)

    async def _afterwards(self, request: api.RunUndo, plan: Sequence[PlannedUndo]) -> str:
        """Start a run that undoes what is left; return its id. A repeat finds the same run."""
        instance = request.id
        if all(each.service == LOCAL for each in plan):
            raise RefusedError(
                f"what {instance} did were functions of its own code, and it has ended",
                hint="undo it by other means",
            )
        await register(self._definitions)
        who = request.by.who if request.by is not None else ""
        order = order_of(instance, plan, who=who, why=request.reason)
        name = undo_run(instance, plan)
        for number in range(1, TRIES_MAX + 1):
            run = f"{name}-{number}"
            started = await self._commands.start(
                api.RunStart(workflow=UNDO_WORKFLOW, input=order, id=run)
            )
            assert isinstance(started, api.RunStarted)
            if started.created or started.status != "failed":
                return run
        raise RefusedError(
            f"{TRIES_MAX} runs have tried to undo {instance}", hint=f"movant run show {name}-1"
        )


def undo_run(instance: str, plan: Sequence[PlannedUndo]) -> str:
    """Return how the ids of the runs begin that undo what an instance left: behind is a number."""
    keys = "\n".join(each.key for each in plan)
    digest = hashlib.sha256(keys.encode()).hexdigest()[:8]
    return f"{instance[:_PREFIX_CHARS]}-undo-{digest}"
