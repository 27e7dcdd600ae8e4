"""How an instance ends: from what its code returned or raised to a status and a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from actors.kernel.blocked import Blocked, blocked_by
from actors.kernel.tasks import DAEMON_FAILURES
from protocols import codec
from protocols.effects import Status
from protocols.error_kinds import OVER_LIMIT
from protocols.errors import (
    BadValueError,
    CancelledError,
    ConfigurationError,
    FailedError,
    FailError,
    GatherError,
    InvalidInputError,
    OversizedError,
    TimedOutError,
    WorkflowError,
)
from protocols.failure import CANCELLED, CODE, TIMEOUT, VALIDATION, Failure

if TYPE_CHECKING:
    from actors.kernel.ledger import Ledger
    from protocols.definition import Workflow
    from protocols.mail import Cancel, Start


class Ended(msgspec.Struct, frozen=True):
    """The end of an instance. ``body`` is the encoded result of a completed one."""

    status: Status
    body: bytes | None = None
    failure: Failure | None = None


def input_of(workflow: Workflow[Any], start: Start) -> tuple[Any, ...] | Ended | Blocked:
    """Return the arguments behind ``ctx``. An input that does not fit never will: failed."""
    try:
        value = workflow.check_input(codec.decode(start.body, start.content_type))
    except InvalidInputError as error:
        return invalid(error.message, error.fields)
    except (BadValueError, OversizedError) as error:
        return invalid(error.message, {})
    except ConfigurationError as error:
        return Blocked(reason="definition", message=error.message)
    except DAEMON_FAILURES:
        raise
    except Exception as error:  # noqa: BLE001 - the code's: its types may run code
        return blocked_by(error)
    return (value,) if workflow.takes_input else ()


def end_of_value(value: Any, ledger: Ledger) -> Ended | Blocked:
    """Return the end of code that returned ``value``."""
    try:
        return Ended("completed", ledger.encode(value))
    except (BadValueError, OversizedError) as error:
        message = f"the result cannot be stored: {error.message}"
        return Blocked(reason="result", message=message)


def end_of_error(error: BaseException, cancel: Cancel | None) -> Ended | Blocked:
    """Return the end of code that raised ``error``; ``cancel`` when it was asked to cancel."""
    if isinstance(error, CancelledError) and cancel is not None:
        return cancelled_by(cancel)
    if not isinstance(error, WorkflowError):
        return blocked_by(error)
    failure = failure_of(error)
    try:
        codec.encode(failure.details)
    except (BadValueError, OversizedError) as problem:
        message = f"the details of the failure cannot be stored: {problem.message}"
        return Blocked(reason="result", message=message)
    return Ended("failed", failure=failure)


def cancelled_by(mail: Cancel) -> Ended:
    """Return the end of an instance that was cancelled."""
    message = mail.reason or "cancelled"
    return Ended("cancelled", failure=Failure(kind=CANCELLED, message=message, retryable=False))


def failure_of(error: WorkflowError) -> Failure:
    """Return the failure that an instance ends with when ``error`` leaves its code."""
    if isinstance(error, FailedError):
        failure = error.failure
        return Failure(
            kind=failure.kind,
            message=str(error),
            retryable=failure.retryable,
            details=failure.details,
        )
    if isinstance(error, FailError):
        return Failure(kind=error.kind, message=error.message, details=error.details)
    if isinstance(error, TimedOutError):
        return Failure(kind=TIMEOUT, message=str(error))
    if isinstance(error, GatherError):
        first = error.errors[0][1]
        kind = failure_of(first).kind if isinstance(first, WorkflowError) else CODE
        details = {branch: str(problem) for branch, problem in error.errors}
        return Failure(kind=kind, message=str(error), details=details)
    return Failure(kind=CODE, message=f"{type(error).__name__}: {error}")


def over(limit: int, group: str) -> Ended:
    """Return the end of an instance that may not wait for a place among those of its workflow."""
    of = f" with {group!r}" if group else ""
    message = f"max_active is {limit}, and so many runs{of} are active"
    return Ended("failed", failure=Failure(kind=OVER_LIMIT, message=message))


def invalid(message: str, fields: dict[str, str]) -> Ended:
    """Return the end of an instance with an input that does not fit."""
    failure = Failure(kind=VALIDATION, message=message, retryable=False, details=fields)
    return Ended("failed", failure=failure)
