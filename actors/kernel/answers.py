"""Answers: what becomes of updates, which are signals whose sender waits to be told.

    update = await ctx.update("add", takes=Item)                 <- Signal
    update.accept() | reject(why) | answer(value) | fail(why)    the event update_answered

What the code has taken and not answered has failed when its generation ends: nobody could answer
it any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic

import msgspec

from protocols import codec
from protocols.events import UPDATE_ANSWERED
from protocols.failure import FAILED, Failure
from protocols.updates import (
    ANSWER_BYTES_MAX,
    ANSWERED_BYTES_MAX,
    ANSWERED_MAX,
    ENDED,
    OVER,
    REASON_CHARS_MAX,
    REJECTED,
    UNANSWERED,
    Answer,
    UpdateStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import TypeVar

    from actors.kernel.generation import Seen
    from actors.kernel.ledger import Ledger
    from protocols.effects import Emit
    from protocols.mail import Signal
    from protocols.witness import Operator

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")

_MAY_FOLLOW: Final[dict[UpdateStatus, frozenset[UpdateStatus]]] = {
    "pending": frozenset({"accepted", "rejected", "completed", "failed"}),
    "accepted": frozenset({"completed", "failed"}),
}


class Updates:
    """What the code has taken, by the sequence of the message."""

    __slots__ = ("answered", "open")

    def __init__(self, answered: Iterable[Answer] = ()) -> None:
        self.open: dict[int, Answer] = {}
        self.answered = {each.seq: each for each in answered}
        """The latest of them, the newest last."""

    def latest(self) -> tuple[Answer, ...]:
        """Return the latest answers whose results fit a snapshot, the oldest first."""
        kept: list[Answer] = []
        left = ANSWERED_BYTES_MAX
        for each in reversed(self.answered.values()):
            left -= len(each.result)
            if left < 0:
                break
            kept.append(each)
        return tuple(reversed(kept))

    def of(self, message_id: str) -> Answer | None:
        """Return what has become of one, by its message id."""
        for answers in (self.open, self.answered):
            for each in reversed(answers.values()):
                if each.message_id == message_id:
                    return each
        return None

    def facts(self) -> list[Any]:
        """Return what the future depends on, for the digest of the fold."""
        return [
            [each.seq, each.status, each.result, each.failure and each.failure.kind]
            for each in (*self.open.values(), *self.answered.values())
        ]


class Update(Generic[T]):
    """An update that the code has taken. Its sender waits: say what becomes of it, once."""

    __slots__ = ("_ledger", "_seq", "by", "data", "name")

    def __init__(self, ledger: Ledger, signal: Signal, data: T) -> None:
        self._ledger = ledger
        self._seq = signal.seq
        self.name: Final = signal.name
        self.data: Final = data
        self.by: Final[Operator | None] = signal.by
        """Who sends it by hand; None: the message does not say."""

    def accept(self) -> None:
        """Say that it will be done; ``answer`` or ``fail`` comes later."""
        self._tell("accepted")

    def reject(self, why: str, *, kind: str = REJECTED) -> None:
        """Say that it will not be done; not any more when it is accepted."""
        self._tell("rejected", failure=_failure(kind, why))

    def answer(self, value: Any = None) -> None:
        """Say that it is done, and what came of it; that accepts it as well.

        Raises BadValueError, and OversizedError above 32 KiB.
        """
        self._tell("completed", result=codec.encode(value, limit=ANSWER_BYTES_MAX))

    def fail(self, why: str, *, kind: str = FAILED) -> None:
        """Say that it could not be done."""
        self._tell("failed", failure=_failure(kind, why))

    def _tell(
        self, status: UpdateStatus, *, result: bytes = b"", failure: Failure | None = None
    ) -> None:
        ledger = self._ledger
        ledger.scheduler.current()  # raises outside of the fold
        assert ledger.updates is not None
        now = ledger.updates.open.get(self._seq)
        if now is None or status not in _MAY_FOLLOW[now.status]:
            stands = "answered" if now is None else now.status
            raise ledger.scheduler.misuse(
                f"update {self.name} is {stands} already and cannot become {status}: "
                "answer each update once"
            )
        tell(ledger, now, status, result=result, failure=failure)


def opened(ledger: Ledger, signal: Signal) -> Answer:
    """Note that the code takes a signal whose sender is told what becomes of it."""
    if ledger.updates is None:
        ledger.updates = Updates()
    update = ledger.updates.open[signal.seq] = _pending(signal)
    return update


def reject(ledger: Ledger, update: Answer, failure: Failure) -> None:
    """Say that the data of an update do not fit."""
    tell(ledger, update, "rejected", failure=_failure(failure.kind, failure.message))


def tell(
    ledger: Ledger,
    update: Answer,
    status: UpdateStatus,
    *,
    result: bytes = b"",
    failure: Failure | None = None,
) -> None:
    """Say what becomes of an update, and publish it. Raises BadValueError for what is no text."""
    facts = {"name": update.name, "message_id": update.message_id, "message": update.seq}
    facts |= {"status": status, "result": codec.decode(result) if result else None}
    facts["failure"] = msgspec.to_builtins(failure)
    accepted = ledger.cause if status == "accepted" else update.accepted
    answer = msgspec.structs.replace(
        update, status=status, accepted=accepted, result=result, failure=failure
    )
    ledger.effects.append(ledger.event(UPDATE_ANSWERED, facts, _place(ledger, answer)))
    updates = ledger.updates
    assert updates is not None
    if status not in ENDED:
        updates.open[update.seq] = answer
        return
    del updates.open[update.seq]
    updates.answered[update.seq] = answer
    if len(updates.answered) > ANSWERED_MAX:
        del updates.answered[next(iter(updates.answered))]


def give_up(ledger: Ledger, why: str) -> None:
    """Fail what the code has taken and can answer no more."""
    if ledger.updates is not None:
        for each in list(ledger.updates.open.values()):
            tell(ledger, each, "failed", failure=_failure(UNANSWERED, why))


def take_back(ledger: Ledger, dropped: Iterable[Emit]) -> None:
    """Unsay what a fold has said that blocks: repaired code may say otherwise."""
    updates = ledger.updates
    ids = {each.id for each in dropped}
    if updates is None or not ids:
        return
    for each in (*updates.open.values(), *updates.answered.values()):
        if ledger.identity(_place(ledger, each)) in ids:
            updates.answered.pop(each.seq, None)
            before = each.accepted not in {0, ledger.cause}
            updates.open[each.seq] = msgspec.structs.replace(
                each,
                status="accepted" if before else "pending",
                accepted=each.accepted if before else 0,
                result=b"",
                failure=None,
            )


def find(ledger: Ledger, seen: Seen, message_id: str, *, ended: bool) -> Answer | None:
    """Return what became of an update, by its message id; None: no such message was folded."""
    found = None if ledger.updates is None else ledger.updates.of(message_id)
    if found is not None:
        return found
    for queue in ledger.signals.values():
        for signal in queue:
            if signal.message_id == message_id:
                return _pending(signal)
    if not seen.knows("signal", message_id):
        return None
    why = OVER if ended else "the run has taken it as a signal, without an answer"
    if ledger.generation > 1 or (ledger.updates and len(ledger.updates.answered) == ANSWERED_MAX):
        why += "; or so long ago that it is forgotten"
    failure = _failure(UNANSWERED, why)
    return Answer(seq=0, name="", message_id=message_id, status="rejected", failure=failure)


def _pending(signal: Signal) -> Answer:
    return Answer(seq=signal.seq, name=signal.name, message_id=signal.message_id)


def _place(ledger: Ledger, update: Answer) -> str:
    """Return the path of what is said of an update: by it, that is published once."""
    return f"{ledger.root}/update/{update.seq}/{update.status}"


def _failure(kind: str, why: str) -> Failure:
    return Failure(kind=kind, message=str(why)[:REASON_CHARS_MAX], retryable=False)
