"""The asyncio thread: keeps one connection, or looks for the next.

    connect → subscribe everything → PONG → ``Up`` … loss → ``Down`` → wait → connect

There is one way back for every kind of loss, whoever noticed it: cut the socket, forget the
client, make a new one, subscribe all that trio still wants. Nothing of the old connection
lives on, so nothing queued for it can be sent late.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import secrets
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import structlog

from protocols.errors import ConfigurationError, DisconnectedError, InternalError
from protocols.ports import Beat
from runtime.bridge.beats import Beats
from runtime.bridge.client import Login, drop, open_client, shown, user_of
from runtime.bridge.handover import Down, Failed, Inbox, Outbox, Refused, Subscribed, Up
from runtime.bridge.limits import BridgeLimits
from runtime.bridge.link import Link
from runtime.bridge.servers import Servers
from runtime.bridge.watchdog import Verdict, Watchdog
from runtime.bridge.wire import Chunk, subscribe, unsubscribe

PROBE_SID: Final = b"1"
"""The watchdog's own subscription; trio's begin at 2."""
BEATS_SID: Final = b"0"
"""Answers to beats."""
PAYLOAD_BYTES_MAX: Final = 1_048_576
"""The protocol's default."""
_log = structlog.get_logger(__name__)
_REFUSED_PUBLISH: Final = re.compile(r'Permissions Violation for Publish to "([^"]*)"')
_REFUSED_SUBSCRIPTION: Final = re.compile(r'Permissions Violation for Subscription to "([^"]*)"')


class Subject(msgspec.Struct, frozen=True):
    """A subscription that trio wants."""

    subject: str
    queue: str


