"""The term of a lease: what renewals earn, and what they do not."""

from __future__ import annotations

from actors.owning.membership import LEASE_S, RENEW_S
from actors.owning.term import Term
from runtime.clock import SystemClock


class Clock(SystemClock):
    """A clock that a test sets."""

    at = 0.0

    def boottime(self) -> float:
        """Return what was set."""
        return self.at


def trusted() -> tuple[Term, Clock]:
    """Return a term that began at 0."""
    clock = Clock()
    term = Term(clock)
    term.renewed(0.0)
    assert not term.held
    term.trust()
    assert term.held
    assert term.was_silent(0.0)  # before it there was nothing
    return term, clock


def test_a_renewal_counts_from_when_it_was_sent() -> None:
    """Others count from when they saw it: never before."""
    term, clock = trusted()
    clock.at = 1.5
    term.renewed(1.0)
    clock.at = LEASE_S + 0.9
    assert term.held
    clock.at = LEASE_S + 1.0
    assert not term.held


def test_a_renewal_whose_answer_comes_too_late_earns_nothing() -> None:
    """Sent within the term, stored after it: somebody may have taken over in between."""
    term, clock = trusted()
    clock.at = LEASE_S + 0.2
    term.renewed(LEASE_S - 0.1)
    assert not term.held
    term.renewed(LEASE_S + 0.1)
    assert not term.held
    term.trust()
    assert term.held


def test_answers_may_come_in_any_order() -> None:
    """An older one takes nothing away."""
    term, clock = trusted()
    clock.at = 1.0
    term.renewed(0.8)
    term.renewed(0.4)
    clock.at = LEASE_S + 0.7
    assert term.held


def test_nothing_begins_a_term_after_its_end() -> None:
    """A daemon that has said good-bye acts no more."""
    term, clock = trusted()
    clock.at = 0.5
    term.end()
    term.renewed(0.4)
    term.trust()
    assert not term.held


def test_a_pause_of_our_own_is_told_once_whoever_comes_first() -> None:
    """It may have been everybody's: the next look counts no silence of that time."""
    term, clock = trusted()
    term.renewed(RENEW_S)
    assert not term.was_silent(2 * RENEW_S)
    clock.at = LEASE_S
    term.renewed(LEASE_S)  # the renewal before the look
    assert term.was_silent(LEASE_S)
    assert not term.was_silent(LEASE_S)
    assert term.was_silent(2 * LEASE_S)  # the look before the renewal
