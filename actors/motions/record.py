"""What a motion remembers, shows and tells: its place, its outputs, its history, its events."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from actors.kernel.clock import moment
from actors.kernel.ledger import Later
from actors.motions.asking import Asking
from actors.motions.rules import Answer, Move, Refusal
from protocols import codec
from protocols.blobs import BLOB_BYTES_MAX
from protocols.directives import Directive
from protocols.error_kinds import classify, is_unknown_outcome
from protocols.failure import Failure
from protocols.machines.machine import Machine
from protocols.witness import Operator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from actors.kernel.context import Context
    from protocols.guardrails.book import RuleBook

T = TypeVar("T")
REFUSED: Final = "transition_refused"
STALE: Final = "stale"
DIRECTIVE: Final = "directive"
WARNING: Final = "warning"
INCIDENT: Final = "incident"
"""Events of a motion, beside those of every workflow."""

WARNINGS_MAX: Final = 20
DATA_BYTES_MAX: Final = 192 * 1024
"""Outputs of all states together: they go to each owner, and into the result."""
DETAILS_BYTES_MAX: Final = 16 * 1024
"""Of a failure, where it is told again; the history has it whole."""


class Record:
    """Where one motion is, and what came out of its states."""

    def __init__(self, ctx: Context, machine: Machine, given: Any, book: RuleBook | None) -> None:
        self.ctx = ctx
        self.machine = machine
        self.input = given
        self.asking = Asking(ctx, machine, book)
        self.state = ""
        self.cause = ""
        """What led into the state: for its owner."""
        self.entries: dict[str, int] = {}
        self.data: dict[str, Any] = {}
        self.sizes: dict[str, int] = {}
        self.came_from: dict[str, str] = {}
        """The state whose work led to each; going back and signals do not count as work."""
        self.transitions = 0
        self.history: tuple[tuple[str, str, str, int], ...] = ()
        """From, to, cause and time of the latest transitions."""
        self.warnings: list[dict[str, Any]] = []
        self.times: dict[tuple[str, str], int] = {}
        """How often a directive was followed in a state since its work was last done."""
        self.error: dict[str, Any] | None = None
        """The failure that led here, for the owner."""
        self.pivoted = False
        """Nothing is undone any more."""

    def go_over(self, machine: Machine, book: RuleBook | None, moves: Mapping[str, str]) -> None:
        """Go on with another machine, in which some states have other names."""
        self.machine = machine
        self.asking.go_over(machine, book, moves)
        self.state = moves.get(self.state, self.state)
        self.entries = _renamed(self.entries, moves)
        self.data, self.sizes = _renamed(self.data, moves), _renamed(self.sizes, moves)
        came_from = {to: moves.get(by, by) for to, by in _renamed(self.came_from, moves).items()}
        self.came_from = {to: by if by in machine.states else "" for to, by in came_from.items()}
        self._log()
        self.times = {(moves.get(at, at), do): n for (at, do), n in self.times.items()}
        self._show(
            state=self.state,
            owner=self._owner(),
            previous=self.came_from.get(self.state, ""),
        )

    def _keep(self, move: Move) -> None:
        """Keep the output of the state that is left."""
        if move.answer is not None and self.state:
            self.data[self.state] = move.answer.output
            self.sizes[self.state] = move.answer.size

    def _too_large(self, answer: Answer) -> str:
        """Return why an output cannot be kept beside the others; empty when it can."""
        others = sum(self.sizes.values()) - self.sizes.get(self.state, 0)
        total = answer.size + others
        if total <= DATA_BYTES_MAX:
            return ""
        return f"the outputs of all states take {total} bytes, the limit is {DATA_BYTES_MAX}"

    def _remember(self, kept: list[dict[str, Any]], fact: dict[str, Any], most: int) -> None:
        """Keep the latest facts, with the time of each."""
        kept.append({**fact, "at": self.ctx.now().isoformat()})
        del kept[: max(0, len(kept) - most)]

    def _facts(self, move: Move) -> dict[str, Any]:
        """Return what a witness needs: from where to where, why, through whom, with what."""
        answer = move.answer
        states = self.machine.states
        return {
            "motion_id": self.ctx.id,
            "number": self.transitions + 1,
            "from": self.state,
            "to": move.to,
            "cause": move.cause,
            "owner": answer.owner if answer and move.cause == "completed" else self._owner(),
            "next_owner": states[move.to].owner,
            "entry": self.entries.get(move.to, 0) + 1,
            "step": answer.step if answer is not None else "",
            "input": self.asking.digest if answer is not None else "",
            "output": "" if answer is None else answer.digest,
            "work_done": answer is not None and move.cause == "submitted",
            "error": None if move.failure is None else self._told(move.failure),
            "signal": move.signal,
            "by": move.by,
            "why": move.why,
        }

    def _log(self, *transition: tuple[str, str, str, int]) -> None:
        """Keep a transition among the latest ones."""
        kept = (*self.history, *transition)
        self.history = kept[max(0, len(kept) - self.machine.history) :]

    # What is shown and told

    def _state(self, facts: dict[str, Any]) -> None:
        """Publish a transition that takes effect: the one place where it is told."""
        by_hand = facts["cause"] == "signal" and facts["by"]
        self.ctx.transition(
            codec.Known(facts),
            detail=f"{facts['from']} -> {facts['to']}",
            actor=facts["owner"] or "",
            by=Operator(who=facts["by"], why=facts["why"]) if by_hand else None,
            input=facts["input"],
            output=facts["output"],
        )

    def _refuse(self, refusal: Refusal) -> None:
        self.ctx.emit(
            REFUSED,
            {
                "motion_id": self.ctx.id,
                "from": self.state,
                "to": refusal.to,
                "cause": refusal.cause,
                "owner": self._owner(),
                "reason": refusal.reason,
                "signal": refusal.signal,
                "by": refusal.by,
                "why": refusal.why,
            },
        )

    def _owner(self) -> str:
        return self.machine.states[self.state].owner if self.state else ""

    def _place(self) -> dict[str, Any]:
        return {
            "motion_id": self.ctx.id,
            "state": self.state,
            "entry": self.entries.get(self.state, 0),
        }

    def _request(self) -> dict[str, Any]:
        return {
            **self._place(),
            "cause": self.cause,
            "input": self.input,
            "data": self.data,
            "error": self.error,
        }

    def _names(self) -> dict[str, Any]:
        return {
            "input": self.input,
            "data": self.data,
            "entry": self.entries.get(self.state, 0),
        }

    def _told(self, failure: Failure) -> dict[str, Any]:
        return {
            "state": self.state,
            "kind": failure.kind,
            "class": classify(failure),
            "message": failure.message,
            "details": _small(failure.details),
            "unknown": is_unknown_outcome(failure),
        }

    def _once_more(self, directive: Directive) -> bool:
        """Count a directive that could go on for ever; tell whether it may be followed."""
        key = (self.state, directive.do)
        self.times[key] = self.times.get(key, 0) + 1
        return self.times[key] <= directive.times

    def _waits(self, title: str) -> None:
        """Show for which word of a person the work of a state waits; an empty one: it goes on."""
        if title:
            self._show(next_action=f"gate {self.state}", blocked=title, expected_completion=None)
            return
        timeout_s = self.machine.timeout_s(self.state)
        self._show(
            next_action=f"{self._owner()} {self.machine.operation(self.state)}",
            blocked=None,
            expected_completion=self._in(timeout_s),
        )

    def _show(self, **facts: Any) -> None:
        self.ctx.show(facts)

    def _in(self, seconds: float) -> Later | None:
        return Later(told_time, self.ctx.at, seconds) if seconds else None


def told_time(at: int, seconds: float = 0.0) -> str:
    """Return how a motion shows a time, or what comes so many seconds later."""
    return (moment(at) + timedelta(seconds=seconds)).isoformat()


def told_history(kept: Iterable[tuple[str, str, str, int]]) -> list[dict[str, str]]:
    """Return the transitions that a motion shows."""
    return [
        {"from": begin, "to": end, "cause": cause, "at": told_time(at)}
        for begin, end, cause, at in kept
    ]


def _renamed(of: Mapping[str, T], moves: Mapping[str, str]) -> dict[str, T]:
    return {moves.get(name, name): each for name, each in of.items()}


def _small(details: Any) -> Any:
    """Return details that an event and a request can repeat; null for what is too large."""
    return (
        details if len(codec.encode(details, limit=BLOB_BYTES_MAX)) <= DETAILS_BYTES_MAX else None
    )
