"""Batches: which runs, under which id, how fast, and when one does not go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio

from protocols import errors
from protocols.api import runs as api
from runtime.client import run_batch
from runtime.client.client import Client
from tests.client.responder import Responder
from tests.support.nats import NatsServer

ROW = api.RunRow(
    id="order-7", workflow="orders", status="blocked", definition="9f2c01", started_at=50
)
MINE = api.RunQuery(workflow="orders")
CANCEL = api.RunCancel(id="", reason="why")


@pytest.mark.parametrize(
    ("named", "other"),
    [
        ({"workflow": "orders"}, {"workflow": "order"}),
        ({"prefix": "order-"}, {"prefix": "rder"}),
        ({"definition": "9f2c"}, {"definition": "01"}),
        ({"since": 50}, {"since": 51}),
        ({"until": 51}, {"until": 50}),
        ({"status": "blocked"}, {"status": "running"}),
        ({"active": True}, {"status": "failed"}),
    ],
)
def test_a_query_names_a_run_of_which_all_of_it_holds(
    named: dict[str, Any], other: dict[str, Any]
) -> None:
    """The daemon chooses by it, and the client looks whether it did."""
    for words, holds in ((named, True), (other, False), (named | other, False)):
        query = api.RunQuery(**words)

        assert (query.names(ROW) and query.stands(ROW.definition, ROW.status)) is holds


@pytest.fixture
def responder(shared_nats: NatsServer) -> Iterator[Responder]:
    """List 20 runs, on pages of 8, and take everything."""
    rows = [
        api.RunRow(id=f"r{number}", workflow="orders", status="running") for number in range(20)
    ]

    def listed(request: api.RunList) -> api.RunPage:
        first = int(request.after or 0)
        return api.RunPage(
            runs=rows[first : first + 8], total=20, next=str(first + 8) if first < 16 else ""
        )

    def accept(request: api.RunCancel) -> api.Accepted:
        return api.Accepted(id=request.id, seq=9)

    with Responder(shared_nats.url, {"run.ls": listed, "run.cancel": accept}) as found:
        yield found


@pytest.fixture
async def client(responder: Responder) -> AsyncIterator[Client]:
    """Connect to the responder."""
    async with Client.connect(responder.url, patience_s=0.0) as found:
        yield found


@pytest.mark.server
async def test_an_id_says_when_a_batch_was_made_and_what_it_does(client: Client) -> None:
    """So the same batch goes on, with no run that began later, and another one is refused."""
    batch = client.batch(MINE, CANCEL, at=1_700_000_000_123_999_999)

    again = client.batch(MINE, api.RunCancel(id="", reason="other words"), id=batch.id)

    assert again.id == batch.id
    assert again.query == batch.query
    assert again.query.until == run_batch.began_at(batch.id) == 1_700_000_000_123_000_000
    assert again.query.active
    for query, action in (
        (MINE, api.RunUndo(id="")),
        (api.RunQuery(workflow="order"), CANCEL),
        (MINE, api.RunSignal(id="", name="go")),
    ):
        with pytest.raises(errors.RefusedError, match="was another one"):
            client.batch(query, action, id=batch.id)
    with pytest.raises(errors.BadValueError, match="is no batch"):
        client.batch(MINE, CANCEL, id="nightly")
    with pytest.raises(errors.ConfigurationError, match="rate"):
        client.batch(MINE, CANCEL, rate=0.0)
    with pytest.raises(errors.RefusedError):
        client.batch(MINE, api.RunSignal(id="", name="a b"))


@pytest.mark.server
async def test_each_run_is_asked_once_and_no_faster_than_was_said(
    client: Client, responder: Responder
) -> None:
    """Under an id that is made of the batch's and of its own; a refusal stops nobody else."""
    responder.answers["run.cancel"] = lambda request: (
        errors.NotFoundError("gone") if request.id == "r3" else api.Accepted(id=request.id, seq=9)
    )
    batch = client.batch(MINE, CANCEL, rate=100.0)
    began = trio.current_time()

    results = {each.id: each async for each in batch.results()}

    assert trio.current_time() - began >= 20 / 100.0
    asked = [request for verb, request in responder.asked if verb == "run.cancel"]
    assert {each.message_id for each in asked} == {f"{batch.id}-{run}" for run in results}
    assert len(asked) == len(results) == 20
    assert [run for run, each in results.items() if each.error is not None] == ["r3"]


@pytest.mark.server
@pytest.mark.parametrize(
    ("answer", "told"),
    [(errors.OverloadedError("full"), 8), (errors.UnknownOutcomeError("?"), 16)],
)
async def test_a_batch_stops_when_nobody_can_answer(
    responder: Responder, monkeypatch: pytest.MonkeyPatch, answer: errors.MovantError, told: int
) -> None:
    """What was done before is told; the rest of 100,000 runs need not fail one by one."""
    monkeypatch.setattr(run_batch, "UNKNOWN_MAX", 3)
    responder.answers["run.cancel"] = lambda request: (
        api.Accepted(id=request.id, seq=9) if int(request.id[1:]) < 8 else answer
    )
    results = []

    async def go(client: Client) -> None:
        async for each in client.batch(MINE, CANCEL).results():
            results.append(each)  # noqa: PERF401 - what came before the error is looked at

    async with Client.connect(responder.url, answer_s=0.5, patience_s=0.0) as client:
        with pytest.raises(type(answer)):
            await go(client)

    assert len(results) == told


@pytest.mark.server
async def test_a_daemon_that_ignores_a_word_of_the_query_is_not_believed(
    client: Client, responder: Responder
) -> None:
    """It is older than the client: it would have all runs cancelled."""
    query = api.RunQuery(workflow="orders", prefix="x")

    with pytest.raises(errors.ConfigurationError, match="r0, which was not asked for"):
        [each async for each in client.batch(query, CANCEL).results()]

    assert (await client.list(status="failed")).runs == []
    assert {verb for verb, _ in responder.asked} == {"run.ls"}
