"""WorkflowActor: one instance in memory. Its ``on_receive`` is the fold.

It has no task of its own: the dispatcher gives it turns. What the fold asks for goes to the
owner, who alone talks to the world. The actor can be dropped at any time when it is settled;
the next message makes it again from its mailbox.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from actors.core.base import DrivenActor
from actors.kernel.instance import Instance
from actors.owning.fold_guard import FoldGuard
from actors.routing.flow import SAMPLED
from protocols.blobs import Blob
from protocols.effects import FINAL, AnyEffect, Arm, Ask, Continue, Enqueue, Pin
from protocols.failure import TIMEOUT, Failure
from protocols.mail import (
    AnyMail,
    AttemptRefused,
    AttemptTimedOut,
    Cancel,
    Continued,
    Migrate,
    Pinned,
    Repaired,
    Reply,
    Switch,
    Turn,
    UndoAll,
    Woken,
)

if TYPE_CHECKING:
    from actors.routing.parking import Ticket
    from actors.routing.router import Route

TIMED_OUT: Final = Failure(kind=TIMEOUT, message="no reply in time")

_BEGIN_OR_END: Final = frozenset({Pinned, Turn, Cancel, UndoAll})
"""What may end the wait of a run that has not begun."""

log = structlog.get_logger()


class Host(Protocol):
    """Who hosts the actor: takes what a fold asked for."""

    guard: FoldGuard
    backlog: int
    """Messages handed over to all actors and not taken yet."""

    def folded(self, actor: WorkflowActor, mail: AnyMail, effects: list[AnyEffect]) -> None:
        """One message was folded."""
        ...

    def crashed(self, actor: WorkflowActor, mail: AnyMail, error: BaseException) -> None:
        """Take the news that a fold raised: a failure of this daemon, not of the workflow."""
        ...


class OpenAsk:
    """An attempt that is not decided, with what this daemon knows about it.

    Times are seconds on the monotonic clock; 0 means not yet.
    """

    __slots__ = (
        "ask",
        "beat_at",
        "blob",
        "closing",
        "covered",
        "deadline",
        "held",
        "parked",
        "reask_at",
        "route",
        "said",
        "sent_at",
        "silent_at",
        "slot",
        "spent_s",
        "storing",
        "suspect",
        "ticket",
        "tries",
    )

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.route: Route | None = None
        self.sent_at = 0.0
        self.spent_s = 0.0
        self.suspect = False
        """An earlier life of the actor may have sent it: nobody can say that it did not happen."""
        self.deadline = inf
        self.reask_at = inf
        self.tries = 0
        self.parked = False
        self.ticket: Ticket | None = None
        """Where it waits for its turn, while it is parked."""
        self.slot = False
        """It is counted among the requests that its service has."""
        self.held = False
        """A wake is armed for it: nothing happens before that fires."""
        self.closing = False
        self.covered = False
        self.blob: Blob | None = None
        """Where its input is stored that is too large for a message."""
        self.storing = False
        self.beat_at = 0.0
        self.silent_at = inf
        """When it is given up unless its service beats before; inf: it need not beat."""
        self.said: Any = None
        """What the last beat said."""

    @property
    def never_sent(self) -> bool:
        """Whether it is parked and nobody can have sent it."""
        return self.parked and not (self.sent_at or self.suspect)

    def leave(self) -> None:
        """Free what it holds of its service: nobody waits for it any more."""
        if self.ticket is not None:
            self.ticket.close()
        route = self.route
        if route is not None:
            route.users -= 1
            if self.slot:
                self.slot = False
                route.flow.left()

    def learn(self, failure: Failure | None, now: float) -> None:
        """Let its service's flow learn from what ended it."""
        route = self.route
        if route is not None and self.sent_at:
            flow = route.flow
            flow.answers += 1
            # The most common answer costs no more than a look: see ``actors.routing.flow``.
            if failure is not None or flow.guarded or flow.ranked or not flow.answers % SAMPLED:
                flow.answered(failure, self.sent_at, now)


