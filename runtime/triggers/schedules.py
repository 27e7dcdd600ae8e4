"""Schedules in the daemon: due times are told by the server's clock.

    position ──> next due ──arm──> movant.timer._cron.<key>   @at, in TIMERS
                                        │ the server, when it is time
    decide(position, server's time) <── movant.timer._due.<key>
       └─> runs <key>-<due> ──> position, against its revision ──> arm the next one

The server says when it is time, and what its clock says is all that is decided with: a daemon's
clock may jump. A time that has passed is armed as well and fires at once, so what was
missed is found by the same few lines. Who owns the partition of a key acts for it; two that do
so for a moment start the same runs, and one of them writes the position.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
import trio

from actors import schedule
from actors.store.direct_reader import DirectReader
from protocols import subjects
from protocols.api import runs as api
from protocols.effects import FINAL
from protocols.errors import (
    MovantError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnknownOutcomeError,
)
from protocols.events import from_time, to_time
from protocols.ports import Outgoing
from protocols.triggers import Armed, Last, Schedule, TriggerState
from runtime.triggers.book import Stored, TriggerBook
from runtime.triggers.firing import Firing
from runtime.triggers.sweeping import acts_for

if TYPE_CHECKING:
    from runtime.api.queries import RunQueries
    from runtime.api.runs import RunCommands
    from runtime.daemon import Daemon

LOOK_S: Final = 0.5
"""How often firings are looked for: a start comes at most so much after its time."""
AGAIN_S: Final = 30.0
"""A timer is armed again after this: what is armed already is replaced by the same."""
READ_TOGETHER: Final = 500
"""Firings that are asked for at once; the server answers for 1,024 subjects at most."""
DUE_TTL_S: Final = 3_600
"""A firing is looked at within a second; one that nobody saw is armed again."""

ANSWER_S: Final = 5.0

log = structlog.get_logger()


class _Info(msgspec.Struct):
    """What STREAM.INFO tells beside the stream: the server's time."""

    ts: str = ""


_info_decoder: Final = msgspec.json.Decoder(_Info)


