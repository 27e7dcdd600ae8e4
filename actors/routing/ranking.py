"""Ranking: who of the candidates serves an attempt, by what this daemon has measured.

    score = what the table says (weight, cost) * locality * success rate / latency

Whoever cannot be asked now (absent, paused, breaker open) has no score. The highest score wins,
among equals the first of the table. One that was not measured for long counts as the best there
can be, so that it gets a try now and then. Pure: the time is an argument; about a microsecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from actors.routing.flow import QUALITY_STALE, STALE_S
from actors.routing.router import Presence, Route
from protocols.routes import Choices, Scored

ELSEWHERE: Final = 0.5
"""A service in another locality has to be twice as good."""
FAILED: Final = 0.1
"""Who has failed for this step already goes behind all that are not ten times worse."""


class Option(NamedTuple):
    """One candidate as this daemon sees it."""

    service: str
    factor: float
    route: Route


def options_of(choices: Choices, routes: Sequence[Route], locality: str) -> tuple[Option, ...]:
    """Return the candidates with what stays the same for all decisions of this daemon."""
    found = []
    for each, route in zip(choices.candidates, routes, strict=True):
        elsewhere = locality and each.locality and each.locality != locality
        factor = each.factor * ELSEWHERE if elsewhere else each.factor
        found.append(Option(each.service, factor, route))
    return tuple(found)


def best(options: Sequence[Option], now: float, failed: Sequence[str] = ()) -> int:
    """Return the place of the candidate with the highest score; -1: nobody can be asked."""
    found, highest, stale = -1, 0.0, now - STALE_S
    for number, (service, factor, route) in enumerate(options):
        flow = route.flow
        if route.presence is not Presence.PRESENT or (flow.guarded and not flow.usable(now)):
            continue
        score = factor * (flow.quality if flow.measured_at > stale else QUALITY_STALE)
        if failed and service in failed:
            score *= FAILED
        if score > highest:
            found, highest = number, score
    return found


def first(options: Sequence[Option], now: float, wanted: str) -> int:
    """Return the place of the wanted candidate, or of the next one that can be asked; -1: none."""
    count = len(options)
    start = next((n for n, each in enumerate(options) if each.service == wanted), 0)
    for step in range(count):
        route = options[(start + step) % count].route
        flow = route.flow
        if route.presence is Presence.PRESENT and not (flow.guarded and not flow.usable(now)):
            return (start + step) % count
    return -1


def told(options: Sequence[Option], now: float, failed: Sequence[str] = ()) -> tuple[Scored, ...]:
    """Return all candidates with score and state, for the message that tells the choice."""
    found = []
    for service, factor, route in options:
        flow = route.flow
        state = flow.state(now) if flow.guarded else ""
        if route.presence is not Presence.PRESENT:
            state = route.presence.value
        fresh = flow.measured_at > now - STALE_S
        score = factor * (flow.quality if fresh else QUALITY_STALE)
        score *= FAILED if service in failed else 1.0
        found.append(Scored(service, 0.0 if state else round(score, 6), state))
    return tuple(found)
