"""Messages: runs that are started by what others publish.

    stream ──durable consumer──> every daemon takes some ──> run <key>-<stream>-<seq> ──> ack
    subject ──queue group──────> one of the daemons      ──> run <key>-<random>

What a stream keeps comes at least once: the acknowledgement follows that of the start, and a
repeat has the same run. Of a subject that no stream keeps, NATS tells each message once to one
daemon that listens, or to none. What cannot be understood becomes a dead letter, and is
acknowledged when that is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
import trio

from actors.store.dead_letters import TRIGGER, sealed
from actors.store.neighbours import streams_on
from protocols import codec
from protocols import headers as h
from protocols.errors import (
    BadValueError,
    MovantError,
    RefusedError,
    UnavailableError,
    UnknownOutcomeError,
)
from protocols.ports import Frame, Outgoing
from protocols.triggers import Armed, Consumer, Last, MessageSource, digest
from runtime.triggers.book import TriggerBook
from runtime.triggers.firing import SECRET_HEADERS, Firing

if TYPE_CHECKING:
    from runtime.daemon import Daemon

PORTION: Final = 32
"""Messages of a stream that one daemon deals with at the same time."""
WAITING_MAX: Final = 1_000
"""Messages of a subject without a stream that wait here; what comes beyond is lost, and told."""
EXPIRES_S: Final = 10.0
ANSWER_S: Final = 5.0
ACK_WAIT_S: Final = 60.0
"""After this the server gives a message to somebody else."""
AGAIN_S: Final = 2.0
REASON: Final = "trigger"
_ACK_TOKENS: Final = 9

log = structlog.get_logger()


class _Answer(msgspec.Struct):
    """What STREAM.INFO and CONSUMER.CREATE tell."""

    class Error(msgspec.Struct):
        code: int = 0
        description: str = ""

    created: str = ""
    error: Error | None = None


_answer_decoder: Final = msgspec.json.Decoder(_Answer)


class Messages:
    """Listens for all message triggers. Run ``run``."""

    def __init__(self, daemon: Daemon, book: TriggerBook, firing: Firing) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._book = book
        self._firing = firing
        self._changed = trio.Event()
        self._listening: dict[str, tuple[str, trio.CancelScope]] = {}
        book.on_change(lambda: self._changed.set())  # noqa: PLW0108 - another event each time
        self.problems: dict[str, str] = {}
        """Why a trigger does not listen here, by its key."""
        self.lost = 0
        """Messages that came faster than runs could be started, and that no stream keeps."""

    async def run(self) -> None:
        """Follow the book until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._follow(nursery)
                await self._changed.wait()
                self._changed = trio.Event()

    def _follow(self, nursery: trio.Nursery) -> None:
        wanted = {
            key: each
            for key, each in self._book.armed.items()
            if each.trigger.source is not None
            and not each.problem
            and self._book.state(key).paused is None
        }
        for key, (known, scope) in [*self._listening.items()]:
            if key not in wanted or wanted[key].hash != known:
                scope.cancel()
                del self._listening[key]
                self.problems.pop(key, None)
        for key, each in wanted.items():
            if key not in self._listening:
                scope = trio.CancelScope()
                self._listening[key] = (each.hash, scope)
                nursery.start_soon(self._listen, each, scope)

    async def _listen(self, armed: Armed, scope: trio.CancelScope) -> None:
        source = armed.trigger.source
        assert source is not None, "a message trigger"
        with scope:
            while True:
                try:
                    stream = source.stream or await self._stream_of(armed, source)
                    if stream:
                        await self._consume(armed, source, stream)
                    else:
                        await self._subscribe(armed, source)
                except (MovantError, msgspec.DecodeError) as error:
                    self.problems[armed.key] = str(error)
                    log.warning("trigger.waiting", trigger=armed.key, reason=str(error))
                await trio.sleep(AGAIN_S)

    async def _stream_of(self, armed: Armed, source: MessageSource) -> str:
        """Return the stream that keeps the messages of a subject; empty: none does."""
        found = await streams_on(self._parts.transport, source.subject)
        if len(found) > 1:
            names = ", ".join(sorted(found))
            raise RefusedError(f"{armed.key}: {names} keep {source.subject}: write one as stream")
        return found[0] if found else ""

    # Without a stream

    async def _subscribe(self, armed: Armed, source: MessageSource) -> None:
        """Take what is published now."""
        send, receive = trio.open_memory_channel[Frame](WAITING_MAX)

        def take(frames: Sequence[Frame]) -> None:
            for frame in frames:
                try:
                    send.send_nowait(frame)
                except trio.WouldBlock:
                    self.lost += 1
                    if self.lost & (self.lost - 1) == 0:  # a flood is told of now and then
                        log.warning("trigger.lost", trigger=armed.key, lost=self.lost)

        subscription = await self._parts.transport.subscribe(
            source.subject, take, queue=f"movant-{armed.key}"
        )
        self.problems.pop(armed.key, None)
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(PORTION):
                    nursery.start_soon(self._work, armed, receive.clone())
                await trio.sleep_forever()
        finally:
            subscription.unsubscribe()

    async def _work(self, armed: Armed, waiting: trio.MemoryReceiveChannel[Frame]) -> None:
        async for frame in waiting:
            found = h.decode(frame.headers) or {}
            identity = found.get(h.MESSAGE_ID) or found.get("Nats-Msg-Id")
            token = digest(armed.key, identity) if identity else self._daemon.new_id()
            try:
                try:
                    await self._take(armed, frame, token)
                except (UnavailableError, UnknownOutcomeError) as error:
                    await self._bury(armed, frame, token, error.message)
            except (UnavailableError, UnknownOutcomeError) as error:
                log.error("letter.lost", reason=f"{armed.key}: {error.message}")

    # From a stream

    async def _consume(self, armed: Armed, source: MessageSource, stream: str) -> None:
        """Take what a stream keeps, until the connection is lost or something is wrong."""
        info = await self._ask(f"STREAM.INFO.{stream}", {})
        # A stream that is made anew begins to count anew: the time of its birth is part of ids.
        born = hashlib.sha256(f"{stream}|{info.created}".encode()).hexdigest()[:8]
        name = armed.consumer_name
        await self._book.keep(armed.key, Consumer(stream, name))
        await self._ask(
            f"CONSUMER.DURABLE.CREATE.{stream}.{name}",
            {
                "stream_name": stream,
                "config": {
                    "durable_name": name,
                    "description": f"trigger {armed.key} of movant",
                    "filter_subjects": [source.subject],
                    "deliver_policy": "new",
                    "ack_policy": "explicit",
                    "ack_wait": int(ACK_WAIT_S * 1e9),
                    "max_ack_pending": PORTION * 32,
                },
            },
        )
        pull = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"
        portion = _Portion()
        inbox = self._parts.transport.new_inbox()
        subscription = await self._parts.transport.subscribe(inbox, portion.take)
        self.problems.pop(armed.key, None)
        try:
            while True:
                frames = await self._pull(pull, inbox, portion, PORTION)
                if not frames:  # wait for one, so that it is not kept back for others
                    frames = await self._pull(pull, inbox, portion, 1, EXPIRES_S)
                async with trio.open_nursery() as nursery:
                    for frame in frames:
                        nursery.start_soon(self._one_of, armed, born, frame)
        finally:
            subscription.unsubscribe()

    async def _pull(
        self, pull: str, inbox: str, portion: _Portion, count: int, wait_s: float = 0.0
    ) -> list[Frame]:
        """Return up to so many messages. Raises UnavailableError when the consumer is gone."""
        body: dict[str, Any] = {"batch": count}
        body |= {"expires": int(wait_s * 1e9)} if wait_s else {"no_wait": True}
        portion.begin(count)
        message = Outgoing(pull, msgspec.json.encode(body), reply=inbox)
        self._parts.transport.publish(message)
        with trio.move_on_after(wait_s + ANSWER_S) as patience:
            await portion.ended.wait()
        if patience.cancelled_caught or portion.failed:
            raise UnavailableError(f"{pull} does not answer: {portion.failed or 'nothing came'}")
        return portion.frames

    async def _one_of(self, armed: Armed, born: str, frame: Frame) -> None:
        """Deal with one message of a stream; without an acknowledgement it comes again."""
        tokens = frame.reply.split(".")
        if len(tokens) != _ACK_TOKENS:
            tokens = tokens[2:]  # with domain and account hash there are two or three more
        token = f"{born}-{tokens[5]}"
        try:
            await self._take(armed, frame, token)
            self._parts.transport.publish(Outgoing(frame.reply, b"+ACK"))
        except (UnavailableError, UnknownOutcomeError) as error:
            log.warning("trigger.waiting", trigger=armed.key, reason=str(error))

    async def _ask(self, verb: str, request: Any) -> _Answer:
        answer = await self._parts.transport.request(
            Outgoing(f"$JS.API.{verb}", msgspec.json.encode(request) if request else b""),
            ANSWER_S,
        )
        found = _answer_decoder.decode(answer.payload)
        if found.error is not None:
            raise RefusedError(f"{verb}: {found.error.description}")
        return found

    # Both

    async def _take(self, armed: Armed, frame: Frame, token: str) -> None:
        """Start the run of a message, or keep it. Raises UnavailableError, UnknownOutcomeError."""
        try:
            await self._start(armed, frame, token)
        except (UnavailableError, UnknownOutcomeError):
            raise
        except RefusedError as error:
            await self._bury(armed, frame, token, error.message)
        except Exception as error:  # what one message does stops no other
            log.exception("trigger.failed", trigger=armed.key, reason=str(error))
            await self._bury(armed, frame, token, "a defect of movant: see the log")

    async def again(self, key: str, frame: Frame, token: str) -> None:
        """Take a message once more that was kept as a dead letter; it has the run it would have.

        Raises RefusedError for what still does not fit, NotFoundError for a trigger that is gone,
        UnavailableError, UnknownOutcomeError.
        """
        armed = self._book.find(key)
        if armed.trigger.source is None or armed.problem:
            raise RefusedError(f"{key} takes no messages: {armed.problem or armed.trigger.kind}")
        await self._start(armed, frame, token)

    async def _start(self, armed: Armed, frame: Frame, token: str) -> None:
        """Start the run of a message. Raises as ``again``."""
        at = self._daemon.clock.now_ns()
        run = f"{armed.key}-{token}"
        headers = h.decode(frame.headers)
        if headers is None:
            raise BadValueError("its headers cannot be read")
        payload = codec.decode(frame.payload, headers.get(h.CONTENT_TYPE, ""))
        names = self._firing.names(
            armed,
            at,
            payload=payload,
            subject=frame.subject.split("."),
            headers={name.lower(): text for name, text in _shown(headers).items()},
        )
        if not self._firing.wanted(armed, names):
            self._book.note(armed.key, Last(at=at, outcome="skipped", reason="when: false"))
            return
        fired = await self._firing.fire(armed, run, names, message_id=run, given=payload)
        last = Last(at=at, outcome="fired", run=fired.run)
        self._book.note(armed.key, last)
        if fired.created:
            self._firing.tell(armed, last, run, subject=frame.subject)

    async def _bury(self, armed: Armed, frame: Frame, token: str, why: str) -> None:
        """Keep a message that starts nothing as a dead letter.

        Raises UnavailableError, UnknownOutcomeError: it is not stored, and has to come again.
        """
        kept = Frame(frame.subject, "", _kept(frame.headers), frame.payload)
        identity, detail = f"{armed.key}-{token}", f"{armed.key}: {why}"
        letter = sealed(REASON, kept, identity, detail, {TRIGGER: armed.key})
        stored = trio.Event()
        problem: MovantError | None = None

        def written(_: int, error: MovantError | None) -> None:
            nonlocal problem
            problem = error
            stored.set()

        self._parts.writers["DEAD"].write(letter, written)
        await stored.wait()
        if isinstance(problem, UnavailableError | UnknownOutcomeError):
            raise problem
        if problem is not None:  # it never will be, as one that is too large with its reasons
            log.error("letter.refused", reason=str(problem))
        last = Last(at=self._daemon.clock.now_ns(), outcome="refused", reason=why)
        self._book.note(armed.key, last)
        self._firing.tell(armed, last, token)


class _Portion:
    """What comes of one request for messages."""

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, count: int) -> None:
        """Wait for so many."""
        self.frames: list[Frame] = []
        self.failed = ""
        self.ended = trio.Event()
        self._count = count

    def take(self, frames: Sequence[Frame]) -> None:
        """Take messages, and the status that says that there are no more."""
        for frame in frames:
            if frame.reply.startswith("$JS.ACK."):
                self.frames.append(frame)
                continue
            status = h.status(frame.headers)
            if status not in {0, 100, 404, 408}:
                self.failed = str(status)
            if status not in {0, 100}:
                self.ended.set()
        if len(self.frames) >= self._count:
            self.ended.set()


def _shown(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that may stand in a history."""
    return {name: text for name, text in headers.items() if name.lower() not in SECRET_HEADERS}


def _kept(block: bytes) -> bytes:
    """Return the header block of a message for a dead letter, whatever stands in it."""
    lines = block.split(b"\r\n")
    names = (each.partition(b":")[0].strip().lower().decode("latin-1") for each in lines)
    kept = zip(lines, names, strict=True)
    return b"\r\n".join(line for line, name in kept if name not in SECRET_HEADERS)