class Schedules:
    """Fires the schedules whose partitions this daemon owns."""

    def __init__(
        self,
        daemon: Daemon,
        book: TriggerBook,
        firing: Firing,
        *,
        commands: RunCommands,
        queries: RunQueries,
    ) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._book = book
        self._firing = firing
        self._commands = commands
        self._queries = queries
        self._timers: dict[str, tuple[int, float]] = {}
        """What is armed: the due time, and when that was done."""
        self._next: dict[str, tuple[Armed, int, int, int]] = {}
        self.problems: dict[str, str] = {}
        """Why a due time waits, by the key of its trigger."""
        self._changed = trio.Event()
        book.on_change(self.look)

    def look(self) -> None:
        """Look at once: something has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Fire what is due until cancelled."""
        async with DirectReader(self._parts.transport, "TIMERS") as timers:
            while True:
                with trio.move_on_after(LOOK_S):
                    await self._changed.wait()
                self._changed = trio.Event()
                try:
                    await self._look(timers)
                except (UnavailableError, UnknownOutcomeError) as error:
                    log.warning("triggers.waiting", reason=str(error))
                    await trio.sleep(LOOK_S)

    async def _look(self, timers: DirectReader) -> None:
        mine = [
            (each, each.trigger.times)
            for each in self._book.armed.values()
            if each.trigger.times is not None
            and not each.problem
            and acts_for(self._daemon, each.key)
        ]
        keys = {each.key for each, _ in mine}
        self.problems = {key: why for key, why in self.problems.items() if key in keys}
        if not mine:
            self._timers.clear()
            return
        fired: dict[str, int] = {}
        named = {subjects.cron_due(key): key for key in keys}
        wanted = [*named]
        for first in range(0, len(wanted), READ_TOGETHER):
            found = await timers.last(wanted[first : first + READ_TOGETHER])
            fired |= {named[each.subject]: each.at for each in found}
        async with trio.open_nursery() as nursery:
            for each, times in mine:
                nursery.start_soon(self._one, each, times, fired.get(each.key, 0))

    async def _one(self, armed: Armed, times: Schedule, fired: int) -> None:
        """Look at one schedule; what is wrong with it stops no other."""
        try:
            stored = self._book.states.get(armed.key, Stored())
            if stored.state.hash != armed.hash:
                stored = await self._book.change(armed.key, partial(_begun, armed.hash))
            if stored.state.paused is not None:
                self._timers.pop(armed.key, None)
                return
            if stored.state.queued:
                await self._queued(armed)
            due, fires = self._next_of(armed, times, stored.state.position or stored.at)
            if not due:
                return
            if fired >= fires:
                await self._fire(armed, times, max(fired, await self._server_time()))
            else:
                self._arm(armed.key, due, fires)
            self.problems.pop(armed.key, None)
        except (UnavailableError, UnknownOutcomeError) as error:
            if self.problems.get(armed.key) != error.message:  # it is tried twice a second
                log.warning("trigger.waiting", trigger=armed.key, reason=error.message)
            self.problems[armed.key] = error.message
        except Exception as error:
            log.exception("trigger.failed", trigger=armed.key, reason=str(error))

    async def _server_time(self) -> int:
        """Return the time of the server that stamps firings.

        A firing that nobody looked at for an hour was in time, and its start is late.
        """
        answer = await self._parts.transport.request(
            Outgoing("$JS.API.STREAM.INFO.TIMERS", b""), ANSWER_S
        )
        told = _info_decoder.decode(answer.payload).ts
        return from_time(told) if told else 0

    def _next_of(self, armed: Armed, times: Schedule, position: int) -> tuple[int, int]:
        """Return the next due time and when it fires; 0: there is none. Counted once for each."""
        known = self._next.get(armed.key)
        if known is None or known[0] is not armed or known[1] != position:
            due = schedule.next_due(times, position) or 0
            fires = schedule.fires(times, armed.key, due) if due else 0
            known = self._next[armed.key] = (armed, position, due, fires)
        return known[2:]

    def _arm(self, key: str, due: int, at: int) -> None:
        known, since = self._timers.get(key, (0, 0.0))
        now = self._daemon.clock.monotonic()
        if known == due and now - since < AGAIN_S:
            return
        lines = (
            f"Nats-Schedule: @at {to_time(at)}\r\n"
            f"Nats-Schedule-Target: {subjects.cron_due(key)}\r\n"
            f"Nats-Schedule-TTL: {DUE_TTL_S}s\r\n"
        )

        def written(_: int, error: MovantError | None) -> None:
            if error is not None:
                log.warning("trigger.not_armed", trigger=key, reason=str(error))
                self._timers.pop(key, None)

        message = Outgoing(subjects.cron(key), b'{"due":%d}' % due, lines.encode())
        self._parts.writers["TIMERS"].write(message, written)
        self._timers[key] = (due, now)

    async def _fire(self, armed: Armed, times: Schedule, at: int) -> None:
        """Start what is due, then store that it was dealt with."""
        stored = await self._book.fresh(armed.key)
        state = stored.state
        if state.hash != armed.hash or state.paused is not None:
            return
        found = schedule.decide(times, armed.key, state.position or stored.at, at)
        if found.skipped:
            last = Last(at=at, outcome="skipped", reason=f"missed: {found.skipped}")
            self._firing.tell(armed, last, str(found.position), count=found.skipped)
            state = _counted(state, last, found.skipped)
        for due, late in found.starts:
            try:
                state = await self._due(armed, times, state, due, at, late=late)
            except (UnavailableError, UnknownOutcomeError):
                if state is not stored.state:  # what was told is not told again
                    await self._keep(
                        armed, stored, msgspec.structs.replace(state, position=due - 1)
                    )
                raise
        await self._keep(armed, stored, msgspec.structs.replace(state, position=found.position))
        self.look()  # more may be due, and the next one has to be armed

    async def _keep(self, armed: Armed, stored: Stored, state: TriggerState) -> None:
        """Store how far a schedule has come."""

        def to(known: Stored) -> TriggerState:
            # Another owner was as far, or somebody paused it meanwhile: his word stands.
            if known.state.hash != armed.hash or known.state.position > state.position:
                return known.state
            kept = known if known.revision != stored.revision else stored
            return msgspec.structs.replace(state, paused=kept.state.paused)

        await self._book.change(armed.key, to)

    async def _due(
        self,
        armed: Armed,
        times: Schedule,
        state: TriggerState,
        due: int,
        at: int,
        *,
        late: bool,
    ) -> TriggerState:
        """Deal with one due time; return the state behind it."""
        run = run_of(armed.key, due)
        if times.overlap != "allow" and state.run not in {"", run} and await self._runs(state.run):
            if times.overlap == "skip" or (state.queued and times.overlap == "queue"):
                reason = f"{state.run} still runs"
                last = Last(at=at, outcome="skipped", due=due, reason=reason)
                self._firing.tell(armed, last)
                return _counted(state, last, 1)
            if times.overlap == "cancel":
                reason = f"{armed.key} is due again"
                await self._commands.order(state.run, "cancel", reason, run, None)
            return msgspec.structs.replace(state, queued=due)
        return await self._start(armed, state, due, at, late=late)

    async def _queued(self, armed: Armed) -> None:
        """Start what waited for the run before, when that has ended."""
        stored = await self._book.fresh(armed.key)
        state = stored.state
        if not state.queued or await self._runs(state.run):
            return
        at = max(self._daemon.clock.now_ns(), state.queued)
        after = await self._start(armed, state, state.queued, at, late=False)
        after = msgspec.structs.replace(after, queued=0)
        await self._book.change(
            armed.key, lambda known: after if known.revision == stored.revision else known.state
        )

    async def _start(
        self, armed: Armed, state: TriggerState, due: int, at: int, *, late: bool
    ) -> TriggerState:
        """Start the run of a due time; return the state behind it."""
        last = await self.start(armed, run_of(armed.key, due), at, due=due, late=late)
        if last.outcome in {"skipped", "refused"}:
            return _counted(state, last, 1)
        return msgspec.structs.replace(state, run=last.run, last=last, fired=state.fired + 1)

    async def start(
        self, armed: Armed, run: str, at: int, *, due: int, late: bool = False, how: str = "due"
    ) -> Last:
        """Start a run for a time, and tell of it. Raises UnavailableError, UnknownOutcomeError."""
        told = {"due": to_time(due), "late": late, "how": how}
        names = self._firing.names(armed, at, trigger=told)
        outcome = "late" if late else "fired"
        try:
            if not self._firing.wanted(armed, names):
                last = Last(at=at, outcome="skipped", due=due, reason="its condition is false")
            else:
                fired = await self._firing.fire(armed, run, names)
                last = Last(at=at, outcome=outcome, due=due, run=fired.run)
        except RefusedError as error:
            last = Last(at=at, outcome="refused", due=due, reason=error.message)
        self._firing.tell(armed, last, run, how=how)
        return last

    async def _runs(self, run: str) -> bool:
        """Tell whether a run has not ended."""
        try:
            view: api.RunView = await self._queries.view(run)
        except NotFoundError:
            return False  # it ended so long ago that its record is gone
        return view.status not in FINAL


def run_of(key: str, due: int) -> str:
    """Return the id of the run of a due time: the same for all who start it."""
    whole = to_time(due)
    stamp = whole.partition(".")[0].replace("-", "").replace(":", "")
    return f"{key}-{stamp}Z"


def _begun(digest: str, known: Stored) -> TriggerState:
    """Return the state of a trigger whose words are new: its times count from now on."""
    if known.state.hash == digest:
        return known.state
    return msgspec.structs.replace(known.state, hash=digest, position=0, queued=0)


def _counted(state: TriggerState, last: Last, count: int) -> TriggerState:
    return msgspec.structs.replace(state, last=last, skipped=state.skipped + count)
