"""Routing: which candidate of its route serves an attempt of a step.

    order      attempt 1 -> candidate 1 -- failed, no effect --> attempt 2 -> candidate 2
    measured   attempt 1 -> nobody yet -- owner.routed --> who the owner chose

Where a candidate of an order cannot be asked the owner may choose another one, also with
``owner.routed``; for one attempt the first choice counts. After an unknown outcome the next
attempt goes to the same service, with the same key, unless the step says ``unknown="switch"``:
another service would do the work a second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.failure import PROTOCOL, TIMEOUT, Failure

if TYPE_CHECKING:
    from protocols.routes import Choices


def is_unknown(failure: Failure) -> bool:
    """Tell whether a failure leaves open whether the effect has happened."""
    return failure.unknown or failure.kind in {TIMEOUT, PROTOCOL}


class Routing:
    """The route of one open step."""

    __slots__ = ("bound", "choices", "decided", "failed", "service")

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.service = choices.candidates[0].service
        """Who serves the current attempt, when that is decided; else who might."""
        self.decided = False
        """It stays so for this attempt: a message said it, or an unknown outcome binds it."""
        self.bound = False
        """The effect may have happened there: no other service is asked any more."""
        self.failed: tuple[str, ...] = ()
        """Candidates that failed without an effect: others go first."""

    @property
    def open(self) -> bool:
        """True while nobody may be asked, because the owner has to choose first."""
        return self.choices.ranked and not self.decided

    def choose(self, service: str) -> bool:
        """Take the owner's choice for the current attempt; False when it cannot count."""
        if self.decided or self.choices.index(service) < 0:
            return False
        self.service = service
        self.decided = True
        return True

    def next_attempt(self, failure: Failure, *, switch: bool) -> None:
        """Move on after a failed attempt: stay, or go to the next candidate."""
        if self.open:
            return  # nobody was chosen, so nobody was asked
        if self.bound or (is_unknown(failure) and not switch):
            self.decided = self.bound = True
            return
        self.decided = False
        self.failed = (*self.failed, self.service) if self.service not in self.failed else ()
        candidates = self.choices.candidates
        following = (self.choices.index(self.service) + 1) % len(candidates)
        self.service = candidates[following].service

    def facts(self) -> list[object]:
        """Return what the future depends on, for the digest of the fold."""
        return [self.service, self.decided, self.bound, list(self.failed)]
