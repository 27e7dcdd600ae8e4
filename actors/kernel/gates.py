"""Gates: waits for a person's decision.

    ctx.gate(...)   Arm (when it expires), the event gate_opened
                    -> Decided: gate_voted until enough have approved, then gate_decided
                    -> Fired: what the gate says: decided, gate_escalated or gate_overdue

The first decision stands; a word that comes later, or from whoever may not decide, is counted
and changes nothing. An open gate is a few hundred bytes in the fold, and nothing in memory once
the instance has left it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors.kernel.clock import nanoseconds
from actors.kernel.operations import Operation
from actors.kernel.witness import witness
from protocols import codec
from protocols.effects import Arm, Emit, Waiting
from protocols.errors import ConfigurationError, OversizedError, StepFailedError
from protocols.failure import Failure
from protocols.gates import (
    GATE_BYTES_MAX,
    REJECTED,
    TITLE_CHARS_MAX,
    Gate,
    GateDecision,
    GateState,
    Vote,
    changes,
    merged,
    on_expiry,
    problems,
    refusal,
)
from protocols.subjects import check_step_name, step_token
from protocols.witness import Operator

if TYPE_CHECKING:
    from actors.kernel.ledger import Ledger
    from actors.kernel.tasks import Task
    from protocols.mail import Decided

ENDED_MAX: Final = 100
"""Gates that are remembered after their end, so that who comes late is told who decided what."""
_NOBODY: Final = Operator()


class GateWait(Operation[GateDecision]):
    """One open gate."""

    __slots__ = ("due", "gate", "name", "reason", "state", "token")

    def __init__(self, ledger: Ledger, name: str, gate: Gate) -> None:
        super().__init__(ledger)
        self.name = name
        self.gate = gate
        self.due = 0
        self.reason = ""
        """Why the instance has to be cancelled, when that was decided."""

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        ledger, gate = self.ledger, self.gate
        path = task.frame.path(f"gate.{self.name}")
        self.state = GateState(path=path, name=self.name, gate=gate, opened_at=ledger.now)
        if gate.expires is not None:
            self.due = self.state.due = ledger.now + nanoseconds(float(gate.expires))
        facts = self.state.facts()
        if len(codec.encode(facts)) > GATE_BYTES_MAX:
            raise OversizedError(
                f"{path}: a gate and its values may have {GATE_BYTES_MAX} bytes",
                hint="show less; store what is large elsewhere and show a reference",
            )
        self.path = path
        self.token = step_token(path)
        ledger.gates[self.token] = self
        self._arm()
        self._emit("gate_opened", facts)
        return False

    def decided(self, mail: Decided) -> bool:
        """Take a person's word; False when it does not count."""
        state, word, by = self.state, mail.word, mail.by or _NOBODY
        if refusal(state, word, mail.by):
            return False
        if word.do == "approve":
            vote = Vote(by=by, at=mail.at, role=word.role, message_id=mail.message_id)
            state.votes = [*state.votes, vote]
            missing = self.gate.quorum - len(state.votes)
            if missing > 0:
                who = {"by": msgspec.to_builtins(by), "role": word.role}
                count = {"approved": len(state.votes), "quorum": self.gate.quorum}
                self._emit("gate_voted", {**self._title(), **who, **count}, f"/{mail.seq}")
                return True
        given = word.values or {}
        self._end(
            GateDecision(
                gate=self.path,
                do=word.do,
                at=mail.at,
                values=None if word.do == "skip" else merged(self.gate, given) or None,
                changes=changes(self.gate, given),
                by=mail.by,
                role=word.role,
                votes=tuple(state.votes),
                message_id=mail.message_id,
            )
        )
        if word.do == "cancel":
            self.reason = ": ".join(filter(None, (f"gate {self.name}", by.why)))
        return True

    def fired(self) -> None:
        """Do what the gate says for when nobody has decided in time."""
        ledger, state = self.ledger, self.state
        del ledger.timers[self.token]
        self.due = state.due = 0
        match on_expiry(state):
            case "approve" | "reject" as do:
                values = self.gate.values if do == "approve" else None
                decision = GateDecision(
                    gate=self.path,
                    do=do,
                    at=ledger.now,
                    values=values,
                    votes=tuple(state.votes),
                    expired=True,
                )
                self._end(decision)
            case "escalate":
                assert self.gate.escalate is not None
                state.escalated = True
                if self.gate.escalate.expires is not None:
                    more = nanoseconds(float(self.gate.escalate.expires))
                    self.due = state.due = ledger.now + more
                    self._arm()
                self._emit("gate_escalated", state.facts())
            case "wait":
                self._emit("gate_overdue", self._title(), f"/{int(state.escalated)}")

    def give_up(self) -> None:
        """End a gate that is hidden from the cancel that it has decided."""
        message = f"gate {self.name}: the run is cancelled"
        failure = Failure(kind=REJECTED, message=message, retryable=False)
        self.ledger.scheduler.resume(self, None, StepFailedError(self.path, failure))

    def abandon(self) -> bool:  # noqa: D102 - as in Wait
        if self.ledger.gates.get(self.token) is self:
            self._close()
            self._emit("gate_withdrawn", self._title())
        return True

    def waiting(self) -> Waiting:
        """Describe the wait."""
        return Waiting(
            path=self.path,
            kind="gate",
            since=self.since,
            detail=self.gate.title or self.name,
            due=self.due,
        )

    def facts(self) -> list[Any]:
        """Return what the future depends on, for the digest of the fold."""
        state = self.state
        votes = [[each.by.who, each.role] for each in state.votes]
        return [self.path, codec.encode(msgspec.to_builtins(self.gate)), state.escalated, votes]

    def _end(self, decision: GateDecision) -> None:
        """Close the gate, state how it has ended, and let the code go on with it."""
        self._close()
        ended = self.ledger.gates_ended
        ended[self.token] = decision
        if len(ended) > ENDED_MAX:
            del ended[next(iter(ended))]
        told = codec.decode(codec.encode(msgspec.to_builtins(decision)))
        del told["gate"]
        witness(
            self.ledger,
            "gate_decided",
            {**self._title(), **told, "text": decision.text},
            self.ledger.identity(f"{self.path}/gate_decided"),
            by=decision.by,
        )
        scheduler = self.ledger.scheduler
        if decision.do == "reject":
            message = f"gate {self.name}: {decision.text}"
            details = {"gate": self.path, "expired": decision.expired}
            failure = Failure(kind=REJECTED, message=message, retryable=False, details=details)
            scheduler.resume(self, None, StepFailedError(self.path, failure))
        elif decision.do != "cancel":
            scheduler.resume(self, decision)

    def _close(self) -> None:
        del self.ledger.gates[self.token]
        self.ledger.timers.pop(self.token, None)

    def _arm(self) -> None:
        if self.due:
            ledger = self.ledger
            ledger.timers[self.token] = self
            ledger.effects.append(Arm(cause=ledger.cause, name=self.token, due=self.due))

    def _title(self) -> dict[str, Any]:
        return {"gate": self.path, "name": self.name, "title": self.gate.title}

    def _emit(self, event: str, facts: dict[str, Any], suffix: str = "") -> None:
        ledger = self.ledger
        identity = ledger.identity(f"{self.path}/{event}{suffix}")
        ledger.effects.append(Emit(cause=ledger.cause, event=event, data=facts, id=identity))


class Gates:
    """The part of the context that opens gates."""

    __slots__ = ()

    _ledger: Ledger

    def gate(self, name: str, gate: Gate) -> Operation[GateDecision]:
        """Wait until a person has decided, or the time of the gate is over.

        Returns how it was decided, with the values to go on with: approved, modified, or
        skipped. What was done before is never done again. Raises StepFailedError of kind
        ``rejected``; a cancel cancels the instance. A gate whose parts do not fit each other
        raises ConfigurationError, and one that is too large OversizedError.
        """
        wrong = next(problems(gate), None)
        if wrong is not None:
            raise ConfigurationError(f"gate {name}: {wrong.message}", hint=wrong.hint)
        if len(gate.title) > TITLE_CHARS_MAX:
            raise ConfigurationError(
                f"gate {name}: a title has at most {TITLE_CHARS_MAX} characters",
                hint="write the rest as 'text'",
            )
        return GateWait(self._ledger, check_step_name(name), plain(gate))


def plain(gate: Gate) -> Gate:
    """Return a gate with its values as they come out of a mailbox. Raises BadValueError."""
    if gate.values is None:
        return gate
    return msgspec.structs.replace(gate, values=codec.decode(codec.encode(gate.values)))
