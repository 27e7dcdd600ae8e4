"""The ledger of one instance: what it has asked for, what of it is open, what was decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors.kernel.tasks import Scheduler
from actors.kernel.witness import Chain
from protocols import codec
from protocols.blobs import LARGE
from protocols.effects import AnyEffect, Emit, LogLine
from protocols.subjects import root_of

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Mapping

    from actors.kernel.alarms import Alarm
    from actors.kernel.answers import Updates
    from actors.kernel.children import Child
    from actors.kernel.gates import GateWait
    from actors.kernel.operations import Deadline, Listen, Operation, Sleep
    from actors.kernel.step import Step
    from actors.kernel.undoing import Undoing
    from protocols.definition import Workflow
    from protocols.forking import Forking, ForkOrder
    from protocols.gates.words import GateDecision
    from protocols.mail import Fork, Signal, SwitchOrder, Taken
    from protocols.moving import Moving
    from protocols.routes import Routes

    Mover = Callable[[Workflow[Any], SwitchOrder, bool], Moving]
    """Tells how a switch goes; does it when the last argument is true and nothing is wrong."""
    Forker = Callable[[Workflow[Any], ForkOrder, Mapping[str, str]], Forking]
    """Tells what a fork takes over; of steps that do not stand, it is told the fate by path."""

LOG_LINES_MAX: Final = 1_000
"""Log lines kept until the host drains them; what comes after is dropped."""


class Later:
    """A fact that is made only when somebody looks: ``make`` returns the same at any time."""

    __slots__ = ("make", "of")

    def __init__(self, make: Callable[..., Any], *of: Any) -> None:
        self.make = make
        self.of = of


class Counters:
    """Statistics of messages that did not count. Not part of the folded state."""

    __slots__ = ("duplicates", "early", "late", "stray")

    def __init__(self) -> None:
        self.duplicates = 0
        """Repeats: message ids seen before, second starts, the same success again."""
        self.early = 0
        """Timers and timeouts that came before their due time."""
        self.late = 0
        """Messages for a step that was decided or cancelled, or after the end."""
        self.stray = 0
        """Messages that nobody could have asked for, before the code ran."""


class Ledger:
    """What one instance has asked for, what of it is open, and what was decided."""

    __slots__ = (
        "cause",
        "chain",
        "children",
        "counters",
        "decided",
        "effects",
        "forker",
        "forks",
        "gates",
        "gates_ended",
        "generation",
        "instance_id",
        "kept_s",
        "late",
        "late_event",
        "late_successes",
        "listeners",
        "logs",
        "mover",
        "now",
        "profile",
        "refolding",
        "routes",
        "scheduler",
        "signals",
        "started_by",
        "state",
        "steps",
        "taken",
        "timers",
        "unawaited",
        "undoing",
        "updates",
        "value_bytes_max",
    )

    def __init__(self, instance_id: str, generation: int) -> None:
        self.instance_id = instance_id
        self.generation = generation
        self.scheduler = Scheduler()
        self.chain = Chain()
        self.now = 0
        self.cause = 0
        self.effects: list[AnyEffect] = []
        self.steps: dict[str, Step[Any]] = {}
        self.timers: dict[str, Sleep | Deadline | GateWait | Alarm] = {}
        self.late: dict[str, Alarm] = {}
        """Blocks of code that take longer than they should."""
        self.children: dict[str, Child[Any]] = {}
        self.gates: dict[str, GateWait] = {}
        self.gates_ended: dict[str, GateDecision] = {}
        """How the latest gates of this generation were decided, by step token."""
        self.listeners: dict[str, list[Listen[Any]]] = {}
        self.signals: dict[str, deque[Signal]] = {}
        self.updates: Updates | None = None
        """What has become of updates; None until the code takes the first one."""
        self.decided: dict[str, int] = {}
        """Step token -> attempt that gave the value; 0 when it failed or was cancelled."""
        self.late_successes: list[tuple[str, int]] = []
        self.late_event = ""
        """Kind of the event that tells of answers to decided steps; empty: they are counted."""
        self.state: dict[str, Any] = {}
        """What the code shows: bytes are encoded, all else is encoded when somebody looks."""
        self.counters = Counters()
        self.logs: list[LogLine] = []
        self.refolding = False
        self.started_by = ""
        """Who has started the instance, as the start says."""
        self.profile = ""
        self.routes: Routes | None = None
        """Who may serve what, in the table that the instance is pinned to."""
        self.mover: Mover | None = None
        """How the code goes on with another definition; None: it cannot."""
        self.forker: Forker | None = None
        """What another run can take over of the code; None: nothing."""
        self.forks: dict[str, Fork] = {}
        """By message id, until a start decides which one counts."""
        self.taken: Taken | None = None
        """What the code begins with that another run has done; of the first generation."""
        self.unawaited: dict[Operation[Any], None] = {}
        self.undoing: Undoing | None = None
        """What can be undone; None until the first step with an undo."""
        self.kept_s = 0.0
        """How long the instance is kept when it has ended; 0: its definition does not say."""
        self.value_bytes_max = codec.PAYLOAD_BYTES_MAX
        """The largest value that the code may hand on: see ``protocols.mail.Start.kernel``."""

    @property
    def root(self) -> str:
        """What the paths of this generation begin with."""
        return root_of(self.generation)

    def next_generation(self) -> None:
        """Forget all that belonged to the code; signals, state and statistics stay."""
        entries = self.scheduler.entries
        self.generation += 1
        self.scheduler = Scheduler()
        self.scheduler.entries = entries
        self.steps = {}
        self.timers = {}
        self.late = {}
        self.gates = {}
        self.gates_ended = {}
        self.children = {}
        self.listeners = {}
        self.unawaited = {}
        self.undoing = None
        self.mover = None
        self.forker = None
        self.taken = None
        self.late_event = ""

    def close(self) -> None:
        """Drop the code and all that it waits for."""
        self.scheduler.close()
        waits: tuple[dict[Any, Any], ...] = (
            self.steps,
            self.timers,
            self.late,
            self.children,
            self.gates,
            self.listeners,
            self.unawaited,
            self.state,
        )
        for each in waits:
            each.clear()
        if self.undoing is not None:
            for record in self.undoing.records.values():
                record.entries.clear()
        self.effects = []
        self.undoing = self.mover = self.forker = self.taken = None

    def outcome(self, token: str) -> dict[str, Any] | None:
        """Return what something came to in the run that this one is a fork of; None: nothing."""
        if self.taken is None:
            return None
        found: dict[str, Any] | None = self.taken.standing.get("outcomes", {}).get(token)
        return found

    def encode(self, value: Any) -> bytes:
        """Return what the code hands on, encoded. Raises BadValueError, OversizedError."""
        return codec.encode(value, limit=self.value_bytes_max)

    def event(self, kind: str, data: Any, path: str) -> Emit:
        """Return an event with data of the code's, which it may change afterwards."""
        body = self.encode(data)
        return Emit(
            cause=self.cause,
            event=kind,
            data=codec.decode(body, LARGE),
            id=self.identity(path),
            body=body if len(body) > codec.PAYLOAD_BYTES_MAX else b"",
        )

    def shown(self) -> dict[str, bytes]:
        """Return what the code shows, encoded."""
        return {name: self.fact(name) for name in self.state}

    def fact(self, name: str) -> bytes:
        """Return one fact of these, encoded; empty: it was never shown."""
        value = self.state.get(name, b"")
        if type(value) is Later:
            value = value.make(*value.of)
        return value if type(value) is bytes else codec.encode(value)

    def identity(self, path: str) -> str:
        """Return the world-wide identity of what happens at ``path``."""
        return f"{self.instance_id}/{self.generation}{path}"

    def log(self, level: str, event: str, facts: dict[str, Any]) -> None:
        """Keep a log line, unless it was written at the first fold already."""
        if not self.refolding and len(self.logs) < LOG_LINES_MAX:
            self.logs.append(LogLine(level, event, facts))
