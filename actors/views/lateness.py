"""Lateness: which runs take longer than they should, by their definition or by runs like them.

    the event running_late of a run that has not ended ──> late, as its definition says
    longer than 19 of 20 of its workflow took lately ────> late, as nobody has said

An estimate for people: it decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import ceil
from typing import TYPE_CHECKING, Final

from protocols.durations import shown

if TYPE_CHECKING:
    from actors.views.run_index import Row

LIKE_MIN: Final = 20
"""Completed runs of a workflow below which none of it is called slow."""
LIKE_MAX: Final = 200
SHARE: Final = 0.95
SECOND: Final = 1_000_000_000


def usual(rows: Iterable[Row], workflows: Collection[str]) -> dict[str, int]:
    """Return, in ns, what 19 of 20 of the latest completed runs of some workflows took at most.

    ``rows`` come the latest first. Workflows with few completed runs are left out.
    """
    took: dict[str, list[int]] = {name: [] for name in workflows}
    for row in rows:
        if row.status == "completed" and row.workflow in took:
            found = took[row.workflow]
            if len(found) < LIKE_MAX:
                found.append(row.finished_at - row.started_at)
    return {
        name: sorted(found)[ceil(len(found) * SHARE) - 1]
        for name, found in took.items()
        if len(found) >= LIKE_MIN
    }


def why_late(row: Row, now: int, like: Mapping[str, int]) -> str:
    """Return why a run takes too long, for people; empty: it does not, or has ended."""
    if row.status:
        return ""
    if row.late:
        return f"{row.late} is late for {_text(now - row.late_at)}"
    limit = like.get(row.workflow)
    took = now - row.started_at
    if limit is None or took <= limit:
        return ""
    return f"{_text(took)}, and 19 of 20 took at most {_text(limit)}"


def _text(ns: int) -> str:
    seconds = ns / SECOND
    return shown(round(seconds) if seconds >= 1 else max(0.001, round(seconds, 3)))
