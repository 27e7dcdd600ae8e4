"""The trio side of the bridge: what actors call. Everything here runs on the trio thread."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, assert_never

import structlog
import trio

from protocols.errors import ConfigurationError, DisconnectedError, MovantError
from protocols.headers import status
from protocols.ports import Beat, Done, Frame, Outgoing, Sink
from runtime.bridge import errors, wire
from runtime.bridge.client import Login, user_of
from runtime.bridge.handover import (
    Down,
    Event,
    Failed,
    Inbox,
    Outbox,
    Perishable,
    Refused,
    Subscribed,
    Up,
)
from runtime.bridge.limits import BridgeLimits, BridgeStatistics
from runtime.bridge.loop import Loop
from runtime.bridge.requests import RequestTable
from runtime.bridge.subscription import NatsSubscription, Wanted
from runtime.bridge.waking import resume, wake
from runtime.bridge.wire import Chunk

NO_RESPONDERS: Final = 503
_REPLIES: Final = b"2"
_JOIN_S: Final = 2.0
"""Wait for the thread's end beyond its own ``close_s``; it needs some milliseconds."""
_log = structlog.get_logger(__name__)


class NatsTransport:
    """``protocols.ports.Transport`` over a real server; made by ``connect``."""

    def __init__(self, login: Login, limits: BridgeLimits, inbox_prefix: str) -> None:
        self._limits = limits
        self._trio_thread = threading.get_ident()
        self._outbox = Outbox()
        self._inbox = Inbox()
        own = f"{inbox_prefix}.{secrets.token_hex(12)}"
        self._replies = f"{own}.r."
        self._fresh = f"{own}.n."
        self._fresh_count = 0
        self._requests = RequestTable(limits.tick_s, trio.current_time())
        self._subscriptions: dict[bytes, Wanted] = {}
        self._next_sid = int(_REPLIES)
        self._state_told: list[Callable[[bool], None]] = []
        self._refusal_told: list[Callable[[str], None]] = []
        self._user = user_of(login)
        self._connected = False
        self._server = ""
        self._payload_bytes_max = 1_048_576
        self._first = trio.Event()
        self._ended = trio.Event()
        self._failure: MovantError | None = None
        self._anything_open = trio.Event()
        self._clock_scope = trio.CancelScope()
        self._frames_out = 0
        self._late_replies = 0
        self._sink_errors = 0
        token = trio.lowlevel.current_trio_token()
        self._loop = Loop(
            login=login,
            limits=limits,
            outbox=self._outbox,
            inbox=self._inbox,
            probe_subject=f"{own}.w",
            beats_inbox=f"{own}.b",
            wake_trio=partial(wake, token, self._deliver),
        )

    # protocols.ports.Transport

    @property
    def connected(self) -> bool:
        """False from the moment a loss is known until the connection answers again."""
        return self._connected

    @property
    def payload_bytes_max(self) -> int:
        """The server's ``max_payload``."""
        return self._payload_bytes_max

    def publish(self, message: Outgoing, *, perishable: bool = False) -> None:
        """Queue one message; at most once. Raises OverloadedError, DisconnectedError.

        A perishable one is dropped when ``keep_fresh``'s condition does not hold any more at the
        moment when it would be written.
        """
        if not self._connected:
            raise errors.disconnected()
        item = wire.publish(message, self._payload_bytes_max)
        self._put(Perishable(item) if perishable else item)
        self._frames_out += 1

    def keep_fresh(self, holds: Callable[[], bool]) -> None:
        """Write perishable messages only while ``holds()``; asked on the asyncio thread."""
        self._outbox.fresh = holds

    def beat(self, every_s: float, source: Callable[[], Beat | None]) -> Callable[[], None]:
        """Send what ``source`` returns every so often; returns how to stop that.

        It and who is told the answer are called on the asyncio thread, whatever trio is doing.
        """
        self._loop.call_soon(partial(self._loop.beat, every_s, source))
        return partial(self._loop.call_soon, partial(self._loop.beat, 0.0, source))

    def request_soon(
        self,
        message: Outgoing,
        timeout_s: float,
        done: Done,
        *,
        before: Sequence[Outgoing] = (),
    ) -> None:
        """Queue a request; ``done`` is told its first reply, or why there is none. Never waits.

        ``done`` is not called before this returns. Raises RefusedError for a message that may
        not be sent and OverloadedError when a queue is full.
        """
        if not self._connected:
            self._check_thread()
            token = trio.lowlevel.current_trio_token()
            token.run_sync_soon(self._tell, done, errors.disconnected())
            return
        self._open(message, timeout_s, done, before)

    async def request(self, message: Outgoing, timeout_s: float) -> Frame:
        """Send a request and wait for its first reply. Raises what ``done`` would be told."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._connected:
            raise errors.disconnected()
        reschedule = partial(resume, trio.lowlevel.current_task())
        token = self._open(message, timeout_s, reschedule, ())

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._requests.take(token, None)
            return trio.lowlevel.Abort.SUCCEEDED

        frame = await trio.lowlevel.wait_task_rescheduled(abort)
        assert isinstance(frame, Frame), "requests are answered with a frame or an error"
        return frame

    async def subscribe(self, subject: str, sink: Sink, *, queue: str = "") -> NatsSubscription:
        """Subscribe; when it returns the server has it. Waits for the connection if need be.

        Raises ConfigurationError when the server does not permit it.
        """
        self._check_thread()
        wire.check_filter(subject, queue)
        if self._failure is not None:
            raise errors.disconnected()
        sid, wanted = self._want(subject, sink)
        unsubscribe = partial(self._unsubscribe, sid)
        self._loop.call_soon(partial(self._loop.subscribe, sid, subject, queue))
        try:
            await wanted.standing.wait()
        except BaseException:
            unsubscribe()
            raise
        if wanted.refused is not None:
            unsubscribe()
            raise errors.subscription_refused(subject, self._user)
        if self._failure is not None:
            raise errors.disconnected()
        return NatsSubscription(unsubscribe)

    def new_inbox(self) -> str:
        """Return a fresh subject for replies."""
        self._fresh_count += 1
        return f"{self._fresh}{self._fresh_count}"

    def on_state(self, told: Callable[[bool], None]) -> Callable[[], None]:
        """Call ``told(False)`` at each loss, ``told(True)`` at each reconnect, until stopped.

        Returns how to stop. A loss is told before the open requests fail, so that who is told
        does not ask again.
        """
        self._state_told.append(told)
        return partial(self._state_told.remove, told)

    # Beyond the port.

    def on_refusal(self, told: Callable[[str], None]) -> Callable[[], None]:
        """Call ``told(subject)`` when our user may not publish there; returns how to stop that.

        Requests are told by themselves; this is for messages without an answer.
        """
        self._refusal_told.append(told)
        return partial(self._refusal_told.remove, told)

    @property
    def user(self) -> str:
        """The NATS user of this connection, for people."""
        return self._user

    def statistics(self) -> BridgeStatistics:
        """Return a snapshot of what crossed the bridge and what waits."""
        loop = self._loop
        return BridgeStatistics(
            connected=self._connected,
            server=self._server,
            frames_in=self._inbox.taken_frames,
            frames_out=self._frames_out,
            bytes_in=self._inbox.taken_bytes,
            bytes_out=self._outbox.taken_bytes,
            bad_frames=loop.bad_frames,
            reconnects=loop.reconnects,
            watchdog_misses=loop.watchdog_misses,
            reading_pauses=loop.reading_pauses,
            server_errors=loop.server_errors,
            late_replies=self._late_replies,
            sink_errors=self._sink_errors,
            subscriptions=len(self._subscriptions),
            requests_open=len(self._requests),
            outgoing_messages=len(self._outbox.items),
            outgoing_bytes=self._outbox.bytes_count,
            incoming_frames=self._inbox.frames,
            incoming_bytes=self._inbox.bytes_count,
            rtt_s=loop.rtt_s,
        )

    async def wait_failed(self) -> None:
        """Wait until the bridge cannot go on, and raise why: what a supervisor watches."""
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure

    async def start(self) -> None:
        """Start the thread and wait for the first connection.

        Raises DisconnectedError when there is none within ``connect_s``, and at once
        ConfigurationError when the server refuses the login.
        """
        self._want(f"{self._replies}*", self._answer, sid=_REPLIES)
        self._loop.subscribe(_REPLIES, f"{self._replies}*", "")  # the thread is not yet running
        self._loop.start()
        trio.lowlevel.spawn_system_task(self._expire_forever, name="movant bridge deadlines")
        with trio.move_on_after(self._limits.connect_s):
            await self._first.wait()
        if not self._connected:
            raise self._failure or errors.disconnected()
        if self._subscriptions[_REPLIES].refused is not None:
            raise errors.subscription_refused(f"{self._replies}*", self._user)

    async def aclose(self) -> None:
        """Send what is queued, within ``close_s``, and end the thread. Open requests fail."""
        self._connected = False
        self._clock_scope.cancel()
        self._loop.stop()
        limit_s = self._limits.close_s + _JOIN_S
        with trio.CancelScope(shield=True):
            ended = await trio.to_thread.run_sync(self._loop.join, limit_s)
        while self._inbox.items:
            self._deliver()
        if not ended:
            _log.error("bridge.stuck", waited_s=limit_s)
            self._failed(Failed(DisconnectedError("the bridge is stuck"), last=True))

    # Sending

    def _open(
        self, message: Outgoing, timeout_s: float, done: Done, before: Sequence[Outgoing]
    ) -> str:
        limits = self._limits
        if len(self._requests) >= limits.requests_open_max:
            raise errors.too_many_open(limits.requests_open_max)
        deadline = trio.current_time() + timeout_s
        token = self._requests.add(done, deadline, self._outbox.put_items, message.subject)
        try:
            item = wire.publish(message, self._payload_bytes_max, self._replies + token)
            if before:
                parts = [wire.publish(one, self._payload_bytes_max) for one in before]
                item = b"".join((*parts, item))
            self._put(item)
        except BaseException:
            self._requests.take(token, None)
            raise
        self._frames_out += 1 + len(before)
        if len(self._requests) == 1:
            self._anything_open.set()
        return token

    def _put(self, item: bytes) -> None:
        self._check_thread()
        outbox = self._outbox
        limits = self._limits
        if (
            len(outbox.items) >= limits.outgoing_messages_max
            or outbox.bytes_count + len(item) > limits.outgoing_bytes_max
        ):
            raise errors.queue_full(len(outbox.items), outbox.bytes_count)
        outbox.put(item)
        if not outbox.wake_pending:
            outbox.wake_pending = True
            self._loop.call_soon(self._loop.pump)

    # Receiving

    def _deliver(self) -> None:
        """Take what the asyncio thread handed over, a bounded portion at a turn."""
        inbox = self._inbox
        inbox.wake_pending = False
        for item in inbox.take(self._limits.turn_frames_max):
            if isinstance(item, Chunk):
                for sid, frames in item.runs:
                    wanted = self._subscriptions.get(sid)
                    if wanted is not None:
                        try:
                            wanted.sink(frames)
                        except Exception:  # noqa: BLE001 - a defect of one actor must not stop the others
                            self._sink_errors += 1
                            _log.exception("bridge.sink_failed", subject=wanted.subject)
                inbox.note_taken(item)
            else:
                self._happened(item)
        if inbox.stopped and 2 * inbox.frames <= self._limits.incoming_frames_max:  # noqa: SIM102
            if 2 * inbox.bytes_count <= self._limits.incoming_bytes_max:
                self._loop.call_soon(self._loop.read_on)
        if inbox.items and not inbox.wake_pending:
            inbox.wake_pending = True
            trio.lowlevel.current_trio_token().run_sync_soon(self._deliver)

    def _answer(self, frames: Sequence[Frame]) -> None:
        cut = len(self._replies)
        take = self._requests.take
        for frame in frames:
            request = take(frame.subject[cut:], None)
            if request is None:
                self._late_replies += 1
            elif frame.headers and not frame.payload and status(frame.headers) == NO_RESPONDERS:
                self._tell(request.done, errors.no_responders())
            else:
                self._tell(request.done, frame)

    def _tell(self, done: Done, told: Frame | MovantError) -> None:
        try:
            done(told)
        except Exception:  # noqa: BLE001 - a defect of one actor must not stop the others
            self._sink_errors += 1
            _log.exception("bridge.done_failed")

    def _happened(self, event: Event) -> None:
        match event:
            case Up():
                self._server = event.server
                self._payload_bytes_max = event.payload_bytes_max
                self._outbox.granted = event.epoch
                self._connected = True
                self._first.set()
                self._tell_state(connected=True)
            case Down():
                self._lose(event.taken, event.reason)
            case Subscribed():
                for sid in event.sids:
                    if sid in self._subscriptions:
                        self._subscriptions[sid].standing.set()
            case Refused():
                wanted = self._subscriptions.get(event.sid or b"")
                if wanted is not None:
                    wanted.refused = event.told
                if event.subject:
                    self._refuse(event.subject)
            case Failed():
                self._failed(event)
            case _:
                assert_never(event)

    def _refuse(self, subject: str) -> None:
        """Fail what was asked where our user may not publish: no answer can come."""
        for done in self._requests.refused(subject):
            self._tell(done, errors.publish_refused(subject, self._user))
        for told in tuple(self._refusal_told):
            told(subject)

    def _lose(self, taken: int, reason: str) -> None:
        was_connected = self._connected
        self._connected = False
        if was_connected:
            self._tell_state(connected=False)
        self._fail_requests(taken, reason)
        self._outbox.clear()

    def _fail_requests(self, taken: int, reason: str) -> None:
        for request in self._requests.clear():
            if request.item < taken:
                self._tell(request.done, errors.unknown(f"the connection was lost ({reason})"))
            else:
                self._tell(request.done, errors.disconnected())

    def _failed(self, event: Failed) -> None:
        if event.last:
            self._failure = event.error
            self._lose(self._outbox.taken_items, event.error.message)
            for wanted in self._subscriptions.values():
                wanted.standing.set()
            self._ended.set()
            self._first.set()
        elif not self._first.is_set():
            self._failure = event.error
            if isinstance(event.error, ConfigurationError):
                self._first.set()

    def _tell_state(self, *, connected: bool) -> None:
        for told in tuple(self._state_told):
            try:
                told(connected)
            except Exception:  # noqa: BLE001 - a defect of one actor must not stop the others
                self._sink_errors += 1
                _log.exception("bridge.state_failed")

    # Subscriptions and time

    def _want(self, subject: str, sink: Sink, sid: bytes = b"") -> tuple[bytes, Wanted]:
        if not sid:
            self._next_sid += 1
            sid = b"%d" % self._next_sid
        wanted = self._subscriptions[sid] = Wanted(subject, sink)
        return sid, wanted

    def _unsubscribe(self, sid: bytes) -> None:
        self._check_thread()
        if self._subscriptions.pop(sid, None) is not None:
            self._loop.call_soon(partial(self._loop.unsubscribe, sid))

    async def _expire_forever(self) -> None:
        with self._clock_scope:
            while True:
                if not len(self._requests):
                    self._anything_open = trio.Event()
                    await self._anything_open.wait()
                await trio.sleep(self._limits.tick_s)
                for done in self._requests.expire(trio.current_time()):
                    self._tell(done, errors.unknown("no reply came in time"))

    def _check_thread(self) -> None:
        assert threading.get_ident() == self._trio_thread, "the bridge is used by trio only"
