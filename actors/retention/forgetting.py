"""Forgetting: what ended long ago leaves ARCHIVE and EVENTS, from their beginning.

    EVENTS    older than ``events_s``
    ARCHIVE   older than ``finished_s``, and nothing in MAIL needs a record any more; up to the
              first run that its own definition keeps for longer

A record tells a pass that an instance has ended. Packs that were written before that was known
stand in MAIL for a while, so a record stays until everything is purged that stood in MAIL when
MAIL was purged past the end of its instance (``Sweeps``). It cannot be forgotten too early,
however far a collector is behind.

A bundle is younger than the records of its histories, so a prefix of ARCHIVE never has a record
without its history. There is no time to live in the messages: the server would keep an entry
for each in memory, and forget a record that is still needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

import msgspec
import structlog
import trio

from actors.retention.collection import CLOCK_MARGIN_NS
from actors.retention.purging import Purging, State
from actors.store.direct_reader import DirectReader
from protocols.errors import MovantError
from protocols.events import from_time
from protocols.ports import Clock

LOOK_S: Final = 10.0
WORTH: Final = 16
"""A purge costs the server time for all that stays (0.3 us each, measured with nats-server
2.15.1), so it has to remove a sixteenth."""
OPEN_MAX: Final = 1_000
RECORDS: Final = "movant.done.*.*"
BATCH: Final = 1_000

log = structlog.get_logger()


class _Kept(msgspec.Struct):
    """What is looked at of a record."""

    finished_at: int = 0
    kept_s: float = 0.0


_decoder: Final = msgspec.json.Decoder(_Kept)


class Sweeps:
    """How far MAIL was purged, and what stood in it then."""

    def __init__(self) -> None:
        self._open: deque[tuple[int, int]] = deque(maxlen=OPEN_MAX)
        self._first = 0
        self.at = 0
        """Records that were written before this time, in nanoseconds since 1970, are not needed
        in MAIL any more; 0: all are."""

    def note(self, state: State, now_ns: int) -> None:
        """Take the state of MAIL, as its leader has it."""
        if state.first_seq <= self._first:
            return
        self._first = state.first_seq
        at = from_time(state.first_ts) if state.messages else now_ns
        while self._open and self._open[0][0] < state.first_seq:
            self.at = self._open.popleft()[1]
        self._open.append((state.last_seq, at - CLOCK_MARGIN_NS))


class Forgetting:
    """Purges ARCHIVE and EVENTS. ``run`` belongs under a supervisor."""

    def __init__(
        self,
        purging: Purging,
        clock: Clock,
        sweeps: Sweeps,
        readers: Mapping[str, DirectReader],
        kept_s: Mapping[str, int],
    ) -> None:
        """Take a reader and the seconds that messages stay by stream; 0 seconds: for ever."""
        self._purging = purging
        self._clock = clock
        self._sweeps = sweeps
        self._readers = readers
        self._kept_s = kept_s
        self.counts = {stream.lower(): 0 for stream in readers}
        """Messages that were forgotten since the start, by stream."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look now and then, until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(LOOK_S)
            try:
                await self.look()
            except MovantError as error:
                log.warning("forgetting.waiting", reason=str(error))

    async def look(self) -> None:
        """Forget what is old enough, where it is worth it. Raises UnavailableError."""
        for stream in self._readers:
            kept_s = self._kept_s[stream]
            before = self._clock.now_ns() - kept_s * 1_000_000_000
            if stream == "ARCHIVE":
                before = min(before, self._sweeps.at)
            if kept_s and before > 0:
                await self._forget(stream, before)

    async def _forget(self, stream: str, before: int) -> None:
        """Purge what is older than a time, in nanoseconds since 1970."""
        state = await self._purging.state(stream)
        if not state.messages or from_time(state.first_ts) >= before:
            return
        end = state.last_seq + 1
        if from_time(state.last_ts) >= before:
            # What is found is right, as a replica's log is a prefix; that nothing is there may
            # only mean that it is behind (hazard S6).
            oldest = await self._readers[stream].since(before)
            if oldest is None:
                return
            end = oldest.seq
        if (end - state.first_seq) * WORTH < state.messages:
            return
        if stream == "ARCHIVE":
            end = await self._until_kept(state.first_seq, end)
            if (end - state.first_seq) * WORTH < state.messages:
                return
        purged = await self._purging.purge(stream, {"seq": end})
        self.counts[stream.lower()] += purged
        log.info("stream.forgotten", stream=stream, messages=purged, first=end)

    async def _until_kept(self, first: int, end: int) -> int:
        """Return the end of what may go: the first record that is kept for longer, or ``end``."""
        now = self._clock.now_ns()
        after = first - 1
        while found := await self._readers["ARCHIVE"].batch(RECORDS, after, BATCH):
            for each in found:
                if each.seq >= end:
                    return end
                record = _decoder.decode(each.payload)
                if record.kept_s and record.finished_at + record.kept_s * 1e9 > now:
                    return each.seq
            after = found[-1].seq
        return end
