"""The load of ``motions`` and ``faults``: what is submitted, who works on it, how it has to end.

Each motion carries a number, and the number says in advance which way it goes. So the answer of
its run can be checked without a second engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import trio

from benchmarks.workflows import flow
from protocols.archive import ArchiveRecord
from protocols.service import Service

NAME: Final = flow.name
REJECTED_EVERY: Final = 10
"""Of so many motions one has more noes than ayes."""
PATH: Final = tuple(state for state, each in flow.states.items() if each.owner)
"""The states with owners, in the order of the way to the end."""
PAD: Final = "x" * 160
OFFICES: Final = ("conclave", "president", "duke", "prince", "knight")


def submission(number: int) -> dict[str, Any]:
    """Return what a motion is submitted with: about 200 bytes as JSON."""
    return {"number": number, "title": f"motion {number}", "text": PAD}


def way(number: int) -> tuple[tuple[str, ...], str]:
    """Return the states that a motion goes through, and the one in which it ends."""
    if number % REJECTED_EVERY == REJECTED_EVERY - 1:
        return PATH[:2], "REJECTED"
    return PATH, "ACKNOWLEDGED"


def transitions(number: int) -> int:
    """Return how many transitions a motion makes, its submission included."""
    return len(way(number)[0]) + 1


def is_right(record: ArchiveRecord, number: int) -> bool:
    """Tell whether a motion has ended where it has to, through each state before."""
    if record.status != "completed":
        return False
    result = msgspec.json.decode(record.result)
    states, end = way(number)
    return (
        result["state"] == end
        and tuple(result["data"]) == tuple(sorted(states))
        and all(each["number"] == number for each in result["data"].values())
        and result["transitions"] == len(states) + 1
        and not result["warnings"]
    )


def offices(
    names: Iterable[str] = OFFICES, *, step_s: float = 0.0, at_once: int | None = None
) -> list[Service]:
    """Return the services that own the states; their work is to sleep, and to vote.

    ``at_once`` handlers may sleep beside each other.
    """

    async def work(request: Any) -> dict[str, int]:
        number = request["input"]["number"]
        if step_s:
            await trio.sleep(step_s)
        ayes = 0 if way(number)[1] == "REJECTED" else 60
        return {"number": number, "ayes": ayes, "noes": 9}

    found = {name: Service(name, version="1.0.0") for name in names}
    for state in PATH:
        owner, operation = flow.states[state].owner, flow.operation(state)
        if owner in found:
            found[owner].operation(operation, concurrency=at_once if step_s else None)(work)
    return list(found.values())
