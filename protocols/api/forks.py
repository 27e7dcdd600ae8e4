"""What the API says about forks: runs that begin with what other ones have done."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from protocols.api.base import By, Hash, Id, Message, Permissions, WorkflowName
from protocols.forking import StepFork


class RunFork(Message, frozen=True, kw_only=True):
    """Start a run that begins at a step of another one, with what that one has done before."""

    id: Id
    step: Annotated[str, Meta(description="The step or state that it begins with.")]
    new_id: Annotated[
        Id | None, Meta(description="Id of the new run; absent: the daemon chooses one.")
    ] = None
    input: Annotated[
        Any | msgspec.UnsetType, Meta(description="Its input; absent: that of the other run.")
    ] = msgspec.UNSET
    changes: Annotated[
        dict[str, Any], Meta(description="Parts of the input, by their names with dots.")
    ] = {}
    definition: Annotated[
        Hash,
        Meta(
            description="Its definition, or how that begins, or `latest`; empty: that of the "
            "other run."
        ),
    ] = ""
    moves: Annotated[
        dict[str, str], Meta(description="Names of steps or states that changed, old to new.")
    ] = {}
    accept: Annotated[
        tuple[str, ...],
        Meta(description="Steps to take over though something is against it; `all` of them."),
    ] = ()
    preview: Annotated[bool, Meta(description="Only tell what would happen.")] = False
    permissions: Permissions = ()
    by: By = None


class RunForked(Message, frozen=True, kw_only=True):
    """A run that begins with what another one has done."""

    id: Annotated[str, Meta(description="Id of the new run; empty: none was started.")] = ""
    origin: Annotated[Id, Meta(description="The other run.")]
    step: Annotated[str, Meta(description="The step or state that it begins with.")]
    workflow: WorkflowName
    definition: Hash
    steps: Annotated[
        tuple[StepFork, ...], Meta(description="What becomes of each step or state.")
    ] = ()
    problems: Annotated[
        tuple[str, ...], Meta(description="Of a preview: why it would be refused.")
    ] = ()


EXAMPLES: Final = {
    "run.fork": (
        {"id": "order-17", "step": "ship", "new_id": "order-17b", "changes": {"to.city": "Delft"}},
        {
            "id": "order-17b",
            "origin": "order-17",
            "step": "ship",
            "workflow": "fulfilment",
            "definition": "9f2c",
            "steps": [
                {"step": "charge", "was": "charge", "status": "done", "what": "taken"},
                {"step": "ship", "was": "ship", "status": "failed", "what": "again"},
            ],
        },
    )
}
