"""Collection: the decisions of a pass, without I/O.

no record                      unfinished: copy it forward
record, position >= through    ended lately: copy it forward, a later pass bundles it
mark <= position < through     its whole history is in this chunk: bundle it
position < mark                bundled already: what comes late is dropped
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Final

import msgspec

from actors.owning.inbound import WAKE
from actors.owning.letters import Delivery
from actors.retention.packs import Copy

CLOCK_MARGIN_NS: Final = 2_000_000_000
"""How far the clocks of whoever chooses ids and of the server may be apart."""
_OURS: Final = re.compile(r"[0-9a-f]{23}\Z")
_MS_DIGITS: Final = 11


class Fate(Enum):
    """What becomes of an instance's messages below a new mark."""

    COPY = "copy"
    BUNDLE = "bundle"
    DROP = "drop"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a collector works. Times in seconds."""

    messages_min: int = 200_000
    """Messages in MAIL below which no pass begins."""
    chunk: int = 32_768
    """Sequences that a step of a pass takes at most; marks are multiples of it, mostly."""
    chunk_bytes_max: int = 64 * 1024 * 1024
    orphan_s: float = 86_400.0
    """Age at which messages to an instance that never started are dead letters."""
    finished_s: int = 30 * 86_400
    """How long ARCHIVE keeps a finished instance."""
    every_s: float = 1.0
    """How often a collector looks whether a pass is due."""
    busy_max: float = 0.3
    """Part of the daemon's time that a pass may take."""


class CollectorStatistics(msgspec.Struct, frozen=True):
    """What a collector did since the start."""

    passes: int
    scanned: int
    packed: int
    bundled: int
    dropped: int
    orphaned: int
    purged: int
    first: int
    mark: int
    under_way: bool
    """Whether a pass goes on."""


def fate(position: int | None, mark: int, through: int) -> Fate:
    """Return what to do with an instance whose record has this position; None: no record.

    ``mark`` and ``through`` are where the chunk begins and where the next one does.
    """
    if position is None or position >= through:
        return Fate.COPY
    return Fate.BUNDLE if position >= mark else Fate.DROP


def pressure(messages: int, kept: int, settings: Settings) -> float:
    """Return how full MAIL is: above 1 a pass pays, as half of it can go.

    ``kept`` were copied forward by the last pass. What came while it went on does not count:
    else each pass that is behind would make the next one begin later.
    """
    return messages / max(settings.messages_min, 2 * kept)


def is_old(messages: int, kept: int, settings: Settings, *, oldest_ns: int, now_ns: int) -> bool:
    """Tell whether MAIL has to be collected whatever its size.

    A record is forgotten when MAIL was purged twice since: twice in the time that it is kept.
    """
    old_ns = settings.finished_s * 500_000_000
    return bool(old_ns and oldest_ns) and now_ns - oldest_ns > old_ns and messages > kept


def chunk_end(mark: int, limit: int, chunk: int, *, rest: bool = False) -> int:
    """Return the next multiple of ``chunk`` above ``mark``; 0 when that is above ``limit``.

    ``limit`` is the highest sequence that a new mark may have. With ``rest`` what is less than
    a chunk is taken too.
    """
    end = (mark // chunk + 1) * chunk
    if end <= limit:
        return end
    return limit if rest and limit > mark else 0


def retained(messages: Sequence[Copy], is_void: Callable[[Copy], bool]) -> list[Copy]:
    """Return the messages that a fold needs, in order.

    Owner messages that are void are left out, because the markers that say so will be gone. A
    wake only moves the time: of several in a row the one with the greatest timestamp is
    enough, and none when what follows is later anyway. The last message always stays.
    """
    kept: list[Copy] = []
    waiting: Copy | None = None
    last: Copy | None = None
    for each in messages:
        if each.rest.startswith("owner.") and is_void(each):
            continue
        if each.rest == f"timer.{WAKE}":
            waiting = each if waiting is None or each.at >= waiting.at else waiting
            last = each
            continue
        if waiting is not None and waiting.at > each.at:
            kept.append(waiting)
        waiting = last = None
        kept.append(each)
    if waiting is not None:
        kept.append(waiting)
    if last is not None and last is not waiting:
        kept.append(last)
    return kept


def is_orphaned(first_at: int, now_ns: int, settings: Settings) -> bool:
    """Tell whether messages without a start have waited long enough."""
    return now_ns - first_at > settings.orphan_s * 1e9


def made_at(instance: str) -> int:
    """Return when an id was made, in nanoseconds since 1970; 0: it does not say.

    Ids that movant chooses (daemon and client library) begin with the time in milliseconds.
    """
    if _OURS.match(instance) is None:
        return 0
    return int(instance[:_MS_DIGITS], 16) * 1_000_000


def is_fresh(instance: str, marked_at: int, now_ns: int) -> bool:
    """Tell whether nothing of an instance can have been collected: its id is younger.

    ``marked_at`` is the server's time of the newest message below the mark, ``now_ns`` that
    of the message that names the id.
    """
    made = made_at(instance)
    return made > marked_at + CLOCK_MARGIN_NS and made <= now_ns + CLOCK_MARGIN_NS


def imported(messages: Iterable[Delivery]) -> int:
    """Return the highest sequence of TIMERS that stands imported among messages; 0: none."""
    highest = 0
    for each in messages:
        at = each.headers.rfind(b"\r\nNats-Stream-Source: TIMERS ")
        if at >= 0 and ".timer." in each.subject:
            digits = each.headers[at + 29 :].split(b" ", 1)[0]
            if digits.isdigit() and len(digits) <= 18:  # noqa: PLR2004 - below 64 bits
                highest = max(highest, int(digits))
    return highest
