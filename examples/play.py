"""One example at play: its runs, the decisions at their gates, and what became of them.

An example is a module with two functions:

    def begin(stage: Stage) -> None: ...       # start its services
    async def play(scene: Scene) -> None: ...  # register, start, decide, wait, check

``python -m examples`` plays all of them on one daemon and prints a row for each workflow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from examples.stage import Stage, until
from movant import Client
from protocols.api import runs as api
from protocols.effects import FINAL
from protocols.gates.gate import Choice
from protocols.witness import Operator

END_S_MAX: Final = 90.0
POLL_S: Final = 0.15
UNDONE: Final = ("compensated", "compensation_incomplete")


class Word(msgspec.Struct, frozen=True):
    """What somebody says at a gate."""

    do: Choice
    who: str
    why: str = ""
    role: str = ""
    values: dict[str, Any] | None = None


Decide = Callable[[api.GateRow], Word | None]
"""Tells what is to be decided at a gate; None: not yet, or by nobody."""


class Row(msgspec.Struct):
    """What became of the runs of one workflow."""

    workflow: str
    runs: int = 0
    outcomes: Counter[str] = msgspec.field(default_factory=Counter)
    compensated: int = 0
    gates: int = 0
    seconds: float = 0.0


class Scene:
    """One example, with the stage on which it plays and a client of its daemon."""

    def __init__(self, stage: Stage, client: Client) -> None:
        self.stage = stage
        self.client = client
        self.views: dict[str, api.RunView] = {}
        """Runs that have ended."""
        self.wrong: list[str] = []
        self._gates: Counter[str] = Counter()
        self._started: dict[str, str] = {}
        self._began = trio.current_time()
        self._took: dict[str, float] = {}

    async def register(self, *files: Path) -> None:
        """Deploy workflows."""
        for file in files:
            await self.client.register_source(file)

    async def start(self, workflow: str, id: str, input: Any = None, **how: Any) -> str:  # noqa: A002
        """Start a run; ``how`` goes to the client: profile, by, traceparent."""
        await self.client.start(workflow, input, id=id, **how)
        self._started[id] = workflow
        return id

    def adopt(self, id: str, workflow: str) -> None:  # noqa: A002
        """Count a run that something else has started: a schedule, a webhook, a parent."""
        self._started[id] = workflow

    async def ended(
        self, ids: Iterable[str], decide: Decide | None = None, seconds: float = END_S_MAX
    ) -> None:
        """Wait until runs have ended, deciding at their gates meanwhile."""
        wanted = set(ids) - self.views.keys()

        async def look() -> bool:
            if decide is not None:
                await self.decide(wanted, decide)
            for run in list(wanted):
                view = await self.client.show(run)
                if view.status in FINAL:
                    self.views[run] = view
                    self._took[self._started[run]] = trio.current_time() - self._began
                    wanted.discard(run)
            return not wanted

        try:
            await until("the end of all runs", look, seconds, self.stage)
        except TimeoutError:
            for run in sorted(wanted):
                self.wrong.append(self.stage.movant("why", run).stdout.strip())

    async def decide(self, runs: set[str], decide: Decide) -> None:
        """Decide once at each gate that is open now."""
        for gate in (await self.client.gates(limit=500)).gates:
            word = decide(gate) if gate.id in runs else None
            if word is None:
                continue
            decided = await self.client.decide(
                gate.id,
                word.do,
                gate.gate,
                values=word.values,
                role=word.role,
                by=Operator(who=word.who, why=word.why),
            )
            if not decided.open:
                self._gates[gate.workflow] += 1

    async def until(
        self, what: str, there: Callable[[], Awaitable[bool] | bool], seconds: float = END_S_MAX
    ) -> None:
        """Wait for something else."""
        await until(what, there, seconds, self.stage)

    def expect(self, run: str, status: str, *, kind: str = "", **result: Any) -> None:
        """Note as wrong what has not ended so; of a result only the named keys are compared."""
        view = self.views.get(run)
        if view is None:
            self.wrong.append(f"{run}: has not ended")
            return
        failed = view.failure.kind if view.failure else ""
        if view.status != status or (kind and failed != kind):
            why = f" ({failed}: {view.failure.message})" if view.failure else ""
            self.wrong.append(f"{run}: {view.status}{why}, not {status} {kind}".rstrip())
            return
        found = view.result if isinstance(view.result, Mapping) else {}
        for key, wanted in result.items():
            if found.get(key) != wanted:
                self.wrong.append(f"{run}: {key} is {found.get(key)!r}, not {wanted!r}")

    def check(self, right: bool, otherwise: str) -> None:  # noqa: FBT001 - reads like an assert
        """Note what is wrong unless a condition holds."""
        if not right:
            self.wrong.append(otherwise)

    def rows(self) -> list[Row]:
        """Return a row for each workflow, in the order in which they were started first."""
        found: dict[str, Row] = {}
        for run, workflow in self._started.items():
            row = found.setdefault(workflow, Row(workflow, gates=self._gates[workflow]))
            row.runs += 1
            view = self.views.get(run)
            row.outcomes["unfinished" if view is None else view.status] += 1
            row.compensated += view is not None and was_compensated(view)
            row.seconds = self._took.get(workflow, 0.0)
        return list(found.values())


def was_compensated(view: api.RunView) -> bool:
    """Tell whether something of what a run had done was undone."""
    if view.status in UNDONE:
        return True
    return any(each.fate == "undone" for each in view.steps)
