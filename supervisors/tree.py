"""Specs -> supervision tree, and the checks before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import msgspec

from protocols.errors import ConfigurationError
from supervisors.backoff import Backoff
from supervisors.child import ChildSpec, ChildStatus, Restart, Shutdown, check
from supervisors.incarnation import ChildView
from supervisors.intensity import Intensity
from supervisors.report import Told
from supervisors.strategy import Strategy
from supervisors.supervisor import Supervisor

DEPTH_MAX: Final = 16
"""Deeper than every sensible tree; a spec that contains itself is found by it."""


class SupervisorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A supervisor and what is below it. Each restart builds everything below it anew."""

    id: str
    children: tuple[ChildSpec | SupervisorSpec, ...] = ()
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: Intensity = Intensity()
    backoff: Backoff = Backoff()
    restart: Restart = "permanent"
    shutdown: Shutdown = "infinity"
    start_timeout_s: float = 120.0
    """Longer than a worker's: all children of it start within this time."""


def build(spec: SupervisorSpec, *, report: Told | None = None, seed: str = "") -> Supervisor:
    """Check a whole tree and return its root, not yet running. Raises ConfigurationError."""
    problems = list(_problems(spec, spec.id, 1))
    if problems:
        raise ConfigurationError("; ".join(problems), hint="correct the supervision tree")
    return _build(spec, spec.id, report, seed)


def lines(view: ChildView, indent: str = "") -> Iterator[str]:
    """Yield the tree as text, one node a line."""
    facts: list[str] = [view.strategy] if view.strategy else []
    facts.append(view.status)
    if view.restarts:
        facts.append(f"{view.restarts} restarts")
    if view.last_error:
        facts.append(view.last_error)
    yield f"{indent}{view.id} ({', '.join(facts)})"
    for child in view.children:
        yield from lines(child, indent + "  ")


def _build(spec: SupervisorSpec, path: str, report: Told | None, seed: str) -> Supervisor:
    children = [
        child if isinstance(child, ChildSpec) else _nested(child, path, report, seed)
        for child in spec.children
    ]
    return Supervisor(
        path,
        children,
        strategy=spec.strategy,
        intensity=spec.intensity,
        backoff=spec.backoff,
        report=report,
        seed=seed,
    )


def _nested(spec: SupervisorSpec, parent: str, report: Told | None, seed: str) -> ChildSpec:
    return ChildSpec(
        id=spec.id,
        start=partial(_run, spec, f"{parent}/{spec.id}", report, seed),
        restart=spec.restart,
        shutdown=spec.shutdown,
        start_timeout_s=spec.start_timeout_s,
        type="supervisor",
    )


async def _run(
    spec: SupervisorSpec,
    path: str,
    report: Told | None,
    seed: str,
    *,
    task_status: ChildStatus,
) -> Any:
    await _build(spec, path, report, seed).run(task_status=task_status)


def _problems(spec: SupervisorSpec, path: str, depth: int) -> Iterator[str]:
    if depth > DEPTH_MAX:
        yield f"{path}: deeper than {DEPTH_MAX} levels"
        return
    if not spec.id or "/" in spec.id:
        yield f"{path}: id {spec.id!r} is empty or contains '/'"
    least_s = spec.backoff.least_total_s(spec.intensity.restarts_max)
    if least_s >= spec.intensity.period_s:
        yield (
            f"{path}: {spec.intensity.restarts_max} restarts take at least {least_s:g} s with "
            f"this backoff, so the intensity per {spec.intensity.period_s:g} s never escalates"
        )
    try:
        check(
            child if isinstance(child, ChildSpec) else _nested(child, path, None, "")
            for child in spec.children
        )
    except ConfigurationError as error:
        yield f"{path}: {error.message}"
    for child in spec.children:
        if isinstance(child, SupervisorSpec):
            yield from _problems(child, f"{path}/{child.id}", depth + 1)


__all__ = ["DEPTH_MAX", "ChildView", "SupervisorSpec", "build", "lines"]
