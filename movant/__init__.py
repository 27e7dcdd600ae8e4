"""movant: durable workflows as actors over NATS. The public face; it holds no logic."""

from actors.kernel.context import Context
from protocols.definition import Workflow, workflow
from protocols.errors import (
    CancelledError,
    ChildFailedError,
    FailError,
    GatherError,
    MovantError,
    StepFailedError,
    TimedOutError,
    WorkflowError,
)
from protocols.failure import Failure
from protocols.policy import NO_RETRY, Retry, StepOptions
from protocols.service import Call, Failed, Refused, Service
from runtime.client import Client
from runtime.service_host import run_service

__all__ = [
    "NO_RETRY",
    "Call",
    "CancelledError",
    "ChildFailedError",
    "Client",
    "Context",
    "FailError",
    "Failed",
    "Failure",
    "GatherError",
    "MovantError",
    "Refused",
    "Retry",
    "Service",
    "StepFailedError",
    "StepOptions",
    "TimedOutError",
    "Workflow",
    "WorkflowError",
    "run_service",
    "workflow",
]
