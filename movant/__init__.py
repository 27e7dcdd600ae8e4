"""movant: durable workflows as actors over NATS. The public face; it holds no logic."""

from actors.kernel.context import Context
from protocols.definition import Workflow, workflow
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
from protocols.policy import NO_RETRY, Retry, StepOptions
from protocols.service import Call, Failed, Refused, Service
from protocols.witness import Operator
from runtime.client import Client, WaitTimeoutError
from runtime.service_host import run_service
from runtime.version import VERSION

__version__ = VERSION

__all__ = [
    "NO_RETRY",
    "AlreadyExistsError",
    "Call",
    "CancelledError",
    "ChildFailedError",
    "Client",
    "ConfigurationError",
    "Context",
    "FailError",
    "Failed",
    "Failure",
    "GatherError",
    "InvalidInputError",
    "MovantError",
    "NotFoundError",
    "Operator",
    "Refused",
    "RefusedError",
    "Retry",
    "Service",
    "StepFailedError",
    "StepOptions",
    "TimedOutError",
    "UnavailableError",
    "UnknownOutcomeError",
    "WaitTimeoutError",
    "Workflow",
    "WorkflowError",
    "__version__",
    "run_service",
    "workflow",
]
