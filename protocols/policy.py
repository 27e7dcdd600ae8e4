"""Policies: when to try again, and how long to wait."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from protocols.error_kinds import is_unknown_outcome, words
from protocols.failure import NO_RESPONDERS, REFUSED, VALIDATION, Failure
from protocols.flow import Priority
from protocols.rng import Rng

Seconds = Annotated[float, msgspec.Meta(ge=0)]

JITTER_DEFAULT: Final = 0.1


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a step is tried and how long to wait between two attempts.

    ``attempts`` counts all calls, the first one too. ``delays`` is an explicit list that goes
    before ``backoff``; its last entry repeats. ``jitter`` is the share of a delay that is drawn
    at random, from a generator seeded by the step, so that a fold gives the same delay again.
    """

    attempts: Annotated[
        int,
        msgspec.Meta(description="How many calls there are, the first one too.", ge=1, le=1000),
    ] = 4
    backoff: Annotated[
        Literal["fixed", "linear", "exponential"],
        msgspec.Meta(description="How delays grow from `delay_s` on."),
    ] = "exponential"
    delay_s: Annotated[Seconds, msgspec.Meta(description="Seconds before the first repeat.")] = 1.0
    max_delay_s: Annotated[Seconds, msgspec.Meta(description="Most seconds before a repeat.")] = (
        60.0
    )
    delays: Annotated[
        tuple[Seconds, ...],
        msgspec.Meta(
            description="Seconds before each repeat, not by `backoff`; the last repeats."
        ),
    ] = ()
    jitter: Annotated[
        float,
        msgspec.Meta(description="The share of a delay that is drawn at random.", ge=0, le=1),
    ] = JITTER_DEFAULT
    non_retryable: Annotated[
        tuple[str, ...], msgspec.Meta(description="Error kinds that are not tried again.")
    ] = (REFUSED, VALIDATION)

    def delay_before(self, attempt: int, seed: str) -> float:
        """Return the seconds to wait before ``attempt`` (2 is the first retry)."""
        assert attempt >= 2  # noqa: PLR2004
        retry = attempt - 1
        if self.delays:
            delay = self.delays[min(retry, len(self.delays)) - 1]
        elif self.backoff == "fixed":
            delay = self.delay_s
        elif self.backoff == "linear":
            delay = self.delay_s * retry
        else:
            delay = self.delay_s * 2.0 ** min(retry - 1, 60)
        delay = min(delay, self.max_delay_s) if not self.delays else delay
        if not self.jitter or not delay:
            return delay
        spread = Rng(f"{seed}/jitter/{attempt}").random()
        return delay * (1 - self.jitter * spread)

    def allows(self, attempt: int, kind: str, *, retryable: bool) -> bool:
        """Tell whether another attempt may follow ``attempt``, which ended with ``kind``."""
        return retryable and attempt < self.attempts and kind not in self.non_retryable


NO_RETRY: Final = Retry(attempts=1)


class StepOptions(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, cache_hash=True
):
    """What a step's author declares about it.

    ``timeout_s`` bounds one attempt, from dispatch to reply. ``absent`` says what happens when
    nobody serves the subject: wait parked, or fail with kind ``no_responders``. ``idempotent``
    false switches the re-ask of a lost request off. ``priority`` says who goes first where
    requests have to wait; none: as the instance's start says. ``unknown`` says who is asked
    after an outcome that nobody knows: the same service again, or the next one of its route,
    which may do the work a second time, or a person, whose word is waited for; for a service
    that can neither repeat nor refuse a key. ``retries`` goes before ``retry``: the error kinds
    (``protocols.error_kinds``) that are tried again, each with its policy, whatever the service
    says about trying again; other kinds are not,
    or with ``others`` as ``retry`` says. ``undecided_s``: how long an attempt that is
    cancelled in flight keeps others from being undone, when no reply comes; none: ``timeout_s``.
    ``heartbeat_s``: the service beats (``Call.heartbeat``), and an attempt that it leaves silent
    for so long is given up as one whose time is over; none: nobody listens.
    """

    retry: Retry = Retry()
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    absent: Literal["wait", "fail"] = "wait"
    idempotent: bool = True
    priority: Priority | None = None
    unknown: Literal["retry", "switch", "review"] = "retry"
    retries: tuple[tuple[str, Retry], ...] | None = None
    others: bool = False
    undecided_s: Seconds | None = None
    heartbeat_s: Annotated[float, msgspec.Meta(gt=0)] | None = None

    def allow(self, attempt: int, failure: Failure) -> Retry | None:
        """Return the policy by which another attempt follows ``attempt``, or None."""
        if not self.idempotent and is_unknown_outcome(failure):
            return None
        if self.retries is not None:
            policies = dict(self.retries)
            for word in words(failure):
                if word in policies:
                    policy = policies[word]
                    return policy if attempt < policy.attempts else None
            if not self.others:
                return None
        policy = self.retry
        may = policy.allows(attempt, failure.kind, retryable=failure.retryable)
        return policy if may else None


STEP_DEFAULTS: Final = StepOptions()
__all__ = ["NO_RESPONDERS", "NO_RETRY", "STEP_DEFAULTS", "Retry", "Seconds", "StepOptions"]
