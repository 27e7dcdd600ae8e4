"""The API: what clients ask the daemon, on the NATS micro service ``movant``.

    request   movant.api.<verb>, payload: the request Struct as JSON
    reply     payload: the result Struct; or an ErrorReply, with the headers Nats-Service-Error
              and Nats-Service-Error-Code, as every NATS micro client understands them

Unknown fields are ignored on both sides: a newer client may ask an older daemon. Times are
nanoseconds since 1970, UTC; durations are seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from protocols.api_errors import SERVICE_CODES as SERVICE_CODES  # noqa: PLC0414 -- part of the API
from protocols.api_errors import ErrorReply as ErrorReply  # noqa: PLC0414 -- part of the API
from protocols.api_errors import error_headers as error_headers  # noqa: PLC0414 -- part of the API
from protocols.api_errors import error_reply as error_reply  # noqa: PLC0414 -- part of the API
from protocols.api_errors import to_error as to_error  # noqa: PLC0414 -- part of the API
from protocols.effects import Status, Waiting
from protocols.failure import Failure

SERVICE: Final = "movant"
PAGE_MAX: Final = 1_000
"""Rows in one answer: with an input each they still fit the server's payload limit."""
ITEMS_MAX: Final = 1_000
"""Starts in one request, for the same reason."""
WAIT_S_MAX: Final = 300.0
"""A waiting client asks again after this; no reply subject is kept open for longer."""

