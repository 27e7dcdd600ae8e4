"""What servers report about a probe: alone, in a cluster, in any order, or not at all."""

from __future__ import annotations

import json
from typing import Any

from actors.routing.probe_trace import Trace, Traced


def _event(server: str, *events: dict[str, Any], hop: str = "") -> bytes:
    header = {"Nats-Trace-Hop": [hop]} if hop else {}
    found = {"server": {"id": server}, "request": {"header": header}}
    return json.dumps({**found, "events": [{"type": "in", "cid": 1}, *events]}).encode()


def _client(cid: int) -> dict[str, Any]:
    return {"type": "eg", "kind": 0, "cid": cid}


def _route(cid: int, hop: str) -> dict[str, Any]:
    return {"type": "eg", "kind": 1, "cid": cid, "name": "n2", "hop": hop}


def test_one_server_names_its_clients() -> None:
    """Complete at once; whoever would get an error is nobody."""
    trace = Trace()
    trace.add(_event("A", _client(5), {"type": "eg", "cid": 6, "error": "no"}))

    assert trace.complete
    assert trace.traced() == Traced({"A/5"}, [])


def test_behind_a_route_the_other_server_names_the_client() -> None:
    """In whatever order the two reports come."""
    near, far = _event("A", _route(22, "1")), _event("B", _client(5), hop="1")
    for reports in ((near, far), (far, near)):
        trace = Trace()
        trace.add(reports[0])
        halfway = trace.complete
        trace.add(reports[1])

        assert halfway == (reports[0] is far)
        assert trace.complete
        assert trace.traced() == Traced({"B/5"}, [])


def test_a_route_that_leads_to_nobody_is_nobody() -> None:
    """The other server has the last word: interest may be known longer than it lasts."""
    trace = Trace()
    trace.add(_event("A", _route(22, "1")))
    trace.add(_event("B", hop="1"))

    assert trace.complete
    assert trace.traced() == Traced(set(), [])


def test_a_server_that_does_not_report_is_taken_at_the_word_of_the_other() -> None:
    """Somebody is there, as far as anybody knows."""
    trace = Trace()
    trace.add(_event("A", _route(22, "1")))

    assert not trace.complete
    assert trace.traced() == Traced({"A/22"}, [])


def test_no_report_says_nothing_and_an_unreadable_one_names_nobody() -> None:
    """Only the first of them is no answer."""
    silent, broken = Trace(), Trace()
    broken.add(b"{")

    assert silent.traced() is None
    assert broken.traced() == Traced(set(), [])
