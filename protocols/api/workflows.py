"""What the API says about definitions: workflows, their versions, and runs that change theirs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from protocols.api.base import (
    At,
    By,
    Hash,
    Id,
    Libraries,
    Message,
    MessageId,
    WorkflowName,
)
from protocols.effects import Status
from protocols.moving import StepMove


class RunMigrate(Message, frozen=True, kw_only=True):
    """Go on with another definition: repaired code, or a newer version.

    ``switch``: from where the run stands, for graphs and machines. ``fold``: as if it had begun
    with it.
    """

    id: Id
    definition: Annotated[
        Hash, Meta(description="The definition, or how it begins; empty: the latest.")
    ] = ""
    how: Annotated[
        Literal["", "switch", "fold"],
        Meta(description="Empty: a switch where the run can, else a fold."),
    ] = ""
    moves: Annotated[
        dict[str, str], Meta(description="Names of steps or states that changed, old to new.")
    ] = {}
    accept: Annotated[
        tuple[str, ...],
        Meta(description="Steps that have run and do something else now; `all` of them."),
    ] = ()
    preview: Annotated[bool, Meta(description="Only tell what would happen.")] = False
    force: Annotated[bool, Meta(description="Also when the mailbox cannot be folded with it.")] = (
        False
    )
    message_id: MessageId = ""
    by: By = None


class RunMigrated(Message, frozen=True, kw_only=True):
    """The migration stands in the mailbox. ``status`` is what the new definition makes of it."""

    id: Id
    seq: Annotated[
        int, Meta(description="Stream sequence of the migration; 0: none was written.")
    ] = 0
    definition: Hash
    status: Annotated[Status, Meta(description="Status that the mailbox folds to with it.")]
    how: Annotated[Literal["switch", "fold"], Meta(description="How it goes over.")] = "fold"
    steps: Annotated[
        tuple[StepMove, ...], Meta(description="What becomes of each step or state.")
    ] = ()
    problems: Annotated[
        tuple[str, ...], Meta(description="Of a preview: why it would be refused.")
    ] = ()


class WorkflowRow(Message, frozen=True, kw_only=True):
    """One line of a list of workflows."""

    name: WorkflowName
    definition: Hash
    registered_at: At = 0
    versions: Annotated[
        int, Meta(description="How many definitions have a workflow of this name.")
    ] = 1
    table: Annotated[
        str, Meta(description="Hash of the routing table of new runs; empty: none.")
    ] = ""


class WorkflowPage(Message, frozen=True, kw_only=True):
    """All workflows."""

    workflows: Annotated[list[WorkflowRow], Meta(description="The rows, by name.")]


class WorkflowShow(Message, frozen=True, kw_only=True):
    """Show a workflow, by name or by hash."""

    name: Annotated[
        str, Meta(description="Name of a workflow; the latest definition is shown.")
    ] = ""
    hash: Hash = ""


class WorkflowView(Message, frozen=True, kw_only=True):
    """A workflow and its definition."""

    name: WorkflowName
    definition: Hash
    workflows: Annotated[list[str], Meta(description="All workflows of the definition.")] = []
    modules: Annotated[list[str], Meta(description="The modules in it.")] = []
    libraries: Libraries = {}
    input_schema: Annotated[dict[str, Any], Meta(description="JSON Schema of the input.")] = {}
    document: Annotated[str, Meta(description="What the author says about it.")] = ""
    latest: Annotated[bool, Meta(description="Whether new instances start with it.")] = True
    machine: Annotated[
        dict[str, Any] | None, Meta(description="The state machine, when it is one.")
    ] = None
    graph: Annotated[dict[str, Any] | None, Meta(description="The graph, when it is one.")] = None
    routes: Annotated[
        dict[str, Any], Meta(description="The routing table that new instances start with.")
    ] = {}


class WorkflowRegister(Message, frozen=True, kw_only=True):
    """Register a packed definition."""

    data: Annotated[bytes, Meta(description="The packed definition (zip), in base64.")]
    hash: Hash
    source: Annotated[
        str, Meta(description="Where it comes from, for people: a file, a revision.")
    ] = ""
    by: By = None


class WorkflowRegistered(Message, frozen=True, kw_only=True):
    """A definition that is stored and latest for its workflows."""

    hash: Hash
    workflows: Annotated[list[str], Meta(description="What it offers.")]
    created: Annotated[bool, Meta(description="False: this definition was there already.")]


class WorkflowVersionsOf(Message, frozen=True, kw_only=True):
    """List the versions of a workflow."""

    name: WorkflowName


class WorkflowVersion(Message, frozen=True, kw_only=True):
    """One deployment of a workflow: which definition, when, by whom, from where."""

    definition: Hash
    at: At = 0
    what: Annotated[
        Literal["registered", "rolled_back"], Meta(description="How it became the current one.")
    ] = "registered"
    source: Annotated[str, Meta(description="Where it comes from.")] = ""
    by: By = None
    current: Annotated[bool, Meta(description="Whether new instances start with it.")] = False
    active: Annotated[
        int, Meta(description="Runs of it that have not ended; told once per definition.")
    ] = 0
    libraries: Libraries = {}


class WorkflowVersions(Message, frozen=True, kw_only=True):
    """The deployments of a workflow, the newest first."""

    name: WorkflowName
    versions: Annotated[list[WorkflowVersion], Meta(description="The rows.")]


class WorkflowRollback(Message, frozen=True, kw_only=True):
    """Let new instances start with an earlier definition. Runs that have started keep theirs."""

    name: WorkflowName
    to: Annotated[
        Hash, Meta(description="The definition, or how it begins; empty: the one before.")
    ] = ""
    by: By = None


class WorkflowRolledBack(Message, frozen=True, kw_only=True):
    """The definition that new instances start with now, and the one that it replaces."""

    name: WorkflowName
    definition: Hash
    replaced: Hash
