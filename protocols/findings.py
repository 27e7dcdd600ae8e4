"""Findings: what is wrong with a definition, where, and what to do about it."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from typing import Final, Literal

import msgspec

from protocols.error_kinds import ALIASES

Place = tuple[str | int, ...]
"""Keys and indexes from the definition's top to what is wrong."""
_CHARS_MAX: Final = 128
"""Of a word: longer than every name."""
ERRORS_MAX: Final = 100
"""Of one definition that are told: nobody reads on, and advice for each takes time."""
_NEIGHBOURS: Final = 20
"""Words to each side of an unknown one that it is compared with, where there are many."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong, where, and what to do.

    ``offset`` and ``width`` are the part of a text that is meant; ``offset`` begins at 1, 0 means
    the whole.
    """

    place: Place
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"
    of_key: bool = False
    """Whether the key at the place is wrong, and not what it holds."""
    offset: int = 0
    width: int = 1

    @property
    def where(self) -> str:
        """The place as text: ``states.FILED.next[0]``."""
        text = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in self.place)
        return text.removeprefix(".")


def bounded(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings as far as they are told: warnings, and one error more than that many."""
    found: list[Finding] = []
    errors = 0
    for each in findings:
        found.append(each)
        errors += each.severity == "error"
        if errors > ERRORS_MAX:
            break
    return found


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return advice for a word that is not known: the nearest one, or all when they are few."""
    words = sorted(known)
    near = get_close_matches(word[:_CHARS_MAX], _alike(word, words), n=1, cutoff=0.6)
    if not near:
        near = [each for each in words if each.lower() == word.lower()]
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(words[:12])}" if words else ""


def too_late(at: Place) -> Finding:
    """Return that a heartbeat bounds nothing: the time of the call is over before."""
    message = "silence for so long takes longer than the call may"
    return Finding((*at, "heartbeat"), message, "write less than 'timeout'", "warning")


def _alike(word: str, words: list[str]) -> list[str]:
    """Return those of many sorted words that begin or end as a word does: others are no slips."""
    if len(words) <= 4 * _NEIGHBOURS:
        return words
    turned = sorted(each[::-1] for each in words)
    found: set[str] = set()
    for sorts, each, step in ((words, word, 1), (turned, word[::-1], -1)):
        at = bisect(sorts, each)
        found.update(x[::step] for x in sorts[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS])
    return sorted(found)


def wrong_kind(kind: str, known: Collection[str], place: Place) -> Iterator[Finding]:
    """Tell when what stands as an error kind is none of ``known``."""
    if kind in ALIASES:
        yield Finding(place, f"{kind!r} is an alias", f"write {ALIASES[kind]!r}", of_key=True)
    elif kind not in known:
        yield Finding(
            place,
            f"{kind[:60]!r} is no error kind",
            f"{did_you_mean(kind, known)} A service's own kind is declared: "
            f"'kinds: [{kind[:60]}]'",
            of_key=True,
        )
