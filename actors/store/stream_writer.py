"""StreamWriter: acknowledged writes to one stream, grouped while a commit is under way.

    write() -> queue -> [one message: a publish | more: an atomic batch] -> PubAck -> done()

A message alone goes at once. Whatever arrives while a commit is under way rides in the next
one, so that under load one fsync serves hundreds of messages and an idle writer adds no delay.
A write is repeated, same bytes, until the server has stored or refused it: a lost answer can
store a message twice, and the fold drops repeats by id.

Batch ids are random (96 bits): a stranger who could guess one could commit our batch with his
message in it (reference: ADR-50).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
import trio

from protocols import headers as h
from protocols.errors import (
    AlreadyExistsError,
    DisconnectedError,
    InternalError,
    MovantError,
    OverloadedError,
    OversizedError,
    RefusedError,
    UnavailableError,
)
from protocols.ports import Entropy, Frame, Outgoing, Transport

BATCH_MESSAGES_MAX: Final = 1_000
"""What the server allows. Measured with 5,000 instances of 8 steps: 200 in a batch reach 19,500
steps/s, 500 reach 24,900 and 1,000 reach 25,800 (2 cores, fsync, 2026-11-21)."""
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
TOLD: Final = 64
"""Writes that are told of their end between two checkpoints of the loop."""
QUEUE_MAX: Final = 200_000
"""Above this a writer says no: its callers have to slow down, memory must stay bounded."""
ANSWER_S: Final = 5.0
TELL_EVERY: Final = 8
"""One line of log for so many tries: without a leader nothing is stored for 4 to 9 s."""
BACKOFF_S: Final = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)

ERR_WRONG_SEQUENCE: Final = 10071
ERR_IN_FLIGHT: Final = 10164
"""R3: the check could not be made, because a write of the same subject is under way. It says
nothing about the sequence: the next try tells."""
ERR_INCOMPLETE: Final = frozenset({10210, 10174, 10176, 10199})
"""Batch trouble (too many in flight, abandoned, gap, too large): write singly instead."""
ALARM_S: Final = 60.0
"""How long batches have to go well until an alarm ends; an open batch is dropped after 10 s."""
ALARM_REFUSALS: Final = 3
"""So many refused batches are an alarm: strangers begin some and do not commit them, and the
server takes no more (S5). One alone may be a server that was restarted in the middle of it."""
ERR_NEVER: Final = frozenset({10111})
"""Refused by the stream's rules, though the server says 500 (rollup not permitted)."""
ERR_TOO_LARGE: Final = 10054
ERR_LATER: Final = frozenset({ERR_IN_FLIGHT, 10023, 10047, 10077, 10008, 10118, 10012})
"""In flight, no space, no resources, no leader: the store may take it later."""

Written = Callable[[int, MovantError | None], None]
"""Told once per write: the stream sequence (0 when unknown) and why it failed, if it did."""

_EXPECTS: Final = h.EXPECTED_SUBJECT.encode()

log = structlog.get_logger()


class PubAck(msgspec.Struct):
    """The server's answer to a publish into a stream."""

    class Error(msgspec.Struct):
        """Why the server refused."""

        code: int = 0
        err_code: int = 0
        description: str = ""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: Error | None = None


class WriterStatistics(msgspec.Struct, frozen=True):
    """What a writer did so far."""

    queued: int
    messages: int
    commits: int
    retries: int
    refused: int
    singly: int


_ack_decoder: Final = msgspec.json.Decoder(PubAck)


class _Write(msgspec.Struct):
    message: Outgoing
    written: Written


