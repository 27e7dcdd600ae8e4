"""StatsCalls: the part of the Client about numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from actors.views.run_statistics import Tally
from protocols.api import runs as api
from runtime.client.calls import Calls

ROWS_MAX: Final = 2_000
"""Workflows, operations, steps and failures that are told apart."""


class StatsCalls:
    """Add up what runs have come to."""

    _calls: Calls

    async def stats(
        self,
        *,
        workflow: str | None = None,
        since: int = 0,
        runs_max: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> api.RunStats:
        """Return what runs have come to: all, those of a workflow, or those since a time.

        ``since`` is in nanoseconds since 1970, of the start. The runs are read page by page, the
        newest first, until ``runs_max`` (0: all); ``progress`` is told how many of how many after
        each page. Memory does not grow with the runs.
        """
        tally = Tally(ROWS_MAX)
        after = ""
        while True:
            limit = api.STATS_RUNS_MAX
            if runs_max:
                limit = min(limit, runs_max - tally.runs)
            request = api.Stats(workflow=workflow, since=since, limit=limit, after=after)
            page = await self._calls.call("stats", request, api.RunStats)
            tally.add(page)
            if progress is not None:
                progress(tally.runs, page.total)
            after = page.next
            if not after or (runs_max and tally.runs >= runs_max):
                return tally.stats(total=page.total, following=after)
