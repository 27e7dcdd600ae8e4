"""The client against a real server: retries, errors, batches, waiting, watching."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio

from protocols import errors, events
from protocols.api import runs as api
from protocols.effects import Status
from runtime.client.client import Client, WaitTimeoutError
from tests.client.responder import Responder
from tests.support.nats import NatsServer

STARTED = api.RunStarted(id="r1", created=True, status="running", definition="d")


@pytest.fixture
def responder(shared_nats: NatsServer) -> Iterator[Responder]:
    """Answer nothing yet; tests fill ``answers`` in."""
    with Responder(shared_nats.url, {}) as found:
        yield found


@pytest.mark.server
async def test_a_start_without_an_id_gets_one_and_keeps_it_when_it_is_asked_again(
    shared_nats: NatsServer, responder: Responder
) -> None:
    """A lost answer must not start a second run."""
    answers = iter([None])
    responder.answers["run.start"] = lambda _: next(answers, STARTED)

    async with Client.connect(shared_nats.url, answer_s=0.2) as client:
        started = await client.start("orders", {"amount": 1})

    ids = [request.id for _, request in responder.asked]
    assert started == STARTED
    assert len(ids) > 1
    assert len(set(ids)) == 1
    assert len(ids[0]) == 23


@pytest.mark.server
async def test_a_start_that_refuses_a_taken_id_is_not_asked_again(
    shared_nats: NatsServer, responder: Responder
) -> None:
    """Asking again could find one's own run and report it as somebody else's."""
    responder.answers["run.start"] = lambda _: None

    async with Client.connect(shared_nats.url, answer_s=0.1) as client:
        with pytest.raises(errors.UnknownOutcomeError, match="no answer to run"):
            await client.start("orders", id="mine", if_exists="refuse")

    assert len(responder.asked) == 1


@pytest.mark.server
@pytest.mark.parametrize(
    "error",
    [
        errors.NotFoundError("no instance 'x'", hint="movant run ls"),
        errors.AlreadyExistsError("taken"),
        errors.InternalError("a defect"),
        errors.OversizedError("too large"),
    ],
)
async def test_an_error_of_the_daemon_is_the_same_error_here(
    shared_nats: NatsServer, responder: Responder, error: errors.MovantError
) -> None:
    """Class, message and hint cross the wire."""
    responder.answers["run.show"] = error

    async with Client.connect(shared_nats.url) as client:
        with pytest.raises(type(error)) as caught:
            await client.show("x")

    assert type(caught.value) is type(error)
    assert caught.value.message == error.message
    assert caught.value.hint == error.hint


@pytest.mark.server
async def test_the_fields_of_a_wrong_input_reach_the_caller(
    shared_nats: NatsServer, responder: Responder
) -> None:
    """A form can show each problem at its field."""
    fields = {"customer.name": "is missing"}
    responder.answers["run.start"] = errors.InvalidInputError("wrong", fields=fields)

    async with Client.connect(shared_nats.url) as client:
        with pytest.raises(errors.InvalidInputError) as caught:
            await client.start("orders")

    assert caught.value.fields == fields


@pytest.mark.server
async def test_an_overloaded_daemon_is_asked_again_within_the_patience(
    shared_nats: NatsServer, responder: Responder
) -> None:
    """Nothing happened, so asking again is right; but not for ever."""
    answers: Iterator[api.Message | errors.MovantError] = iter(
        [errors.OverloadedError("full"), api.WorkflowPage(workflows=[])]
    )
    responder.answers["workflow.ls"] = lambda _: next(answers)
    responder.answers["service.ls"] = errors.OverloadedError("full")

    async with Client.connect(shared_nats.url, patience_s=0.3) as client:
        page = await client.workflows()
        with pytest.raises(errors.OverloadedError):
            await client.services()

    assert page.workflows == []
    assert sum(verb == "service.ls" for verb, _ in responder.asked) in {2, 3}


@pytest.mark.server
async def test_a_server_without_a_daemon_is_told_as_that(shared_nats: NatsServer) -> None:
    """The next thing to do is to start a daemon, not to look at the network."""
    async with Client.connect(shared_nats.url, patience_s=0.0) as client:
        with pytest.raises(errors.NoRespondersError, match="no daemon serves it") as caught:
            await client.status()

    assert "movant serve" in caught.value.hint


@pytest.mark.server
async def test_many_starts_come_back_in_the_order_of_their_items(
    shared_nats: NatsServer, responder: Responder
) -> None:
    """Requests are answered in any order; results are not."""

    def answer(request: api.RunStartMany) -> api.RunStartedMany:
        results = [api.StartResult(id=item.id or "", created=True) for item in request.items]
        return api.RunStartedMany(ids=[each.id for each in results], results=results)

    responder.answers["run.start_many"] = answer
    items = [api.StartItem(input={"n": n}, id=f"i{n}") for n in range(95)]

    async with Client.connect(shared_nats.url) as client:
        results = await client.start_many("orders", items, chunk=10)

    assert [each.id for each in results] == [item.id for item in items]
    assert len(responder.asked) == 10


@pytest.mark.server
async def test_one_unanswered_batch_fails_the_call_with_its_own_error(
    shared_nats: NatsServer, responder: Responder
) -> None:
    """The caller gets one error of ours, not a group of them."""
    responder.answers["run.start_many"] = errors.NotFoundError("no workflow 'orders'")

    async with Client.connect(shared_nats.url) as client:
        with pytest.raises(errors.NotFoundError):
            await client.start_many("orders", range(50), chunk=10)


@pytest.mark.server
async def test_signals_to_many_runs_tell_which_were_refused(
    shared_nats: NatsServer, responder: Responder
) -> None:
    """One bad target does not hide what became of the others."""

    def answer(request: api.RunSignalMany) -> api.Message | errors.MovantError:
        refused = api.error_reply(errors.RefusedError("has ended"))
        return api.RunSignalledMany(
            results=[
                api.SignalResult(id="b", error=refused)
                if item.id == "b"
                else api.SignalResult(id=item.id, seq=7)
                for item in request.items
            ]
        )

    responder.answers["run.signal_many"] = answer

    async with Client.connect(shared_nats.url) as client:
        first, second, third = await client.signal_many(["a", "b", "c"], "go", {"x": 1}, chunk=2)

    assert (first.id, first.seq, first.error) == ("a", 7, None)
    assert second.error is not None
    assert second.error.message == "has ended"
    assert third.id == "c"
    sent = [item.message_id for _, request in responder.asked for item in request.items]
    assert len(set(sent)) == 3


@pytest.mark.server
async def test_waiting_goes_on_until_the_run_has_ended(
    shared_nats: NatsServer, responder: Responder
) -> None:
    """One request has a bound; waiting has the caller's."""
    stands: Iterator[Status] = iter(("running", "running", "completed"))
    responder.answers["run.wait"] = lambda request: api.RunOutcome(
        id=request.id, status=next(stands), result=5
    )

    async with Client.connect(shared_nats.url) as client:
        outcome = await client.wait("r1", timeout_s=60)

    assert outcome == api.RunOutcome(id="r1", status="completed", result=5)


