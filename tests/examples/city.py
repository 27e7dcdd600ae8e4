"""Runs of the city's graphs, folded without NATS: the offices' real rules give the answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from actors.files.definitions import load_document
from actors.graphs.interpreter import GraphWorkflow
from actors.kernel.instance import Instance
from examples import civic
from examples.civic.offices import WITHDRAW, rules
from examples.civic.ruling import Case, Refusal
from protocols.effects import Ask
from protocols.failure import Failure
from protocols.graphs.graph import Graph
from protocols.mail import Mail, Reply, Start

FOLDER: Final = Path(civic.__file__).parent
MOMENT: Final = datetime(2026, 11, 6, 9, tzinfo=UTC)
SECOND: Final = 1_000_000_000
MAILS_MAX: Final = 200

Answer = Callable[[Ask], bytes | Failure]


def graph(name: str) -> Graph:
    """Return one of the city's graphs."""
    document = load_document(FOLDER / f"{name}.yaml")
    assert document.problems == []
    assert isinstance(document.value, Graph)
    return document.value


def filed(folder: str, name: str, **changes: Any) -> dict[str, Any]:
    """Return an input file, with changes."""
    found: dict[str, Any] = msgspec.json.decode((FOLDER / folder / f"{name}.json").read_bytes())
    return found | changes


def step_of(ask: Ask) -> str:
    """Return the name of the step that asks."""
    return ask.path.split("/")[2]


class Offices:
    """Answers by the rules, with numbers of its own for each operation."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.withdrawn: list[str] = []

    def __call__(self, ask: Ask) -> bytes | Failure:
        """Answer a request."""
        if ask.operation == WITHDRAW.get(ask.service):
            self.withdrawn.append(step_of(ask))
            return b"true"
        rule = rules(ask.service)[ask.operation]
        number = self.numbers.get(ask.operation, 0) + 1
        request = msgspec.json.decode(ask.body, type=rule.request)
        ruling = rule.decide(request, Case(MOMENT, number))
        if isinstance(ruling, Refusal):
            return Failure(kind=ruling.kind, message=ruling.message, retryable=False)
        self.numbers[ask.operation] = number
        return msgspec.json.encode(ruling)


class Run:
    """One run of a graph: every request is answered, in the order of asking."""

    def __init__(self, name: str, value: Any, answer: Answer | None = None) -> None:
        workflow = GraphWorkflow(graph(name))
        self.instance = Instance("run-1", lambda _name, _hash: workflow)
        self.offices = Offices()
        self.asked: list[Ask] = []
        self._seq = 0
        self._open: list[Ask] = []
        body = msgspec.json.encode(value)
        self._fold(Start(**self._place(), workflow=workflow.name, body=body, definition="d"))
        while self._open:
            ask = self._open.pop(0)
            said = (answer or self.offices)(ask)
            failure = said if isinstance(said, Failure) else None
            body = b"" if isinstance(said, Failure) else said
            self._fold(
                Reply(
                    **self._place(), step=ask.step, attempt=ask.attempt, body=body, failure=failure
                )
            )
        assert self.instance.blocked is None, self.instance.blocked

    @property
    def steps(self) -> list[str]:
        """The steps that asked, each once, in order; without undo."""
        names = (step_of(each) for each in self.asked if not each.path.endswith("/undo"))
        return list(dict.fromkeys(names))

    @property
    def result(self) -> dict[str, Any]:
        """The result of a completed run."""
        assert self.instance.result is not None, self.instance.failure
        found: dict[str, Any] = msgspec.json.decode(self.instance.result)
        return found

    def bodies(self, step: str) -> list[Any]:
        """Return what a step has asked with."""
        return [msgspec.json.decode(each.body) for each in self.asked if step_of(each) == step]

    def _place(self) -> dict[str, Any]:
        self._seq += 1
        at = int(MOMENT.timestamp()) + self._seq
        return {"seq": self._seq, "at": at * SECOND}

    def _fold(self, mail: Mail) -> None:
        assert self._seq < MAILS_MAX, "the workflow asks and asks"
        asks = [each for each in self.instance.fold(mail) if isinstance(each, Ask)]
        self.asked += asks
        self._open += asks
