"""What the author of a hosted service writes: a Service, its operations, and their answers.

    health = Service("health", version="1.0.0")

    @health.operation("inspection-schedule")
    async def schedule(request: InspectionRequest, call: Call) -> Inspection: ...

An ``async def`` runs on trio; a ``def`` may block and runs in a thread of its own. Both may
leave out ``call``. A result is sent once it is returned; Refused, Failed and Unknown are the
answers "no, and do not ask again", "not now" and "nobody can say whether it was done".
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from protocols.errors import ConfigurationError
from protocols.failure import FAILED, REFUSED, UNKNOWN
from protocols.subjects import check_name, check_step_name

CONCURRENCY_DEFAULT: Final = 100
THREADS_DEFAULT: Final = 8
_SEMVER: Final = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?\Z")

F = TypeVar("F", bound=Callable[..., Any])


class Call(msgspec.Struct, frozen=True):
    """What a handler may want to know of a request, and how it tells that it is alive.

    ``key`` is the idempotency key: the same for every attempt of a step. ``timeout_s`` is how
    long the caller waits, 0 when unknown. ``undoes`` is the key of the step that the request
    undoes: after the answer nothing may happen any more under that key, seen or not.
    ``last`` is what the last heartbeat of the attempt before has said.
    """

    service: str
    operation: str
    key: str = ""
    attempt: int = 1
    timeout_s: float = 0.0
    traceparent: str = ""
    undoes: str = ""
    heartbeat_s: float = 0.0
    last: Any = None
    beats: Callable[[Any], None] | None = None

    def heartbeat(self, details: Any = None) -> None:
        """Tell that the work goes on, and what it has come to; from any thread.

        The attempt is given up when ``heartbeat_s`` seconds pass without. Not stored, so it may
        be called often: some calls go out. Where nobody listens (``heartbeat_s`` is 0) it does
        nothing. Raises BadValueError for what is no value, OversizedError for more than 2 kB.
        """
        if self.beats is not None:
            self.beats(details)


class Refused(Exception):
    """The service refuses: it has no effect, and asking again cannot help."""

    def __init__(self, kind: str = REFUSED, message: str = "", *, details: Any = None) -> None:
        super().__init__(message or kind)
        self.kind = kind
        self.message = message or kind
        self.details = details


class _NotNow(Exception):
    """Base of the answers after which a step may be asked again."""

    default: ClassVar[str]

    def __init__(
        self,
        kind: str = "",
        message: str = "",
        *,
        details: Any = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.kind = kind or self.default
        self.message = message or self.kind
        super().__init__(self.message)
        self.details = details
        self.retry_after_s = retry_after_s


class Failed(_NotNow):
    """The service could not do it now: no effect, asking again may help."""

    default = FAILED


class Unknown(_NotNow):
    """The service cannot say whether it was done: it asked somebody else and got no answer.

    The step is asked again with the same key, or compensated; its effect counts as possible.
    """

    default = UNKNOWN


class Operation(msgspec.Struct, frozen=True):
    """One operation of a service."""

    name: str
    function: Callable[..., Any]
    request_type: Any
    result_type: Any
    takes_request: bool
    takes_call: bool
    blocking: bool
    concurrency: int
    description: str


class Service:
    """A named set of operations. The subjects are ``movant.svc.<name>.<operation>``."""

    def __init__(self, name: str, *, version: str = "0.1.0", description: str = "") -> None:
        self.name: Final = check_name(name, "service")
        if "." in name:
            raise ConfigurationError(f"service name {name!r} has a dot: use '-'")
        if _SEMVER.match(version) is None:
            raise ConfigurationError(
                f"service {name}: version {version!r} is no semantic version",
                hint="NATS micro wants major.minor.patch, such as 1.0.0",
            )
        self.version: Final = version
        self.description: Final = description
        self.operations: dict[str, Operation] = {}
        self.counters: dict[str, dict[str, float]] = {}
        """Numbers of its own by operation, for people: they stand in its statistics."""

    def count(self, operation: str, name: str, value: float) -> None:
        """Add to a number of an operation, such as tokens or cost."""
        of = self.counters.setdefault(operation, {})
        of[name] = of.get(name, 0.0) + value

    def operation(
        self, name: str | None = None, *, concurrency: int | None = None
    ) -> Callable[[F], F]:
        """Declare an operation. ``concurrency`` bounds how many run at once in one process."""

        def declare(function: F) -> F:
            called = check_step_name(name or function.__name__.replace("_", "-"))
            if called in self.operations or "." in called:
                raise ConfigurationError(
                    f"operation {called!r} of service {self.name} is taken or has a dot"
                )
            self.operations[called] = _operation(called, function, concurrency)
            return function

        return declare


def _operation(name: str, function: Callable[..., Any], concurrency: int | None) -> Operation:
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) > 2:  # noqa: PLR2004 - request and call
        raise ConfigurationError(
            f"operation {name} takes {len(parameters)} parameters",
            hint="write 'def name(request, call)'; both may be left out",
        )
    hints = typing.get_type_hints(function, include_extras=True)
    takes_call = bool(parameters) and (
        parameters[-1].name == "call" or hints.get(parameters[-1].name) is Call
    )
    takes_request = len(parameters) > takes_call
    blocking = not inspect.iscoroutinefunction(function)
    return Operation(
        name=name,
        function=function,
        request_type=hints.get(parameters[0].name, Any) if takes_request else Any,
        result_type=hints.get("return", Any),
        takes_request=takes_request,
        takes_call=takes_call,
        blocking=blocking,
        concurrency=concurrency or (THREADS_DEFAULT if blocking else CONCURRENCY_DEFAULT),
        description=inspect.getdoc(function) or "",
    )
