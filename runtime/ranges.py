"""Numbers as people write them."""

from __future__ import annotations


def ranges(numbers: list[int]) -> str:
    """Return numbers as people write them: 0-63, or 1, 4-6."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
