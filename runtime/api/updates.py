"""UpdateCommands: to send a signal that is answered, and to wait for its answer.

    heard   the event of the answer, from whoever owns the run
    looked  what the fold says: of the run in memory, or of its mailbox

What is heard saves the look. Events are not durable for who waits, so it looks as well, ever more
rarely: a look at a run that is out of memory folds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import trio

from protocols import codec, subjects
from protocols.api.runs import RunSignal
from protocols.api.updates import RunAnswer, RunUpdate, RunUpdated
from protocols.archive import ArchiveRecord
from protocols.effects import FINAL, Status
from protocols.errors import NotFoundError
from protocols.events import BLOCKED, UPDATE_ANSWERED
from protocols.failure import Failure
from protocols.ports import Frame, Subscription, Transport
from protocols.updates import OVER, UNANSWERED, Until, UpdateStatus, is_over

if TYPE_CHECKING:
    from actors.kernel.instance import Instance
    from runtime.api.queries import RunQueries
    from runtime.api.runs import RunCommands
    from runtime.daemon import Daemon

LOOK_S: Final = 0.25
"""Who is not told by then may have sent what was answered before, or to a run that has ended."""
LOOK_S_MAX: Final = 15.0


class _Heard(msgspec.Struct):
    """The data of the event."""

    name: str
    message_id: str
    status: UpdateStatus
    result: Any = None
    failure: Failure | None = None


_decoder: Final = msgspec.json.Decoder(_Heard)


class Listening:
    """An ``async with`` block in which the events of a run are heard, for one update."""

    def __init__(self, transport: Transport, run: str, message_id: str, until: Until) -> None:
        self.run: Final = run
        self.message_id: Final = message_id.strip()  # as a header keeps it
        self.heard: RunUpdated | None = None
        """What is waited for, once an event has told it."""
        self.changed = trio.Event()
        self.until: Final = until
        self._transport = transport
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._subscription = await self._transport.subscribe(
            f"movant.event.*.{self.run}.*", self._take
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None:
            self._subscription.unsubscribe()

    def _take(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            kind = frame.subject.rpartition(".")[2]
            if kind == UPDATE_ANSWERED:
                self._hear(frame.payload)
            elif kind in FINAL or kind == BLOCKED:
                self.changed.set()  # to be looked at

    def _hear(self, payload: bytes) -> None:
        try:
            found = _decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # an author's own event of that name
        if found.message_id == self.message_id and is_over(found.status, self.until):
            self.heard = RunUpdated(id=self.run, **msgspec.structs.asdict(found))
            self.changed.set()


class UpdateCommands:
    """Sends updates, and tells what became of them."""

    def __init__(self, daemon: Daemon, commands: RunCommands, queries: RunQueries) -> None:
        self._daemon = daemon
        self._commands = commands
        self._runs = queries.runs

    async def update(self, request: RunUpdate) -> RunUpdated:
        """Write a signal, and wait for what becomes of it."""
        signal = RunSignal(
            id=subjects.check_id(request.id),
            name=request.name,
            data=request.data,
            data_blob=request.data_blob,
            message_id=request.message_id or self._daemon.new_id(),
            by=request.by,
        )
        async with self._listening(signal.id, signal.message_id, request.until) as waits:
            return await self._wait(waits, request.timeout_s, await self._commands.ask(signal))

    async def answer(self, request: RunAnswer) -> RunUpdated:
        """Wait for what becomes of an update that was sent before. Raises NotFoundError."""
        run = subjects.check_id(request.id)
        async with self._listening(run, request.message_id, request.until) as waits:
            return await self._wait(waits, request.timeout_s, 0)

    def _listening(self, run: str, message_id: str, until: Until) -> Listening:
        return Listening(self._daemon.parts.transport, run, message_id, until)

    async def _wait(self, waits: Listening, timeout_s: float, seq: int) -> RunUpdated:
        """Return how it stands when nothing more is waited for, or after ``timeout_s``.

        ``seq`` is that of the message that was written just now; 0: it may be over already.
        """
        pause_s, looks = LOOK_S, not seq
        with trio.move_on_after(timeout_s):
            while waits.heard is None:
                if looks:
                    with suppress(NotFoundError):  # of a replica that lags: told at the end
                        found = await self._look(waits, seq)
                        if is_over(found.status, waits.until) or found.blocked:
                            return found
                looks = True
                with trio.move_on_after(pause_s) as pause:
                    await waits.changed.wait()
                waits.changed = trio.Event()
                if pause.cancelled_caught:
                    pause_s = min(2 * pause_s, LOOK_S_MAX)
        return waits.heard or await self._look(waits, seq)

    async def _look(self, waits: Listening, seq: int) -> RunUpdated:
        """Return what the fold says. Raises NotFoundError for what nobody has sent."""
        actor = self._daemon.parts.owner.live.get(waits.run)
        if actor is not None and not (actor.activating or actor.behind):
            return _told(actor.instance, waits, seq)
        try:
            found = await self._runs.folded(waits.run)
        except NotFoundError:
            if seq:  # that message stands there
                return RunUpdated(id=waits.run, message_id=waits.message_id, status="pending")
            raise
        if isinstance(found, ArchiveRecord):
            return _over(waits, found.status)
        try:
            return _told(found, waits, seq)
        finally:
            found.close()


def _told(instance: Instance, waits: Listening, seq: int) -> RunUpdated:
    """Return what the fold of a run says of an update; ``seq`` as in ``UpdateCommands``."""
    blocked = instance.blocked
    stands = RunUpdated(
        id=waits.run,
        message_id=waits.message_id,
        status="pending",
        run=instance.status,
        blocked="" if blocked is None else f"{blocked.reason}: {blocked.message}",
    )
    answer = instance.answer(waits.message_id)
    if answer is not None:
        return msgspec.structs.replace(
            stands,
            name=answer.name,
            status=answer.status,
            result=codec.decode(answer.result) if answer.result else None,
            failure=answer.failure,
        )
    if not seq:
        raise NotFoundError(
            f"run {waits.run} has no message {waits.message_id[:60]!r}",
            hint=f"movant run history {waits.run}",
        )
    return _over(waits, instance.status) if instance.status in FINAL else stands


def _over(waits: Listening, status: str) -> RunUpdated:
    """Return what becomes of an update that came behind the end of its run."""
    return RunUpdated(
        id=waits.run,
        message_id=waits.message_id,
        status="rejected",
        failure=Failure(kind=UNANSWERED, message=OVER, retryable=False),
        run=msgspec.convert(status, Status),
    )
