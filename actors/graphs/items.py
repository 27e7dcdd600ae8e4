"""Items: what each item of a ``foreach`` has come to, and what that makes of their step."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from protocols.failure import Failure

FAILED_MAX: Final = 20
"""Failed items that a failure tells of; all of them are in the history."""


class Item(NamedTuple):
    """What one item of a ``foreach`` has come to; a ``fatal`` failure fails the run."""

    status: str = "waiting"
    result: Any = None
    error: dict[str, Any] | None = None
    fatal: bool = False


def failure_of(found: list[Item]) -> Failure | None:
    """Return the failure of a step whose items have failed."""
    failed = [(index, each.error) for index, each in enumerate(found) if each.error is not None]
    if not failed:
        return None
    index, first = failed[0]
    return Failure(
        kind=first["kind"],
        message=f"{len(failed)} of {len(found)} items failed, the first is {index}: "
        f"{first['kind']}: {first['message']}",
        retryable=False,
        details={str(each): error for each, error in failed[:FAILED_MAX]},
    )
