"""Makes an actor the child of a supervisor."""

from __future__ import annotations

from functools import partial
from typing import Any

import trio

from actors.core.base import TrioActor
from actors.core.ref import TrioRef
from actors.core.system import ActorSystem
from actors.core.threads import BlockingActor
from supervisors.child import ChildKilledError, ChildStatus, Start

SHUTDOWN = "shutdown"
"""The reason with which a supervisor stops an actor."""


def actor_child(
    system: ActorSystem,
    actor_class: type[TrioActor | BlockingActor],
    *args: Any,
    name: str = "",
    **kwargs: Any,
) -> Start:
    """Return a start function; each restart makes a new incarnation under the same name.

    The arguments are those of every incarnation: hand in names, not references.
    """
    return partial(_run, system, actor_class, args, kwargs, name)


async def _run(
    system: ActorSystem,
    actor_class: type[TrioActor | BlockingActor],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    *,
    task_status: ChildStatus,
) -> None:
    ref: TrioRef[Any]
    if issubclass(actor_class, BlockingActor):
        ref = system.start_blocking(actor_class, *args, name=name, **kwargs)
    else:
        ref = system.start(actor_class, *args, name=name, **kwargs)
    try:
        await system.wait_ready(ref)
        task_status.started(ref, stop=partial(ref.request_stop, SHUTDOWN))
        terminated = await system.wait_ended(ref)
    except trio.Cancelled:
        system.kill(ref)
        # The name must be free before the next incarnation wants it; a kill takes one turn.
        with trio.CancelScope(shield=True):
            await system.wait_ended(ref)
        raise
    if terminated.error is not None:
        raise terminated.error
    if terminated.exit == "killed":
        raise ChildKilledError(f"{name or ref} was killed")
