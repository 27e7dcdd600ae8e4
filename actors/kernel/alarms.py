"""Alarms: blocks of code that may take so long, and tell when they take longer.

    with ctx.warn_after(3600): ...   Arm -> Fired -> the event ``running_late``, once; it goes on

Nothing is cut short: what the block waits for is waited for as before. While such a block is
under way, and its time is over, the instance is late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from actors.kernel.clock import nanoseconds
from protocols.effects import Arm, Emit, Waiting
from protocols.events import RUNNING_LATE
from protocols.subjects import step_token

if TYPE_CHECKING:
    from types import TracebackType

    from actors.kernel.ledger import Ledger


class Alarm:
    """A block of code with a durable timer, whose firing publishes an event."""

    __slots__ = ("about", "due", "ledger", "name", "path", "seconds", "since", "token")

    def __init__(self, ledger: Ledger, seconds: float, name: str, about: dict[str, Any]) -> None:
        self.ledger = ledger
        self.seconds = seconds
        self.name = name
        self.about = about

    def __enter__(self) -> Self:
        ledger = self.ledger
        self.path = ledger.scheduler.current().frame.path(self.name)
        self.token = step_token(self.path)
        self.since = ledger.now
        self.due = ledger.now + nanoseconds(self.seconds)
        ledger.timers[self.token] = self
        ledger.effects.append(Arm(cause=ledger.cause, name=self.token, due=self.due, guard=True))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ledger.timers.pop(self.token, None)
        self.ledger.late.pop(self.token, None)

    def fired(self) -> None:
        """Tell that the time is over."""
        ledger = self.ledger
        del ledger.timers[self.token]
        ledger.late[self.token] = self
        place = self.path.rpartition("/")[0] or "/"
        ledger.effects.append(
            Emit(
                cause=ledger.cause,
                event=RUNNING_LATE,
                data={
                    "place": place,
                    **self.about,
                    "since": self.since,
                    "after_s": self.seconds,
                },
                id=ledger.identity(f"{self.path}/{RUNNING_LATE}"),
            )
        )

    def waiting(self) -> Waiting:
        """Describe the block that takes longer."""
        place = self.path.rpartition("/")[0] or "/"
        return Waiting(path=place, kind="timer", since=self.since, detail="late", due=self.due)
