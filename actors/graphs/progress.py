"""How far a run of a graph is, and when it may have ended: pure functions.

    former runs ── when each step has ended ──> how long each step takes ──┐
    this run ───── what its steps have come to ────────────────────────────┴──> Progress

The time of a step is that from the end of what it needs to its own end: so a gate takes as long
as people did, and what waited for a service has waited. It is an estimate and decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

import msgspec

from protocols.api.progress import Progress
from protocols.effects import Waiting
from protocols.graphs.graph import SHOWN, Graph
from protocols.graphs.order import Order
from protocols.mail import AnyMail, ChildEnded, Decided, Fired, Reply, Signal
from protocols.subjects import step_token

ROOT: Final = "/steps/"
NOT_YET: Final = 99
"""The most that is told of what has not ended."""
_ENDED: Final = ("done", "skipped", "failed:", "nothing was approved")
_PART: Final = re.compile(r"(\d+) of (\d+)")


class Pace(msgspec.Struct, frozen=True):
    """How long steps take on average, in ns, and in how many runs that was seen."""

    means: Mapping[str, float] = {}
    runs: int = 0


def pace_of(runs: Sequence[Mapping[str, float]]) -> Pace:
    """Return the pace of some runs, each as ``durations`` tells it."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, took in run.items():
            found.setdefault(name, []).append(took)
    return Pace({name: sum(each) / len(each) for name, each in found.items()}, len(runs))


def durations(graph: Graph, order: Order, mails: Iterable[AnyMail]) -> dict[str, float]:
    """Return how long each step took in a run, in ns; those of which nothing tells are left out.

    ``mails`` are the messages of a mailbox, the start first.
    """
    tokens = {
        step_token(f"{ROOT}{name}/{step.service}.{step.operation}"): name
        for name, step in graph.steps.items()
        if step.service
    }
    signals = {step.signal: name for name, step in graph.steps.items() if step.signal}
    ends: dict[str, int] = {}
    started = 0
    for each in mails:
        started = started or each.at
        name = _step_of(each, tokens, signals)
        if name in graph.steps and (type(each) is not Fired or graph.steps[name].sleep):
            ends[name] = each.at
    took = {}
    for name in order.names:
        began = max((ends[need] for need in order.needs[name]), default=started)
        if name in ends:
            took[name] = float(max(0, ends[name] - began))
        ends.setdefault(name, began)
    return took


def progress(
    order: Order,
    state: Mapping[str, object],
    waiting: Iterable[Waiting],
    pace: Pace,
    now: int,
    *,
    ended: str = "",
) -> Progress:
    """Return how far a run is; ``ended`` is its status when it is final."""
    texts = {name: str(state.get(SHOWN + name, "")) for name in order.names}
    parts = {name: _part(text) for name, text in texts.items()}
    weights = _weights(order.names, pace)
    whole = sum(weights.values())
    done = sum(part >= 1 for part in parts.values())
    reached = sum(weights[name] * part for name, part in parts.items())
    percent = min(NOT_YET, int(100 * reached / whole)) if whole else 0
    if ended == "completed":
        percent = 100
    expected = 0
    if pace.runs and not ended:
        expected = now + int(_remaining(order, parts, weights, _elapsed(waiting, now)))
    return Progress(
        percent=percent,
        done=done,
        total=len(order.names),
        expected_at=expected,
        runs=pace.runs,
    )


def _step_of(mail: AnyMail, tokens: Mapping[str, str], signals: Mapping[str, str]) -> str:
    """Return the step that a message tells of; empty: none."""
    match mail:
        case Reply() | ChildEnded():
            return tokens.get(mail.step) or step_at(f"/{unquote(mail.step)}")
        case Fired():
            return step_at(f"/{unquote(mail.name)}")
        case Decided():
            return step_at(mail.word.gate)
        case Signal():
            return signals.get(mail.name, "")
        case _:
            return ""


def step_at(path: str) -> str:
    """Return the step that a path belongs to; empty: it belongs to none."""
    if not path.startswith(ROOT):
        return ""
    return path.removeprefix(ROOT).partition("/")[0].partition("#")[0]


def _part(text: str) -> float:
    """Return how much of a step is done, by what the run shows of it."""
    if text.startswith(_ENDED):
        return 1.0
    counted = _PART.fullmatch(text)
    if counted is None:
        return 0.0
    # All its items may have ended, but not yet the step itself.
    return min(0.99, int(counted[1]) / max(1, int(counted[2])))


def _weights(names: Sequence[str], pace: Pace) -> dict[str, float]:
    """Return how much each step counts."""
    known = [pace.means[name] for name in names if name in pace.means]
    usual = sum(known) / len(known) if known else 0.0
    if not usual:
        return dict.fromkeys(names, 1.0)
    return {name: pace.means.get(name, usual) for name in names}


def _elapsed(waiting: Iterable[Waiting], now: int) -> dict[str, float]:
    """Return for how long the steps that are under way have been so, in ns."""
    found: dict[str, float] = {}
    for each in waiting:
        name = step_at(each.path)
        found[name] = max(found.get(name, 0.0), float(now - each.since))
    return found


def _remaining(
    order: Order,
    parts: Mapping[str, float],
    weights: Mapping[str, float],
    elapsed: Mapping[str, float],
) -> float:
    """Return how long the longest way through what is left takes, in ns."""
    left: dict[str, float] = {}
    for name in order.names:
        before = max((left[need] for need in order.needs[name]), default=0.0)
        own = 0.0
        if parts[name] < 1:
            own = max(
                0.0, min(weights[name] * (1 - parts[name]), weights[name] - elapsed.get(name, 0.0))
            )
        left[name] = before + own
    return max(left.values(), default=0.0)
