"""``movant stats``: what it asks, and what it writes."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from protocols.api import runs as api
from protocols.api.stats import EXAMPLES
from tests.cli.conftest import Cli
from tests.client.responder import Responder

pytestmark = pytest.mark.server


def found(**more: Any) -> api.RunStats:
    """Return the example of the catalogue."""
    return msgspec.convert({**EXAMPLES["stats"][1], **more}, api.RunStats, strict=False)


def test_numbers_are_written_for_people(ask: Cli, responder: Responder) -> None:
    """Facts first, then a table for each question; what is missing is said as well."""
    responder.answers["stats"] = found(unread=1)

    ended = ask("stats", "--workflow", "order", "--since", "1h")

    request = responder.asked[0][1]
    assert request.workflow == "order"
    assert 3_590 < (time.time_ns() - request.since) / 1e9 < 3_700
    lines = [" ".join(line.split()) for line in ended.out.splitlines() if line]
    assert lines == [
        "runs 3",
        "success 66.7%",
        "average 1.5s from start to end of completed runs",
        "WORKFLOW RUNS ACTIVE COMPLETED OTHER SUCCESS AVERAGE P95 MAX",
        "order 3 0 2 failed 1 66.7% 1.5s 2.0s 2.0s",
        "SERVICE OPERATION REQUESTS ERRORS AVERAGE P95 MAX KINDS",
        "bank charge 2 1 (50.0%) 1.5s 2.0s 2.0s card_declined 1",
        "BOTTLENECK STEP SERVICE TIMES AVERAGE P95 MAX TOTAL",
        "order charge bank 2 1.5s 2.0s 2.0s 3.0s",
        "FAILURES OF ENDED KIND RUNS NEWEST",
        "order failed card_declined 1 order-7",
    ]
    assert "1 runs are counted without their steps" in ended.err


def test_a_script_gets_all_pages_as_one_document(ask: Cli, responder: Responder) -> None:
    """Two pages of three runs each are six runs."""
    responder.answers["stats"] = lambda request: found(
        total=6, next="" if request.after else "17.order-7"
    )

    said = ask("stats", "-o", "json").json

    assert (said["runs"], said["total"]) == (6, 6)
    assert said["services"][0]["requests"] == 4
    assert said["success_rate"] == pytest.approx(2 / 3)


def test_a_time_that_is_none_is_told_before_anything_is_asked(
    ask: Cli, responder: Responder
) -> None:
    """The exit code is that of a wrong command line."""
    ended = ask("stats", "--since", "yesterday")

    assert ended.code == 2
    assert "not understood" in ended.err
    assert responder.asked == []
