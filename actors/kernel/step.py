"""Step: one unit of work at a service, from the first ask to its value or its failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors.kernel.clock import DELAY_S_MAX, nanoseconds
from actors.kernel.operations import UNREADABLE, Operation, T
from actors.kernel.routing import Routing
from protocols import codec
from protocols.effects import Ask, AskRoute, Emit, LocalCall, Waiting
from protocols.error_kinds import is_unknown_outcome
from protocols.errors import BadValueError, OversizedError, StepFailedError
from protocols.failure import FAILED, TIMEOUT, Failure
from protocols.headers import BEAT_BYTES_MAX
from protocols.policy import StepOptions
from protocols.subjects import step_token

if TYPE_CHECKING:
    from actors.kernel.ledger import Ledger
    from actors.kernel.tasks import Task
    from protocols.mail import Reviewed, Routed

RETRY_AFTER_S_MAX: Final = 86_400.0
"""Longest delay that a service may ask for: a day, so that a wrong unit cannot park a step."""

FAILED_CHARS_MAX: Final = 200
"""Of how an attempt ended, kept for people while the next one is waited for."""


class Step(Operation[T]):
    """One unit of work at a service, tried in attempts."""

    __slots__ = (
        "attempt",
        "body",
        "due",
        "failed",
        "input",
        "last",
        "local",
        "name",
        "operation",
        "options",
        "reviewing",
        "routing",
        "service",
        "token",
        "until",
    )

    def __init__(  # noqa: PLR0917 - the hot path: built once per step, by position
        self,
        ledger: Ledger,
        service: str,
        operation: str,
        value: Any,
        name: str,
        returns: Any,
        options: StepOptions,
        local: LocalCall | None,
    ) -> None:
        self.ledger = ledger
        self.returns = returns
        self.path = ""
        self.task = None
        self.service = service
        self.operation = operation
        self.input = value
        self.name = name
        self.options = options
        self.local = local
        self.reviewing = ""
        """Why a person has to say whether the current attempt was done."""
        choices = ledger.routes and ledger.routes.get(service)
        self.routing = Routing(choices) if choices else None
        ledger.unawaited[self] = None

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        ledger = self.ledger
        self.body = b"" if self.local is not None else ledger.encode(self.input)
        self.input = None
        self.failed = ""
        self.last = b""
        self.path = path = task.frame.path(self.name)
        self.token = token = step_token(path)
        if ledger.taken is not None and (known := ledger.outcome(token)) is not None:
            ledger.decided[token] = 0 if "failure" in known else 1
            return True
        self.attempt = 1
        self.due = ledger.now
        self.until = task.scope.until
        ledger.steps[token] = self
        self.ask()
        return False

    def at_once(self) -> T:
        """Return what the step came to in another run, or raise its failure."""
        known = self.ledger.outcome(self.token)
        assert known is not None
        if "failure" in known:
            raise StepFailedError(self.path, msgspec.convert(known["failure"], Failure))
        typed: T = self.typed(known["value"])
        return typed

    def ask(self) -> None:
        """Ask for the current attempt."""
        ledger = self.ledger
        path = self.path
        routing = self.routing
        ledger.effects.append(
            Ask(
                cause=ledger.cause,
                path=path,
                step=self.token,
                attempt=self.attempt,
                service=self.service if routing is None else routing.service,
                operation=self.operation,
                body=self.body,
                key=f"{ledger.instance_id}/{ledger.generation}{path}",
                due=self.due,
                until=self.until,
                options=self.options,
                local=self.local,
                route=None if routing is None else route_of(routing),
                last=self.last,
            )
        )

    def is_asked(self, effect: Ask) -> bool:
        """Tell whether an ask is the current one."""
        if self.reviewing:
            return False
        if self.routing is None or self.attempt != effect.attempt:
            return self.attempt == effect.attempt
        return effect.route is not None and effect.route.decided == self.routing.decided

    def routed(self, mail: Routed) -> bool:
        """Take the owner's choice for the current attempt; False when it does not count."""
        routing = self.routing
        if routing is None or mail.attempt != self.attempt or not routing.choose(mail.service):
            return False
        self.ask()
        return True

    def replied(self, attempt: int, body: bytes, content_type: str) -> None:
        """Take the first success of any attempt."""
        try:
            value = codec.decode(body, content_type)
        except (BadValueError, OversizedError):
            self.attempt_failed(attempt, UNREADABLE)
            return
        self.decide(attempt)
        self.succeed(value)

    def attempt_failed(self, attempt: int, failure: Failure) -> None:
        """Try again or give up, when it is the current attempt that failed."""
        if attempt != self.attempt:
            self.ledger.counters.late += 1
            return
        if self.needs_word(failure):
            self.ask_for_word(failure)
            return
        self.reviewing = ""
        policy = self.options.allow(attempt, failure)
        if policy is None:
            self.decide(0)
            self.ledger.scheduler.resume(self, None, StepFailedError(self.path, failure))
            return
        ledger = self.ledger
        if self.options.heartbeat_s is not None and failure.kind == TIMEOUT:
            said = codec.encode(failure.details)  # of the last beat, as its owner tells
            if failure.details is not None and len(said) <= BEAT_BYTES_MAX:
                self.last = said
        self.failed = f"{failure.kind}: {failure.message}"[:FAILED_CHARS_MAX]
        self.attempt = attempt + 1
        delay_s = policy.delay_before(self.attempt, ledger.identity(self.path))
        asked_s = failure.retry_after_s
        if asked_s is not None and asked_s > delay_s:
            delay_s = min(asked_s, RETRY_AFTER_S_MAX)
        self.due = ledger.now + nanoseconds(min(delay_s, DELAY_S_MAX))
        if self.routing is not None:
            self.routing.next_attempt(failure, switch=self.options.unknown == "switch")
        self.ask()

    def needs_word(self, failure: Failure) -> bool:
        """Tell whether a failure leaves something open that only a person may decide."""
        return self.options.unknown == "review" and is_unknown_outcome(failure)

    def ask_for_word(self, failure: Failure) -> None:
        """Wait for a person's word about the current attempt."""
        if self.reviewing:
            self.ledger.counters.late += 1
            return
        self.reviewing = f"{failure.kind}: {failure.message}"
        self.due = self.ledger.now
        self.ledger.effects.append(review_of(self.ledger, self.path, self.attempt, self.reviewing))

    def reviewed(self, mail: Reviewed) -> bool:
        """Take a person's word; False when it is not about what is waited for."""
        if not self.reviewing or mail.attempt != self.attempt:
            return False
        if mail.done:
            self.replied(mail.attempt, mail.body, "")
        else:
            who = mail.by.who if mail.by is not None else ""
            message = f"not done, says {who or 'somebody'} ({self.reviewing})"
            self.attempt_failed(mail.attempt, Failure(kind=FAILED, message=message))
        return True

    def timed_out(self, attempt: int, at: int) -> None:
        """Take the owner's word that the current attempt is lost, if its time is over."""
        if attempt == self.attempt and at < self.due + nanoseconds(self.options.timeout_s):
            self.ledger.counters.early += 1
            return
        message = f"no reply within {self.options.timeout_s:g} s"
        self.attempt_failed(attempt, Failure(kind=TIMEOUT, message=message))

    def decide(self, attempt: int) -> None:
        """Close the step: whatever comes now is late."""
        del self.ledger.steps[self.token]
        self.ledger.decided[self.token] = attempt

    def abandon(self) -> bool:  # noqa: D102 - as in Wait
        self.decide(0)
        undoing = self.ledger.undoing
        if undoing is not None:
            undoing.abandoned(self)
        return True

    def waiting(self) -> Waiting:
        """Describe the open step."""
        options = self.options
        retry = options.retry
        return Waiting(
            path=self.path,
            kind="review" if self.reviewing else "step",
            since=self.due if self.reviewing else self.since,
            detail=f"{self._asked_of()}.{self.operation}"
            + (f" ({self.reviewing})" if self.reviewing else ""),
            attempt=self.attempt,
            due=self.due,
            attempts=retry.attempts,
            timeout_s=options.timeout_s,
            heartbeat_s=options.heartbeat_s or 0.0,
            failed=self.failed,
            again=options.idempotent and retry.allows(self.attempt, TIMEOUT, retryable=True),
        )

    def _asked_of(self) -> str:
        routing = self.routing
        if routing is None:
            return self.service
        return f"{self.service} (not routed yet)" if routing.open else routing.service


class Again(Step[T]):
    """The work of an earlier step, asked for once more: with that step's key, at its service."""

    __slots__ = ("of",)

    of: str

    def ask(self) -> None:
        """Ask for the current attempt under the key of the earlier step."""
        super().ask()
        effects = self.ledger.effects
        asked = effects[-1]
        assert isinstance(asked, Ask)
        effects[-1] = msgspec.structs.replace(asked, key=self.ledger.identity(self.of))


def review_of(ledger: Ledger, path: str, attempt: int, why: str, *, place: str = "review") -> Emit:
    """Return the event that asks a person whether an attempt was done."""
    next_ = f"movant run review {ledger.instance_id} {path} --done | --not-done"
    return Emit(
        cause=ledger.cause,
        event="outcome_unknown",
        data={"path": path, "attempt": attempt, "why": why, "next": next_},
        id=ledger.identity(f"{path}/{place}/{attempt}"),
    )


def route_of(routing: Routing) -> AskRoute:
    """Return what the owner has to know of a route."""
    return AskRoute(routing.choices, routing.decided, routing.failed, routing.bound)
