"""One child over its life, one incarnation of it, and how both look from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec
import structlog
import trio

from supervisors.child import ChildSpec, Exit

log = structlog.get_logger()

Status = Literal["starting", "running", "restarting", "stopping", "finished", "terminated"]
"""``finished``: ended by itself and not to be restarted. ``terminated``: by an operator."""


class ChildView(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the tree, as data. Times are of the trio clock."""

    id: str
    type: Literal["worker", "supervisor"]
    status: Status
    restarts: int
    strategy: str = ""
    started_at: float | None = None
    up_s: float = 0.0
    last_error: str = ""
    children: tuple[ChildView, ...] = ()


class Child:
    """One child over all its incarnations."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.status: Status = "starting"
        self.restarts = 0
        self.failures = 0
        self.started_at: float | None = None
        self.last_error: BaseException | None = None
        self.due = 0.0
        self.run: Run | None = None

    @property
    def id(self) -> str:
        """The id in its spec."""
        return self.spec.id


class Run:
    """One incarnation: the ChildStatus that it reports to, and how it ended."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.scope = trio.CancelScope()
        self.settled = trio.Event()
        self.ended = trio.Event()
        self.is_started = False
        self.value: Any = None
        self.stop: Callable[[], Any] | None = None
        self.is_asked_to_stop = False
        self.exit: Exit = "killed"
        self.error: BaseException | None = None

    def started(self, value: Any = None, *, stop: Callable[[], Any] | None = None) -> None:
        """See ChildStatus."""
        assert not self.is_started, f"child {self.child.id} reported its start twice"
        if self.scope.cancel_called:
            return  # too late: it was given up
        self.is_started = True
        self.value, self.stop = value, stop
        self.settled.set()

    def ask_to_stop(self) -> bool:
        """Ask politely, once; return False when the child has no way to be asked."""
        if self.stop is None or not self.is_started:
            return False
        if self.is_asked_to_stop:
            return True
        self.is_asked_to_stop = True
        try:
            self.stop()
        except Exception:
            log.exception("child.stop_failed", child_id=self.child.id)
            return False
        return True


@runtime_checkable
class Viewable(Protocol):
    """A child that is a supervisor."""

    def view(self) -> ChildView:
        """Return it and everything below it."""
        ...


def view_of(child: Child, now: float) -> ChildView:
    """Return a child, and what is below it, as data."""
    below = child.run.value if child.run is not None else None
    nested = below.view() if isinstance(below, Viewable) else None
    return ChildView(
        id=child.id,
        type=child.spec.type,
        status=child.status,
        restarts=child.restarts,
        strategy=nested.strategy if nested else "",
        started_at=child.started_at,
        up_s=0.0 if child.started_at is None or child.run is None else now - child.started_at,
        last_error="" if child.last_error is None else repr(child.last_error),
        children=nested.children if nested else (),
    )
