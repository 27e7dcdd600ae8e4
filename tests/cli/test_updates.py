"""``movant run update`` and ``answer``: what is asked for, what is written, and how it exits."""

from __future__ import annotations

import pytest

from protocols.api import runs as api
from protocols.api.updates import RunUpdated
from protocols.failure import Failure
from runtime.cli.failures import OK, RUN_FAILED, TIMED_OUT
from tests.cli.conftest import Cli
from tests.client.responder import Responder

pytestmark = pytest.mark.server

WHY = Failure(kind="rejected", message="it is packed", retryable=False)


def _updated(status: str, **more: object) -> RunUpdated:
    told = {"id": "order-17", "message_id": "m-7", "status": status, **more}
    return RunUpdated(**told)  # type: ignore[arg-type]


def test_an_update_is_sent_and_its_answer_written(ask: Cli, responder: Responder) -> None:
    """The result alone goes to standard output; what is missing in time exits 124."""
    responder.answers["run.resolve"] = api.RunResolved(id="order-17")
    answers = {
        "add": _updated("completed", result={"items": 2}),
        "take": _updated("rejected", failure=WHY),
        "wait": _updated("accepted"),
        "stuck": _updated("pending", blocked="mismatch: no such step"),
    }
    responder.answers["run.update"] = lambda request: answers[request.name]
    responder.answers["run.answer"] = _updated("accepted")

    added = ask("run", "update", "order-17", "add", "-i", "item=nut", "--message-id", "m-7", "-w")
    refused = ask("run", "update", "order-17", "take")
    accepted = ask("run", "update", "order-17", "wait", "--timeout", "0")
    late = ask("run", "update", "order-17", "wait", "--timeout", "0", "--wait")
    stuck = ask("run", "update", "order-17", "stuck")
    looked = ask("run", "answer", "order-17", "m-7", "-o", "json")
    codes = [each.code for each in (added, refused, accepted, late, stuck, looked)]

    sent = [each for verb, each in responder.asked if verb == "run.update"]
    assert (sent[0].data, sent[0].message_id, sent[0].until) == (
        {"item": "nut"},
        "m-7",
        "answered",
    )
    assert [each.until for each in sent[1:4]] == ["accepted", "accepted", "answered"]
    assert codes == [OK, RUN_FAILED, OK, TIMED_OUT, RUN_FAILED, OK]
    assert added.json == {"items": 2}
    assert "m-7 is rejected: rejected: it is packed" in refused.err
    assert "movant run answer order-17 m-7 --wait" in accepted.err
    assert "mismatch: no such step" in stuck.err
    assert looked.json["status"] == "accepted"
