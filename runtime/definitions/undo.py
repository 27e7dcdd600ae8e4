"""The workflow ``movant.undo``: undoes by hand what a run that has ended left behind.

An outcome is reached once and never left, so this is a run of its own, with a history of its
own. It is a file like an author's: the daemon packs and registers it when it is first
needed, and nothing imports it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from actors.kernel.context import LOCAL, Context
from protocols.compensation import NEVER_SEEN, UNDO_RETRY, StepFate
from protocols.definition import workflow
from protocols.errors import FailError, StepFailedError


class UndoOne(msgspec.Struct):
    """One step that is to be undone."""

    path: str
    service: str
    operation: str
    key: str
    input: Any = None


class UndoOrder(msgspec.Struct):
    """What is to be undone, in this order; for whom, and why."""

    of: str
    steps: list[UndoOne]
    who: str = ""
    why: str = ""


@workflow("movant.undo")
async def undo(ctx: Context, order: UndoOrder) -> list[StepFate]:
    """Undo steps of another run, one after the other; fail when some could not be undone."""
    fates = []
    for each in order.steps:
        fate = StepFate(path=each.path, fate="undone", service=each.service)
        if each.service == LOCAL:
            detail = f"{each.operation} is a function of its own code, and it has ended"
            fates.append(msgspec.structs.replace(fate, fate="could_not", detail=detail))
            continue
        try:
            await ctx.call(
                each.service,
                each.operation,
                each.input,
                name="undo",
                undoes=each.key,
                retry=UNDO_RETRY,
            )
        except StepFailedError as error:
            fate = StepFate(
                path=each.path,
                fate="unknown" if error.kind == NEVER_SEEN else "could_not",
                service=each.service,
                detail=f"{error.kind}: {error.failure.message}",
            )
        fates.append(fate)
    wrong = sum(each.fate != "undone" for each in fates)
    if wrong:
        message = f"{wrong} of {len(fates)} steps of {order.of} could not be undone"
        raise FailError("compensation_incomplete", message, msgspec.to_builtins(fates))
    return fates
