"""directed: a step of a workflow in Python, with a directive for every error kind.

    paid = await directed(
        ctx, "bank", "pay", order,
        on_error={"network": Directive(do="retry", then=Directive(do="fallback", ...))},
    )

What a failure leads to is said beside the step, in the words that state machines have. It is made
of the kernel's public operations, so whatever it does stands in the mailbox like all the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors.motions.rules import Decision, read_decision
from protocols.directives import Directive, Do, choose, retries_of
from protocols.error_kinds import KINDS, classify, is_unknown_outcome
from protocols.errors import ConfigurationError, StepFailedError
from protocols.failure import NO_RESPONDERS, Failure
from protocols.policy import StepOptions

if TYPE_CHECKING:
    from actors.kernel.context import Context
    from actors.kernel.operations import Operation

OF_MACHINES: Final = frozenset({"return_to_previous", "compensate"})
"""Directives that a step alone cannot follow."""
RESUME: Final = "resume."
"""A halted step goes on by a signal that begins with this; the event ``incident`` names it."""
_SIGNAL_CHARS_MAX: Final = 120


class Directed(msgspec.Struct, frozen=True):
    """What came of a step: its value, who gave it, and a warning when it went on without."""

    value: Any
    service: str
    warning: Failure | None = None


async def directed(
    ctx: Context,
    service: str,
    operation: str,
    input: Any = None,  # noqa: A002 - as authors say
    *,
    on_error: Mapping[str, Directive | Do],
    options: StepOptions | None = None,
    guardrails: str | Sequence[str] = (),
) -> Directed:
    """Ask a service and follow the directive of whatever kind of failure comes.

    Kinds without a directive have the one of ``protocols.directives.BY_KIND``, and halt where
    that belongs to state machines. A halted step publishes the event ``incident`` and waits for
    its signal: ``retry``, ``halt`` (the step fails), or ``{"result": …}`` in place of the value.
    ``guardrails`` hold for whoever is asked. Raises StepFailedError when it is told so, and
    ConfigurationError for what is no step's.
    """
    table = {
        kind: Directive(do=each) if isinstance(each, str) else each
        for kind, each in on_error.items()
    }
    for each in table.values():
        _check(each)
    retries = retries_of((*KINDS, *(kind for kind in table if kind not in KINDS)), table)
    chosen = msgspec.structs.replace(
        options or StepOptions(),
        retries=retries,
        absent="fail" if NO_RESPONDERS in table else "wait",
    )
    return await Following(ctx, operation, input, table, chosen, guardrails=guardrails).run(
        service
    )


class Following:
    """One step, and whatever its failures lead to."""

    def __init__(
        self,
        ctx: Context,
        operation: str,
        value: Any,
        table: Mapping[str, Directive],
        options: StepOptions,
        *,
        guardrails: str | Sequence[str] = (),
    ) -> None:
        self.ctx = ctx
        self.operation = operation
        self.value = value
        self.table = table
        self.options = options
        self.guardrails = guardrails
        self.path = ""

    async def run(self, service: str, of: str = "") -> Directed:
        """Ask a service and follow directives until there is a value.

        ``of`` is the path of an earlier call for the same work. Raises StepFailedError when the
        step is given up.
        """
        found: Directed | Failure | None = await self.ask(service, of)
        first = of or self.path
        while not isinstance(found, Directed):
            found = await self.follow(service, found) if found else await self.ask(service, first)
        return found

    # What other kinds of steps do in their own way

    def step(self, service: str, of: str) -> Operation[Any]:
        """Return the call of a service; ``of`` is the path of an earlier one of the same work."""
        ctx = self.ctx
        how: dict[str, Any] = {"options": self.options, "guardrails": self.guardrails}
        if of:
            return ctx.again(of, service, self.operation, self.value, **how)
        return ctx.call(service, self.operation, self.value, **how)

    def first(self, failure: Failure) -> Directive:
        """Return the directive for a failure."""
        directive = choose(failure, self.table)
        # A default that a step cannot follow.
        return directive.after if directive.do in OF_MACHINES else directive

    def after(self, directive: Directive) -> Directive:
        """Return the directive behind one that could not help."""
        return directive.after

    async def halt(self, failure: Failure) -> Directed | None:
        """Wait for an operator; return the value that he gives, or None to ask again."""
        return await halted(self.ctx, self.path, signal_of(self.path), failure)

    async def ask(self, service: str, of: str = "") -> Directed | Failure:
        """Ask a service once, with all attempts."""
        step = self.step(service, of)
        try:
            return Directed(await step, service)
        except StepFailedError as error:
            return error.failure
        finally:
            self.path = step.path

    # Failures

    async def follow(self, service: str, failure: Failure) -> Directed | None:
        """Follow the directives of a failure; None to ask the service again."""
        directive = self.first(failure)
        while True:
            facts = {"directive": directive.do, "service": service, "error": told(failure)}
            self.ctx.emit("directive", {"step": self.path, **facts})
            match directive.do:
                case "fallback":
                    found = await self._fall_back(directive, failure)
                    if found is not None:
                        return found
                case "continue":
                    self.ctx.emit("warning", {"step": self.path, "error": told(failure)})
                    return Directed(None, service, failure)
                case "review" if directive.by:
                    decision = await self._review(directive, failure)
                    if decision is not None and decision.do != "halt":
                        return _decided(decision)
                case "compensate":
                    raise StepFailedError(self.path, failure)
                case "halt_and_alert":
                    return await self.halt(failure)
                case _:
                    pass  # a retry has used its attempts up
            directive = self.after(directive)

    async def _fall_back(self, directive: Directive, failure: Failure) -> Directed | None:
        for service in directive.services:
            if is_unknown_outcome(failure) and directive.unknown == "halt":
                return None
            found = await self.ask(service)
            if isinstance(found, Directed):
                return found
            failure = found
        return None

    async def _review(self, directive: Directive, failure: Failure) -> Decision | None:
        request = {"step": self.path, "input": self.value, "error": told(failure)}
        try:
            said = await self.ctx.call(directive.by, directive.operation, request)
        except StepFailedError:
            return None
        found = read_decision(said, "reviewed")
        return found if isinstance(found, Decision) else None


async def halted(ctx: Context, step: str, signal: str, failure: Failure) -> Directed | None:
    """Tell that a step is halted and wait for a word: the value, or None to ask again.

    Raises StepFailedError when the word is to halt.
    """
    while True:
        facts = {"step": step, "signal": signal, "error": told(failure)}
        ctx.emit("incident", {"reason": "halted", **facts})
        decision = read_decision(await ctx.signal(signal), "resumed")
        if isinstance(decision, Decision):
            if decision.do == "halt":
                raise StepFailedError(step, failure)
            return _decided(decision)


def signal_of(path: str) -> str:
    """Return the name of the signal that resumes the step at a path."""
    return RESUME + re.sub(r"[^A-Za-z0-9_.-]", "-", path.strip("/"))[-_SIGNAL_CHARS_MAX:]


def _decided(decision: Decision) -> Directed | None:
    """Return the value that a decision gives, or None to ask again."""
    return None if decision.result is None else Directed(decision.result, decision.who)


def _check(directive: Directive) -> None:
    """Refuse what only a state machine can follow."""
    each: Directive | None = directive
    while each is not None:
        if each.do in OF_MACHINES or each.to:
            raise ConfigurationError(
                f"{each.do} {each.to}".rstrip() + " is nothing that a step can do",
                hint="catch the error and do it in the workflow's code, or write a state machine",
            )
        if each.do == "review" and not each.by:
            raise ConfigurationError(
                "a review of a step names who decides",
                hint="write Directive(do='review', by='a-service')",
            )
        each = each.then if isinstance(each.then, Directive) else None


def told(failure: Failure) -> dict[str, Any]:
    """Return what events say of a failure."""
    return {"kind": failure.kind, "class": classify(failure), "message": failure.message}