class StreamWriter:
    """Writes to one stream. ``write`` never waits; run ``run`` under a supervisor.

    ``commits_max`` commits may be under way at once; 1 keeps the order of writes.
    """

    def __init__(
        self, transport: Transport, entropy: Entropy, *, name: str, commits_max: int = 1
    ) -> None:
        self._transport = transport
        self._entropy = entropy
        self._name = name
        self._commits_max = commits_max
        self._queue: deque[_Write] = deque()
        self._wake = trio.Event()
        self._idle = trio.Event()
        self._idle.set()
        self._open = 0
        self._broken: deque[float] = deque(maxlen=ALARM_REFUSALS)
        """When batches were refused as a whole, the last ones."""
        self._messages = self._commits = self._retries = self._refused = self._singly = 0

    def write(self, message: Outgoing, written: Written) -> None:
        """Queue one message. Raises OverloadedError when the queue is full."""
        if len(self._queue) >= QUEUE_MAX:
            raise OverloadedError(
                f"the writer of {self._name} has {QUEUE_MAX} messages waiting",
                hint="the server is slower than its callers: look at `movant status`",
            )
        self._queue.append(_Write(message, written))
        self._wake.set()

    @property
    def depth(self) -> int:
        """Messages that are queued or under way."""
        return len(self._queue) + self._open

    @property
    def alarm(self) -> str:
        """What a person should know about this writer; empty: nothing."""
        if len(self._broken) < ALARM_REFUSALS or trio.current_time() - self._broken[0] > ALARM_S:
            return ""
        return (
            f"somebody leaves batches open in {self._name}, so messages are written one by one:"
            " look who may publish there"
        )

    def statistics(self) -> WriterStatistics:
        """Return counters since the start."""
        return WriterStatistics(
            self.depth, self._messages, self._commits, self._retries, self._refused, self._singly
        )

    async def drained(self) -> None:
        """Wait until nothing is queued or under way."""
        while self.depth:
            if self._idle.is_set():  # several may wait for the same moment
                self._idle = trio.Event()
            await self._idle.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit what is queued until cancelled; what is under way then is queued again."""
        task_status.started()
        async with trio.open_nursery() as nursery:
            for _ in range(self._commits_max):
                nursery.start_soon(self._committer)

    async def _committer(self) -> None:
        while True:
            while not self._queue:
                self._wake = trio.Event()
                await self._wake.wait()
            group = self._take()
            cut = _conflict(group)
            if cut:
                self._queue.extendleft(reversed(group[cut:]))
                del group[cut:]
            self._open += len(group)
            stored = False
            try:
                await self._commit(group)
                stored = True
            finally:
                self._open -= len(group)
                if not stored:
                    self._queue.extendleft(reversed(group))
            group.clear()  # or it would keep what wrote it in memory until the next commit
            if not self.depth:
                self._idle.set()

    def _take(self) -> list[_Write]:
        queue = self._queue
        if len(queue) <= BATCH_MESSAGES_MAX:
            size = sum(len(each.message.payload) + len(each.message.headers) for each in queue)
            if size <= BATCH_BYTES_MAX:
                group = list(queue)
                queue.clear()
                return group
        group, size = [], 0
        while queue and len(group) < BATCH_MESSAGES_MAX:
            message = queue[0].message
            size += len(message.payload) + len(message.headers)
            if group and size > BATCH_BYTES_MAX:
                break
            group.append(queue.popleft())
        return group

    async def _commit(self, group: list[_Write]) -> None:
        """Return when every write of the group is stored or refused for good."""
        tries = 0
        while not await self._try(group, tries):
            self._retries += 1
            await trio.sleep(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
            tries += 1

    async def _commit_singly(self, group: list[_Write]) -> None:
        """Return when each write is stored or refused; those of one mailbox keep their order.

        Side by side: a thousand repeated starts one after the other would hold up all others
        for seconds, until those are repeated as well.
        """
        lanes: dict[str, list[_Write]] = {}
        for each in group:
            lanes.setdefault(_mailbox(each), []).append(each)

        async def commit(lane: list[_Write]) -> None:
            for each in lane:
                await self._commit([each])

        async with trio.open_nursery() as nursery:
            for lane in lanes.values():
                nursery.start_soon(commit, lane)

    async def _try(self, group: list[_Write], tries: int) -> bool:
        """Send a group once; False when it has to be sent again, which is told now and then."""
        answer = await self._send(group)
        if isinstance(answer, PubAck):
            if answer.error is None:
                await self._acknowledge(group, answer.seq)
                return True
            refusal = _refusal(answer.error)
            told = tries % TELL_EVERY == 0 and answer.error.err_code != ERR_IN_FLIGHT
            if (refusal is None and told) or answer.error.err_code in ERR_INCOMPLETE:
                self._note(answer.error)
        elif isinstance(answer, RefusedError):
            refusal = answer
        else:
            refusal = None
            if not isinstance(answer, DisconnectedError) and tries % TELL_EVERY == 0:
                log.warning("writer.unanswered", writer=self._name, messages=len(group))
        if refusal is None:
            return False
        if len(group) > 1:  # one of them is at fault, or strangers' batches: write singly
            self._singly += len(group)
            await self._commit_singly(group)
        else:
            self._refused += 1
            group[0].written(0, refusal)
        return True

    def _note(self, error: PubAck.Error) -> None:
        """Log a refusal that is not the last word, and count what may become an alarm."""
        if error.err_code in ERR_INCOMPLETE:
            self._broken.append(trio.current_time())
        log.error(
            "writer.refused",
            writer=self._name,
            err_code=error.err_code,
            reason=error.description,
        )

    async def _send(self, group: list[_Write]) -> PubAck | MovantError:
        """Send a group once and return the server's answer, or why there is none."""
        if len(group) == 1:
            last, before = group[0].message, []
        else:
            *before, last = _batch([each.message for each in group], self._entropy.token(12))
        waiting = _Answer()
        try:
            self._transport.request_soon(last, ANSWER_S, waiting.told, before=before)
            answer = await waiting.wait()
        except (UnavailableError, RefusedError) as error:
            return error
        if not isinstance(answer, Frame):
            return answer
        try:
            return _ack_decoder.decode(answer.payload)
        except msgspec.DecodeError as error:
            return InternalError(f"not a PubAck: {error}")

    async def _acknowledge(self, group: list[_Write], last_seq: int) -> None:
        """Tell each write its sequence: a batch is contiguous and ``last_seq`` is its last.

        Others run in between: whoever is told that an instance has settled may drop it. A
        cancel waits, as what is stored and not told would be written once more.
        """
        self._commits += 1
        self._messages += len(group)
        before = last_seq - len(group)
        with trio.CancelScope(shield=True):
            for number, each in enumerate(group, 1):
                each.written(before + number, None)
                if number % TOLD == 0:
                    await trio.lowlevel.checkpoint()