Id = Annotated[
    str,
    Meta(
        description="Id of an instance: letters, digits, '_' and '-', at most 128.",
        extra_json_schema={"pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$"},
    ),
]
WorkflowName = Annotated[str, Meta(description="Name of a workflow; dots are allowed.")]
Hash = Annotated[str, Meta(description="Hash of a definition.")]
At = Annotated[int, Meta(description="Time, nanoseconds since 1970, UTC; 0: not yet.")]
MessageId = Annotated[
    str, Meta(description="Chosen once by the client; a repeat with the same id does nothing.")
]
Value = Annotated[Any, Meta(description="Any JSON value.")]
Limit = Annotated[int, Meta(description="At most this many rows.", ge=1, le=PAGE_MAX)]
Cursor = Annotated[
    str, Meta(description="Pass this as `after` for the next page; empty: no more.")
]
After = Annotated[str, Meta(description="`next` of the page before; empty: from the start.")]
WaitSeconds = Annotated[
    float, Meta(description="Wait this many seconds for the end; 0: do not.", ge=0, le=WAIT_S_MAX)
]
Standing = Annotated[Status, Meta(description="Where the instance stands.")]
Why = Annotated[Failure | None, Meta(description="Why it failed, when it did.")]
Libraries = Annotated[dict[str, str], Meta(description="Third-party versions when it was packed.")]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of requests and results."""


class Empty(Message, frozen=True, kw_only=True):
    """A request without fields."""


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


class StartItem(Message, frozen=True, kw_only=True):
    """One instance of a RunStartMany."""

    input: Value = None
    id: Annotated[
        Id | None, Meta(description="Id of the instance; absent: the daemon chooses one.")
    ] = None


class RunStartMany(Message, frozen=True, kw_only=True):
    """Start many instances of one workflow."""

    workflow: WorkflowName
    items: Annotated[
        list[StartItem], Meta(description="The instances, in order.", max_length=ITEMS_MAX)
    ]


class StartResult(Message, frozen=True, kw_only=True):
    """What became of one item."""

    id: Annotated[str, Meta(description="Id of the item, as it was given or chosen.")]
    created: Annotated[bool, Meta(description="Whether this request created it.")] = False
    error: Annotated[ErrorReply | None, Meta(description="Why it was not started.")] = None


class RunStartedMany(Message, frozen=True, kw_only=True):
    """The answer to RunStartMany, in the order of its items."""

    ids: Annotated[list[str], Meta(description="Ids of the items that are there now.")]
    results: Annotated[list[StartResult], Meta(description="One for each item.")]


class RunShow(Message, frozen=True, kw_only=True):
    """Show one instance."""

    id: Id


class RunView(Message, frozen=True, kw_only=True):
    """All that is known about one instance."""

    id: Id
    workflow: WorkflowName
    definition: Hash
    status: Standing
    started_at: At
    finished_at: At = 0
    input: Value = None
    result: Value = None
    failure: Why = None
    state: Value = None
    waiting: Annotated[list[Waiting], Meta(description="What it waits for.")] = []
    blocked: Annotated[
        str, Meta(description="Why its mailbox cannot be folded; empty: it can.")
    ] = ""
    counters: Annotated[
        dict[str, int], Meta(description="Messages, steps, attempts and more, by name.")
    ] = {}


class RunList(Message, frozen=True, kw_only=True):
    """List instances, newest first."""

    status: Annotated[Status | None, Meta(description="Only these.")] = None
    workflow: Annotated[WorkflowName | None, Meta(description="Only these.")] = None
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


class RunPage(Message, frozen=True, kw_only=True):
    """A page of instances."""

    runs: Annotated[list[RunRow], Meta(description="The rows.")]
    total: Annotated[int, Meta(description="How many there are on all pages.")]
    next: Cursor = ""


class RunHistory(Message, frozen=True, kw_only=True):
    """Read the mailbox of one instance."""

    id: Id
    after: Annotated[int, Meta(description="Only messages with a higher stream sequence.")] = 0
    limit: Limit = 100


class HistoryEntry(Message, frozen=True, kw_only=True):
    """One message of a mailbox."""

    seq: Annotated[int, Meta(description="Stream sequence.")]
    at: At
    kind: Annotated[
        str,
        Meta(description="Kind of message: start, signal, reply, timer, owner.timeout and so on."),
    ]
    name: Annotated[str, Meta(description="Workflow, signal or timer name.")] = ""
    path: Annotated[str, Meta(description="Path of the step, or its token.")] = ""
    attempt: Annotated[int, Meta(description="Attempt of the step; 0: none.")] = 0
    summary: Annotated[str, Meta(description="One line for people.")] = ""
    failure: Annotated[Failure | None, Meta(description="The failure that it tells.")] = None
    body: Value = None


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


class SignalItem(Message, frozen=True, kw_only=True):
    """One signal of a RunSignalMany."""

    id: Id
    data: Value = None
    message_id: MessageId = ""


class RunSignalMany(Message, frozen=True, kw_only=True):
    """Send a signal of one name to many instances."""

    name: Annotated[str, Meta(description="Name of the signal.")]
    items: Annotated[
        list[SignalItem], Meta(description="The signals, in order.", max_length=ITEMS_MAX)
    ]


class SignalResult(Message, frozen=True, kw_only=True):
    """What became of one item."""

    id: Annotated[str, Meta(description="Id of the item.")]
    seq: Annotated[int, Meta(description="Stream sequence; 0: it was not taken.")] = 0
    error: Annotated[ErrorReply | None, Meta(description="Why it was not taken.")] = None


class RunSignalledMany(Message, frozen=True, kw_only=True):
    """The answer to RunSignalMany, in the order of its items."""

    results: Annotated[list[SignalResult], Meta(description="One for each item.")]


class RunCancel(Message, frozen=True, kw_only=True):
    """Ask an instance to cancel."""

    id: Id
    reason: Annotated[str, Meta(description="For people.")] = ""
    message_id: MessageId = ""


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


class RunResolve(Message, frozen=True, kw_only=True):
    """Find the one instance whose id begins so."""

    prefix: Annotated[str, Meta(description="The first characters of an id.")]


class RunResolved(Message, frozen=True, kw_only=True):
    """The id that was meant."""

    id: Id


class WorkflowRow(Message, frozen=True, kw_only=True):
    """One line of a list of workflows."""

    name: WorkflowName
    definition: Hash
    registered_at: At = 0
    versions: Annotated[
        int, Meta(description="How many definitions have a workflow of this name.")
    ] = 1


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


class WorkflowRegister(Message, frozen=True, kw_only=True):
    """Register a packed definition."""

    data: Annotated[bytes, Meta(description="The packed definition (zip), in base64.")]
    hash: Hash


class WorkflowRegistered(Message, frozen=True, kw_only=True):
    """A definition that is stored and latest for its workflows."""

    hash: Hash
    workflows: Annotated[list[str], Meta(description="What it offers.")]
    created: Annotated[bool, Meta(description="False: this definition was there already.")]


class ServiceRow(Message, frozen=True, kw_only=True):
    """One line of a list of services."""

    name: Annotated[str, Meta(description="Name of the service.")]
    state: Annotated[str, Meta(description="For instance: up, absent, open (breaker), paused.")]
    operations: Annotated[list[str], Meta(description="What it can do.")] = []
    open_requests: Annotated[int, Meta(description="Requests without an answer yet.")] = 0


class ServicePage(Message, frozen=True, kw_only=True):
    """All services."""

    services: Annotated[list[ServiceRow], Meta(description="The rows, by name.")]


class ServiceShow(Message, frozen=True, kw_only=True):
    """Show one service."""

    name: Annotated[str, Meta(description="Name of the service.")]


class ServiceView(ServiceRow, frozen=True, kw_only=True):
    """All that is known about one service."""

    counters: Annotated[
        dict[str, float], Meta(description="Requests, failures, times, by name.")
    ] = {}
    settings: Annotated[dict[str, Any], Meta(description="Its limits and declarations.")] = {}


class StatusView(Message, frozen=True, kw_only=True):
    """How the daemon stands."""

    version: Annotated[str, Meta(description="Version of movant.")]
    daemon: Annotated[str, Meta(description="Name of the daemon.")]
    state: Annotated[str, Meta(description="starting, ready, degraded or draining.")]
    durability: Annotated[
        str, Meta(description="fsync, interval or replicated: what an acknowledgement means.")
    ]
    uptime_s: Annotated[float, Meta(description="Seconds since the start.")]
    partitions: Annotated[list[int], Meta(description="The partitions that it owns.")] = []
    counters: Annotated[
        dict[str, float], Meta(description="Instances, messages, queues, by name.")
    ] = {}
    problems: Annotated[list[str], Meta(description="What a person should look at.")] = []


class ActorNode(Message, frozen=True, kw_only=True):
    """One actor of the supervision tree."""

    name: Annotated[str, Meta(description="Name of the actor.")]
    kind: Annotated[str, Meta(description="supervisor or worker.")]
    state: Annotated[str, Meta(description="running, starting, restarting or stopped.")]
    restarts: Annotated[int, Meta(description="How often it was restarted.")] = 0
    queued: Annotated[int, Meta(description="Messages in its mailbox.")] = 0
    children: Annotated[list[ActorNode], Meta(description="In start order.")] = []


class ActorTree(Message, frozen=True, kw_only=True):
    """The supervision tree."""

    root: Annotated[ActorNode, Meta(description="The daemon itself.")]


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
    "run.signal": Verb("Send a signal", RunSignal, Accepted),
    "run.signal_many": Verb("Send many signals", RunSignalMany, RunSignalledMany),
    "run.cancel": Verb("Cancel an instance", RunCancel, Accepted),
    "run.wait": Verb("Wait for the end of an instance", RunWait, RunOutcome),
    "run.resolve": Verb("Complete an id", RunResolve, RunResolved),
    "workflow.ls": Verb("List workflows", Empty, WorkflowPage),
    "workflow.show": Verb("Show a workflow", WorkflowShow, WorkflowView),
    "workflow.register": Verb("Register a definition", WorkflowRegister, WorkflowRegistered),
    "service.ls": Verb("List services", Empty, ServicePage),
    "service.show": Verb("Show a service", ServiceShow, ServiceView),
    "status": Verb("Show how the daemon stands", Empty, StatusView),
    "actor.tree": Verb("Show the supervision tree", Empty, ActorTree),
}
