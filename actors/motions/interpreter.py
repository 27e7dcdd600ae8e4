"""run_motion: one interpreter for every machine, on the kernel's public operations.

    state ── entry hooks ── the owner works ── completion ──┐
      ^          └── failure ── directive: fallback, review, halt, … ──┤
      │                          signal, or the time is over ──────────┤
      └── transition takes effect ── steps before it, exit hooks <─────┘

A motion is in one state, and whatever asks for another one is judged by ``actors.motions.rules``:
allowed, it becomes the event ``transition``; refused, the event ``transition_refused``. An answer
that comes for a state that was left is the event ``stale``. Nothing passes without an event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from actors.kernel.ledger import Later
from actors.motions.asking import CUT_S
from actors.motions.forking import Forkable
from actors.motions.record import (
    DIRECTIVE,
    INCIDENT,
    STALE,
    WARNING,
    WARNINGS_MAX,
    told_history,
    told_time,
)
from actors.motions.rules import (
    Answer,
    Decision,
    Move,
    Refusal,
    completed,
    continued,
    heard,
    read_decision,
    submitted,
)
from protocols.definition import Workflow, WorkflowOptions
from protocols.directives import Directive, choose
from protocols.durations import shown
from protocols.error_kinds import OVER_LIMIT, is_unknown_outcome
from protocols.errors import FailError
from protocols.failure import TIMEOUT, Failure
from protocols.graphs.profile import Limits
from protocols.guardrails.book import Functions, RuleBook
from protocols.guardrails.check import rules_of
from protocols.machines.check import checked
from protocols.machines.machine import RESUME, REVIEW, STATE_TIMEOUT_S, Hook, Machine
from protocols.policy import StepOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.kernel.context import Context


class MotionWorkflow(Workflow[Any]):
    """A machine as a workflow: registered, pinned and run like one in Python.

    Raises ConfigurationError for a machine whose parts do not fit each other.
    """

    def __init__(self, machine: Machine, functions: Functions | None = None) -> None:
        self.machine: Final = checked(machine)
        rules = rules_of(machine)
        self.held_to: Final = RuleBook(rules, functions) if rules else None

        async def motion(ctx: Context, input: Any = None) -> Any:  # noqa: A002 - as authors say
            return await run_motion(ctx, machine, input, self.held_to)

        # The input is what it is in Python: the kernel module is not imported for its name.
        motion.__annotations__ = {"input": Any, "return": Any}
        limits = machine.limits or Limits()
        options = WorkflowOptions(
            description=machine.description,
            active_max=limits.max_active,
            refuses=limits.on_limit == "refuse",
            priority=limits.priority,
            kept_s=float(machine.retention or 0.0),
        )
        super().__init__(machine.name, motion, options)


async def run_motion(
    ctx: Context, machine: Machine, given: Any = None, book: RuleBook | None = None
) -> Any:
    """Move through the states of a machine to its end; return ``{state, data, warnings}``.

    ``book`` has the rules that the work of states is held to.
    Raises FailError, of the kind of the state's name, when the end is one that failed.
    """
    return await _Motion(ctx, machine, given, book).run()


class _Motion(Forkable):
    """One motion: where it is, what came out of its states, and what it waits for."""

    async def run(self) -> Any:
        """Run from the first state to an end."""
        self.ctx.tell_late(STALE)
        self.ctx.movable(self._move)
        self.ctx.forkable(self._fork)
        async with self.ctx.scope(name="states") as around:
            around.start(self._listen(), name="signals")
            begin = self._begin_with() or submitted(self.machine, self.input)
            await self._transition(begin)
            move = await self._stay(begin.answer)
            while move.to:
                await self._transition(move)
                move = await self._stay()
            self._keep(move)
            self._show(next_action="", expected_completion=None)
            around.cancel()
        return self._end(move)

    def _end(self, move: Move) -> Any:
        """Return the outcome, or raise it: what fails is undone by the kernel."""
        outcome = {
            "state": self.state,
            "data": self.data,
            "warnings": self.warnings,
            "transitions": self.transitions,
        }
        if move.failure is not None and move.cause == "compensated":
            outcome["error"] = self.error
            raise FailError(move.failure.kind, f"{self.state}: {move.failure.message}", outcome)
        if self.machine.states[self.state].ends == "failed":
            raise FailError(self.state, f"the motion ended in {self.state}", outcome)
        return outcome

    # A stay in a state

    async def _stay(self, done: Answer | None = None) -> Move:
        """Be in the state until something leads out of it; an end leads to no state.

        ``done`` stands for the work that was done before the motion began.
        """
        move = Move(to="", cause="completed")
        async with self.ctx.scope(name=self.state) as block:
            self.block = block
            while self.held and self.cut is None:
                self._judge(*self.held.pop(0))
            warn_s = self.machine.states[self.state].warn_after
            if self.cut is None and warn_s is None:
                move = await self._attend(done)
            elif self.cut is None:
                with self.ctx.warn_after(float(warn_s or 0), state=self.state):
                    move = await self._attend(done)
        self.block = self.pause = None
        self.wanted = ""
        if self.cut is None and move.answer is not None:
            self._done()
        return self.cut or move

    def _done(self) -> None:
        """Note that the work of the state is done: behind a pivot nothing is undone any more."""
        if self.machine.states[self.state].pivot and not self.pivoted:
            self.pivoted = True
            self.ctx.pivot()
            self._show(pivot=self.state)

    async def _attend(self, done: Answer | None) -> Move:
        state = self.machine.states[self.state]
        for hook in state.on_entry:
            away = await self._hook(hook, self._place())
            if isinstance(away, Move):
                return away
        outcome: Answer | Move | Failure | Literal["again"]
        if done is not None:
            outcome = done
        elif state.owner:
            outcome = await self._ask()
        elif state.parked:
            outcome = await self._park()
        else:
            return Move(to="", cause="completed")
        while not isinstance(outcome, Move):
            if isinstance(outcome, Answer):
                self._done()
                outcome = self._completion(outcome)
            elif isinstance(outcome, Failure):
                outcome = await self._escalate(outcome)
            else:
                outcome = await (self._ask(again=True) if state.owner else self._park())
        return outcome

    async def _park(self) -> Failure:
        timeout_s = self.machine.timeout_s(self.state)
        names = ", ".join(self.machine.states[self.state].signals)
        self._show(
            next_action=f"signal {names}", blocked=None, expected_completion=self._in(timeout_s)
        )
        if not timeout_s:
            await self.ctx.idle(names)
        with self.ctx.move_on_after(timeout_s, name="deadline"):
            await self.ctx.idle(names)
        return Failure(kind=TIMEOUT, message=f"no signal within {shown(timeout_s)}")

    async def _ask(self, *, again: bool = False, service: str = "") -> Answer | Failure:
        """Ask the owner, or another service in its place, for the work of this state."""
        state = self.machine.states[self.state]
        owner = service or state.owner
        operation = self.machine.operation(self.state)
        timeout_s = self.machine.timeout_s(self.state)
        self._show(
            owner=owner,
            next_action=f"{owner} {operation}",
            blocked=None,
            expected_completion=self._in(timeout_s),
        )
        how: dict[str, Any] = {"again": again, "waits": self._waits}
        return await self.asking.work(self.state, owner, operation, self._request(), **how)

    def _completion(self, answer: Answer) -> Move | Failure:
        """Judge a completion. What may not follow is refused, and a failure of the owner."""
        way = completed(self.machine, self.state, answer, self._names())
        too_large = self._too_large(answer)
        if too_large:
            return Failure(kind=OVER_LIMIT, message=too_large, retryable=False)
        if isinstance(way, Move):
            return way
        self._refuse(way)
        return Failure(kind="illegal_transition", message=way.reason, retryable=False)

    # Failures

    async def _escalate(self, failure: Failure) -> Answer | Move | Failure | Literal["again"]:
        """Follow the directive for a failure, and those behind it, until one leads on."""
        of = self.machine.states[self.state]
        directive = choose(failure, of.directives, self.machine.directives)
        self.error = self._told(failure)
        while True:
            facts = {**self._place(), "directive": directive.do, "error": self.error}
            self.ctx.emit(DIRECTIVE, facts)
            found = await self._follow(directive, failure)
            if found is not None:
                return found
            directive = directive.after

    async def _follow(
        self, directive: Directive, failure: Failure
    ) -> Answer | Move | Literal["again"] | None:
        """Do what a directive says; None when it cannot help."""
        match directive.do:
            case "retry":
                return None  # the step has used its attempts up
            case "fallback":
                return await self._fall_back(directive, failure)
            case "return_to_previous":
                return self._return(directive, failure)
            case "review":
                return await self._review(directive, failure)
            case "continue":
                return self._continue(directive, failure)
            case "compensate":
                return self._compensate(directive, failure)
            case "halt_and_alert":
                return await self._halt(failure)

    def _compensate(self, directive: Directive, failure: Failure) -> Move | None:
        """End as a failure, here or in a state for that: what fails is undone by the kernel."""
        if self.pivoted:
            return None
        to = "" if self.machine.states[self.state].ends else directive.to
        return Move(to=to, cause="compensated", failure=failure)

    async def _fall_back(self, directive: Directive, failure: Failure) -> Answer | None:
        for service in directive.services:
            if is_unknown_outcome(failure) and directive.unknown == "halt":
                return None  # the work may be done: nobody else may do it again unasked
            outcome = await self._ask(service=service)
            if isinstance(outcome, Answer):
                return outcome
            failure = outcome
            self.error = self._told(failure)
        return None

    def _return(self, directive: Directive, failure: Failure) -> Move | None:
        previous = self.came_from.get(self.state, "")
        if not previous or not self._once_more(directive):
            return None
        return Move(to=previous, cause="returned", failure=failure, back=True)

    def _continue(self, directive: Directive, failure: Failure) -> Move | None:
        to = continued(self.machine, self.state, directive.to, self._names())
        if to is None:
            return None
        warning = {"state": self.state, "kind": failure.kind, "message": failure.message}
        self._remember(self.warnings, warning, WARNINGS_MAX)
        self.ctx.emit(WARNING, {**self._place(), "error": self._told(failure)})
        return Move(to=to, cause="continued", failure=failure)

    async def _review(
        self, directive: Directive, failure: Failure
    ) -> Move | Literal["again"] | None:
        """Let a service or a person decide. The state stays; what is refused decides nothing."""
        if not self._once_more(directive):
            return None
        by = directive.by or self.machine.reviewer
        reason = f"{failure.kind}: {failure.message}"
        self._show(
            next_action=f"review by {by or 'a person: signal ' + REVIEW}",
            blocked=reason,
            expected_completion=self._in(directive.timeout_s),
        )
        if not by:
            word = await self._person(REVIEW, directive.timeout_s)
        else:
            word = self._ruling(await self._ask_reviewer(by, directive))
        return None if word == "halt" else word

    async def _ask_reviewer(self, by: str, directive: Directive) -> Decision | Refusal | None:
        of = self.machine.states[self.state]
        request = {**self._request(), "allowed": [each.to for each in of.nexts]}
        bound_s = directive.timeout_s
        options = StepOptions(timeout_s=bound_s or STATE_TIMEOUT_S, undecided_s=CUT_S)
        answer = await self.asking.step(
            by, directive.operation, request, options=options, bound_s=bound_s
        )
        if isinstance(answer, Failure):
            facts = {"state": self.state, "service": by, "error": self._told(answer)}
            self.ctx.emit(WARNING, facts)
            return None
        found = read_decision(answer.output, "reviewed")
        if isinstance(found, Decision):
            found = msgspec.structs.replace(found, who=by)
        return found

    def _ruling(self, decision: Decision | Refusal | None) -> Move | Literal["again", "halt"]:
        """Return where a reviewer's decision leads; what is none leads on to what is ``then``."""
        if decision is None:
            return "halt"
        word = self._weigh(decision, "reviewed")
        if isinstance(word, Refusal):
            self._refuse(word)
            return "halt"
        return word

    async def _halt(self, failure: Failure) -> Move | Literal["again"]:
        """Tell people and do nothing more until an operator resumes."""
        reason = f"{failure.kind}: {failure.message}"
        self._show(
            next_action=f"an operator: signal {RESUME}",
            blocked=f"halted: {reason}",
            expected_completion=None,
        )
        facts = {**self._place(), "reason": "halted", "error": self._told(failure)}
        while True:
            self.ctx.emit(INCIDENT, facts)
            word = await self._person(RESUME, 0.0)
            if word is not None and word != "halt":
                # Who resumes by hand begins anew: returns and reviews are counted from here.
                self.times = {key: n for key, n in self.times.items() if key[0] != self.state}
                return word

    # Transitions

    async def _transition(self, move: Move) -> None:
        """Ask all who have a say, then let the transition take effect."""
        facts = self._facts(move)
        exits = self.machine.states[self.state].on_exit if self.state else ()
        hooks = (*exits, *self.machine.on_transition)
        witness = self.machine.witness
        if hooks or witness:
            async with self.ctx.scope(name=f"{move.to}.before"):
                for hook in hooks:
                    await self._hook(hook, facts)
                if witness:
                    facts["statement"] = await self._statement(witness, facts)
        self._keep(move)
        self.transitions += 1
        if move.cause == "completed" and self.times:
            self.times = {key: n for key, n in self.times.items() if key[0] != self.state}
        if not move.back and (move.cause != "signal" or move.to not in self.came_from):
            self.came_from[move.to] = self.state
        self.error = None if move.failure is None else self.error
        self.state = move.to
        self.cause = move.cause
        self.cut = None
        self.entries[move.to] = self.entries.get(move.to, 0) + 1
        self._state(facts)
        if move.asked is not None:
            move.asked.answer({key: facts[key] for key in ("from", "to", "number")})
        self._log((facts["from"], move.to, move.cause, self.ctx.at))
        self._show(
            state=self.state,
            owner=self.machine.states[self.state].owner,
            entered_at=Later(told_time, self.ctx.at),
            entry=self.entries[self.state],
            blocked=None,
            next_action="",
            expected_completion=None,
            previous=self.came_from.get(self.state, ""),
            transitions=self.transitions,
            history=Later(told_history, self.history),
            warnings=tuple(self.warnings),
        )

    async def _statement(self, witness: Hook, facts: dict[str, Any]) -> Any:
        """Return what the witness states about a transition. Without it there is none."""
        self._show(next_action=f"{witness.service} {witness.operation}", expected_completion=None)
        said = await self._hook(witness, facts, heard=heard)
        assert isinstance(said, Answer)  # it is critical, and between two states nothing leads on
        return said.output

    async def _hook(
        self,
        hook: Hook,
        facts: dict[str, Any],
        *,
        heard: Callable[[Answer], Answer | Failure] | None = None,
    ) -> Answer | Move | None:
        """Do a step at a boundary of a state; a critical one that fails holds the motion.

        ``heard`` judges the answer, which may be a failure all the same.
        """
        request = {**facts, "motion": {"input": self.input, "data": self.data}}
        path = ""
        while True:
            answer = await self.asking.step(
                hook.service,
                hook.operation,
                request,
                options=StepOptions(
                    retry=hook.policy,
                    timeout_s=float(hook.timeout),
                    absent="wait" if hook.critical else "fail",
                    undecided_s=CUT_S,
                ),
                of=path,
            )
            path = path or self.asking.path
            if isinstance(answer, Answer) and heard is not None:
                answer = heard(answer)
            if isinstance(answer, Answer):
                return answer
            told = {"service": hook.service, "error": self._told(answer)}
            if not hook.critical:
                self._remember(self.warnings, {**told, "state": self.state}, WARNINGS_MAX)
                self.ctx.emit(WARNING, {**self._place(), **told})
                return None
            word = await self._halt(answer)
            if isinstance(word, Move):
                return word
