"""What a fold asks for: effects, each with a cause and a world-wide identity.

An effect is derived, never recorded. ``cause`` is the sequence of the message whose fold asked
for it. ``identity`` is the same at every fold; whoever receives an effect twice drops the
repeat by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from protocols.compensation import StepFate
from protocols.failure import Failure
from protocols.mail import Parent, Snapshot
from protocols.policy import StepOptions
from protocols.routes import Choices
from protocols.witness import Draft

Status = Literal[
    "pending",
    "queued",
    "running",
    "completed",
    "failed",
    "compensated",
    "compensation_incomplete",
    "cancelled",
    "blocked",
]
"""``pending``: no start yet. ``queued``: it waits for its turn.
``blocked``: the mailbox cannot be folded with this code.

``compensated``: it failed or was cancelled (the failure tells), and all that it did and can undo
is undone. ``compensation_incomplete``: some of that is not.
"""

FINAL: tuple[Status, ...] = (
    "completed",
    "failed",
    "compensated",
    "compensation_incomplete",
    "cancelled",
)


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all effects. ``cause`` is a stream sequence."""

    cause: int


class LocalCall(msgspec.Struct, frozen=True):
    """A function of the workflow's own code that ``ctx.run`` asked for."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class AskRoute(msgspec.Struct, frozen=True):
    """Where an attempt may go: to a candidate of ``choices``.

    ``decided``: to the ask's service and nobody else. Otherwise the owner may choose by a
    message, as long as nobody can have sent it; where the choices are ranked it has to.
    ``failed`` are those that failed without an effect; ``bound``: an outcome is unknown, so no
    other service may be asked in a later attempt either.
    """

    choices: Choices
    decided: bool = False
    failed: tuple[str, ...] = ()
    bound: bool = False


class Ask(Effect, frozen=True, kw_only=True):
    """Send one attempt of a step to a service. Open until a reply or decision is folded.

    ``due``, ``until`` and ``asked`` are nanoseconds since 1970: not to be sent before ``due``
    (backoff), of no use after ``until``, when a timeout around it is over (0: there is none),
    asked for at ``asked``. ``local`` is set for ``ctx.run``; then service is ``_local``.
    """

    path: str
    step: str
    attempt: int
    service: str
    operation: str
    body: bytes
    key: str
    due: int
    until: int = 0
    options: StepOptions
    local: LocalCall | None = None
    undoes: str = ""
    """The key of the step that this one undoes."""
    route: AskRoute | None = None
    last: bytes = b""
    """What the last beat of the attempt before said, encoded; empty: nothing."""

    @property
    def identity(self) -> tuple[str, str, int]:
        """Kind, step and attempt."""
        return ("ask", self.step, self.attempt)

    @property
    def unrouted(self) -> bool:
        """True when the owner has to choose a service first: nobody may send it as it is."""
        return self.route is not None and self.route.choices.ranked and not self.route.decided


class Arm(Effect, frozen=True, kw_only=True):
    """Arm a durable timer. Open until its firing is folded or nobody waits for it.

    ``guard``: it bounds a block of code, which mostly ends long before.
    """

    name: str
    due: int
    guard: bool = False

    @property
    def identity(self) -> tuple[str, str]:
        """Kind and timer name."""
        return ("arm", self.name)


class Emit(Effect, frozen=True, kw_only=True):
    """Publish an event about the instance to EVENTS; with a statement if it is a transition.

    ``body`` is ``data`` encoded, where that was done already.
    """

    event: str
    data: Any
    id: str
    statement: Draft | None = None
    body: bytes = b""

    @property
    def identity(self) -> tuple[str, str]:
        """Kind and event id."""
        return ("emit", self.id)


class Send(Effect, frozen=True, kw_only=True):
    """Send a signal to another instance."""

    to: str
    name: str
    body: bytes
    id: str

    @property
    def identity(self) -> tuple[str, str]:
        """Kind and message id."""
        return ("send", self.id)


class Spawn(Effect, frozen=True, kw_only=True):
    """Start a child instance."""

    child: str
    workflow: str
    body: bytes
    parent: Parent
    id: str
    priority: int = 0
    """That of the parent, filled in by who writes the start; so is the next one."""
    traceparent: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """Kind and child id."""
        return ("spawn", self.child)


class CancelChild(Effect, frozen=True, kw_only=True):
    """Ask a child instance to cancel."""

    child: str
    reason: str
    id: str

    @property
    def identity(self) -> tuple[str, str]:
        """Kind and child id."""
        return ("cancel", self.child)


class UndoChild(Effect, frozen=True, kw_only=True):
    """Undo what a child left that has completed, by a run that tells ``parent`` how it ended.

    Open until that is folded. The parent is told at once when there is nothing to undo.
    """

    child: str
    run: str
    """Id of the run of ``movant.undo``."""
    parent: Parent
    id: str

    @property
    def identity(self) -> tuple[str, str]:
        """Kind and id of the run."""
        return ("undo", self.run)


class Pin(Effect, frozen=True, kw_only=True):
    """A raw start names no definition: the owner has to pin one. Open until folded."""

    workflow: str

    @property
    def identity(self) -> tuple[str, str]:
        """Kind and workflow."""
        return ("pin", self.workflow)


class Enqueue(Effect, frozen=True, kw_only=True):
    """So many runs may be active: the owner has to say when this one begins. Open until then.

    They are counted by ``workflow`` and ``group``. ``refuse``: it does not wait for a place.
    """

    workflow: str
    group: str
    limit: int
    priority: int
    place: int
    """Sequence of the start: whose is lower is first, among those with the same priority."""
    refuse: bool

    @property
    def identity(self) -> tuple[str]:
        """There is one for each instance."""
        return ("turn",)


class Continue(Effect, frozen=True, kw_only=True):
    """A generation has begun: the owner has to record it. Open until that is folded.

    To be written only when all effects that were asked for before it are acknowledged: a fold
    that begins with the snapshot does not ask for them again.
    """

    snapshot: Snapshot

    @property
    def identity(self) -> tuple[str, int]:
        """Kind and generation."""
        return ("continue", self.snapshot.generation)


class Finish(Effect, frozen=True, kw_only=True):
    """The instance has ended: write its archive record and tell its parent."""

    status: Status
    body: bytes
    failure: Failure | None
    parent: Parent | None
    steps: tuple[StepFate, ...] = ()
    """What became of the steps that can be undone."""

    @property
    def identity(self) -> tuple[str]:
        """There is one finish per instance and generation."""
        return ("finish",)


AnyEffect = (
    Ask | Arm | Emit | Send | Spawn | CancelChild | UndoChild | Pin | Enqueue | Continue | Finish
)


class LogLine(msgspec.Struct, frozen=True):
    """A log line of workflow code; not an effect: lost on a crash, silent while refolding."""

    level: str
    event: str
    facts: dict[str, Any]


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an instance waits for, for people and programs."""

    path: str
    kind: Literal["step", "review", "gate", "timer", "signal", "update", "child", "pin", "turn"]
    since: int
    detail: str = ""
    attempt: int = 0
    due: int = 0
    attempts: int = 0
    """Of a step: how many there may be."""
    timeout_s: float = 0.0
    """Of a step: how long the service may take for this attempt."""
    again: bool = False
    """Of a step: whether another attempt follows when it takes longer."""
    heartbeat_s: float = 0.0
    """Of a step: how long its service may be silent; 0: for ever."""
    beat_at: int = 0
    """Of a step: when its service has beaten last, as this daemon heard it."""
    beat: Any = None
    """Of a step: what it said then."""
    failed: str = ""
    """Of a step that is tried again: how the attempt before ended, cut."""
