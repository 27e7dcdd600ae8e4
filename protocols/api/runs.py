"""The API: what clients ask the daemon, on the NATS micro service ``movant``.

    request   movant.api.<verb>, payload: the request Struct as JSON
    reply     payload: the result Struct; or an ErrorReply, with the headers Nats-Service-Error
              and Nats-Service-Error-Code, as every NATS micro client understands them

Unknown fields are ignored on both sides: a newer client may ask an older daemon. Times are
nanoseconds since 1970, UTC; durations are seconds.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple

from msgspec import Meta

from protocols.api.absences import ABSENCES
from protocols.api.base import ITEMS_MAX as ITEMS_MAX  # noqa: PLC0414 -- part of the API
from protocols.api.base import PAGE_MAX as PAGE_MAX  # noqa: PLC0414 -- part of the API
from protocols.api.base import SERVICE as SERVICE  # noqa: PLC0414 -- part of the API
from protocols.api.base import WAIT_S_MAX as WAIT_S_MAX  # noqa: PLC0414 -- part of the API
from protocols.api.base import (
    After,
    AfterSeq,
    At,
    By,
    Cursor,
    Fates,
    Hash,
    Id,
    Limit,
    MessageId,
    Permissions,
    Raw,
    RunPriority,
    RunProfile,
    Standing,
    Trace,
    Value,
    WaitSeconds,
    Why,
    WorkflowName,
)
from protocols.api.base import Empty as Empty  # noqa: PLC0414 -- part of the API
from protocols.api.base import Message as Message  # noqa: PLC0414 -- part of the API
from protocols.api.batches import RunSignalledMany as RunSignalledMany  # noqa: PLC0414 -- part of the API
from protocols.api.batches import RunSignalMany as RunSignalMany  # noqa: PLC0414 -- part of the API
from protocols.api.batches import RunStartedMany as RunStartedMany  # noqa: PLC0414 -- part of the API
from protocols.api.batches import RunStartMany as RunStartMany  # noqa: PLC0414 -- part of the API
from protocols.api.batches import SignalItem as SignalItem  # noqa: PLC0414 -- part of the API
from protocols.api.batches import SignalResult as SignalResult  # noqa: PLC0414 -- part of the API
from protocols.api.batches import StartItem as StartItem  # noqa: PLC0414 -- part of the API
from protocols.api.batches import StartResult as StartResult  # noqa: PLC0414 -- part of the API
from protocols.api.blobs import (
    ArtifactPage,
    LargeValue,
    RunArtifacts,
    RunBlob,
    RunChunk,
    RunDiscard,
    RunMend,
    RunMended,
    RunSupply,
)
from protocols.api.daemons import ActorNode as ActorNode  # noqa: PLC0414 -- part of the API
from protocols.api.daemons import ActorTree as ActorTree  # noqa: PLC0414 -- part of the API
from protocols.api.daemons import DaemonRow as DaemonRow  # noqa: PLC0414 -- part of the API
from protocols.api.daemons import PartitionRow as PartitionRow  # noqa: PLC0414 -- part of the API
from protocols.api.daemons import ServiceFlow as ServiceFlow  # noqa: PLC0414 -- part of the API
from protocols.api.daemons import StatusView as StatusView  # noqa: PLC0414 -- part of the API
from protocols.api.errors import SERVICE_CODES as SERVICE_CODES  # noqa: PLC0414 -- part of the API
from protocols.api.errors import ErrorReply as ErrorReply  # noqa: PLC0414 -- part of the API
from protocols.api.errors import error_headers as error_headers  # noqa: PLC0414 -- part of the API
from protocols.api.errors import error_reply as error_reply  # noqa: PLC0414 -- part of the API
from protocols.api.errors import to_error as to_error  # noqa: PLC0414 -- part of the API
from protocols.api.forks import RunFork as RunFork  # noqa: PLC0414 -- part of the API
from protocols.api.forks import RunForked as RunForked  # noqa: PLC0414 -- part of the API
from protocols.api.gates import GateDecide as GateDecide  # noqa: PLC0414 -- part of the API
from protocols.api.gates import GateDecided as GateDecided  # noqa: PLC0414 -- part of the API
from protocols.api.gates import GateList as GateList  # noqa: PLC0414 -- part of the API
from protocols.api.gates import GatePage as GatePage  # noqa: PLC0414 -- part of the API
from protocols.api.gates import GateRow as GateRow  # noqa: PLC0414 -- part of the API
from protocols.api.gates import GateShow as GateShow  # noqa: PLC0414 -- part of the API
from protocols.api.gates import GateView as GateView  # noqa: PLC0414 -- part of the API
from protocols.api.guardrails import BudgetList as BudgetList  # noqa: PLC0414 -- part of the API
from protocols.api.guardrails import BudgetPage as BudgetPage  # noqa: PLC0414 -- part of the API
from protocols.api.guardrails import BudgetRow as BudgetRow  # noqa: PLC0414 -- part of the API
from protocols.api.guardrails import GuardrailRegister as GuardrailRegister  # noqa: PLC0414 -- part of the API
from protocols.api.guardrails import GuardrailSet as GuardrailSet  # noqa: PLC0414 -- part of the API
from protocols.api.holds import HoldTold as HoldTold  # noqa: PLC0414 -- part of the API
from protocols.api.holds import HoldView as HoldView  # noqa: PLC0414 -- part of the API
from protocols.api.holds import Pause as Pause  # noqa: PLC0414 -- part of the API
from protocols.api.holds import Resume as Resume  # noqa: PLC0414 -- part of the API
from protocols.api.holds import ServiceForce as ServiceForce  # noqa: PLC0414 -- part of the API
from protocols.api.operations import DeadList as DeadList  # noqa: PLC0414 -- part of the API
from protocols.api.operations import DeadPage as DeadPage  # noqa: PLC0414 -- part of the API
from protocols.api.operations import DeadPurge as DeadPurge  # noqa: PLC0414 -- part of the API
from protocols.api.operations import DeadPurged as DeadPurged  # noqa: PLC0414 -- part of the API
from protocols.api.operations import DeadReplay as DeadReplay  # noqa: PLC0414 -- part of the API
from protocols.api.operations import DeadReplayed as DeadReplayed  # noqa: PLC0414 -- part of the API
from protocols.api.operations import DeadReplays as DeadReplays  # noqa: PLC0414 -- part of the API
from protocols.api.operations import DeadRow as DeadRow  # noqa: PLC0414 -- part of the API
from protocols.api.operations import DeadShow as DeadShow  # noqa: PLC0414 -- part of the API
from protocols.api.operations import DeadView as DeadView  # noqa: PLC0414 -- part of the API
from protocols.api.operations import EpochMarker as EpochMarker  # noqa: PLC0414 -- part of the API
from protocols.api.operations import Finding as Finding  # noqa: PLC0414 -- part of the API
from protocols.api.operations import Findings as Findings  # noqa: PLC0414 -- part of the API
from protocols.api.operations import MessagePage as MessagePage  # noqa: PLC0414 -- part of the API
from protocols.api.operations import RunMessages as RunMessages  # noqa: PLC0414 -- part of the API
from protocols.api.operations import StoredMessage as StoredMessage  # noqa: PLC0414 -- part of the API
from protocols.api.operations import WorkflowFetch as WorkflowFetch  # noqa: PLC0414 -- part of the API
from protocols.api.operations import WorkflowPacked as WorkflowPacked  # noqa: PLC0414 -- part of the API
from protocols.api.operations import WorkflowRoute as WorkflowRoute  # noqa: PLC0414 -- part of the API
from protocols.api.operations import WorkflowRouted as WorkflowRouted  # noqa: PLC0414 -- part of the API
from protocols.api.pipeline import MotionPipelineState as MotionPipelineState  # noqa: PLC0414 -- part of the API
from protocols.api.pipeline import Pipeline as Pipeline  # noqa: PLC0414 -- part of the API
from protocols.api.pipeline import PipelineStatus as PipelineStatus  # noqa: PLC0414 -- part of the API
from protocols.api.progress import Progress as Progress  # noqa: PLC0414 -- part of the API
from protocols.api.services import ServicePage as ServicePage  # noqa: PLC0414 -- part of the API
from protocols.api.services import ServiceRow as ServiceRow  # noqa: PLC0414 -- part of the API
from protocols.api.services import ServiceShow as ServiceShow  # noqa: PLC0414 -- part of the API
from protocols.api.services import ServiceView as ServiceView  # noqa: PLC0414 -- part of the API
from protocols.api.stats import STATS_RUNS_MAX as STATS_RUNS_MAX  # noqa: PLC0414 -- part of the API
from protocols.api.stats import RunStats as RunStats  # noqa: PLC0414 -- part of the API
from protocols.api.stats import Stats as Stats  # noqa: PLC0414 -- part of the API
from protocols.api.templates import TemplateInstance as TemplateInstance  # noqa: PLC0414 -- part of the API
from protocols.api.templates import TemplateInstantiate as TemplateInstantiate  # noqa: PLC0414 -- part of the API
from protocols.api.templates import TemplatePage as TemplatePage  # noqa: PLC0414 -- part of the API
from protocols.api.templates import TemplateRegister as TemplateRegister  # noqa: PLC0414 -- part of the API
from protocols.api.templates import TemplateRow as TemplateRow  # noqa: PLC0414 -- part of the API
from protocols.api.templates import TemplateShow as TemplateShow  # noqa: PLC0414 -- part of the API
from protocols.api.templates import TemplateView as TemplateView  # noqa: PLC0414 -- part of the API
from protocols.api.triggers import TRIGGERS
from protocols.api.undo import RunReview as RunReview  # noqa: PLC0414 -- part of the API
from protocols.api.undo import RunUndo as RunUndo  # noqa: PLC0414 -- part of the API
from protocols.api.undo import RunUndone as RunUndone  # noqa: PLC0414 -- part of the API
from protocols.api.updates import UPDATES
from protocols.api.witness import Discrepancy as Discrepancy  # noqa: PLC0414 -- part of the API
from protocols.api.witness import RunVerified as RunVerified  # noqa: PLC0414 -- part of the API
from protocols.api.witness import RunVerify as RunVerify  # noqa: PLC0414 -- part of the API
from protocols.api.workflows import RunMigrate as RunMigrate  # noqa: PLC0414 -- part of the API
from protocols.api.workflows import RunMigrated as RunMigrated  # noqa: PLC0414 -- part of the API
from protocols.api.workflows import WorkflowPage as WorkflowPage  # noqa: PLC0414 -- part of the API
from protocols.api.workflows import WorkflowRegister as WorkflowRegister  # noqa: PLC0414 -- part of the API
from protocols.api.workflows import WorkflowRegistered as WorkflowRegistered  # noqa: PLC0414 -- part of the API
from protocols.api.workflows import WorkflowRollback as WorkflowRollback  # noqa: PLC0414 -- part of the API
from protocols.api.workflows import WorkflowRolledBack as WorkflowRolledBack  # noqa: PLC0414 -- part of the API
from protocols.api.workflows import WorkflowRow as WorkflowRow  # noqa: PLC0414 -- part of the API
from protocols.api.workflows import WorkflowShow as WorkflowShow  # noqa: PLC0414 -- part of the API
from protocols.api.workflows import WorkflowVersion as WorkflowVersion  # noqa: PLC0414 -- part of the API
from protocols.api.workflows import WorkflowVersions as WorkflowVersions  # noqa: PLC0414 -- part of the API
from protocols.api.workflows import WorkflowVersionsOf as WorkflowVersionsOf  # noqa: PLC0414 -- part of the API
from protocols.api.workflows import WorkflowView as WorkflowView  # noqa: PLC0414 -- part of the API
from protocols.effects import Status, Waiting
from protocols.failure import Failure
from protocols.mail import Origin


class RunStart(Message, frozen=True, kw_only=True):
    """Start an instance."""

    workflow: WorkflowName
    input: Value = None
    id: Annotated[
        Id | None, Meta(description="Id of the instance; absent: the daemon chooses one.")
    ] = None
    if_exists: Annotated[
        Literal["return", "refuse"],
        Meta(description="When the id is taken: return that instance, or refuse."),
    ] = "return"
    wait_s: WaitSeconds = 0.0
    priority: RunPriority = 0
    profile: RunProfile = ""
    permissions: Permissions = ()
    by: By = None
    input_blob: LargeValue = None
    traceparent: Trace = ""


class RunStarted(Message, frozen=True, kw_only=True):
    """An instance that was started, or was there already."""

    id: Id
    created: Annotated[
        bool, Meta(description="False: the id was taken, and this is that instance.")
    ]
    status: Annotated[Status, Meta(description="Status at the time of the answer.")]
    definition: Hash
    result: Value = None
    failure: Why = None
    steps: Fates = ()
    result_blob: LargeValue = None


class RunShow(Message, frozen=True, kw_only=True):
    """Show one instance."""

    id: Id
    raw: Raw = False
    by: By = None


class RunView(Message, frozen=True, kw_only=True):
    """All that is known about one instance."""

    id: Id
    workflow: WorkflowName
    definition: Hash
    status: Standing
    started_at: At
    finished_at: At = 0
    profile: RunProfile = ""
    by: By = None
    generation: Annotated[
        int, Meta(description="1, and one more each time it continued as new.")
    ] = 1
    input: Value = None
    result: Value = None
    failure: Why = None
    state: Value = None
    waiting: Annotated[list[Waiting], Meta(description="What it waits for.")] = []
    blocked: Annotated[
        str, Meta(description="Why its mailbox cannot be folded; empty: it can.")
    ] = ""
    blocked_at: Annotated[
        int,
        Meta(description="Sequence of the message whose value is missing; 0: not that."),
    ] = 0
    steps: Fates = ()
    paused: Annotated[
        str, Meta(description="Who paused it, its workflow or everything, and why.")
    ] = ""
    counters: Annotated[
        dict[str, int], Meta(description="Messages, steps, attempts and more, by name.")
    ] = {}
    state_hash: Annotated[
        str,
        Meta(description="Digest of all that the mailbox determines: the same at every fold."),
    ] = ""
    forked_from: Annotated[
        Origin | None, Meta(description="The run that it began with, and at which step.")
    ] = None
    late: Annotated[
        list[Waiting],
        Meta(description="What takes longer than `warn_after`: the run, steps, states."),
    ] = []
    progress: Annotated[
        Progress | None, Meta(description="How far it is, when it is a run of a graph.")
    ] = None
    input_blob: LargeValue = None
    result_blob: LargeValue = None


class RunList(Message, frozen=True, kw_only=True):
    """List instances, newest first."""

    status: Annotated[Status | None, Meta(description="Only these.")] = None
    workflow: Annotated[WorkflowName | None, Meta(description="Only these.")] = None
    late: Annotated[bool, Meta(description="Only those that take too long.")] = False
    limit: Limit = 50
    after: After = ""


class RunRow(Message, frozen=True, kw_only=True):
    """One line of a list of instances."""

    id: Id
    workflow: WorkflowName
    status: Standing
    definition: Hash = ""
    started_at: At = 0
    finished_at: At = 0
    waiting: Annotated[str, Meta(description="The first thing that it waits for.")] = ""
    late: Annotated[
        str,
        Meta(
            description="Why it takes too long: since when more than `warn_after`, or more than "
            "19 of 20 runs like it; empty: it does not."
        ),
    ] = ""


class RunPage(Message, frozen=True, kw_only=True):
    """A page of instances."""

    runs: Annotated[list[RunRow], Meta(description="The rows.")]
    total: Annotated[int, Meta(description="How many there are on all pages.")]
    next: Cursor = ""


class RunHistory(Message, frozen=True, kw_only=True):
    """Read the mailbox of one instance."""

    id: Id
    after: AfterSeq = 0
    limit: Limit = 100
    raw: Raw = False
    by: By = None


class HistoryEntry(Message, frozen=True, kw_only=True):
    """One message of a mailbox."""

    seq: Annotated[int, Meta(description="Stream sequence.")]
    at: At
    kind: Annotated[str, Meta(description="Kind of message: start, reply, timer and so on.")]
    name: Annotated[str, Meta(description="Workflow, signal or timer name.")] = ""
    path: Annotated[str, Meta(description="Path of the step, or its token.")] = ""
    attempt: Annotated[int, Meta(description="Attempt of the step; 0: none.")] = 0
    summary: Annotated[str, Meta(description="One line for people.")] = ""
    failure: Annotated[Failure | None, Meta(description="The failure that it tells.")] = None
    body: Value = None
    by: By = None


class HistoryPage(Message, frozen=True, kw_only=True):
    """A page of a mailbox, in stream order."""

    entries: Annotated[list[HistoryEntry], Meta(description="The messages.")]
    next: Annotated[
        int, Meta(description="Pass this as `after` for the next page; 0: no more.")
    ] = 0


class RunSignal(Message, frozen=True, kw_only=True):
    """Send a signal to an instance; it may come before the start."""

    id: Id
    name: Annotated[str, Meta(description="Name of the signal.")]
    data: Value = None
    message_id: MessageId = ""
    by: By = None
    data_blob: LargeValue = None


class RunCancel(Message, frozen=True, kw_only=True):
    """Ask an instance to cancel."""

    id: Id
    reason: Annotated[str, Meta(description="For people.")] = ""
    message_id: MessageId = ""
    by: By = None


class Accepted(Message, frozen=True, kw_only=True):
    """The message stands in the mailbox."""

    id: Id
    seq: Annotated[int, Meta(description="Its stream sequence.")]


class RunWait(Message, frozen=True, kw_only=True):
    """Wait for the end of an instance."""

    id: Id
    timeout_s: WaitSeconds = 60.0


class RunOutcome(Message, frozen=True, kw_only=True):
    """How an instance stands after waiting; final, blocked, or still running."""

    id: Id
    status: Standing
    result: Value = None
    failure: Why = None
    blocked: Annotated[str, Meta(description="Why its mailbox cannot be folded.")] = ""
    steps: Fates = ()
    result_blob: LargeValue = None


class RunResolve(Message, frozen=True, kw_only=True):
    """Find the one instance whose id begins so."""

    prefix: Annotated[str, Meta(description="The first characters of an id.")]


class RunResolved(Message, frozen=True, kw_only=True):
    """The id that was meant."""

    id: Id


class Verb(NamedTuple):
    """One endpoint of the micro service."""

    summary: str
    request: type[Message]
    result: type[Message]


VERBS: Final[dict[str, Verb]] = {
    "run.start": Verb("Start an instance", RunStart, RunStarted),
    "run.start_many": Verb("Start many instances", RunStartMany, RunStartedMany),
    "run.show": Verb("Show one instance", RunShow, RunView),
    "run.ls": Verb("List instances", RunList, RunPage),
    "run.history": Verb("Read a mailbox", RunHistory, HistoryPage),
    "run.messages": Verb("Read raw messages of a mailbox", RunMessages, MessagePage),
    "run.signal": Verb("Send a signal", RunSignal, Accepted),
    "run.signal_many": Verb("Send many signals", RunSignalMany, RunSignalledMany),
    "run.cancel": Verb("Cancel an instance", RunCancel, Accepted),
    "run.undo": Verb("Undo what an instance did", RunUndo, RunUndone),
    "run.review": Verb("Say whether a step was done", RunReview, Accepted),
    "run.fork": Verb("Start at a step of another instance", RunFork, RunForked),
    "run.migrate": Verb("Go on with another definition", RunMigrate, RunMigrated),
    "run.supply": Verb("Put back a missing value", RunSupply, Accepted),
    "run.discard": Verb("Give up a missing value", RunDiscard, Accepted),
    "run.wait": Verb("Wait for the end of an instance", RunWait, RunOutcome),
    "run.verify": Verb("Fold again and compare with the witness", RunVerify, RunVerified),
    "run.artifacts": Verb("List the artifacts of an instance", RunArtifacts, ArtifactPage),
    "run.blob": Verb("Read a chunk of a blob", RunBlob, RunChunk),
    "run.mend": Verb("Make a blob whole", RunMend, RunMended),
    "run.resolve": Verb("Complete an id", RunResolve, RunResolved),
    "gate.ls": Verb("List open gates", GateList, GatePage),
    "gate.show": Verb("Show a gate", GateShow, GateView),
    "gate.decide": Verb("Decide at a gate", GateDecide, GateDecided),
    "guardrail.ls": Verb("List the shared guardrails", Empty, GuardrailSet),
    "guardrail.register": Verb("Share guardrails", GuardrailRegister, GuardrailSet),
    "budget.ls": Verb("List what budgets have left", BudgetList, BudgetPage),
    "pipeline": Verb("Show all active motions", Pipeline, PipelineStatus),
    "stats": Verb("Add up what runs have come to", Stats, RunStats),
    "workflow.ls": Verb("List workflows", Empty, WorkflowPage),
    "workflow.show": Verb("Show a workflow", WorkflowShow, WorkflowView),
    "workflow.versions": Verb(
        "List the versions of a workflow", WorkflowVersionsOf, WorkflowVersions
    ),
    "workflow.rollback": Verb(
        "Go back to an earlier version", WorkflowRollback, WorkflowRolledBack
    ),
    "workflow.register": Verb("Register a definition", WorkflowRegister, WorkflowRegistered),
    "workflow.fetch": Verb("Read a packed definition", WorkflowFetch, WorkflowPacked),
    "workflow.route": Verb("Use a routing table", WorkflowRoute, WorkflowRouted),
    "template.register": Verb("Store a template", TemplateRegister, TemplateRow),
    "template.ls": Verb("List templates", Empty, TemplatePage),
    "template.show": Verb("Show a template", TemplateShow, TemplateView),
    "template.instantiate": Verb("Make a definition", TemplateInstantiate, TemplateInstance),
    "service.ls": Verb("List services", Empty, ServicePage),
    "service.show": Verb("Show a service", ServiceShow, ServiceView),
    "service.force": Verb("Force the breaker of a service", ServiceForce, HoldTold),
    "pause": Verb("Send no requests to or for something", Pause, HoldTold),
    "resume": Verb("Send requests again", Resume, HoldTold),
    "status": Verb("Show how the daemon stands", Empty, StatusView),
    "actor.tree": Verb("Show the supervision tree", Empty, ActorTree),
    "check": Verb("Check server, streams and permissions", Empty, Findings),
    "dead.ls": Verb("List dead letters", DeadList, DeadPage),
    "dead.show": Verb("Show a dead letter", DeadShow, DeadView),
    "dead.replay": Verb("Send dead letters again", DeadReplay, DeadReplays),
    "dead.purge": Verb("Remove dead letters", DeadPurge, DeadPurged),
    **{name: Verb(*each) for name, each in (UPDATES | TRIGGERS | ABSENCES).items()},
}
