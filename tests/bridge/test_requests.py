"""The token table: each request is told once, on time, and leaves nothing behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocols.ports import Done
from runtime.bridge.requests import LEFTOVERS_MAX, RequestTable
from tests.bridge.support import Told

TICK_S = 0.02


def test_a_request_expires_after_its_deadline_and_not_before() -> None:
    """Never early; late by a tick at most."""
    table = RequestTable(TICK_S, now=100.0)
    done = Told()
    table.add(done, 101.0, 0)

    early = table.expire(101.0 - 1e-6)
    late = table.expire(101.0 + TICK_S)

    assert early == []
    assert late == [done]
    assert len(table) == 0


def test_a_request_that_was_answered_does_not_expire() -> None:
    """Taking it out is final; a second take finds nothing."""
    table = RequestTable(TICK_S, now=0.0)
    token = table.add(Told(), 1.0, 7)

    taken = table.take(token, None)

    assert taken is not None
    assert taken.item == 7
    assert table.take(token, None) is None
    assert table.expire(5.0) == []


def test_a_deadline_in_the_past_expires_at_the_next_tick() -> None:
    """A request with no time left is told, not forgotten in a bucket that was looked at."""
    table = RequestTable(TICK_S, now=0.0)
    table.expire(10.0)
    done = Told()

    table.add(done, 3.0, 0)

    assert table.expire(10.0 + 2 * TICK_S) == [done]


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 3)), max_size=60))
def test_every_request_expires_exactly_once(steps: list[tuple[float, float]]) -> None:
    """Whatever timeouts and pauses are mixed, no request is lost and none is told twice."""
    table = RequestTable(TICK_S, now=0.0)
    now = 0.0
    waiting: dict[Done, float] = {}
    for timeout_s, pause_s in steps:
        done = Told()
        waiting[done] = now + timeout_s
        table.add(done, now + timeout_s, 0)
        now += pause_s
        for told in table.expire(now):
            assert waiting.pop(told) <= now
        assert all(now - deadline < 2 * TICK_S for deadline in waiting.values())

    assert len(table) == len(waiting)
    assert set(table.expire(now + 100.0)) == set(waiting)


def test_answered_requests_do_not_pile_up_until_their_deadline() -> None:
    """Memory follows what is open, not rate times timeout."""
    table = RequestTable(TICK_S, now=0.0)
    keep = table.add(Told(), 1000.0, 0)

    for _ in range(5 * LEFTOVERS_MAX):
        table.take(table.add(Told(), 1000.0, 0), None)

    assert table._bucketed <= LEFTOVERS_MAX + 4
    assert table.take(keep, None) is not None


def test_clearing_returns_all_open_requests_in_order() -> None:
    """At a loss everybody is told, the oldest first."""
    table = RequestTable(TICK_S, now=0.0)
    for item in range(3):
        table.add(Told(), 1.0, item)

    cleared = table.clear()

    assert [request.item for request in cleared] == [0, 1, 2]
    assert len(table) == 0
    assert table.expire(10.0) == []