class WorkflowActor(DrivenActor):
    """One instance: its fold, its open requests and its unacknowledged effects."""

    __slots__ = (
        "activating",
        "asks",
        "attend_at",
        "backlog",
        "behind",
        "fresh_from",
        "gone",
        "guards",
        "held",
        "holding",
        "host",
        "id",
        "idle_since",
        "idle_until",
        "instance",
        "looked_at",
        "needed",
        "never_sent",
        "partition",
        "pin_covered",
        "recording",
        "threshold",
        "touched",
        "unfolded",
        "unsettled",
        "wake_number",
        "waking",
        "woken_number",
    )

    def __init__(self, host: Host, instance: Instance, partition: int) -> None:
        super().__init__()
        self.host = host
        self.instance = instance
        self.id = instance.id
        self.partition = partition
        self.asks: dict[Any, OpenAsk] = {}
        self.unsettled: dict[Any, AnyEffect] = {}
        self.backlog = 0
        """Messages in the mailbox of this process."""
        self.unfolded = 0
        """A sequence at or below the first one that was handed on and is not folded; 0: none."""
        self.needed = 0
        """The highest sequence that an activation has to include."""
        self.activating = False
        self.behind = False
        """Messages were not handed over: they have to be read from the stored mailbox."""
        self.threshold = 0
        """Effects of a refold with a cause at or above this are redone."""
        self.fresh_from = 0
        """What stands at or above this was never folded here before: nothing of it was sent."""
        self.holding = True
        """Nothing is done yet of what its fold asks for: what decides it may be stored already."""
        self.held: dict[Any, AnyEffect] = {}
        self.guards: dict[Any, tuple[Arm, float]] = {}
        """Timers that are not armed yet, and since when: see ``actors.owning.guards``."""
        self.attend_at = inf
        self.touched = 0.0
        self.idle_since = self.idle_until = -inf
        """Before this time there is nothing to do about its being idle since that one."""
        self.looked_at = 0
        """The last checkpoint for which it was looked at."""
        self.wake_number = 0
        self.woken_number = 0
        """How many wakes fired since anything else came."""
        self.never_sent: frozenset[str] = frozenset()
        """Steps that this daemon parked and surely never sent."""
        self.waking = False
        self.pin_covered = False
        self.recording = 0
        """The generation whose record is being written."""
        self.gone = False
        """It was dropped: whoever still holds it must not act for it."""

    def on_receive(self, mail: AnyMail) -> None:
        """Fold one message and hand the effects to the host."""
        self.backlog -= 1
        self.host.backlog -= 1
        instance = self.instance
        if mail.seq <= instance.folded:
            self.host.folded(self, mail, [])
            return
        try:
            effects = self.host.guard.fold(instance, mail)
            self.host.folded(self, mail, effects)
        except Exception as error:  # noqa: BLE001 - whatever comes out is ours, not the workflow's
            self.host.crashed(self, mail, error)

    @property
    def final(self) -> bool:
        """True when the instance has ended."""
        return self.instance.status in FINAL

    @property
    def settled(self) -> bool:
        """True when every effect is acknowledged, decided or covered by a wake."""
        return self.lowest_cause() is None

    @property
    def needed_here(self) -> bool:
        """True while it takes one of a service's places, or a service has to beat for it."""
        return any(
            (each.slot and each.route is not None and each.route.flow.settings.concurrency_max)
            or each.silent_at < inf
            for each in self.asks.values()
        )

    def lowest_cause(self) -> int | None:
        """Return the lowest cause among unsettled effects; None when settled."""
        # All are looked at every second, and nearly all have one request and perhaps a guard.
        lowest = inf
        for state in self.asks.values():
            if not state.covered and state.ask.cause < lowest:
                lowest = state.ask.cause
        for guard, _ in self.guards.values():
            if guard.cause < lowest:  # noqa: PLR1730 - a call for each costs more
                lowest = guard.cause
        if self.unsettled or self.held:
            causes = [each.cause for each in self.held.values()]
            causes += [
                each.cause
                for each in self.unsettled.values()
                if not (self.pin_covered and isinstance(each, Pin | Enqueue))
            ]
            lowest = min([lowest, *causes])
        return None if lowest == inf else int(lowest)

    def again_from(self, mail: AnyMail) -> int | None:
        """Return the threshold when a message asks for a fold from the beginning, or None.

        A migration and a repair do, a generation that this fold has not come to, and a wake that
        covers requests of which only it knows whether they were ever sent.
        """
        if self.final:
            return None
        if type(mail) is Migrate or type(mail) is Repaired:
            return 0
        if type(mail) is Switch and self.instance.status == "blocked":
            return 0  # its definition may be one that was not loaded yet
        if type(mail) is Continued and mail.generation > self.instance.generation:
            # What is recorded counts, should this code not have continued where it did.
            return 0 if mail.snapshot.definition == self.instance.definition else None
        if type(mail) is Woken and any(each.held for each in self.asks.values()):
            lowest = self.lowest_cause()
            return mail.since if lowest is None else min(lowest, mail.since)
        return None

    def decided(self, mail: AnyMail) -> None:  # noqa: C901 - the hot path, in one piece
        """Drop what the fold of a message no longer waits for."""
        if type(mail) is not Woken:
            self.wake_number = self.woken_number = 0
        if self.guards:
            self.close_guards()
        if type(mail) in _BEGIN_OR_END:
            for identity, each in list(self.unsettled.items()):
                if isinstance(each, Pin | Enqueue) and not self.instance.is_open(each):
                    del self.unsettled[identity]
        if type(mail) is Reply and self.instance.status != "blocked":
            identity = ("ask", mail.step, mail.attempt)
            state = self.asks.get(identity)
            if state is not None and not self.instance.is_open(state.ask):
                state.learn(mail.failure, self.touched)
                self.drop_ask(identity)
            if self.asks and self.instance.undoes:
                self.close_asks()  # what nobody waits for must not be sent again behind its undo
        elif type(mail) is Continued:
            self.close_continues()
        elif self.asks and type(mail) is not Woken:
            silent = type(mail) is AttemptRefused and mail.failure.kind == TIMEOUT
            if type(mail) is AttemptTimedOut or (type(mail) is AttemptRefused and silent):
                state = self.asks.get(("ask", mail.step, mail.attempt))
                if state is not None and not self.instance.is_open(state.ask):
                    state.learn(TIMED_OUT, self.touched)
            self.close_asks()

    def answered(self, mail: Reply, now: float) -> None:
        """Let its service's flow learn of an answer that is folded behind a fetch."""
        state = self.asks.get(("ask", mail.step, mail.attempt))
        if state is not None:
            state.learn(mail.failure, now)

    def close_asks(self) -> None:
        """Drop requests that the fold no longer waits for; a blocked one waits for nothing."""
        blocked = self.instance.status == "blocked"
        for identity, each in list(self.asks.items()):
            if blocked or not self.instance.is_open(each.ask):
                self.drop_ask(identity)

    def close_guards(self) -> None:
        """Drop timers that were not armed in time to be needed."""
        final = self.final
        for identity, (effect, _) in list(self.guards.items()):
            if final or not self.instance.is_open(effect):
                del self.guards[identity]

    def close_continues(self) -> None:
        """Drop beginnings of generations that are recorded, or that need no record any more."""
        for identity, each in list(self.unsettled.items()):
            if type(each) is Continue and not self.instance.is_open(each):
                del self.unsettled[identity]

    def drop_ask(self, identity: Any) -> None:
        """Drop one request."""
        self.asks.pop(identity).leave()

    def tell_blocked(self) -> None:
        """Log that this run needs somebody: it stays as it is until it is repaired."""
        blocked = self.instance.blocked
        assert blocked is not None, "asked for a blocked instance only"
        log.warning(
            "workflow.blocked",
            run=self.id,
            workflow=self.instance.workflow,
            reason=blocked.reason,
            error=blocked.message,
            place=blocked.place,
        )
