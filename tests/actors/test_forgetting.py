"""When a record may be forgotten."""

from __future__ import annotations

from actors.collection import CLOCK_MARGIN_NS
from actors.forgetting import Sweeps
from actors.purging import State
from protocols.events import to_time

S = 1_000_000_000


def state(first: int, last: int, at: int) -> State:
    """Return what MAIL says whose first message was stored at a time."""
    return State(last - first + 1, first, last, to_time(at))


def test_records_are_needed_until_what_stood_there_is_purged() -> None:
    """A pack of an instance that ended may stand anywhere up to the head of that moment."""
    sweeps = Sweeps()

    sweeps.note(state(100, 500, 10 * S), 0)
    first = sweeps.at
    sweeps.note(state(500, 900, 20 * S), 0)
    at_the_head = sweeps.at
    sweeps.note(state(501, 950, 21 * S), 0)

    assert first == at_the_head == 0
    assert sweeps.at == 10 * S - CLOCK_MARGIN_NS


def test_what_was_not_purged_tells_nothing() -> None:
    """Only a first sequence that rises is news."""
    sweeps = Sweeps()

    for last in range(500, 600):
        sweeps.note(state(100, last, 10 * S), 0)
    sweeps.note(state(550, 700, 20 * S), 0)

    assert sweeps.at == 10 * S - CLOCK_MARGIN_NS


def test_an_empty_mail_needs_nothing_from_before() -> None:
    """It has no first message: all that ended has done so by now."""
    sweeps = Sweeps()

    sweeps.note(State(0, 501, 500, "0001-01-01T00:00:00Z"), 30 * S)
    sweeps.note(state(502, 502, 60 * S), 60 * S)

    assert sweeps.at == 30 * S - CLOCK_MARGIN_NS
