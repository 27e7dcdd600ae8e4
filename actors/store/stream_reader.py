"""StreamReader: a stream in order, from a position of its own, for ever.

    consumer (no acks, in memory) --portions--> inbox --check--> sink(batch)

The reader owns its position; the server's consumer is only a cursor that may vanish at any
time. Every delivery is checked: consumer sequences have no gap, stream sequences rise. On a
gap, on silence, on an error status or a reconnect a new consumer begins at position + 1.

A consumer passes over what was purged without a word. So a new one is asked for nothing before
the stream's first sequence is known: above position + 1 something is missing, and the taker has
to say whether it does without. And nothing is handed on while the taker is not ``ready``: what
was not sent while its daemon stood still may have been purged meanwhile.

Acks are not used: "ack none" skips what was in flight when a connection drops, "ack explicit"
redelivers out of order; the check catches the first (reference: hazard S8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog
import trio

from actors.owning.letters import Delivery
from protocols import headers as h
from protocols.errors import MovantError, UnavailableError, UnknownOutcomeError
from protocols.ports import Entropy, Frame, Outgoing, Subscription, Transport

PORTION: Final = 2_000
"""Messages asked for at once; a short renewal keeps an ephemeral consumer alive (S8)."""
EXPIRES_S: Final = 30.0
HEARTBEAT_S: Final = 1.0
SILENCE_S: Final = 3.5
"""Three missed heartbeats: the consumer is gone or nobody reads for us."""
INACTIVE_S: Final = 60.0
CREATE_S: Final = (1.5, 3.0, 5.0)
"""How long to wait for a consumer: nobody answers while there is no leader, and the request is
not kept for the next one."""
RETRY_S: Final = (0.02, 0.1, 0.25, 0.5, 1.0)
READY_LOOK_S: Final = 0.05
ACK_TOKENS: Final = 9
"""``$JS.ACK.<stream>.<consumer>.<tries>.<stream seq>.<consumer seq>.<ns>.<pending>``"""

log = structlog.get_logger()

Deliveries = Callable[[list[Delivery]], None]


class ReaderStatistics(msgspec.Struct, frozen=True):
    """Where a reader stands."""

    position: int
    delivered: int
    consumers: int
    gaps: int
    pending: int


class _Info(msgspec.Struct):
    class State(msgspec.Struct):
        first_seq: int = 0

    state: State | None = None


class _Created(msgspec.Struct):
    class Error(msgspec.Struct):
        err_code: int = 0
        description: str = ""

    name: str = ""
    error: Error | None = None


_created_decoder: Final = msgspec.json.Decoder(_Created)
_info_decoder: Final = msgspec.json.Decoder(_Info)


class StreamReader:
    """Reads one stream from ``after`` + 1 and tells ``sink`` batches, in order.

    ``demand()`` says how many more messages the taker has room for; nothing is asked for
    beyond it. Call ``refill`` when room has come back. While ``ready()`` is false nothing is
    handed on, and behind that all is read again. ``missing`` is told the first sequence that
    the stream has when that is not the next one: nothing is read before ``pass_over``. Without
    it what was purged is passed over at once.
    """

    def __init__(
        self,
        transport: Transport,
        entropy: Entropy,
        *,
        stream: str,
        after: int,
        sink: Deliveries,
        demand: Callable[[], int] = lambda: PORTION,
        ready: Callable[[], bool] = lambda: True,
        missing: Callable[[int], None] | None = None,
        filter_subject: str = "",
        portion: int = PORTION,
    ) -> None:
        self._transport = transport
        self._entropy = entropy
        self._stream = stream
        self._sink = sink
        self._demand = demand
        self._ready = ready
        self._missing = missing
        self._filter = filter_subject
        self._portion = portion
        self._position = after
        self._delivered = self._consumers = self._gaps = self._pending = 0
        self._expected = 1
        self._open = 0
        self._pull_subject = ""
        self._inbox = ""
        self._heard = 0.0
        self._stopped = False
        self._restart = trio.Event()

    @property
    def position(self) -> int:
        """The last stream sequence that the sink was told."""
        return self._position

    def statistics(self) -> ReaderStatistics:
        """Return counters and position."""
        return ReaderStatistics(
            self._position, self._delivered, self._consumers, self._gaps, self._pending
        )

    def stop(self) -> None:
        """Take nothing more: a drain begins. What comes is dropped, and read again later."""
        self._stopped = True
        self._inbox = self._pull_subject = ""

    def pass_over(self, first: int) -> None:
        """Do without everything below a sequence that was not read."""
        self._position = max(self._position, first - 1)

    def refill(self) -> None:
        """Ask for more when the open portion runs low and there is room."""
        if self._open * 2 > self._portion or not self._pull_subject:
            return
        room = min(self._portion, self._demand() - self._open)
        if room <= 0:
            return
        body = b'{"batch":%d,"expires":%d,"idle_heartbeat":%d}' % (
            room,
            EXPIRES_S * 1e9,
            HEARTBEAT_S * 1e9,
        )
        try:
            self._transport.publish(Outgoing(self._pull_subject, body, reply=self._inbox))
        except UnavailableError:
            self._restart.set()
            return
        self._open += room

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read until cancelled."""
        stop = self._transport.on_state(lambda _: self._restart.set())
        try:
            await self._read(task_status)
        finally:
            stop()

    async def _read(self, task_status: trio.TaskStatus[None]) -> None:
        started = False
        tries = 0
        while True:
            while not self._ready():  # noqa: ASYNC110  # seldom, and only a clock tells
                await trio.sleep(READY_LOOK_S)
            if self._stopped:
                await trio.sleep_forever()
            try:
                subscription = await self._consume(CREATE_S[min(tries, len(CREATE_S) - 1)])
            except (UnavailableError, UnknownOutcomeError) as error:
                if not tries:  # once for each loss: a daemon may have many readers
                    log.warning("reader.waiting", stream=self._stream, reason=str(error))
                await trio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
                tries += 1
                continue
            tries = 0
            if not started:
                started = True
                task_status.started()
            try:
                await self._watch()
            finally:
                self._pull_subject = ""
                subscription.unsubscribe()

    async def _consume(self, answer_s: float) -> Subscription:
        """Create a consumer behind the position and ask for the first portion."""
        self._restart = trio.Event()
        self._inbox = self._transport.new_inbox()
        self._expected, self._open = 1, 0
        self._heard = trio.current_time()
        inbox = self._inbox
        subscription = await self._transport.subscribe(
            inbox, lambda frames: self._take(frames) if inbox == self._inbox else None
        )
        try:
            name = f"movant-{self._entropy.token(8)}"
            config = {
                "name": name,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": self._position + 1,
                "ack_policy": "none",
                "mem_storage": True,
                "num_replicas": 1,
                "inactive_threshold": int(INACTIVE_S * 1e9),
                "max_waiting": 16,
            }
            if self._filter:
                # As a list: a single filter would have to stand in the request's subject.
                config["filter_subjects"] = [self._filter]
            answer = await self._transport.request(
                Outgoing(
                    f"$JS.API.CONSUMER.CREATE.{self._stream}.{name}",
                    msgspec.json.encode({"stream_name": self._stream, "config": config}),
                ),
                timeout_s=answer_s,
            )
            created = _created_decoder.decode(answer.payload)
            if created.error is not None:
                raise UnavailableError(
                    f"no consumer on {self._stream}: {created.error.description}"
                    f" ({created.error.err_code})"
                )
            await self._look_for_a_gap(answer_s)
        except (MovantError, msgspec.DecodeError, trio.Cancelled):
            subscription.unsubscribe()
            raise
        self._consumers += 1
        self._pull_subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{name}"
        self.refill()
        return subscription

    async def _look_for_a_gap(self, answer_s: float) -> None:
        """Raise UnavailableError when something behind the position was purged.

        Called when the consumer is there: what is purged from now on is sent before, or
        while we are not ready.
        """
        if self._missing is None:
            return
        request = Outgoing(f"$JS.API.STREAM.INFO.{self._stream}", b"")
        answer = await self._transport.request(request, timeout_s=answer_s)
        state = _info_decoder.decode(answer.payload).state
        if state is None:
            raise UnavailableError(f"{self._stream} does not say where it begins")
        first = state.first_seq
        if first > self._position + 1:
            self._missing(first)
            raise UnavailableError(
                f"{self._stream} begins at {first}, and {self._position} was read last"
            )

    async def _watch(self) -> None:
        """Return when the consumer has to be replaced."""
        restart = self._restart
        while True:
            with trio.move_on_after(HEARTBEAT_S):
                await restart.wait()
                return
            self.refill()
            idle = trio.current_time() - self._heard
            if self._open and idle > SILENCE_S:
                log.warning("reader.silent", stream=self._stream, idle_s=round(idle, 1))
                return

    def _take(self, frames: Sequence[Frame]) -> None:
        """Check a batch and hand it on. Runs on the trio thread and never waits."""
        self._heard = trio.current_time()
        if not self._ready():
            self._restart.set()
            return
        batch: list[Delivery] = []
        pending = "0"
        position, expected = self._position, self._expected
        for frame in frames:
            reply = frame.reply
            if not reply.startswith("$JS.ACK."):
                self._status(frame)
                continue
            tokens = reply.split(".")
            if len(tokens) != ACK_TOKENS:
                tokens = tokens[2:]  # with domain and account hash there are two or three more
            seq = int(tokens[5])
            if int(tokens[6]) != expected or seq <= position:
                self._gaps += 1
                log.warning("reader.gap", stream=self._stream, position=position, seq=seq)
                self._restart.set()
                break
            expected += 1
            position = seq
            pending = tokens[8]
            batch.append(
                Delivery(seq, int(tokens[7]), frame.subject, frame.headers, frame.payload)
            )
        if not batch:
            return
        self._open = max(0, self._open - len(batch))
        self._position, self._expected = position, expected
        self._delivered += len(batch)
        self._pending = int(pending)
        self._sink(batch)
        self.refill()

    def _status(self, frame: Frame) -> None:
        match h.status(frame.headers):
            case 100:
                return
            case 404 | 408:
                found = h.decode(frame.headers) or {}
                left = found.get("Nats-Pending-Messages", "")
                self._open = max(0, self._open - int(left)) if left.isdigit() else 0
                self.refill()
            case status:
                log.warning("reader.status", stream=self._stream, status=status)
                self._restart.set()
