"""The life of a run in six stages, derived from its history: nothing is emitted for it.

    python -m examples.enterprise.lifecycle RUN [--nats URL]

    INITIALIZE  the start            PLAN       the steps of the definition
    ROUTE       who is asked         EXECUTE    what was answered, decided, undone
    AGGREGATE   the result, or what stands of a run that has failed       COMPLETE    the end

A request is an effect of the fold and no message of the mailbox, so ROUTE stands with its first
answer.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
import trio

from movant import Client, Failure
from protocols.api import runs as api

MODES: Final = {
    "timeout": "SYSTEM_TIMEOUT",
    "network": "SYSTEM_NETWORK",
    "validation": "USER_INVALID_INPUT",
}
"""Modes of failure by the kind of its root cause; all other kinds are AGENT_LOGIC."""


class Stage(StrEnum):
    """A stage of a run's life."""

    INITIALIZE = "INITIALIZE"
    PLAN = "PLAN"
    ROUTE = "ROUTE"
    EXECUTE = "EXECUTE"
    AGGREGATE = "AGGREGATE"
    COMPLETE = "COMPLETE"


class Moment(msgspec.Struct, frozen=True):
    """One moment: its stage and its facts."""

    stage: Stage
    data: dict[str, Any]


def mode_of(failure: Failure) -> str:
    """Return the mode of a failure, by its root cause."""
    return MODES.get(failure.kind, "AGENT_LOGIC")


def moments(
    view: api.RunView, entries: Sequence[api.HistoryEntry], steps: Sequence[str]
) -> Iterator[Moment]:
    """Yield the moments of a run in their order. ``steps`` are those of its definition."""
    yield Moment(Stage.INITIALIZE, {"run": view.id, "workflow": view.workflow})
    yield Moment(Stage.PLAN, {"steps": [*steps]})
    last = {each.path: each.seq for each in entries}
    routed = set()
    for each in entries:
        parts = each.path.split("/")
        if len(parts) <= _ASKED or parts[1] != "steps":
            continue
        undo = parts[-1] == "undo"
        if each.path not in routed and each.attempt and not undo:
            routed.add(each.path)
            yield Moment(Stage.ROUTE, {"step": parts[2], "target": parts[-1]})
        status = "undone" if undo else _status(view, each, parts[2], last)
        told: dict[str, Any] = {"step": parts[2], "status": status}
        if each.failure is not None:
            told |= {"error": each.failure.message, "mode": mode_of(each.failure)}
        if each.by is not None:
            told |= {"decided": each.summary, "by": each.by.who, "why": each.by.why}
        yield Moment(Stage.EXECUTE, told)
    if view.finished_at:
        # A run that has failed shows what was done and what was undone: its partial result.
        partial = {step.path.split("/")[2]: step.fate for step in view.steps}
        yield Moment(Stage.AGGREGATE, {"result": view.result, "steps": partial})
        ended: dict[str, Any] = {"status": view.status}
        if view.failure is not None:
            ended |= {"error": view.failure.message, "mode": mode_of(view.failure)}
        yield Moment(Stage.COMPLETE, ended)


_ASKED: Final = 3
"""Parts before the service and operation in ``/steps/<step>/<service>.<operation>``."""


def _status(view: api.RunView, entry: api.HistoryEntry, step: str, last: dict[str, int]) -> str:
    """Return what an answer means: success, retrying, warning (continuing), failed, decided."""
    if entry.by is not None:
        return "decided"
    if entry.failure is None:
        return "success"
    if last[entry.path] != entry.seq:
        return "retrying"
    state = view.state if isinstance(view.state, dict) else {}
    went_on = str(state.get(f"steps.{step}", "")).startswith("failed")
    return "warning" if went_on and view.failure is None else "failed"


async def of_run(client: Client, run: str) -> list[Moment]:
    """Return the moments of a run. Raises NotFoundError."""
    view = await client.show(run)
    entries = [each async for each in client.history(run)]
    definition = await client.workflow(hash=view.definition)
    return [*moments(view, entries, steps_of(definition))]


def steps_of(definition: api.WorkflowView) -> list[str]:
    """Return the names of the steps of a graph."""
    graph = definition.graph if isinstance(definition.graph, dict) else {}
    return [*graph.get("steps", ())]


async def _main(run: str, nats: str | None, store: Path | None) -> None:
    async with Client.connect(nats, store=store) as client:
        for moment in await of_run(client, run):
            sys.stdout.write(f"{moment.stage:<10} {json.dumps(moment.data)}\n")


def main() -> None:
    """Print the life of a run."""
    parser = argparse.ArgumentParser(description="The life of a run in six stages.")
    parser.add_argument("run")
    parser.add_argument("--nats", default=None, help="URL of the server")
    parser.add_argument("--store", type=Path, default=None, help="store of its daemon")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    trio.run(_main, given.run, given.nats, given.store)


if __name__ == "__main__":
    main()
