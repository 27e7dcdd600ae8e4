"""StatsQueries: what runs have come to, a page of them at a time.

    run index: who, when, how it ended -> page -> mailbox or ARCHIVE -> fold -> Tally

It writes nothing and keeps nothing: an answer is made of the streams each time, so it cannot
differ from them. A page ends early when its mailboxes are large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
import trio

from actors.core.slices import WIDE, in_slices
from actors.kernel.instance import Instance
from actors.views.run_index import Row, began
from actors.views.run_statistics import Listener, Tally
from protocols.api import runs as api
from protocols.archive import ArchiveRecord
from protocols.effects import FINAL
from protocols.errors import MovantError
from runtime.api.queries import RunQueries, place_of

if TYPE_CHECKING:
    from protocols.effects import AnyEffect
    from protocols.mail import AnyMail

MESSAGES_MAX: Final = 5_000
"""Messages folded for one answer, half a second or so; the last run of it may go beyond."""

log = structlog.get_logger()


class StatsQueries:
    """Answers ``stats``."""

    def __init__(self, queries: RunQueries) -> None:
        self._queries = queries
        self._one = trio.CapacityLimiter(1)
        """Who asks for numbers waits; everybody else goes on."""

    async def stats(self, request: api.Stats) -> api.Message:
        """Add up a page of runs."""
        after = place_of(request.after)
        await self._queries.index.refresh(blocked=False)
        total, left = 0, list[Row]()

        def look(row: Row) -> None:
            nonlocal total
            if row.started_at < request.since or request.workflow not in {None, row.workflow}:
                return
            total += 1
            if len(left) <= request.limit and (after is None or began(row) < after):
                left.append(row)

        await in_slices(self._queries.index.newest(), look, looks=WIDE)
        tally = Tally()
        messages = 0
        last: Row | None = None
        async with self._one:
            for row in left[: request.limit]:
                messages += await self._take(row, tally)
                last = row
                if messages >= MESSAGES_MAX:
                    break
        more = last is not None and last is not left[-1]
        following = f"{last.started_at}.{last.id}" if last is not None and more else ""
        return tally.stats(total=total, following=following)

    async def _take(self, row: Row, tally: Tally) -> int:
        """Count one run, and return how many messages were folded for it."""
        listener = Listener(row.workflow, tally)
        heard = 0

        def hear(mail: AnyMail | None, effects: list[AnyEffect]) -> None:
            nonlocal heard
            heard += 1
            listener.hear(mail, effects)

        failure = None
        status, finished_at = row.status, row.finished_at
        try:
            found = await self._queries.runs.folded(row.id, hear=hear)
        except MovantError as error:  # forgotten meanwhile, or cannot be folded: others can
            log.info("stats.unread", id=row.id, reason=str(error))
            tally.unread += 1
        else:
            failure = found.failure
            if isinstance(found, ArchiveRecord):
                tally.unread += 1
            elif found.status in FINAL:  # its record may still be under way
                status, finished_at = found.status, found.finished_at
            if isinstance(found, Instance):
                found.close()
        listener.end()
        tally.ran(
            row.id,
            row.workflow,
            status,
            started_at=row.started_at,
            finished_at=finished_at,
            failure=failure,
        )
        return heard
