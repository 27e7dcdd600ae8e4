"""Acting: does what folds ask for, but not before all is folded that may have decided it.

    fold -> held -> (our own marker read, and folded up to it) -> requests, outbox

An actor that catches up holds what its folds ask for: the answer may stand in the next message.
What it then does again, and what it does for the first time, follows from where the cause
stands: below our own marker a former owner may have acted on it, and below ``fresh_from`` an
earlier life of the actor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from actors.owning.guards import Guards
from actors.owning.outbox import Outbox
from actors.owning.partitions import Partitions
from actors.owning.turns import Turns
from actors.owning.workflow import WorkflowActor
from actors.routing.requests import Requests
from protocols.effects import AnyEffect, Arm, Ask, Continue, Enqueue, Pin
from protocols.mail import AnyMail, Woken


class Acting:
    """Acts for the instances of one owner."""

    requests: Requests
    outbox: Outbox
    turns: Turns

    def __init__(
        self,
        partitions: Partitions,
        guards: Guards,
        pin: Callable[[WorkflowActor, Pin], None],
        continued: Callable[[WorkflowActor], None],
    ) -> None:
        self._partitions = partitions
        self._guards = guards
        self._pin = pin
        self._continued = continued

    def perform(self, actor: WorkflowActor, effect: AnyEffect) -> None:
        """Do a new effect, or hold it."""
        if actor.holding:
            actor.held[effect.identity] = effect
        elif type(effect) is Ask:
            self.requests.add(actor, effect)
        elif not self._guards.keep(actor, effect):
            actor.unsettled[effect.identity] = effect
            if type(effect) is Pin:
                self._pin(actor, effect)
            elif type(effect) is Enqueue:
                self.turns.ask(actor, effect)
            elif type(effect) is Continue:
                self._continued(actor)
            else:
                self.outbox.perform(actor, effect)

    def adopt(self, actor: WorkflowActor, effects: Iterable[AnyEffect], parked: set[str]) -> None:
        """Hold the effects of a refold; those at or above the actor's threshold are due again."""
        actor.close_asks()
        actor.never_sent |= parked
        for effect in effects:
            redo = type(effect) is Ask or effect.cause >= actor.threshold
            if redo and actor.instance.is_open(effect):
                actor.held[effect.identity] = effect

    def hold_on(self, actor: WorkflowActor, mail: AnyMail) -> None:
        """Begin to act as soon as nothing from below our marker waits to be folded."""
        if type(mail) is Woken:
            actor.threshold = min(actor.threshold, mail.since)  # it may have covered what is held
        partition = self._partitions.owned[actor.partition]
        caught_up = mail.seq > partition.acts_from or not actor.backlog
        if partition.begun and caught_up and not actor.behind:
            self.release(actor)

    def release(self, actor: WorkflowActor) -> None:
        """Act from here on: all that stands below our marker is folded."""
        fresh_from = max(actor.fresh_from, self._partitions.owned[actor.partition].acts_from + 1)
        actor.holding = False
        held, actor.held = actor.held, {}
        parked, actor.never_sent = actor.never_sent, frozenset()
        for effect in held.values():
            if not actor.instance.is_open(effect):
                continue
            if actor.instance.status == "blocked" and isinstance(
                effect, Ask | Arm | Pin | Enqueue
            ):
                continue  # it waits for nothing until it is folded with repaired code
            if type(effect) is not Ask:
                self.perform(actor, effect)
            elif effect.cause < actor.threshold:
                self.requests.hold(actor, effect)
            elif effect.cause >= fresh_from or effect.step in parked or effect.unrouted:
                self.requests.add(actor, effect)  # nobody can have sent it
            else:
                self.requests.resume(actor, effect)