class _Answer:
    """Waits for one answer without a task of its own."""

    __slots__ = ("_answer", "_event")

    def __init__(self) -> None:
        self._event = trio.Event()
        self._answer: Frame | MovantError | None = None

    def told(self, answer: Frame | MovantError) -> None:
        self._answer = answer
        self._event.set()

    async def wait(self) -> Frame | MovantError:
        await self._event.wait()
        assert self._answer is not None
        return self._answer


def _batch(messages: list[Outgoing], batch_id: str) -> list[Outgoing]:
    """Return the messages of an atomic batch; the last one commits."""
    start = f"{h.BATCH_ID}: {batch_id}\r\n{h.BATCH_SEQUENCE}: ".encode()
    commit = f"{h.BATCH_COMMIT}: 1\r\n".encode()
    last = len(messages)
    return [
        Outgoing(
            each.subject,
            each.payload,
            b"%b%b%d\r\n%b" % (each.headers, start, number, commit if number == last else b""),
        )
        for number, each in enumerate(messages, 1)
    ]


def _mailbox(write: _Write) -> str:
    return write.message.subject.split(".", 3)[2]


def _conflict(group: list[_Write]) -> int:
    """Return where a group has to be cut; 0: nowhere.

    The server checks an expectation about a filter against what is stored, not against the
    members before it in the same batch: two that touch one mailbox go one after the other.
    """
    if len(group) == 1 or not any(
        each.message.headers and _EXPECTS in each.message.headers for each in group
    ):
        return 0
    touched: set[str] = set()
    expecting: set[str] = set()
    for number, each in enumerate(group):
        mailbox = _mailbox(each)
        if _EXPECTS in each.message.headers:
            if mailbox in touched:
                return number
            expecting.add(mailbox)
        elif mailbox in expecting:
            return number
        touched.add(mailbox)
    return 0


def _refusal(error: PubAck.Error) -> MovantError | None:
    """Return what a server's error means for one write; None: try again later."""
    if error.err_code == ERR_WRONG_SEQUENCE:
        return AlreadyExistsError(f"already stored: {error.description}")
    if error.err_code == ERR_TOO_LARGE:
        return OversizedError(error.description)
    if error.err_code in ERR_LATER or (error.code >= 500 and error.err_code not in ERR_NEVER):  # noqa: PLR2004
        return None
    return RefusedError(f"{error.description} ({error.err_code})")
