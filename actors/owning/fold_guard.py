"""FoldGuard: ends workflow code that computes for too long without waiting.

Workflow code runs on the trio thread. A loop that never ends would freeze the daemon, and again
after every restart, because the same mailbox is folded again. So another thread watches, and
throws FoldTooLongError into the trio thread where it is; the kernel then blocks that instance
like for any other exception of its code.

CPython delivers such an exception between two bytecodes. It must not arrive behind the fold it
was meant for: the end of a fold and the throw exclude each other, and what was thrown is waited
for before the fold is left.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import suppress
from typing import Final

from actors.kernel.instance import Instance
from protocols.effects import AnyEffect
from protocols.errors import InternalError
from protocols.mail import Mail
from protocols.ports import Clock

FOLD_S_MAX: Final = 3.0
"""For one message. Longer than any honest decision, shorter than what counts as stuck."""
LOOK_S: Final = 0.25
_ABSORB_STEPS: Final = 100_000


class FoldTooLongError(BaseException):
    """Workflow code ran for too long without waiting.

    A BaseException, so that a loop that swallows errors does not swallow it.
    """

    def __init__(self) -> None:
        super().__init__(
            f"the code ran for more than {FOLD_S_MAX:g} s without waiting; move work into"
            " ctx.run(fn, ...), and look for a loop that never ends"
        )


class FoldGuard:
    """Folds with a limit. One per daemon; ``fold`` belongs to the trio thread."""

    def __init__(self, clock: Clock, *, limit_s: float = FOLD_S_MAX) -> None:
        self._now = clock.monotonic
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._since = 0.0
        self._thrown = False
        self._stopped = threading.Event()
        self._folder = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="movant-folds", daemon=True)
        self._thread.start()

    def fold(self, instance: Instance, mail: Mail | None) -> list[AnyEffect]:
        """Fold one message; None begins the generation of a snapshot. Raises as the fold does."""
        since = self._since = self._now()
        try:
            effects = instance.begin() if mail is None else instance.fold(mail)
            if self._now() - since > self._limit_s / 2:
                self._leave()
            self._since = 0.0
        except FoldTooLongError as error:  # it came behind the workflow's own code
            seq = instance.folded
            raise InternalError(f"the fold of message {seq} took too long") from error
        except BaseException:
            with suppress(FoldTooLongError):
                self._leave()
            raise
        return effects

    def close(self) -> None:
        """Stop watching."""
        self._stopped.set()
        self._thread.join(LOOK_S * 4)

    def _leave(self) -> None:
        """End a long fold; take delivery of what was thrown at its last moment.

        A short one needs no lock: the watcher only throws into a fold that took longer than
        the limit by a time that was read before its beginning was.
        """
        with self._lock:
            self._since = 0.0
            thrown, self._thrown = self._thrown, False
        if thrown:
            try:
                for _ in range(_ABSORB_STEPS):
                    pass
            except FoldTooLongError:
                return

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_S):
            with self._lock:
                now = self._now()
                since = self._since
                if since and now - since > self._limit_s:
                    self._since = self._now()  # again, should it be swallowed
                    self._thrown = True
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(self._folder), ctypes.py_object(FoldTooLongError)
                    )
