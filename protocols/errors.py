"""Errors, by what the caller must do.

    MovantError                     everything below; carries a stable ``code``
    ├─ RefusedError                 the request is wrong: change it, do not retry
    │   ├─ InvalidIdError           an id, name or subject breaks the rules
    │   ├─ BadValueError            a payload is outside the value domain
    │   ├─ OversizedError           a payload or a mailbox is over its limit
    │   ├─ NotFoundError            no such workflow, instance or service
    │   ├─ AlreadyDecidedError      somebody else has decided at the gate before
    │   ├─ AlreadyExistsError       the id is taken and the policy says refuse
    │   ├─ InvalidInputError        the input does not fit the workflow's schema; has ``fields``
    │   └─ ConfigurationError       a setting or a stream differs from what is needed
    │       └─ NotPermittedError    the NATS user may not publish or subscribe there
    ├─ UnavailableError             nobody can answer now: retry later, nothing happened
    │   ├─ OverloadedError          a bounded queue is full
    │   └─ DisconnectedError        there is no connection; the message was not sent
    ├─ UnknownOutcomeError          it may or may not have happened: ask again with the same id
    └─ InternalError                a defect of movant: never caught, reported

What workflow code catches is below ``WorkflowError``: a step failed, timed out, a child
failed. It is raised by the kernel from a ``Failure`` that stands in the mailbox, so it is
the same at every fold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from protocols.failure import Failure


class MovantError(Exception):
    """Base of all errors that movant raises on purpose.

    ``hint`` is the next thing to do, as a sentence or a command; it is shown to people.
    """

    code: ClassVar[str] = "movant.error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RefusedError(MovantError):
    """The request itself is wrong; sending it again cannot help."""

    code = "refused"


class InvalidIdError(RefusedError):
    """An id, a name or a subject token breaks the rules of ``protocols.subjects``."""

    code = "refused.id"


class BadValueError(RefusedError):
    """A payload is no valid JSON or MessagePack, or is outside the value domain."""

    code = "refused.value"


class OversizedError(RefusedError):
    """A payload, a header block or a mailbox is over its limit."""

    code = "refused.size"


class SchemaVersionError(RefusedError):
    """The sender speaks a newer schema version than this reader."""

    code = "refused.schema"


class NotFoundError(RefusedError):
    """No such workflow, instance, definition or service."""

    code = "refused.not_found"


class AlreadyExistsError(RefusedError):
    """The instance id is taken, and the caller asked for refusal in that case."""

    code = "refused.exists"


class AlreadyDecidedError(RefusedError):
    """A gate was decided before: the first decision stands. The message says who decided what."""

    code = "refused.decided"


class InvalidInputError(RefusedError):
    """The input does not fit the workflow's schema. ``fields`` maps a path to what is wrong."""

    code = "refused.input"

    def __init__(self, message: str, *, fields: Mapping[str, str], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.fields = dict(fields)


class ConfigurationError(RefusedError):
    """A setting, a stream or a server is not what movant needs; ``hint`` says how to mend it."""

    code = "refused.configuration"


class NotPermittedError(ConfigurationError):
    """The NATS server does not permit its user a subject. Nothing was sent or received."""

    code = "refused.configuration.permission"


class UnavailableError(MovantError):
    """Nobody can answer now. Nothing happened: trying later is right."""

    code = "unavailable"


class OverloadedError(UnavailableError):
    """A bounded queue is full; the message was not taken."""

    code = "unavailable.overloaded"


class DisconnectedError(UnavailableError):
    """There is no connection to NATS; the message was not sent."""

    code = "unavailable.disconnected"


class NoRespondersError(UnavailableError):
    """Nobody subscribes to the subject; the server said so at once."""

    code = "unavailable.no_responders"


class UnknownOutcomeError(MovantError):
    """A request was sent and its answer is missing: it may have happened."""

    code = "unknown"


class InternalError(MovantError):
    """An invariant of movant does not hold. Reported, never handled."""

    code = "internal"


class UnresolvedError(InternalError):
    """A reference to a blob was folded or decoded, and not its content: ``actors.store.blobs``."""


class WorkflowError(Exception):
    """Base of what workflow code may catch."""


class FailedError(WorkflowError):
    """A durable operation ended in failure. ``failure`` tells kind, message and details."""

    def __init__(self, path: str, failure: Failure) -> None:
        super().__init__(f"{path}: {failure.kind}: {failure.message}")
        self.path = path
        self.failure = failure

    @property
    def kind(self) -> str:
        """The error kind, e.g. ``refused``, ``timeout``, ``network``."""
        return self.failure.kind


class StepFailedError(FailedError):
    """A step used up its attempts, or failed in a way that is not retried."""


class ChildFailedError(FailedError):
    """A child workflow failed, was cancelled or is unknown."""


class ResultTypeError(FailedError):
    """A step answered, but its result does not fit the declared type."""


class TimedOutError(WorkflowError):
    """A ``ctx.timeout`` block did not finish in time."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__(f"{path} took longer than {seconds:g} s")
        self.path = path
        self.seconds = seconds


class GatherError(WorkflowError):
    """Branches of a collecting ``gather`` failed.

    ``errors`` pairs branch and error; ``results`` maps the other branches to their results.
    """

    def __init__(
        self,
        path: str,
        errors: Sequence[tuple[str, BaseException]],
        *,
        results: Mapping[str, Any] | None = None,
    ) -> None:
        names = ", ".join(f"{name}: {error}" for name, error in errors)
        super().__init__(f"{path}: {len(errors)} of its branches failed ({names})")
        self.path = path
        self.errors = tuple(errors)
        self.results = dict(results or {})


class FailError(WorkflowError):
    """Raised by workflow code to end the instance as failed, on purpose.

    ``kind`` decides what policies do with it; ``details`` is any value.
    """

    def __init__(self, kind: str, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.details = details


class CancelledError(BaseException):
    """Thrown into workflow code when its scope or instance is cancelled.

    A BaseException, so that ``except Exception`` does not swallow it; ``finally`` runs.
    """


class NotDurableError(BaseException):
    """Workflow code awaited something that is no durable operation.

    A BaseException: it is a defect of the workflow's code and blocks the instance.
    """
