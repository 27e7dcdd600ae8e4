"""Numbers as people write them."""

from __future__ import annotations

from typing import Final

BRIEF_CHARS_MAX: Final = 32


def ranges(numbers: list[int]) -> str:
    """Return numbers as people write them: 0-63, or 1, 4-6."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def brief(numbers: list[int]) -> str:
    """Return numbers as ranges, or only how many there are when that would be a long list."""
    text = ranges(numbers)
    return text if len(text) <= BRIEF_CHARS_MAX else f"{len(numbers)} in all"
