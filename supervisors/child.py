"""The child spec, in OTP's words, and the one place where it is checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Literal, Protocol

import msgspec

from protocols.errors import ConfigurationError, MovantError

Restart = Literal["permanent", "transient", "temporary"]
"""``permanent``: always restarted; ``transient``: after error and kill; ``temporary``: never."""

Exit = Literal["normal", "error", "killed"]
"""How a child ended: returned, raised, or was cancelled from outside."""

Shutdown = float | Literal["brutal", "infinity"]
"""Seconds between the request to stop and the kill; ``brutal``: at once; ``infinity``: never."""

SHUTDOWN_S: Final = 5.0
START_TIMEOUT_S: Final = 30.0
"""A child that does not report its start holds up all that come after it."""


class ChildStatus(Protocol):
    """What a child tells its supervisor; also a ``trio.TaskStatus``."""

    def started(self, value: Any = None, *, stop: Callable[[], Any] | None = None) -> None:
        """Report that the child is up, so that the next one may start. Once.

        ``value`` is handed to whoever started the child. ``stop`` asks the child to end by
        itself within its ``shutdown`` time; a child without it is cancelled instead, and may
        clean up in ``finally``.
        """
        ...


class Start(Protocol):
    """Runs a child: reports ``started``, and returns or raises when the child ends."""

    def __call__(self, *, task_status: ChildStatus) -> Awaitable[Any]:
        """Run until the child ends."""
        ...


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How to start, restart and stop one child."""

    id: str
    start: Start
    restart: Restart = "permanent"
    shutdown: Shutdown = SHUTDOWN_S
    start_timeout_s: float = START_TIMEOUT_S
    type: Literal["worker", "supervisor"] = "worker"


class ChildKilledError(Exception):
    """Raised by a start function to say: the child was killed from outside."""


class StartFailedError(MovantError):
    """A child did not come up; ``__cause__`` says why. The supervisor has stopped again."""

    code = "supervision.start"

    def __init__(self, supervisor: str, child_id: str, reason: str) -> None:
        super().__init__(f"{supervisor}: child {child_id} did not start: {reason}")
        self.supervisor = supervisor
        self.child_id = child_id


def restarts(restart: Restart, exit_kind: Exit) -> bool:
    """Tell whether a child of this restart type is restarted after such an exit."""
    if restart == "permanent":
        return True
    return restart == "transient" and exit_kind != "normal"


def check(specs: Iterable[ChildSpec]) -> None:
    """Check the specs of one supervisor. Raises ConfigurationError that lists every problem."""
    problems: list[str] = []
    seen: set[str] = set()
    for spec in specs:
        problems += _problems(spec)
        if spec.id in seen:
            problems.append(f"child id {spec.id!r} appears twice")
        seen.add(spec.id)
    if problems:
        raise ConfigurationError("; ".join(problems), hint="correct the child specs")


def _problems(spec: ChildSpec) -> Iterable[str]:
    if not spec.id or "/" in spec.id:
        yield f"child id {spec.id!r} is empty or contains '/'"
    if not callable(spec.start):
        yield f"{spec.id}: start is not callable"
    if spec.restart not in {"permanent", "transient", "temporary"}:
        yield f"{spec.id}: restart is {spec.restart!r}, not permanent, transient or temporary"
    if isinstance(spec.shutdown, str):
        if spec.shutdown not in {"brutal", "infinity"}:
            yield f"{spec.id}: shutdown is {spec.shutdown!r}, not seconds, brutal or infinity"
    elif not spec.shutdown > 0:
        yield f"{spec.id}: shutdown must be above 0 s, or 'brutal'"
    if not spec.start_timeout_s > 0:
        yield f"{spec.id}: start_timeout_s must be above 0"
