"""How far a motion is: by the shortest ways through its machine, which nobody has to take.

the first state ── done ──> where it is ── left ──> the nearest end that is completed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actors.graphs.progress import NOT_YET
from protocols.api.progress import Progress
from protocols.machines.machine import Machine


def motion_progress(machine: Machine, state: str, *, ended: str = "") -> Progress:
    """Return how far a motion in a state is; ``ended`` is its status when it is final."""
    if state not in machine.states:  # it goes over to its first one
        state = machine.initial
    done = _steps(machine, [machine.initial, *machine.begin], signals=True).get(state, 0)
    ends = {name for name, each in machine.states.items() if each.terminal == "completed"}
    ways = _steps(machine, [state], signals=False)
    left = min((count for name, count in ways.items() if name in ends), default=0)
    if ended:  # the work of the last state is done, too
        done, left = done + 1, 0
    total = max(1, done + left + (not ended))
    percent = 100 if ended == "completed" else min(NOT_YET, 100 * done // total)
    return Progress(percent=percent, done=done, total=total, expected_at=0, runs=0)


def _steps(machine: Machine, begin: Iterable[str], *, signals: bool) -> Mapping[str, int]:
    """Return how many transitions at least lead from some states to each other one.

    ``signals``: also those that cut the work of a state short.
    """
    found = dict.fromkeys((name for name in begin if name in machine.states), 0)
    queue = [*found]
    for at in queue:  # it grows meanwhile
        of = machine.states[at]
        ways = [*of.nexts, *(of.signalled.values() if signals or of.parked else ())]
        for name in (each.to for each in ways):
            if name in machine.states and name not in found:
                found[name] = found[at] + 1
                queue.append(name)
    return found
