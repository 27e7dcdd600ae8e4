"""Updates: waits for a signal that the code answers.

    await ctx.update("add", takes=Item)    UpdateWait    (none)    -> Signal

Data of another type are rejected by the fold, and the wait goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.kernel.answers import Update, opened, reject
from actors.kernel.operations import Listen, T
from actors.kernel.tasks import DAEMON_FAILURES
from protocols.effects import Waiting
from protocols.errors import ResultTypeError

if TYPE_CHECKING:
    from actors.kernel.ledger import Ledger
    from actors.kernel.tasks import Task
    from protocols.mail import Signal


class UpdateWait(Listen[Update[T]]):
    """Wait for the next signal of a name whose data fit, to answer it."""

    __slots__ = ("takes", "update")

    def __init__(self, ledger: Ledger, name: str, takes: Any) -> None:
        super().__init__(ledger, name, Any)
        self.takes = takes
        self.update: Update[T]

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        ledger = self.ledger
        self.path = task.frame.path(f"update.{self.name}")
        while (waiting := ledger.signals.get(self.name)) is not None:
            signal = waiting.popleft()
            if not waiting:
                del ledger.signals[self.name]
            if self._opens(signal):
                return True
        ledger.listeners.setdefault(self.name, []).append(self)
        return False

    def at_once(self) -> Update[T]:  # noqa: D102 - as in Operation
        return self.update

    def take(self, signal: Signal) -> None:
        """Let the code go on with the update, or reject it and wait for the next one."""
        ledger = self.ledger
        try:
            fits = self._opens(signal)
        except DAEMON_FAILURES:
            raise
        except Exception as error:  # noqa: BLE001 - the code's: its types may run code
            ledger.scheduler.resume(self, None, error)
            return
        if fits:
            ledger.scheduler.resume(self, self.update)
        else:
            ledger.listeners.setdefault(self.name, []).insert(0, self)

    def _opens(self, signal: Signal) -> bool:
        """Open an update; False when its data are of another type, and it is rejected."""
        ledger = self.ledger
        update = opened(ledger, signal)
        self.returns = self.takes
        try:
            data: Any = self.read(signal)
        except ResultTypeError as error:
            reject(ledger, update, error.failure)
            return False
        self.update = Update(ledger, signal, data)
        return True

    def waiting(self) -> Waiting:
        """Describe the wait."""
        return Waiting(path=self.path, kind="update", since=self.since, detail=self.name)
