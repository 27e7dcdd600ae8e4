"""Undoing: what a run left that has ended is undone by a run of ``movant.undo``.

plan_of    what would be undone, with the steps of children in the place of each child
ChildUndos does what a fold asks for: one run per child, which tells the parent how it ended
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
import trio

from actors.definitions.packing import pack
from protocols import codec, subjects
from protocols.compensation import UNDO_WORKFLOW, PlannedUndo, UndoRequest
from protocols.effects import FINAL, Spawn, UndoChild
from protocols.errors import (
    MovantError,
    NotFoundError,
    OversizedError,
    RefusedError,
    UnavailableError,
)
from protocols.failure import Failure
from protocols.ports import Outgoing
from runtime.stored import StoredRuns

if TYPE_CHECKING:
    from actors.definitions.registry import Definitions
    from actors.owning.spawning import Spawning
    from actors.store.stream_writer import Written
    from runtime.daemon import Daemon

SOURCE: Final = Path(__file__).parent / "definitions" / "undo.py"
RETRY_S: Final = 1.0
DEPTH_MAX: Final = 64
"""Children of children: far above what anybody nests."""

log = structlog.get_logger()


async def plan_of(
    runs: StoredRuns, plan: Iterable[PlannedUndo], depth: int = 0
) -> list[PlannedUndo]:
    """Return a plan with the steps of children in the place of each child, in order.

    Raises NotFoundError when the history of a child is kept no longer.
    """
    found = []
    for each in plan:
        if each.service or not each.run:
            found.append(each)
        elif depth < DEPTH_MAX:
            try:
                child = await runs.fold(each.run)
            except NotFoundError:
                if not each.undecided:
                    raise
                continue  # it has not begun
            inner = await plan_of(runs, child.undo_plan(), depth + 1)
            found += [msgspec.structs.replace(x, run=x.run or each.run) for x in inner]
    return found


def order_of(instance: str, plan: Iterable[PlannedUndo], *, who: str = "", why: str = "") -> Any:
    """Return the input of a run that undoes a plan. Raises OversizedError.

    When all inputs are too large together the services get the keys alone, which is enough.
    """

    def order(*, keys_alone: bool) -> dict[str, Any]:
        steps = [
            {
                "path": f"{each.run}:{each.path}" if each.run else each.path,
                "service": each.service,
                "operation": each.operation,
                "key": each.key,
                "input": msgspec.to_builtins(
                    UndoRequest(each.key)
                    if keys_alone and isinstance(each.input, UndoRequest)
                    else each.input
                ),
            }
            for each in plan
        ]
        return {"of": instance, "steps": steps, "who": who, "why": why}

    plan = list(plan)
    whole = order(keys_alone=False)
    try:
        codec.encode(whole)
    except OversizedError:
        whole = order(keys_alone=True)
        codec.encode(whole)
    return whole


async def register(definitions: Definitions) -> None:
    """Register the workflow that undoes, in the version that came with this daemon."""
    packed = pack(SOURCE)
    try:
        digest, _ = await definitions.latest(UNDO_WORKFLOW)
    except NotFoundError:
        digest = ""
    if digest != packed.hash:
        await definitions.register(packed)


class ChildUndos:
    """Undoes what children left that have completed."""

    def __init__(
        self, daemon: Daemon, spawning: Spawning, start_soon: Callable[..., object]
    ) -> None:
        self._parts = daemon.parts
        self._runs = StoredRuns(daemon, daemon.parts.mailboxes)
        self._spawning = spawning
        self._start_soon = start_soon

    def undo(self, effect: UndoChild, priority: int, written: Written) -> None:
        """Undo one; ``written`` is told when the run is started, or the parent told."""
        self._start_soon(self._patiently, effect, priority, written)

    async def _patiently(self, effect: UndoChild, priority: int, written: Written) -> None:
        failure: Failure | None = None
        while True:
            try:
                if failure is None:
                    await self._undo(effect, priority, written)
                else:
                    self._tell(effect, written, failure)
            except RefusedError as error:
                failure = Failure(kind=error.code, message=error.message)
            except MovantError as error:
                log.warning("child.waiting", reason=str(error))
                await trio.sleep(RETRY_S)
            else:
                return

    async def _undo(self, effect: UndoChild, priority: int, written: Written) -> None:
        child = await self._runs.fold(effect.child)
        if child.blocked is not None:
            raise RefusedError(f"it cannot be folded any more: {child.blocked.message}")
        if child.status not in FINAL:  # its end is known, so what was read is too old
            raise UnavailableError(f"the end of {effect.child} is not there yet", hint="later")
        plan = await plan_of(self._runs, child.undo_plan())
        if not plan:
            self._tell(effect, written, None)
            return
        await register(self._parts.definitions)
        order = order_of(effect.child, plan, why=f"its parent {effect.parent.instance} is undone")
        self._spawning.start(
            Spawn(
                cause=effect.cause,
                child=effect.run,
                workflow=UNDO_WORKFLOW,
                body=codec.encode(order),
                parent=effect.parent,
                id=effect.id,
                priority=priority,
            ),
            written,
        )

    def _tell(self, effect: UndoChild, written: Written, failure: Failure | None) -> None:
        """Tell the parent at once: there is nothing to undo, or no way to."""
        body: dict[str, Any] = {
            "step": subjects.step_token(effect.parent.path),
            "child": effect.run,
            "status": "completed" if failure is None else "failed",
            "failure": failure,
            "result": [],
        }
        subject = subjects.to_owner(effect.parent.instance, "child")
        self._parts.writers["MAIL"].write(Outgoing(subject, msgspec.json.encode(body)), written)
