"""View: what others read of an instance, between two folds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from actors.kernel.alarms import Alarm
from actors.kernel.answers import find
from actors.kernel.compensation import planned
from actors.kernel.digest import digest
from actors.kernel.generation import Seen
from actors.kernel.ledger import Counters, Ledger
from actors.kernel.operations import ANY_SIGNAL
from protocols import codec
from protocols.effects import (
    FINAL,
    AnyEffect,
    Arm,
    Ask,
    Continue,
    Enqueue,
    LogLine,
    Pin,
    Status,
    UndoChild,
    Waiting,
)
from protocols.subjects import step_token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors.kernel.blocked import Blocked
    from protocols.compensation import PlannedUndo, StepFate
    from protocols.definition import Workflow
    from protocols.failure import Failure
    from protocols.gates.words import GateDecision, GateState
    from protocols.mail import Cancel, Lacking, Start
    from protocols.updates import Answer
    from protocols.witness import Head


class View:
    """The state of one execution. ``Instance`` adds the fold that changes it."""

    __slots__ = (
        "_broken",
        "_cancel",
        "_kept",
        "_ledger",
        "_limits",
        "_load",
        "_replaced",
        "_seen",
        "_skipped",
        "_start",
        "_watch",
        "blocked",
        "definition",
        "failure",
        "finished_at",
        "folded",
        "messages",
        "recorded",
        "result",
        "started_at",
        "status",
        "steps",
        "switched",
        "workflow",
    )

    def __init__(
        self,
        instance_id: str,
        load: Callable[[str, str], Workflow[Any]],
        *,
        definition: str = "",
        generation: int = 1,
        replaced: Mapping[int, str] | None = None,
    ) -> None:
        """Begin an empty fold. A migration's ``definition`` goes before all others.

        ``replaced`` has those that go before the definitions of switches, by their sequence.
        """
        self._ledger = Ledger(instance_id, generation)
        self._load = load
        self._seen = Seen()
        self._skipped: dict[int, Lacking] = {}
        """Messages that a repair further on gives up, by sequence, until the fold comes to it."""
        self._start: Start | None = None
        self._cancel: Cancel | None = None
        self._broken = False
        self._watch = sys.maxsize
        """The count of messages at which the limits have to be looked at."""
        self._limits = (0, 0)
        """Warn at, and at most, so many messages; known when the code is."""
        self._kept = 0
        """Effects of this fold that stay when it blocks: those of former generations."""
        self.messages = 0
        """Messages folded in this generation, without those that speak to the host."""
        self.recorded = generation
        """The generation whose beginning stands in the mailbox."""
        self.status: Status = "pending"
        self.folded = 0
        self.workflow = ""
        self._replaced = {0: definition, **(replaced or {})}
        self.definition = self._replaced[0]
        self.switched = 0
        """Sequence of the switch that the definition came with; 0: it is the first one."""
        self.result: bytes | None = None
        self.steps: tuple[StepFate, ...] = ()
        """At the end, what became of the steps that can be undone."""
        self.failure: Failure | None = None
        self.blocked: Blocked | None = None
        self.started_at = 0
        self.finished_at = 0

    @property
    def id(self) -> str:
        """The instance's id."""
        return self._ledger.instance_id

    @property
    def generation(self) -> int:
        """1, and one more each time the workflow goes on as new."""
        return self._ledger.generation

    @property
    def now(self) -> int:
        """Highest timestamp folded, in nanoseconds since 1970."""
        return self._ledger.now

    @property
    def input(self) -> bytes:
        """The body of the start message, or what the code continued with."""
        return self._start.body if self._start is not None else b""

    @property
    def start(self) -> Start | None:
        """The start message that counts."""
        return self._start

    @property
    def state(self) -> dict[str, Any]:
        """The facts that the code showed with ``ctx.set_state``."""
        return {name: codec.decode(body) for name, body in self._ledger.shown().items()}

    def shown(self, fact: str) -> bytes:
        """Return one of these facts as it was encoded; empty: it was never shown."""
        return self._ledger.fact(fact)

    @property
    def counters(self) -> Counters:
        """Statistics of messages that did not count."""
        return self._ledger.counters

    @property
    def late_successes(self) -> list[tuple[str, int]]:
        """(Step token, attempt) of successes that came after the step was decided."""
        return self._ledger.late_successes

    @property
    def undoes(self) -> bool:
        """Whether it has steps that can be undone."""
        return self._ledger.undoing is not None

    @property
    def refolding(self) -> bool:
        """Whether log lines are dropped because they were written before."""
        return self._ledger.refolding

    @refolding.setter
    def refolding(self, value: bool) -> None:
        self._ledger.refolding = value

    @property
    def kept_s(self) -> float:
        """How long it is kept when it has ended, in seconds; 0: its definition does not say."""
        return self._ledger.kept_s

    @property
    def witness(self) -> Head:
        """Where the chain of statements stands."""
        return self._ledger.chain.standing(self.id)

    def is_open(self, effect: AnyEffect) -> bool:
        """Tell whether the fold still waits for what ``effect`` brings; True for other kinds."""
        if isinstance(effect, Ask):
            step = self._ledger.steps.get(effect.step)
            return step is not None and step.is_asked(effect)
        if isinstance(effect, Arm):
            timer = self._ledger.timers.get(effect.name)
            return timer is not None and timer.due == effect.due
        if isinstance(effect, UndoChild):
            return step_token(effect.parent.path) in self._ledger.children
        if isinstance(effect, Pin):
            return self._wants_pin
        if isinstance(effect, Enqueue):
            return self.status == "queued"
        if isinstance(effect, Continue):
            begun = effect.snapshot.generation
            return begun == self.generation > self.recorded and self.status not in FINAL
        return True

    def waiting(self) -> list[Waiting]:
        """Return what the instance waits for, oldest first."""
        ledger = self._ledger
        listeners = [queue for name, queue in ledger.listeners.items() if name != ANY_SIGNAL]
        operations = [
            *ledger.steps.values(),
            *(timer for timer in ledger.timers.values() if type(timer) is not Alarm),
            *ledger.children.values(),
            *(gate for token, gate in ledger.gates.items() if token not in ledger.timers),
            *(listener for queue in listeners for listener in queue),
        ]
        found = [operation.waiting() for operation in operations]
        if ledger.undoing is not None:
            found += ledger.undoing.waiting()
        if self._wants_pin:
            found.append(
                Waiting(path="/", kind="pin", since=self.started_at, detail=self.workflow)
            )
        if self.status == "queued":
            found.append(Waiting(path="/", kind="turn", since=self.started_at))
        return sorted(found, key=lambda waiting: (waiting.since, waiting.path))

    @property
    def late(self) -> list[Waiting]:
        """What takes longer than it should: the run, steps, states; nothing after the end."""
        late = self._ledger.late if self.status not in FINAL else {}
        return [each.waiting() for each in late.values()]

    def gates(self) -> list[GateState]:
        """Return the open gates, in the order in which they were opened."""
        if self.status in FINAL:  # one that was cancelled while it was blocked left them
            return []
        return [each.state for each in self._ledger.gates.values()]

    @property
    def gates_ended(self) -> dict[str, GateDecision]:
        """How the latest gates of this generation were decided, by step token."""
        return self._ledger.gates_ended

    def answer(self, message_id: str) -> Answer | None:
        """Return what has become of an update; None: no such message was folded."""
        return find(self._ledger, self._seen, message_id, ended=self.status in FINAL)

    @property
    def done(self) -> list[str]:
        """The step tokens of what has succeeded in this generation, in order."""
        return [token for token, attempt in self._ledger.decided.items() if attempt]

    @property
    def decided(self) -> dict[str, int]:
        """By step token, the attempt that gave the value, or 0 when it failed or was cancelled."""
        return self._ledger.decided

    def undo_plan(self) -> list[PlannedUndo]:
        """Return what an undo of the whole instance would undo now, in order."""
        return planned(self._ledger, ended=self.status in FINAL)

    def drain_logs(self) -> list[LogLine]:
        """Return the log lines since the last call."""
        lines, self._ledger.logs = self._ledger.logs, []
        return lines

    def state_hash(self) -> str:
        """Return a digest of everything that the fold determines, the same at every fold."""
        return digest(self, self._ledger, self._seen, cancel=self._cancel is not None)

    @property
    def _wants_pin(self) -> bool:
        return self._start is not None and not self.definition and self.status == "pending"
