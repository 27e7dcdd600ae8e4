"""Gates: waits for a person's decision.

    ctx.gate(...)   Arm (when it expires or reminds), the event gate_opened
                    -> Decided: gate_voted until enough have approved, then gate_decided;
                       gate_delegated when somebody hands it over
                    -> Fired: gate_reminded; or what the gate says when its time is over:
                       decided, gate_escalated or gate_overdue

The first decision stands; a word that comes later, or from whoever may not decide, is counted
and changes nothing. An open gate is a few hundred bytes in the fold, and nothing in memory once
the instance has left it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors.kernel.attesting import Attesting
from actors.kernel.clock import earlier, later, nanoseconds, pinned
from actors.kernel.compensation import compensate
from actors.kernel.gate_news import News
from actors.kernel.operations import Operation
from actors.kernel.tasks import CancelScope
from actors.kernel.witness import witness
from protocols import codec
from protocols.effects import Arm, Emit, Waiting
from protocols.errors import ConfigurationError, OversizedError, StepFailedError
from protocols.failure import Failure
from protocols.gates.gate import (
    GATE_BYTES_MAX,
    REJECTED,
    REMINDERS_MAX,
    TITLE_CHARS_MAX,
    Gate,
    problems,
)
from protocols.gates.words import (
    Delegation,
    GateDecision,
    GateState,
    Vote,
    changes,
    merged,
    on_expiry,
    refusal,
)
from protocols.subjects import check_step_name, step_token
from protocols.witness import Operator

if TYPE_CHECKING:
    from actors.kernel.ledger import Ledger
    from actors.kernel.tasks import Task
    from protocols.mail import Decided

TOLD: Final = ("gate_opened", "gate_reminded", "gate_escalated", "gate_overdue")
"""Events that a service is told of, where the gate says so."""
ENDED_MAX: Final = 100
"""Gates that are remembered after their end, so that who comes late is told who decided what."""
_NOBODY: Final = Operator()


class GateWait(Operation[GateDecision]):
    """One open gate."""

    __slots__ = ("due", "every", "gate", "name", "news", "reason", "reminders", "state", "token")

    def __init__(self, ledger: Ledger, name: str, gate: Gate) -> None:
        super().__init__(ledger)
        self.name = name
        self.gate = gate
        self.due = 0
        """When to look again: to remind, or because its time is over. 0: never."""
        self.reminders: list[int] = []
        """When to remind before its time is over, the next one first."""
        self.every = 0
        """When to remind because it was so long ago; 0: never."""
        self.news: News | None = None
        """What a service has to be told, when one has to."""
        self.reason = ""
        """Why the instance has to be cancelled, when that was decided."""

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        ledger, gate = self.ledger, self.gate
        path = task.frame.path(f"gate.{self.name}")
        barred = _barred(ledger) if gate.four_eyes else ()
        self.state = GateState(
            path=path, name=self.name, gate=gate, opened_at=ledger.now, barred=barred
        )
        if gate.expires is not None:
            self.state.due = later(ledger.now, gate.expires, gate.calendar)
        if gate.remind_every is not None:
            self.every = later(ledger.now, gate.remind_every, gate.calendar)
        facts = self.state.facts()
        if len(codec.encode(facts)) > GATE_BYTES_MAX:
            raise OversizedError(
                f"{path}: a gate and its values may have {GATE_BYTES_MAX} bytes",
                hint="show less; store what is large elsewhere and show a reference",
            )
        self.path = path
        self.token = step_token(path)
        known = ledger.outcome(self.token)
        if known is not None:
            ledger.gates_ended[self.token] = msgspec.convert(known["decision"], GateDecision)
            return True
        if gate.mode == "auto":
            self._end(
                GateDecision(
                    gate=path,
                    do="approve",
                    at=ledger.now,
                    values=gate.values,
                    auto=True,
                    rule=gate.auto_when,
                )
            )
            return True
        ledger.gates[self.token] = self
        self._plan()
        self._emit("gate_opened", facts)
        return False

    def at_once(self) -> GateDecision:  # noqa: D102 - as in Operation
        return self.ledger.gates_ended[self.token]

    def decided(self, mail: Decided) -> bool:
        """Take a person's word; False when it does not count."""
        state, word, by = self.state, mail.word, mail.by or _NOBODY
        if refusal(state, word, mail.by):
            return False
        if word.do == "delegate":
            self._delegated(mail)
            return True
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
                values=None if word.do in {"skip", "retry"} else merged(self.gate, given) or None,
                changes=changes(self.gate, given),
                by=mail.by,
                role=word.role,
                votes=tuple(state.votes),
                message_id=mail.message_id,
                step=(word.step or next(iter(self.gate.retry), "")) if word.do == "retry" else "",
            )
        )
        if word.do == "cancel":
            self.reason = ": ".join(filter(None, (f"gate {self.name}", by.why)))
        return True

    def _delegated(self, mail: Decided) -> None:
        """Let another person decide in one's place."""
        word, by = mail.word, mail.by or _NOBODY
        self.state.delegations = [
            *self.state.delegations,
            Delegation(by=by, to=word.to, at=mail.at, role=word.role, message_id=mail.message_id),
        ]
        told = {"by": msgspec.to_builtins(by), "role": word.role, "to": word.to}
        self._emit("gate_delegated", {**self.state.facts(), **told}, f"/{mail.seq}")

    def fired(self) -> None:
        """Remind people, or do what the gate says for when nobody has decided in time."""
        ledger, state = self.ledger, self.state
        del ledger.timers[self.token]
        if not state.due or ledger.now < state.due:
            state.reminded += 1
            self._arm()
            facts = {"number": state.reminded, "opened_at": state.opened_at, "due": state.due}
            self._emit("gate_reminded", {**self._title(), **facts}, f"/{state.reminded}")
            return
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
                expires = self.gate.levels[state.level].expires
                state.level += 1
                if expires is not None:
                    state.due = later(ledger.now, expires, self.gate.calendar)
                self._plan()
                suffix = f"/{state.level}" if state.level > 1 else ""
                self._emit("gate_escalated", state.facts(), suffix)
            case "wait":
                self._plan()
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
            due=self.state.due,
        )

    def facts(self) -> list[Any]:
        """Return what the future depends on, for the digest of the fold."""
        state = self.state
        votes = [[each.by.who, each.role] for each in state.votes]
        level = state.level if state.level > 1 else state.escalated
        found = [self.path, codec.encode(msgspec.to_builtins(self.gate)), level, votes]
        if state.delegations or state.barred or state.reminded:
            handed = [[each.by.who, each.to] for each in state.delegations]
            found.append([handed, state.barred, state.reminded])
        return found

    def _end(self, decision: GateDecision) -> None:
        """Close the gate, state how it has ended, and let the code go on with it."""
        self._close()
        ended = self.ledger.gates_ended
        ended[self.token] = decision
        for each in self.ledger.gates.values():
            if each.gate.four_eyes:
                each.state.barred = tuple(
                    dict.fromkeys((*each.state.barred, *_deciders(decision)))
                )
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
        self.ledger.gates.pop(self.token, None)
        self.ledger.timers.pop(self.token, None)

    def _plan(self) -> None:
        """Plan the reminders before its time is over, and arm the timer for what comes first."""
        due, remind = self.state.due, self.gate.remind
        before = remind if due and isinstance(remind, tuple) else ()
        calendar = self.gate.calendar
        self.reminders = sorted(earlier(due, each, calendar) for each in before)
        self._arm()

    def _arm(self) -> None:
        ledger = self.ledger
        now, due = ledger.now, self.state.due
        self.reminders = [each for each in self.reminders if each > now]
        again = self.gate.remind_every
        if 0 < self.every <= now and again is not None:  # those that were missed come as one
            if isinstance(again, str):
                self.every = later(now, again, self.gate.calendar)
            else:
                each = nanoseconds(float(again))
                self.every += ((now - self.every) // each + 1) * each
        moments = [*self.reminders[:1], *([self.every] if self.every else [])]
        if self.state.reminded >= REMINDERS_MAX:
            moments = []
        self.due = min([*moments, *([due] if due else [])], default=0)
        if self.due:
            ledger.timers[self.token] = self
            ledger.effects.append(Arm(cause=ledger.cause, name=self.token, due=self.due))

    def _title(self) -> dict[str, Any]:
        return {"gate": self.path, "name": self.name, "title": self.gate.title}

    def _emit(self, event: str, facts: dict[str, Any], suffix: str = "") -> None:
        ledger = self.ledger
        identity = ledger.identity(f"{self.path}/{event}{suffix}")
        ledger.effects.append(Emit(cause=ledger.cause, event=event, data=facts, id=identity))
        if self.news is not None and event in TOLD:
            self.news.tell(event, {**self.state.facts(), **facts})


def _deciders(decision: GateDecision) -> tuple[str, ...]:
    """Return the names of all who have decided; who sends work back looks at it again."""
    if decision.do == "retry":
        return ()
    by = () if decision.by is None else (decision.by.who,)
    return tuple(name for name in (*by, *(each.by.who for each in decision.votes)) if name)


def _barred(ledger: Ledger) -> tuple[str, ...]:
    """Return who has had a part in the run already: who started it, and who decided in it."""
    names = [ledger.started_by] if ledger.started_by else []
    names += [name for each in ledger.gates_ended.values() for name in _deciders(each)]
    return tuple(dict.fromkeys(names))


class Gates(Attesting):
    """The part of the context that opens gates."""

    __slots__ = ()

    _ledger: Ledger

    def gate(self, name: str, gate: Gate) -> Operation[GateDecision]:
        """Wait until a person has decided, or the time of the gate is over.

        Returns how it was decided, with the values to go on with: approved, modified, or
        skipped; after ``retry`` the code does again what it wants, and asks again. A gate whose
        ``mode`` is ``auto`` is approved at once. What was done before is never done again.
        Raises StepFailedError of kind ``rejected``; a cancel cancels the instance. A gate whose
        parts do not fit each other raises ConfigurationError, and one that is too large
        OversizedError.
        """
        wrong = next(problems(gate), None)
        if wrong is not None:
            raise ConfigurationError(f"gate {name}: {wrong.message}", hint=wrong.hint)
        if gate.works:
            pinned(gate.calendar)
        if len(gate.title) > TITLE_CHARS_MAX:
            raise ConfigurationError(
                f"gate {name}: a title has at most {TITLE_CHARS_MAX} characters",
                hint="write the rest as 'text'",
            )
        return GateWait(self._ledger, check_step_name(name), plain(gate))

    @property
    def started_by(self) -> str:
        """Who has started the instance, as the start says; empty: it does not."""
        return self._ledger.started_by

    @property
    def profile(self) -> str:
        """The profile under which the instance runs; empty: none."""
        return self._ledger.profile

    def gate_news(self, gate: Operation[GateDecision]) -> News:
        """Return what comes of a gate until it is decided: await ``next()``, again and again.

        For whoever tells people of it: the event's kind, and the gate as it stands.
        """
        assert isinstance(gate, GateWait)
        gate.news = gate.news or News(self._ledger)
        return gate.news

    async def undo(self, path: str) -> None:
        """Undo now what was done at and below a path and can be undone, the newest first.

        For work that is to be done once more from its beginning. Nothing cancels it; an undo that
        fails is an incident, and the others still run.
        """
        if self._ledger.undoing is not None:
            with CancelScope(self._ledger.scheduler, shield=True):
                await compensate(self._ledger, path, everything=True)


def plain(gate: Gate) -> Gate:
    """Return a gate with its values as they come out of a mailbox. Raises BadValueError."""
    if gate.values is None:
        return gate
    return msgspec.structs.replace(gate, values=codec.decode(codec.encode(gate.values)))
