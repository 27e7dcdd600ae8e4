"""How a motion asks services: with the options that a machine says, bounded by its deadlines."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from actors.kernel.guarding import Gave, Held, Memory, run_of
from actors.motions.rules import Answer, read_answer
from protocols import codec
from protocols.directives import choose, of_kind, retries_of
from protocols.durations import DURATION_S_MAX, shown
from protocols.error_kinds import OVER_LIMIT
from protocols.errors import OversizedError, StepFailedError
from protocols.failure import NO_RESPONDERS, TIMEOUT, Failure
from protocols.machines.check import kinds_of
from protocols.policy import StepOptions

CUT_S: Final = 60.0
"""What was cut short keeps the rest from being undone for this long at most, and not for as long
as its owner had: that may be a week. Its own undo is asked for by key, whatever becomes of it."""

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actors.kernel.context import Context
    from actors.kernel.guarding import Waits
    from protocols.compensation import Undo
    from protocols.guardrails.book import RuleBook
    from protocols.guardrails.evaluation import Guard
    from protocols.machines.machine import Machine


class Asking:
    """Asks services for one motion.

    ``path``, ``digest`` and ``attempt`` are those of the latest request; ``path`` is empty when
    it was not sent, because it is too large.
    """

    def __init__(self, ctx: Context, machine: Machine, book: RuleBook | None) -> None:
        self._ctx = ctx
        self._machine = machine
        self._book = book
        """The rules of the machine; None: it has none."""
        self._memory: Memory | None = None
        self._began = ctx.now()
        self._first: dict[str, str] = {}
        """Service -> path of its first step in this stay: what is asked again has its key."""
        self._stay: tuple[str, int] = ("", 0)
        self.path = ""
        self.digest = ""
        self.attempt = 1

    def go_over(self, machine: Machine, book: RuleBook | None, moves: Mapping[str, str]) -> None:
        """Ask as another machine says; what is asked again keeps its key."""
        self._machine, self._book = machine, book
        state, entry = self._stay
        self._stay = (moves.get(state, state), entry)

    async def work(
        self,
        state: str,
        service: str,
        operation: str,
        request: dict[str, Any],
        *,
        again: bool,
        waits: Waits,
        held: bool = True,
    ) -> Answer | Failure:
        """Ask a service for the work of a state, within the state's time, between its rules.

        ``waits`` is told for which word of a person it waits, and nothing when it goes on.
        """
        if held and self._book is not None:
            guards = self._book.of(self._machine.states[state].rules)
            if guards:
                how: dict[str, Any] = {"again": again, "waits": waits}
                return await self._between(guards, state, service, operation, request, **how)
        stay = (state, request["entry"])
        if self._stay != stay:
            self._stay, self._first = stay, {}
        options, bound_s, undo = _options_of(_Keyed(self._machine), state)
        of = self._first.get(service, "") if again else ""
        asked = self.step(
            service, operation, request, options=options, bound_s=bound_s, of=of, undo=undo
        )
        del request  # as long as there is no answer, the encoded one is enough
        answer = await asked
        if self.path:
            self._first.setdefault(service, self.path)
        return answer

    async def _between(
        self,
        guards: Sequence[Guard],
        state: str,
        service: str,
        operation: str,
        request: dict[str, Any],
        *,
        again: bool,
        waits: Waits,
    ) -> Answer | Failure:
        """Do the same between the checks. Nobody's word counts toward the state's time."""
        assert self._book is not None
        self._memory = self._memory or Memory(self._ctx)
        place = self._ctx.place
        rules = (self._ctx, guards, self._book.functions, self._memory)
        held = Held(*rules, where=place, name=state)
        options, _, undo = _options_of(_Keyed(self._machine), state)

        async def ask(anew: bool) -> Gave | Failure:  # noqa: FBT001 - as rules ask
            if anew:
                self._first.pop(service, None)
            how: dict[str, Any] = {"again": again, "waits": waits, "held": False}
            found = await self.work(state, service, operation, request, **how)
            held.path = self.path or place
            if isinstance(found, Failure):
                return found
            return Gave(found.output, self.attempt, found)

        told = {"name": state, "service": service, "operation": operation, "kind": "service"}
        facts = {
            "input": request["input"],
            "run": run_of(self._ctx, self._began),
            "params": request,
        }
        found = await held.through(
            {**facts, "step": told}, ask, options, undoable=undo is not None, waits=waits
        )
        if held.anew:  # the same key would bring the same answer
            self._first.pop(service, None)
        if isinstance(found, Failure):
            return found
        answer: Answer = found.of
        return answer

    async def step(
        self,
        service: str,
        operation: str,
        request: dict[str, Any],
        *,
        options: StepOptions,
        bound_s: float = 0.0,
        of: str = "",
        undo: Undo | None = None,
    ) -> Answer | Failure:
        """Ask a service, for at most ``bound_s`` seconds when that is not 0.

        ``of`` is the path of an earlier step whose key, and undo, the request carries.
        """
        ctx = self._ctx
        self.path = ""
        try:
            body = codec.Encoded(codec.encode(codec.Known(request)))
        except OversizedError as error:
            return Failure(kind=OVER_LIMIT, message=error.message, retryable=False)
        self.digest = hashlib.sha256(body.body).hexdigest()
        if of:
            step = ctx.again(of, service, operation, body, options=options)
        else:
            step = ctx.call(service, operation, body, options=options, undo=undo)
        del request, body
        try:
            if not bound_s:
                value = await step
            else:
                with ctx.move_on_after(bound_s, name="deadline") as deadline:
                    value = await step
                if deadline.expired:
                    self.path = step.path
                    message = f"{service} has not answered within {shown(bound_s)}"
                    return Failure(kind=TIMEOUT, message=message, unknown=True)
        except StepFailedError as error:
            self.path = step.path
            return error.failure
        self.path, self.attempt = step.path, getattr(step, "attempt", 1)
        return read_answer(value, owner=service, motion=ctx.id, step=step.path)


class _Keyed:
    """A machine as a key of a cache: by identity, because its tables cannot be hashed."""

    __slots__ = ("machine",)

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def __hash__(self) -> int:
        return id(self.machine)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and other.machine is self.machine


@lru_cache(maxsize=4_096)
def _options_of(keyed: _Keyed, state: str) -> tuple[StepOptions, float, Undo | None]:
    """Return the options of a state's step, the seconds after which its time is over, its undo.

    Whoever says what happens without a service does not wait for one. Each attempt has the
    state's time. An attempt whose service is absent uses none of it, so
    the whole is bounded as well: by the time of all attempts, if a timeout is retried.
    """
    machine = keyed.machine
    of = machine.states[state]
    kinds = kinds_of(machine)
    timeout_s = machine.timeout_s(state)
    named = of_kind(NO_RESPONDERS, of.directives, machine.directives)
    options = StepOptions(
        timeout_s=timeout_s,
        absent="wait" if named is None else "fail",
        idempotent=of.idempotent,
        retries=retries_of(kinds, of.directives, machine.directives),
        heartbeat_s=None if of.heartbeat is None else float(of.heartbeat),
        undecided_s=None if of.undone_by and of.undone_by.settle_s is not None else CUT_S,
    )
    late = choose(Failure(kind=TIMEOUT, message=""), of.directives, machine.directives)
    bound_s = timeout_s
    if late.do == "retry" and of.idempotent:
        policy = late.policy
        delays = [policy.delay_before(each, "") for each in range(2, policy.attempts + 1)]
        bound_s = timeout_s * policy.attempts + sum(delays)
    return options, min(bound_s, DURATION_S_MAX), of.undone_by
