"""Pipeline: the active motions, counted and paged. Pure; who asks brings the rows and the time.

daemon: place, place, place -> Tally -> Part --.
daemon: place, place        -> Tally -> Part --+--> merged -> PipelineStatus
                                                 a page: the longest in their state first
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from heapq import nsmallest
from math import inf
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


class _First:
    """The first so many rows, of very many; others are dropped as they come."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: list[tuple[int, str, Place]] = []
        self.bound: float = inf
        """Who entered its state later is not among them."""

    def add(self, entered_at: int, motion: str, place: Place) -> None:
        """Take a row that is not beyond the bound."""
        self._rows.append((entered_at, motion, place))
        if len(self._rows) >= 2 * self._most:
            self.bound = self.rows()[-1][0]

    def rows(self) -> list[tuple[int, str, Place]]:
        """Return them in order."""
        self._rows.sort()
        del self._rows[self._most :]
        return self._rows


class Tally:
    """Counts motions, each once, and keeps those that may stand on the page.

    ``stuck`` are motions and ``held`` machines that cannot go on by themselves, for reasons of
    which their places do not tell.
    """

    def __init__(
        self,
        wanted: Pipeline,
        now: int,
        *,
        stuck: Container[str] = (),
        held: Container[str] = (),
    ) -> None:
        self._wanted = wanted
        self._now = now
        self._stuck = stuck
        self._held = held
        self._after = _key(wanted.after)
        self._kinds: Counter[tuple[str, str]] = Counter()
        self._blocked = self._overdue = self._total = self._behind = 0
        self._blocked_first = _First(BLOCKED_MAX)
        self._page = _First(wanted.limit)
        self._oldest: Key | None = None
        self.unread = 0

    def take(self, motions: Sequence[str], places: Sequence[Place]) -> None:
        """Count some motions and look which may be on the page; 1 us for each."""
        now, wanted, stuck, held = self._now, self._wanted, self._stuck, self._held
        kinds, page, blocked_first = self._kinds, self._page, self._blocked_first
        only, some = wanted.machine, wanted.state is not None or wanted.blocked or wanted.overdue
        after_at, after = self._after
        oldest = self._oldest
        total = behind = overdue_count = 0
        for motion, place in zip(motions, places, strict=True):
            machine, entered_at = place.machine, place.entered_at
            if only is not None and machine != only:
                continue
            kinds[machine, place.state] += 1
            if oldest is None or place.started_at <= oldest[0]:
                began = (place.started_at, motion)
                oldest = began if oldest is None else min(oldest, began)
            blocked = place.blocked or motion in stuck or machine in held
            if blocked:
                self._blocked += 1
                if entered_at <= blocked_first.bound:
                    blocked_first.add(entered_at, motion, place)
            overdue = 0 < place.expected < now
            if overdue:
                overdue_count += 1
            if some and (
                wanted.state not in {None, place.state}
                or (wanted.blocked and not blocked)
                or (wanted.overdue and not overdue)
            ):
                continue
            total += 1
            if entered_at < after_at or (entered_at == after_at and motion <= after):
                continue
            behind += 1
            if entered_at <= page.bound:
                page.add(entered_at, motion, place)
        self._oldest = oldest
        self._overdue += overdue_count
        self._total += total
        self._behind += behind

    def page(self) -> list[tuple[str, Place]]:
        """Return the motions to show, in order."""
        return [(motion, place) for _, motion, place in self._page.rows()]

    def part(self, rows: Iterable[MotionPipelineState]) -> Part:
        """Return what was counted, with the rows of the page."""
        by_state: Counter[str] = Counter()
        by_machine: Counter[str] = Counter()
        for (machine, state), count in self._kinds.items():
            by_state[state] += count
            by_machine[machine] += count
        return Part(
            active=by_machine.total() + self.unread,
            by_state=dict(by_state),
            by_machine=dict(by_machine),
            blocked=self._blocked,
            blocked_first=[each[:2] for each in self._blocked_first.rows()],
            overdue=self._overdue,
            oldest=self._oldest,
            total=self._total,
            behind=self._behind,
            rows=list(rows),
            unread=self.unread,
        )


class RecentEnds:
    """How many runs ended in the last 24 hours, to the minute. Bounded: it counts, it keeps none.

    Times are nanoseconds since 1970.
    """

    def __init__(self) -> None:
        self._minutes: dict[int, Counter[tuple[str, str]]] = {}
        self._all: Counter[tuple[str, str]] = Counter()

    def add(self, workflow: str, status: str, at: int) -> None:
        """Count one end."""
        self._minutes.setdefault(at // _MINUTE_NS, Counter())[workflow, status] += 1
        self._all[workflow, status] += 1

    def counts(self, now: int) -> Counter[tuple[str, str]]:
        """Return how many ended, by workflow and status."""
        first = now // _MINUTE_NS - _RECENT_MINUTES
        for minute in [each for each in self._minutes if each < first]:
            self._all.subtract(self._minutes.pop(minute))
        return +self._all


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
