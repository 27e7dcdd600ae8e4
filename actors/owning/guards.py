"""Guards: the timers of deadlines, armed only when the block that they bound lasts.

    with ctx.timeout(86_400) -> Arm -> kept for GUARD_S -> armed | the block has ended: nothing

Most blocks end within seconds, and then no timer is stored that would fire for nobody a day
later. Until it is armed a guard is an effect that is not settled: its instance stays in memory
and in the checkpoint, and whoever folds it after a crash is asked for it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocols.effects import AnyEffect, Arm

if TYPE_CHECKING:
    from actors.owning.outbox import Outbox
    from actors.owning.workflow import WorkflowActor
    from protocols.ports import Clock

GUARD_S: Final = 30.0
"""Longer than a step under load takes, and much shorter than ``FAR_S``: no firing is late."""
FAR_S: Final = 60.0
"""What is due sooner is armed at once."""


class Guards:
    """Keeps guards, and arms those whose time has come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def keep(self, actor: WorkflowActor, effect: AnyEffect) -> bool:
        """Keep an effect that can wait; False for every other one."""
        if type(effect) is not Arm or not effect.guard:
            return False
        if effect.due - self._clock.now_ns() < FAR_S * 1e9:
            return False
        actor.guards[effect.identity] = (effect, self._clock.monotonic())
        return True

    @staticmethod
    def arm(actor: WorkflowActor, outbox: Outbox, *, before: float) -> None:
        """Arm what an actor has kept since a time before this one (monotonic, in seconds)."""
        for identity, (effect, since) in list(actor.guards.items()):
            if since <= before:
                del actor.guards[identity]
                if not actor.instance.is_open(effect):
                    continue
                actor.unsettled[identity] = effect
                outbox.perform(actor, effect)
