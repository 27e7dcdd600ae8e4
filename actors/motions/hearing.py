"""How a motion hears: every signal is judged, and whatever it may not do is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from actors.kernel.answers import Update
from actors.motions.record import Record
from actors.motions.rules import Decision, Move, Refusal, decided, read_decision, signalled
from protocols.errors import WorkflowError
from protocols.machines.machine import RESUME, REVIEW, Machine

if TYPE_CHECKING:
    from actors.kernel.branches import Scope
    from actors.kernel.context import Context
    from protocols.guardrails.book import RuleBook

Asked = Update[Any] | None
"""By what the sender of a signal is told what becomes of it, where he waits for that."""
HELD_MAX: Final = 100
"""Signals that wait for the end of a transition; more are refused, whoever floods."""


class Hearing(Record):
    """A record with ears: signals cut a stay short, and people decide where they were asked."""

    def __init__(self, ctx: Context, machine: Machine, given: Any, book: RuleBook | None) -> None:
        super().__init__(ctx, machine, given, book)
        self.held: list[tuple[str, Any, Asked]] = []
        self.block: Scope | None = None
        """The stay in a state, which a signal may cut short; None while a transition is made."""
        self.cut: Move | None = None
        self.wanted: Literal["", "motion.resume", "motion.review"] = ""
        self.pause: Scope | None = None
        self.word: Move | Literal["again", "halt"] | None = None

    async def _listen(self) -> None:
        """Judge every signal, one after the other, as long as the motion lasts."""
        while True:
            heard = self.ctx.hear()
            try:
                name, data = await heard
            except WorkflowError as error:
                self._refuse(Refusal(to="", reason=str(error), cause="signal"))
                continue
            asked = heard.update
            if name in {RESUME, REVIEW}:
                self._hear(name, data, asked)
            elif self.block is not None and self.cut is None:
                self._judge(name, data, asked)
            elif len(self.held) < HELD_MAX:
                self.held.append((name, data, asked))  # to be judged in the state that comes
            else:
                reason = f"{HELD_MAX} signals wait for the end of a transition"
                self._reject(Refusal(to="", reason=reason, cause="signal", signal=name), asked)

    def _reject(self, refusal: Refusal, asked: Asked) -> None:
        """Refuse what a signal asks for; its sender is told why, where he waits for that."""
        self._refuse(refusal)
        if asked is not None:
            asked.reject(refusal.reason)

    def _judge(self, name: str, data: Any, asked: Asked) -> None:
        """Let a signal cut the stay in a state short, or refuse it."""
        way = signalled(self.machine, self.state, name, data, self._names())
        if isinstance(way, Refusal):
            self._reject(way, asked)
            return
        assert self.block is not None
        self.cut = _accepted(way, asked)
        self.block.cancel()

    def _hear(self, name: str, data: Any, asked: Asked) -> None:
        """Take the word of an operator or a person, when it was asked for."""
        cause: Literal["reviewed", "resumed"] = "reviewed" if name == REVIEW else "resumed"
        decision = read_decision(data, cause)
        if self.wanted != name or self.word is not None:
            by = decision.who if isinstance(decision, Decision) else decision.by
            reason = f"{self.state or 'the motion'} waits for no {name}"
            self._reject(Refusal(to="", reason=reason, cause=cause, signal=name, by=by), asked)
            return
        word = self._weigh(decision, cause)
        if isinstance(word, Refusal):
            self._reject(msgspec.structs.replace(word, signal=name), asked)
            return
        assert self.pause is not None
        if isinstance(word, Move):
            word = _accepted(word, asked)
        elif asked is not None:
            asked.answer()
        self.word = word
        self.pause.cancel()

    def _weigh(
        self, decision: Decision | Refusal, cause: Literal["reviewed", "resumed"]
    ) -> Move | Refusal | Literal["again", "halt"]:
        """Return what a decision means here. Nobody may do more than the machine allows."""
        if isinstance(decision, Refusal):
            return decision
        told: dict[str, Any] = {"cause": cause, "by": decision.who, "why": decision.why}
        if decision.do == "retry":
            return "again"
        if decision.do == "halt":
            return "halt"
        if self.block is None:
            reason = "a step before a transition has failed: it can only be asked again"
            return Refusal(to=decision.to, reason=reason, **told)
        if decision.do == "transition":
            way = decided(self.machine, self.state, decision, self._names(), cause)
            too_large = self._too_large(way.answer) if isinstance(way, Move) and way.answer else ""
            return Refusal(to=decision.to, reason=too_large, **told) if too_large else way
        previous = self.came_from.get(self.state, "")
        if not previous:
            return Refusal(to="", reason=f"no state came before {self.state}", **told)
        return Move(to=previous, back=True, **told)

    async def _person(
        self, signal: Literal["motion.resume", "motion.review"], timeout_s: float
    ) -> Move | Literal["again", "halt"] | None:
        """Wait for a signal that decides; None when nobody has decided in time."""
        self.wanted, self.word = signal, None
        async with self.ctx.scope(name=signal.removeprefix("motion.")) as pause:
            self.pause = pause
            if timeout_s:
                with self.ctx.move_on_after(timeout_s, name="deadline"):
                    await self.ctx.idle(signal)
            else:
                await self.ctx.idle(signal)
        self.wanted, self.pause = "", None
        return self.word


def _accepted(move: Move, asked: Asked) -> Move:
    """Return a transition that answers who has asked for it, when it takes effect."""
    if asked is None:
        return move
    asked.accept()
    return msgspec.structs.replace(move, asked=asked)