class Loop:
    """Owns the thread, the client, the subscriptions on the wire and the watchdog."""

    def __init__(
        self,
        *,
        login: Login,
        limits: BridgeLimits,
        outbox: Outbox,
        inbox: Inbox,
        probe_subject: str,
        beats_inbox: str,
        wake_trio: Callable[[], None],
    ) -> None:
        self.bad_frames = 0
        self.server_errors = 0
        self.reading_pauses = 0
        self.reconnects = 0
        self.watchdog_misses = 0
        self.rtt_s = 0.0
        self._login = login
        self._limits = limits
        self._outbox = outbox
        self._inbox = inbox
        self._probe_subject = probe_subject
        self._wake_trio = wake_trio
        self._beats = Beats(beats_inbox)
        self._next_beat: asyncio.TimerHandle | None = None
        self._wanted: dict[bytes, Subject] = {}
        self._epoch = 0
        self._servers = Servers(login.urls)
        self._link: Link | None = None
        self._watchdog = Watchdog(limits.watchdog_misses_max)
        self._connections = 0
        self._probe_permitted = True
        self._stopping = False
        self._loop = _new_event_loop()
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="movant-bridge", daemon=True)

    # Called on the trio thread.

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def call_soon(self, function: Callable[[], object]) -> None:
        """Run a function on the thread; nothing happens when it has ended."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the event loop is closed: Failed has been reported
            return

    def stop(self) -> None:
        """Flush within ``close_s``, cut the connection and end the thread. Idempotent."""
        self.call_soon(self._begin_close)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread (in a worker thread); tell whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # Runs on the asyncio thread, as everything below.

    def pump(self) -> None:
        """Write what waits in the outbox, as far as the socket takes it."""
        outbox = self._outbox
        outbox.wake_pending = False
        link = self._link
        if link is None or outbox.granted != self._epoch:
            return
        while not link.paused and not link.lost.done():
            data = outbox.take()
            if not data:
                return
            link.write(data)

    def read_on(self) -> None:
        """Read again: trio has caught up."""
        self._inbox.stopped = False
        if self._link is not None:
            self._link.resume_reading()

    def subscribe(self, sid: bytes, subject: str, queue: str) -> None:
        """Open a subscription now and on every later connection."""
        self._wanted[sid] = Subject(subject, queue)
        link = self._link
        if link is not None and not link.lost.done():
            link.write(subscribe(subject, queue, sid))
            link.ping(lambda: self._tell(Subscribed((sid,))))

    def unsubscribe(self, sid: bytes) -> None:
        """End a subscription."""
        if self._wanted.pop(sid, None) is not None and self._link is not None:
            self._link.write(unsubscribe(sid))

    def beat(self, every_s: float, source: Callable[[], Beat | None]) -> None:
        """Send what ``source`` returns every so often from now on; never when that is 0."""
        self._beats.source, self._beats.every_s = source, every_s
        if self._next_beat is not None:
            self._next_beat.cancel()
        self._next_beat = self._loop.call_later(every_s, self._beat) if every_s else None

    def _beat(self) -> None:
        self._next_beat = self._loop.call_later(self._beats.every_s, self._beat)
        link = self._link
        if link is not None and not link.lost.done():
            link.write(self._beats.next(PAYLOAD_BYTES_MAX))

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._live())
        except Exception as error:  # noqa: BLE001 - the end of a thread: it must be told
            _log.exception("bridge.failed")
            self._tell(Failed(_defect(error), last=True))
        else:
            self._tell(Failed(DisconnectedError("the bridge is closed"), last=True))

    async def _live(self) -> None:
        self._main = asyncio.current_task()
        try:
            while not self._stopping:
                await self._keep_one_connection()
        except asyncio.CancelledError:
            _log.debug("bridge.closed")  # by stop: the thread ends in good order

    async def _keep_one_connection(self) -> None:
        servers = self._servers
        if servers.rounds:
            await asyncio.sleep(_backoff_s(servers.rounds, self._limits))
        url = servers.take()
        self._epoch += 1  # from here on the outbox is closed until trio knows the new connection
        link: Link | None = None
        try:
            client = await open_client(self._login, url, servers.try_s(self._limits.connect_s))
            link = Link(client, self._received, self.pump, self._refused)
            try:
                await link.adopt()
                sids = await self._subscribe_all(link)
            except BaseException:
                drop(client)
                raise
        except (DisconnectedError, ConfigurationError) as error:
            _log.warning("bridge.unreachable", server=shown(url), reason=error.message)
            self._tell(Failed(error))
            return
        stood_at = self._loop.time()
        try:
            self._stand(link, url)
            self._tell(Subscribed(sids))
            reason = await self._watched(link)
        finally:
            link.abort("closed")
            self._link = None
            servers.learn(url, link.info.get("connect_urls"))
        if self._loop.time() - stood_at > 2 * self._limits.reconnect_s_max:
            servers.stood()  # try at once; one that is cut again and again waits
        self._tell(Down(reason, self._outbox.taken_items))
        _log.warning("bridge.lost", server=shown(url), reason=reason)

    async def _subscribe_all(self, link: Link) -> tuple[bytes, ...]:
        """Subscribe what trio wants and wait until the server has it."""
        answered: asyncio.Future[str] = self._loop.create_future()
        lines = [subscribe(self._probe_subject, "", PROBE_SID)]
        lines.append(subscribe(self._beats.subject, "", BEATS_SID))
        sids = tuple(self._wanted)
        lines += [subscribe(one.subject, one.queue, sid) for sid, one in self._wanted.items()]
        self._link = link  # from here on ``subscribe`` writes to this link itself
        try:
            link.write(b"".join(lines))
            link.ping(partial(answered.set_result, "PONG"))
            async with asyncio.timeout(self._servers.try_s(self._limits.connect_s)):
                await asyncio.wait({answered, link.lost}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            link.abort("no answer to the first PING")
        if not answered.done():
            self._link = None
            reason = link.lost.result() if link.lost.done() else "no answer"
            raise DisconnectedError(f"the connection ended at once: {reason}")
        return sids

    def _stand(self, link: Link, url: str) -> None:
        self._connections += 1
        self.reconnects = self._connections - 1
        payload_bytes_max = link.info.get("max_payload")
        if not isinstance(payload_bytes_max, int):
            payload_bytes_max = PAYLOAD_BYTES_MAX
        self._tell(Up(self._epoch, shown(url), payload_bytes_max))
        _log.info("bridge.connected", server=shown(url), version=link.info.get("version"))

    async def _watched(self, link: Link) -> str:
        """Probe until the connection is lost or found deaf; return why."""
        watchdog = self._watchdog = Watchdog(self._limits.watchdog_misses_max)
        misses_before = self.watchdog_misses
        while not link.lost.done():
            await asyncio.wait({link.lost}, timeout=self._limits.watchdog_s)
            if link.lost.done():
                break
            verdict = watchdog.beat(time.monotonic(), reading=link.reading)
            self.watchdog_misses = misses_before + watchdog.misses_total
            if verdict is Verdict.DEAF:
                _log.error("bridge.deaf", misses=watchdog.misses)
                link.abort("deaf: probes came not back")
            elif verdict is Verdict.PROBE:
                self._probe(link, b"%d" % watchdog.sent)
            else:
                # The server's PING stays unread with all the rest: ours proves that we live.
                link.ping(_nothing)
        return link.lost.result()

    def _probe(self, link: Link, number: bytes) -> None:
        if self._probe_permitted:
            line = f"PUB {self._probe_subject} {len(number)}\r\n".encode()
            link.write(line + number + b"\r\n")
        else:
            link.ping(lambda: self._probed(number))

    def _received(self, chunk: Chunk) -> None:
        runs = chunk.runs
        if chunk.bad_frames:
            self.bad_frames += chunk.bad_frames
            _log.warning("bridge.bad_frames", count=chunk.bad_frames)
        for sid, frames in runs:
            if sid == PROBE_SID:
                self._probed(frames[-1].payload)
            elif sid == BEATS_SID:
                self._beats.answered(frames)
        inbox = self._inbox
        inbox.put_chunk(chunk)
        if not inbox.wake_pending:
            inbox.wake_pending = True
            self._wake_trio()
        if (
            inbox.frames > self._limits.incoming_frames_max
            or inbox.bytes_count > self._limits.incoming_bytes_max
        ):
            self._pause(inbox)

    # Not the event loop's clock: uvloop's has milliseconds, a round trip has less.

    def _probed(self, payload: bytes) -> None:
        number = int(payload) if payload.isdigit() else 0
        self._watchdog.answered(time.monotonic(), number)
        self.rtt_s = self._watchdog.rtt_s

    def _pause(self, inbox: Inbox) -> None:
        """Stop reading. Trio looks at ``stopped`` after each batch and calls ``read_on``."""
        if self._link is None or not self._link.reading:
            return
        self.reading_pauses += 1
        self._link.pause_reading()
        inbox.stopped = True
        if not inbox.wake_pending:  # trio may have taken the last chunk before it was set
            inbox.wake_pending = True
            self._wake_trio()

    def _refused(self, told: str) -> None:
        self.server_errors += 1
        _log.error("bridge.refused", told=told, user=user_of(self._login))
        if f'"{self._probe_subject}"' in told:
            self._probe_permitted = False
            _log.warning("bridge.watchdog_limited", hint="permit this user its own inbox")
        match = _REFUSED_SUBSCRIPTION.search(told)
        sid = None
        if match is not None:
            subject = match[1]
            sid = next(
                (one for one, want in self._wanted.items() if want.subject == subject), None
            )
        published = _REFUSED_PUBLISH.search(told)
        self._tell(Refused(told, sid, published[1] if published else ""))

    def _tell(self, event: Up | Down | Subscribed | Refused | Failed) -> None:
        inbox = self._inbox
        inbox.items.append(event)
        if not inbox.wake_pending:
            inbox.wake_pending = True
            self._wake_trio()

    def _begin_close(self) -> None:
        self._stopping = True
        main = self._main
        if main is None or main.done():
            return
        link = self._link
        self.pump()
        if link is None or link.lost.done():
            main.cancel()
            return
        link.ping(partial(_cancel, main))
        self._loop.call_later(self._limits.close_s, main.cancel)


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:  # none for this platform: slower, otherwise the same
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _nothing() -> None:
    """Wait for no answer."""


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _backoff_s(rounds: int, limits: BridgeLimits) -> float:
    """Return the wait after rounds over all servers: doubling, half of it by chance."""
    doubled = limits.reconnect_s_min * 2.0 ** min(rounds - 1, 16)
    chance = secrets.randbelow(1_000) / 2_000
    return min(doubled, limits.reconnect_s_max) * (0.5 + chance)


def _defect(error: Exception) -> InternalError:
    return InternalError(f"the bridge's thread ended: {error!r}", hint="report the traceback")
