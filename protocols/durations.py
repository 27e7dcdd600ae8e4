"""Durations as people write them: seconds as a number, or text such as ``7d``, ``1h30m``."""

from __future__ import annotations

import re
from functools import lru_cache
from math import isfinite
from typing import Final

_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_WHOLE: Final = re.compile(rf"(?:{_PART.pattern})+\Z")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
DURATION_S_MAX: Final = 100 * 366 * 86_400.0
"""A hundred years: beyond it nobody means what he wrote."""


def seconds(given: float | str, what: str = "duration") -> float:
    """Return a duration in seconds. Raises ValueError for what is none, or above 100 years.

    A float is returned as it is, not an equal one: a field with its default value keeps that
    very object, by which the codec knows that there is nothing to write. Else the same
    definition would have one hash or another.
    """
    value = given if type(given) is float else _read(given, what)
    if not isfinite(value) or not 0 <= value <= DURATION_S_MAX:
        raise ValueError(f"{what} {given!r} is out of range: give 0 s to 100 years")
    return value


def _read(given: float | str, what: str) -> float:
    return _text(given, what) if isinstance(given, str) else float(given)


@lru_cache(maxsize=1_024)
def _text(given: str, what: str) -> float:
    text = given.strip().lower()
    if _WHOLE.match(text) is None or len(text) > 60:  # noqa: PLR2004 - more is no duration
        raise ValueError(
            f"{what} {given[:40]!r} is not understood: write seconds as a number, "
            "or text such as 90s, 1h30m, 7d"
        )
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def shown(value: float) -> str:
    """Return seconds as people write them: ``7d``, ``1h30m``, ``2.5s``."""
    if value != int(value) or value < 1:
        return f"{value:g}s"
    left, parts = int(value), []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, int(_SECONDS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