@pytest.mark.server
async def test_waiting_too_long_says_where_the_run_stands(
    shared_nats: NatsServer, responder: Responder
) -> None:
    """The run goes on; whoever waited can tell."""
    responder.answers["run.wait"] = lambda request: api.RunOutcome(id=request.id, status="running")

    async with Client.connect(shared_nats.url) as client:
        with pytest.raises(WaitTimeoutError, match="still running") as caught:
            await client.wait("r1", timeout_s=0.05)

    assert caught.value.status == "running"


@pytest.mark.server
async def test_history_is_read_page_by_page(shared_nats: NatsServer, responder: Responder) -> None:
    """A mailbox has no upper limit that a caller should know."""

    def answer(request: api.RunHistory) -> api.HistoryPage:
        seqs = range(request.after + 1, request.after + 3)
        entries = [api.HistoryEntry(seq=seq, at=seq, kind="signal") for seq in seqs]
        return api.HistoryPage(entries=entries, next=0 if request.after >= 4 else seqs[-1])

    responder.answers["run.history"] = answer

    async with Client.connect(shared_nats.url) as client:
        seqs = [entry.seq async for entry in client.history("r1")]

    assert seqs == [1, 2, 3, 4, 5, 6]


def _event(kind: str, number: int = 0) -> tuple[dict[str, str], bytes]:
    return events.to_wire(
        events.Event(
            id=f"e{kind}{number}", kind=kind, workflow="orders", instance="r1", at=1, data={}
        )
    )


@pytest.mark.server
async def test_watching_ends_with_the_event_that_ends_the_run(
    shared_nats: NatsServer, responder: Responder
) -> None:
    """Repeated events are dropped, foreign messages are no events."""

    def answer(_: Any) -> api.RunView:
        for kind, number in (("paid", 1), ("paid", 1), ("paid", 2), ("completed", 0)):
            responder.publish(f"movant.event.orders.r1.{kind}", *_event(kind, number))
        return api.RunView(
            id="r1", workflow="orders", definition="d", status="running", started_at=1
        )

    responder.answers["run.show"] = answer

    async with Client.connect(shared_nats.url) as client:
        with trio.fail_after(5):
            kinds = [event.kind async for event in client.watch("r1")]

    assert kinds == ["paid", "paid", "completed"]


@pytest.mark.server
async def test_watching_a_run_that_has_ended_gives_its_end(
    shared_nats: NatsServer, responder: Responder
) -> None:
    """There is no gap between the subscription and the state."""
    responder.answers["run.show"] = api.RunView(
        id="r1",
        workflow="orders",
        definition="d",
        status="completed",
        started_at=1,
        finished_at=9,
        result="ok",
    )

    async with Client.connect(shared_nats.url) as client:
        found = [event async for event in client.watch("r1")]

    assert [(event.kind, event.at, event.data) for event in found] == [
        ("completed", 9, {"result": "ok"})
    ]


@pytest.mark.server
async def test_an_answer_that_is_no_result_is_refused_with_advice(
    shared_nats: NatsServer, responder: Responder
) -> None:
    """Versions that are too far apart say so, instead of failing somewhere else."""
    responder.answers["status"] = api.RunResolved(id="x")

    async with Client.connect(shared_nats.url) as client:
        with pytest.raises(errors.BadValueError, match="cannot be read") as caught:
            await client.status()

    assert "movant version" in caught.value.hint


@pytest.mark.server
async def test_a_request_above_the_servers_limit_is_refused_before_it_is_sent(
    shared_nats: NatsServer, responder: Responder
) -> None:
    """The server would cut the connection of who sends it."""
    async with Client.connect(shared_nats.url) as client:
        with pytest.raises(errors.OversizedError):
            await client.register(b"x" * 1_200_000, "h")

    assert responder.asked == []
