"""UndoCommands: the verb ``run.undo``: what would be undone, and to undo it by hand.

running, blocked    a message into its mailbox: it stops and undoes, as after a failure
ended               a run of ``movant.undo``: its outcome stays as it is
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from actors.definitions import Definitions
from actors.kernel.context import LOCAL
from actors.packing import pack
from protocols import api, subjects
from protocols.compensation import PlannedUndo
from protocols.effects import FINAL
from protocols.errors import NotFoundError, RefusedError
from runtime.api_queries import RunQueries
from runtime.api_runs import RunCommands

WORKFLOW: Final = "movant.undo"
SOURCE: Final = Path(__file__).parent / "definitions" / "undo.py"
TRIES_MAX: Final = 20
"""Runs of ``movant.undo`` for the same steps; each may be started when the last one failed."""
_PREFIX_CHARS: Final = 100


class UndoCommands:
    """Undoes by hand."""

    def __init__(
        self, definitions: Definitions, commands: RunCommands, queries: RunQueries
    ) -> None:
        self._definitions = definitions
        self._commands = commands
        self._queries = queries

    async def undo(self, request: api.RunUndo) -> api.Message:
        """Show what would be undone, or undo it. Raises RefusedError when there is nothing."""
        subjects.check_id(request.id)
        instance = await self._queries.fold(request.id)
        plan = instance.undo_plan()
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

    async def _afterwards(self, request: api.RunUndo, plan: Sequence[PlannedUndo]) -> str:
        """Start a run that undoes what is left; return its id. A repeat finds the same run."""
        instance = request.id
        who = request.by.who if request.by is not None else ""
        steps = [
            {
                "path": each.path,
                "service": each.service,
                "operation": each.operation,
                "key": each.key,
                "input": msgspec.to_builtins(each.input),
            }
            for each in plan
            if each.service != LOCAL
        ]
        if not steps:
            raise RefusedError(
                f"what {instance} did were functions of its own code, and it has ended",
                hint="undo it by other means",
            )
        await self._registered()
        order = {"of": instance, "steps": steps, "who": who, "why": request.reason}
        keys = "\n".join(each["key"] for each in steps)
        digest = hashlib.sha256(keys.encode()).hexdigest()[:8]
        name = f"{instance[:_PREFIX_CHARS]}-undo-{digest}"
        for number in range(1, TRIES_MAX + 1):
            run = f"{name}-{number}"
            started = await self._commands.start(
                api.RunStart(workflow=WORKFLOW, input=order, id=run)
            )
            assert isinstance(started, api.RunStarted)
            if started.created or started.status != "failed":
                return run
        raise RefusedError(
            f"{TRIES_MAX} runs have tried to undo {instance}", hint=f"movant run show {name}-1"
        )

    async def _registered(self) -> None:
        """Register the workflow that undoes, in the version that came with this daemon."""
        packed = pack(SOURCE)
        try:
            digest, _ = await self._definitions.latest(WORKFLOW)
        except NotFoundError:
            digest = ""
        if digest != packed.hash:
            await self._definitions.register(packed)
