"""movant: durable workflows as actors over NATS. The public face; it holds no logic."""

from actors.directed import Directed, directed
from actors.kernel.answers import Update
from actors.kernel.context import Context
from protocols.api.runs import RunCancel, RunQuery, RunSignal, RunUndo
from protocols.blobs import File, Result
from protocols.calendars import Calendar
from protocols.compensation import NEVER_SEEN, StepFate, Undo, UndoRequest
from protocols.definition import Workflow, workflow
from protocols.directives import Directive
from protocols.errors import (
    AlreadyExistsError,
    CancelledError,
    ChildFailedError,
    ConfigurationError,
    FailError,
    GatherError,
    InvalidInputError,
    MovantError,
    NotFoundError,
    RefusedError,
    StepFailedError,
    TimedOutError,
    UnavailableError,
    UnknownOutcomeError,
    WorkflowError,
)
from protocols.failure import Failure
from protocols.gates.gate import Escalation, Gate, Notify
from protocols.gates.words import GateDecision
from protocols.graphs.fallback import Fallback
from protocols.graphs.graph import Defaults, Field, Graph, GraphStep, GraphUndo
from protocols.graphs.profile import Limits, Profile
from protocols.graphs.sleep import GraphSleep
from protocols.guardrails.guardrail import Allowed, Guardrail
from protocols.machines.machine import Hook, Machine, Next, State, StateUndo
from protocols.policy import NO_RETRY, Retry, StepOptions
from protocols.service import Call, Failed, Refused, Service, Unknown
from protocols.witness import Operator
from runtime.client.client import Client, WaitTimeoutError
from runtime.service_host import run_service
from runtime.version import VERSION

__version__ = VERSION

__all__ = [
    "NEVER_SEEN",
    "NO_RETRY",
    "Allowed",
    "AlreadyExistsError",
    "Calendar",
    "Call",
    "CancelledError",
    "ChildFailedError",
    "Client",
    "ConfigurationError",
    "Context",
    "Defaults",
    "Directed",
    "Directive",
    "Escalation",
    "FailError",
    "Failed",
    "Failure",
    "Fallback",
    "Field",
    "File",
    "Gate",
    "GateDecision",
    "GatherError",
    "Graph",
    "GraphSleep",
    "GraphStep",
    "GraphUndo",
    "Guardrail",
    "Hook",
    "InvalidInputError",
    "Limits",
    "Machine",
    "MovantError",
    "Next",
    "NotFoundError",
    "Notify",
    "Operator",
    "Profile",
    "Refused",
    "RefusedError",
    "Result",
    "Retry",
    "RunCancel",
    "RunQuery",
    "RunSignal",
    "RunUndo",
    "Service",
    "State",
    "StateUndo",
    "StepFailedError",
    "StepFate",
    "StepOptions",
    "TimedOutError",
    "UnavailableError",
    "Undo",
    "UndoRequest",
    "Unknown",
    "UnknownOutcomeError",
    "Update",
    "WaitTimeoutError",
    "Workflow",
    "WorkflowError",
    "__version__",
    "directed",
    "run_service",
    "workflow",
]
