"""Pipeline: the active motions, counted and paged. Pure; who asks brings the rows and the time.

daemon: place, place, place -> Tally -> Part --.
daemon: place, place        -> Tally -> Part --+--> merged -> PipelineStatus
                                                 a page: the longest in their state first
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import TYPE_CHECKING, Final

import msgspec

from protocols import subjects
from protocols.api.pipeline import BLOCKED_MAX, MotionPipelineState, Pipeline, PipelineStatus
from protocols.effects import FINAL
from protocols.errors import BadValueError

if TYPE_CHECKING:
    from actors.motions.places import Place

Key = tuple[int, str]
"""Rows are in this order: when the state was entered, then the id."""

_NS: Final = 1_000_000_000
_MINUTE_NS: Final = 60 * _NS
_RECENT_MINUTES: Final = 24 * 60
_CURSOR_CHARS_MAX: Final = 19
FAILED: Final = frozenset(FINAL) - {"completed", "cancelled"}


class Part(msgspec.Struct, kw_only=True):
    """What one daemon tells of its own motions."""

    active: int = 0
    by_state: dict[str, int] = {}
    by_machine: dict[str, int] = {}
    blocked: int = 0
    blocked_first: list[Key] = []
    overdue: int = 0
    oldest: Key | None = None
    """When the first one started, and its id."""
    total: int = 0
    behind: int = 0
    """Rows behind the cursor, those that are given included."""
    rows: list[MotionPipelineState] = []
    unread: int = 0


class Tally:
    """Counts motions one by one, and keeps those that may stand on the page."""

    def __init__(self, wanted: Pipeline, now: int) -> None:
        self._wanted = wanted
        self._now = now
        self._after = _key(wanted.after)
        self._by_state: Counter[str] = Counter()
        self._by_machine: Counter[str] = Counter()
        self._blocked: list[Key] = []
        self._overdue = 0
        self._oldest: Key | None = None
        self._total = 0
        self._found: list[tuple[int, str, Place]] = []
        self.unread = 0

    def add(self, motion: str, place: Place, *, blocked: bool) -> None:
        """Count one motion."""
        wanted = self._wanted
        if wanted.machine not in {None, place.machine}:
            return
        key = (place.entered_at, motion)
        self._by_state[place.state] += 1
        self._by_machine[place.machine] += 1
        overdue = is_overdue(place, self._now)
        self._overdue += overdue
        if blocked:
            self._blocked.append(key)
        if self._oldest is None or place.started_at < self._oldest[0]:
            self._oldest = (place.started_at, motion)
        if (
            wanted.state not in {None, place.state}
            or (wanted.blocked and not blocked)
            or (wanted.overdue and not overdue)
        ):
            return
        self._total += 1
        if key > self._after:
            self._found.append((*key, place))

    def page(self) -> list[tuple[str, Place]]:
        """Return the motions to show, in order."""
        first = nsmallest(self._wanted.limit, self._found, key=lambda each: each[:2])
        return [(motion, place) for _, motion, place in first]

    def part(self, rows: Iterable[MotionPipelineState]) -> Part:
        """Return what was counted, with the rows of the page."""
        return Part(
            active=self._by_machine.total() + self.unread,
            by_state=dict(self._by_state),
            by_machine=dict(self._by_machine),
            blocked=len(self._blocked),
            blocked_first=nsmallest(BLOCKED_MAX, self._blocked),
            overdue=self._overdue,
            oldest=self._oldest,
            total=self._total,
            behind=len(self._found),
            rows=list(rows),
            unread=self.unread,
        )


class RecentEnds:
    """How many runs ended in the last 24 hours, to the minute. Bounded: it counts, it keeps none.

    Times are nanoseconds since 1970.
    """

    def __init__(self) -> None:
        self._minutes: dict[int, Counter[tuple[str, str]]] = {}

    def add(self, workflow: str, status: str, at: int) -> None:
        """Count one end."""
        self._minutes.setdefault(at // _MINUTE_NS, Counter())[workflow, status] += 1

    def counts(self, now: int) -> Counter[tuple[str, str]]:
        """Return how many ended, by workflow and status."""
        first = now // _MINUTE_NS - _RECENT_MINUTES
        for minute in [each for each in self._minutes if each < first]:
            del self._minutes[minute]
        total: Counter[tuple[str, str]] = Counter()
        for each in self._minutes.values():
            total.update(each)
        return total


def row_of(
    motion: str, place: Place, *, issues: Sequence[str], waiting: str, now: int
) -> MotionPipelineState:
    """Return a motion's row."""
    return MotionPipelineState(
        motion_id=motion,
        machine=place.machine,
        current_state=place.state,
        owner=place.owner,
        started_at=place.started_at,
        entered_state_at=place.entered_at,
        time_in_state_s=max(0, now - place.entered_at) / _NS,
        expected_completion=place.expected,
        overdue=is_overdue(place, now),
        blocking_issues=list(issues),
        waiting=waiting,
        next_action=place.next_action,
    )


def is_overdue(place: Place, now: int) -> bool:
    """Tell whether a motion should have left its state by now."""
    return 0 < place.expected < now


def merged(
    parts: Sequence[Part],
    wanted: Pipeline,
    *,
    now: int,
    ended: Mapping[str, int],
    silent: Sequence[str] = (),
    unread: int = 0,
) -> PipelineStatus:
    """Return the answer made of every daemon's part.

    ``ended`` is how many motions ended lately, by status; ``unread`` those that nobody answers
    for. During a hand-over two daemons may tell of one motion: it is shown once.
    """
    rows = {each.motion_id: each for part in parts for each in part.rows}
    page = sorted(rows.values(), key=_order)[: wanted.limit]
    more = sum(part.behind for part in parts) > len(page)
    oldest = min((part.oldest for part in parts if part.oldest is not None), default=None)
    blocked = nsmallest(BLOCKED_MAX, {key for part in parts for key in part.blocked_first})
    return PipelineStatus(
        active_motions=sum(part.active for part in parts) + unread,
        motions_by_state=_summed(part.by_state for part in parts),
        motions_by_machine=_summed(part.by_machine for part in parts),
        blocked=sum(part.blocked for part in parts),
        blocked_motions=[motion for _, motion in blocked],
        overdue=sum(part.overdue for part in parts),
        oldest_motion=oldest[1] if oldest else "",
        oldest_motion_age_s=max(0, now - oldest[0]) / _NS if oldest else 0.0,
        recent_completions=ended.get("completed", 0),
        recent_failures=sum(ended.get(status, 0) for status in FAILED),
        motions=page,
        total=sum(part.total for part in parts),
        next=f"{page[-1].entered_state_at}.{page[-1].motion_id}" if page and more else "",
        unread=sum(part.unread for part in parts) + unread,
        silent=sorted(silent),
        server_time=now,
    )


def _order(row: MotionPipelineState) -> Key:
    return (row.entered_state_at, row.motion_id)


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))


def _key(cursor: str) -> Key:
    """Return behind which row a page begins. Raises BadValueError for no cursor of ours."""
    if not cursor:
        return (0, "")
    at, _, motion = cursor.partition(".")
    if not (at.isascii() and at.isdigit() and len(at) <= _CURSOR_CHARS_MAX) or not subjects.is_id(
        motion
    ):
        raise BadValueError(
            f"after {cursor[:40]!r} is no cursor", hint="pass `next` of the page before"
        )
    return (int(at), motion)
