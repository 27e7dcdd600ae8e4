"""Triggers on a real server: each kind once, with what goes wrong around it."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import trio

from actors import schedule
from actors.files.triggers import load_triggers
from actors.store.direct_reader import DirectReader
from protocols import headers as h
from protocols.api import runs as api
from protocols.errors import (
    AlreadyExistsError,
    ConfigurationError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from protocols.events import from_time
from protocols.ports import Outgoing, Transport
from protocols.triggers import MessageSource
from protocols.witness import Operator
from runtime.client.client import Client
from runtime.config import HttpConfig
from runtime.server.accounts import heard_subjects
from runtime.triggers import book, messages, sweeping, webhooks
from runtime.triggers.schedules import run_of
from runtime.triggers.webhooks import sign
from tests.docs.tables import DOCS
from tests.support.daemon import Running, daemon, plainly
from tests.support.nats import NatsServer
from tests.support.own import own_daemon

pytestmark = pytest.mark.server

EXAMPLES = DOCS / "examples"
REPORT = EXAMPLES / "nightly.yaml"
ANN = Operator(who="ann", where="desk 4", why="a look")
SECRET = b"0123456789"
DAY = 86_400_000_000_000

TICKS = """
name: ticks
steps:
  wait: {signal: go, timeout: 60s}
triggers:
  - {name: each, schedule: {every: 1s, catch_up: 0, overlap: allow}}
  - {name: one, schedule: {every: 1s, catch_up: 0}}
  - {name: queue, schedule: {every: 1s, catch_up: 0, overlap: queue}}
  - {name: last, schedule: {every: 2s, catch_up: 0, overlap: cancel}}
"""
CALM = """
name: ticks
steps:
  wait: {signal: go, timeout: 60s}
triggers:
  - {name: rare, schedule: "@yearly"}
"""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at what was deployed more often than a daemon has to."""
    monkeypatch.setattr(book, "LOOK_S", 0.1)
    monkeypatch.setattr(messages, "AGAIN_S", 0.2)
    monkeypatch.setattr(sweeping, "LOOK_S", 0.1)
    monkeypatch.setattr(sweeping, "GONE_S", 0.0)


async def runs_of(client: Client, workflow: str, count: int) -> list[Any]:
    """Return the runs of a workflow when there are so many."""
    with trio.fail_after(15):
        while True:
            page = await client.list(workflow=workflow)
            if page.total >= count:
                return page.runs
            await trio.sleep(0.05)


async def ticked(client: Client, name: str, count: int) -> dict[str, str]:
    """Return runs and how they stand of a trigger of ticks, when there are so many."""
    with trio.fail_after(15):
        while True:
            runs = (await client.list(workflow="ticks", limit=500)).runs
            found: dict[str, str] = {
                x.id: x.status for x in runs if x.id.startswith(f"ticks-{name}-")
            }
            if len(found) >= count:
                return found
            await trio.sleep(0.05)


async def _refuses(*_: Any) -> Any:
    raise UnavailableError("killed")


async def test_a_schedule_starts_one_run_for_each_time(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two daemons, one of them crashes; what overlaps; deployed anew: all triggers at once."""
    path = tmp_path / "ticks.yaml"
    path.write_text(TICKS)
    async with (
        Client.connect(nats_server.url) as client,
        daemon(nats_server.url, workflows=[path], name="a", partitions=1) as first,
        daemon(nats_server.url, workflows=[], name="b", partitions=1),
    ):
        stood = len(await ticked(client, "each", 2))
        # Killed right behind a start: that it was dealt with is never stored.
        monkeypatch.setattr(first.daemon.parts.triggers.book, "change", _refuses)
        stood = len(await ticked(client, "each", stood + 1))
        first.crash()
        each = await ticked(client, "each", stood + 3)
        assert len({*each}) == len(each)
        assert len(await ticked(client, "one", 1)) == 1
        one = (await client.trigger("ticks-one")).row
        assert one.last is not None
        assert one.last.outcome == "skipped"
        assert one.last.reason.endswith(" still runs")

        ((waits, _),) = (await ticked(client, "queue", 1)).items()
        due = (await client.trigger("ticks-queue")).row.queued
        await client.signal(waits, "go")
        follows = run_of("ticks-queue", due)
        assert due
        with trio.fail_after(5):
            while follows not in await ticked(client, "queue", 1):
                await trio.sleep(0.05)
        statuses = [*(await ticked(client, "last", 2)).values()]
        assert "cancelled" in statuses

        path.write_text(CALM)
        await client.register_source(path)
        with trio.fail_after(5):
            while [x.name for x in (await client.triggers()).triggers] != ["ticks-rare"]:
                await trio.sleep(0.05)
        stood = (await client.list()).total
        await trio.sleep(1.1)
        assert (await client.list()).total == stood


async def test_what_was_due_while_no_daemon_ran_starts_once_and_is_marked_late(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest of what was missed; the others are told of."""
    monkeypatch.setattr(schedule, "LATE_NS", 400_000_000)
    path = tmp_path / "ticks.yaml"
    path.write_text(CALM.replace('"@yearly"', "{every: 1s, overlap: allow}"))
    async with Client.connect(nats_server.url) as client:
        async with daemon(nats_server.url, workflows=[path], partitions=1):
            before = await ticked(client, "rare", 1)
        await trio.sleep(2.2)
        async with daemon(nats_server.url, workflows=[], partitions=1) as running:
            (late, *more) = await events(running, "trigger_late", 1)
            missed = await events(running, "trigger_skipped", 1)
            found = await ticked(client, "rare", len(before) + 1)
    assert more == []
    assert run_of("ticks-rare", from_time(late["due"])) in found
    assert missed[0]["reason"].startswith("missed: ")


async def test_a_due_time_waits_while_too_many_runs_are_active_and_says_so(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """What was told before it is told once, however long it waits."""
    path = tmp_path / "ticks.yaml"
    text = CALM.replace('"@yearly"', "{every: 1s, overlap: allow}")
    path.write_text(
        text.replace("name: ticks", "name: ticks\nlimits: {max_active: 1, on_limit: refuse}")
    )
    async with Client.connect(nats_server.url) as client:
        async with daemon(nats_server.url, workflows=[path], partitions=1):
            (first,) = await ticked(client, "rare", 1)
            await client.signal(first, "go")
            await client.wait(first, timeout_s=5)
        await trio.sleep(2.2)
        async with daemon(nats_server.url, workflows=[], partitions=1) as running:
            stood = await ticked(client, "rare", 2)
            with trio.fail_after(5):
                while "max_active is 1" not in (await client.trigger("ticks-rare")).row.problem:
                    await trio.sleep(0.05)
            await trio.sleep(1.2)
            told = [each["due"] for each in await events(running, "trigger_fired", 2)]
            assert len(told) == len(set(told)), told
            assert len(await ticked(client, "rare", 2)) == len(stood)
            for run in stood:
                await client.signal(run, "go")
            await ticked(client, "rare", len(stood) + 1)


async def test_people_pause_resume_start_and_make_up_for_schedules(
    nats_server: NatsServer,
) -> None:
    """The report of the page: backfill starts each night once, whoever asks and how often."""
    async with (
        Client.connect(nats_server.url) as client,
        daemon(nats_server.url, workflows=[REPORT], partitions=2) as running,
    ):
        times = await client.due("report-nightly", count=2)
        assert times.times[0].due > time.time_ns()
        assert "02:30" in times.text
        assert "http.address" in (await client.trigger("report-asked")).row.problem

        begin, end = from_time("2026-03-28T00:00:00Z"), from_time("2026-03-31T00:00:00Z")
        filled = [await client.backfill("report-nightly", begin, end, by=ANN) for _ in range(2)]
        assert [x.run for x in filled[0].runs] == [
            "report-nightly-20260328T013000Z",
            "report-nightly-20260329T010000Z",  # the night in which 02:30 does not exist
            "report-nightly-20260330T003000Z",
        ]
        assert filled[0].runs == filled[1].runs
        assert len(await runs_of(client, "report", 3)) == 3
        view = await client.wait("report-nightly-20260329T010000Z", timeout_s=5)
        assert view.result == "2026-03-29T01:00:00.000000000Z"

        paused = await client.pause_trigger("report-nightly", by=ANN)
        assert (paused.paused, paused.next) == ("by ann: a look", 0)
        now = await client.fire_trigger("report-nightly", message_id="m", by=ANN)
        assert now == await client.fire_trigger("report-nightly", message_id="m", by=ANN)
        resumed = await client.resume_trigger("report-nightly")
        assert (resumed.paused, resumed.next) == ("", times.times[0].due)
        with pytest.raises(AlreadyExistsError):
            await client.remove_trigger("report-nightly")

        with pytest.raises(RefusedError, match="bob: needs report:execute"):
            await client.start("report", {"day": "x"}, by=Operator(who="bob"))
        with pytest.raises(RefusedError, match="needs report:execute"):
            await client.start_many("report", [{"day": "x"}])
        granted = await client.start("report", {"day": "x"}, permissions=["report:execute"])
        assert granted.created
        refused = await events(running, "trigger_refused", 2)
        assert [x["by"] for x in refused] == [{"who": "bob"}, {}]


async def events(running: Running, kind: str, count: int) -> list[Any]:
    """Return the data of the events of a kind, when there are so many."""
    async with DirectReader(running.daemon.parts.transport, "EVENTS") as reader:
        with trio.fail_after(5):
            while True:
                found = await reader.subject(f"movant.event.*.*.{kind}")
                if len(found) >= count:
                    return [msgspec.json.decode(each.payload) for each in found]
                await trio.sleep(0.02)


async def test_a_webhook_starts_the_run_of_its_delivery_when_it_is_proven(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """202 with the run, the same for a repeat; 4xx with a reason; 503 while it drains."""
    monkeypatch.setenv("REPORTS_SECRET", SECRET.decode())
    logged: list[str] = []
    monkeypatch.setattr("runtime.http.log.info", lambda _, url: logged.append(url), raising=False)
    async with (
        Client.connect(nats_server.url) as client,
        daemon(
            nats_server.url,
            workflows=[REPORT],
            partitions=2,
            http=HttpConfig(address=":0"),
        ) as running,
        httpx2.AsyncClient(base_url=logged[0]) as web,
    ):
        assert logged[0].startswith("http://127.0.0.1:")

        async def post(body: bytes, **more: Any) -> httpx2.Response:
            now = int(time.time()) + more.pop("off_s", 0)
            lines = sign(more.pop("secret", SECRET), "d-1", now, more.pop("signed", body))
            lines |= {"content-type": "application/json", **more}
            lines = {key.replace("_", "-"): text for key, text in lines.items()}
            return await web.post("/reports", content=body, headers=lines)

        body = b'{"day": "monday"}'
        answer = await post(body)
        again = await post(body)
        assert (answer.status_code, again.status_code) == (202, 202)
        assert answer.json() == {"run": "report-monday", "workflow": "report", "created": True}
        assert (again.json()["run"], again.json()["created"]) == ("report-monday", False)
        assert answer.headers["location"] == "/runs/report-monday"
        view = await client.wait("report-monday", timeout_s=5)
        assert view.result == "monday"

        many = await web.post(
            "/reports?" + "&".join(["a=1"] * 300),
            content=body,
            headers={
                **sign(SECRET, "d-2", int(time.time()), body),
                "content-type": "application/json",
            },
        )
        assert (many.status_code, "the query" in many.json()["detail"]) == (400, True)
        wrong = {
            401: await post(body, secret=b"guessed"),
            400: await post(b'{"day": 1, "day": 2}'),
            415: await post(body, content_type="image/png"),
            413: await post(b"[%b]" % (b" " * 300_000)),
            404: await web.post("/report"),
            405: await web.get("/reports"),
        }
        assert {code: each.status_code for code, each in wrong.items()} == {x: x for x in wrong}
        assert all(x.headers["content-type"] == "application/problem+json" for x in wrong.values())
        assert "secret" in wrong[401].json()["detail"]
        assert (await post(body, off_s=-600)).json()["detail"] == "its time is more than 300 s off"
        assert (await post(body, signed=b"another")).status_code == 401
        assert (await post(b"{}")).status_code == 400  # its id cannot be made
        assert (await post(b'{"day": ""}')).json()["run"] is None
        assert (await web.get("/readyz")).status_code == 200
        assert len(await runs_of(client, "report", 1)) == 1

        await client.pause_trigger("report-asked", by=ANN)
        later = await post(body)
        assert (later.status_code, later.headers["retry-after"]) == (503, "60")
        assert "ann" in later.json()["detail"]
        monkeypatch.setattr(running.daemon, "state", "draining")
        assert (await web.get("/readyz")).status_code == 503
        assert (await web.get("/healthz")).status_code == 200
        monkeypatch.setattr(running.daemon, "state", "ready")
        await client.resume_trigger("report-asked", by=ANN)
        monkeypatch.delenv("REPORTS_SECRET")
        assert await told_without_secret(monkeypatch, lambda: post(body)) == [1, 3]
        fired = await events(running, "trigger_fired", 1)
        assert [x["trigger"] for x in fired] == ["report-asked"]
        assert SECRET.decode() not in json.dumps(fired)


async def told_without_secret(
    monkeypatch: pytest.MonkeyPatch, post: Callable[[], Awaitable[httpx2.Response]]
) -> list[int]:
    """Post four times where the secret is gone, one a minute later; return what is logged."""
    told: list[int] = []
    monkeypatch.setattr(
        webhooks.log, "error", lambda _, **facts: told.append(facts["requests"]), raising=False
    )
    assert [(await post()).status_code for _ in range(3)] == [503] * 3
    monkeypatch.setattr(webhooks, "NO_SECRET_S", 0.0)
    await post()
    return told


async def stream(transport: Transport, name: str, subject: str) -> None:
    """Create a stream of somebody else's."""
    body = {"name": name, "subjects": [subject], "storage": "memory"}
    message = Outgoing(f"$JS.API.STREAM.CREATE.{name}", msgspec.json.encode(body))
    answer = await transport.request(message, 5.0)
    assert b'"error"' not in answer.payload


async def jetstream(transport: Transport, verb: str, body: Any = None) -> Any:
    """Ask JetStream."""
    payload = b"" if body is None else msgspec.json.encode(body)
    answer = await transport.request(Outgoing(f"$JS.API.{verb}", payload), 5.0)
    return msgspec.json.decode(answer.payload)


async def listens(transport: Transport, count: int = 1) -> list[str]:
    """Wait until there are so many consumers of payments, and return their names."""
    with trio.fail_after(10):
        while True:
            found = (await jetstream(transport, "CONSUMER.NAMES.PAYMENTS"))["consumers"] or []
            if len(found) == count:
                return [str(each) for each in found]
            await trio.sleep(0.02)


async def letters(client: Client, count: int) -> list[Any]:
    """Return the dead letters when there are so many."""
    with trio.fail_after(5):
        while True:
            page = await client.calls.call("dead.ls", api.DeadList(), api.DeadPage)
            if len(page.letters) == count:
                return page.letters
            await trio.sleep(0.02)


async def test_messages_start_and_signal_runs_and_hostile_ones_are_kept(
    nats_server: NatsServer,
) -> None:
    """From a stream at least once, though the daemon was away; from a subject at most once."""
    path = EXAMPLES / "payments.py"
    paid = b'{"order": %d, "amount": %d}'
    async with Client.connect(nats_server.url) as client:
        async with daemon(nats_server.url, workflows=[path, REPORT], partitions=2) as running:
            transport = running.transport
            await stream(transport, "PAYMENTS", "payments.>")
            file = load_triggers(EXAMPLES / "payments.yaml")
            with pytest.raises(NotFoundError):
                await client.add_triggers(msgspec.structs.replace(file, workflow="nobody"))
            assert (await client.add_triggers(file)).names == ["order-paid"]
            await listens(transport)

            hostile = b"\xff\x00{"
            for body in (paid % (1, 5), paid % (2, 0), paid % (1, 5), hostile):
                transport.publish(Outgoing("payments.card", body))
            await runs_of(client, "order", 1)
            view = await client.wait("order-1", timeout_s=10)
            assert view.result == {"order": 1, "amount": 5}
            (letter,) = await letters(client, 1)
            assert letter.reason == "trigger"
            assert "not a valid payload" in letter.detail

            lines = h.encode({h.MESSAGE_ID: "m"})
            for _ in range(2):
                transport.publish(Outgoing("books.2026.closed", b'{"day": "x"}', lines))
            await runs_of(client, "report", 1)
            assert (await client.list(workflow="order")).total == 1

        await plainly(nats_server.url, [("payments.card", paid % (3, 7), None)])
        async with daemon(nats_server.url, workflows=[], partitions=2):
            await runs_of(client, "order", 2)
            assert (await client.wait("order-3", timeout_s=5)).result == {"order": 3, "amount": 7}
            assert (await client.list(workflow="report")).total == 1
            await client.remove_trigger("order-paid")
            assert "order-paid" not in {x.name for x in (await client.triggers()).triggers}


async def _unreadable(*_: Any) -> Any:
    raise ConfigurationError("of a newer version")


async def test_what_cannot_be_read_here_is_not_gone(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer daemon may have written it: its state and its consumer stay."""
    async with daemon(nats_server.url, workflows=[REPORT], partitions=1) as running:
        triggers = running.daemon.parts.triggers.book
        with trio.fail_after(10):
            while "report-nightly" not in triggers.states:
                await trio.sleep(0.02)
        with monkeypatch.context() as patch:
            patch.setattr(running.daemon.parts.definitions, "find", _unreadable)
            triggers._known.clear()
            await triggers.load()
            assert "report-nightly" not in triggers.armed
            await trio.sleep(0.5)
            assert "report-nightly" in triggers.states
        await triggers.load()
        assert "report-nightly" in triggers.armed


async def test_a_letter_goes_to_its_trigger_again_and_a_consumer_goes_with_it(
    nats_server: NatsServer,
) -> None:
    """Of a message nothing is lost while its letter cannot be stored."""
    file = load_triggers(EXAMPLES / "payments.yaml")
    (first,) = file.triggers
    other = msgspec.structs.replace(
        first,
        id="order-{{payload.nr}}",
        input={"order": "{{payload.nr}}", "amount": "{{payload.amount}}"},
    )
    headers = {"Authorization": "Bearer sesame", "X-Of": "bank"}
    async with (
        Client.connect(nats_server.url) as client,
        daemon(nats_server.url, workflows=[EXAMPLES / "payments.py"], partitions=2) as running,
    ):
        transport, triggers = running.transport, running.daemon.parts.triggers.book
        await stream(transport, "PAYMENTS", "payments.>")
        await client.add_triggers(file)
        (name,) = await listens(transport)

        # Nobody can store the letter: the message stays where it is.
        config = (await jetstream(transport, "STREAM.INFO.DEAD"))["config"]
        await jetstream(transport, "STREAM.DELETE.DEAD")
        body = b'{"nr": 9, "amount": 1}'
        transport.publish(Outgoing("payments.card", body, h.encode(headers)))
        waits: list[int] = []
        with trio.fail_after(10):
            while len(waits) < 10:
                info = await jetstream(transport, f"CONSUMER.INFO.PAYMENTS.{name}")
                if info["delivered"]["consumer_seq"]:
                    waits.append(info["num_ack_pending"])
                await trio.sleep(0.03)
        await jetstream(transport, "STREAM.CREATE.DEAD", config)
        transport.publish(Outgoing("payments.card", b"{"))
        kept = await letters(client, 2)
        shown = await client.calls.call("dead.show", api.DeadShow(seq=kept[0].seq), api.DeadView)
        assert waits == [1] * 10
        assert b"X-Of: bank" in shown.headers
        assert b"sesame" not in shown.headers

        await client.add_triggers(msgspec.structs.replace(file, triggers=(other,)))
        replay = api.DeadReplay(reason="trigger")
        told = (await client.calls.call("dead.replay", replay, api.DeadReplays)).letters
        assert sorted(each.subject for each in told) == ["", "payments.card"]
        assert len(await letters(client, 1)) == 1
        view = await client.wait("order-9", timeout_s=10)
        assert view.result == {"order": 9, "amount": 1}

        # The subject is another one, then the trigger is gone: its consumers go as well.
        source = MessageSource(subject="payments.card", stream="PAYMENTS")
        elsewhere = msgspec.structs.replace(other, message=source)
        await client.add_triggers(msgspec.structs.replace(file, triggers=(elsewhere,)))
        with trio.fail_after(10):
            while await listens(transport) == [name]:
                await trio.sleep(0.02)
        await client.remove_trigger("order-paid")
        assert await listens(transport, 0) == []
        with trio.fail_after(10):
            while "order-paid" in triggers.states:
                await trio.sleep(0.02)


async def test_clients_of_the_embedded_server_publish_what_triggers_listen_to(
    nats_binary: str, tmp_path: Path
) -> None:
    """What the setting names, and nothing else; a reply subject of theirs has no power."""
    del nats_binary
    async with own_daemon(tmp_path, heard=["books.>"]) as movant:
        trigger = {"message": "books.*.closed", "id": "b-{{subject[1]}}"}
        await movant("trigger.add", workflow="probe.echo", triggers=[trigger])
        refused: set[str] = set()
        movant.transport.on_refusal(refused.add)
        with trio.fail_after(10):
            while True:  # until somebody listens: nobody keeps these
                for subject in ("books.2026.closed", "orders.1"):
                    forged = "movant.to.b-2026.control.cancel"
                    movant.transport.publish(Outgoing(subject, b"[1]", reply=forged))
                if (await movant("run.ls"))["total"]:
                    break
                await trio.sleep(0.1)
        view = await movant.ended("b-2026")
        assert (view["status"], view["result"]) == ("completed", [1])
        assert refused == {"orders.1"}


async def test_a_subject_that_clients_may_not_have_is_refused_at_the_start() -> None:
    """It would open what movant says to itself."""
    with pytest.raises(ConfigurationError, match="overlaps"):
        heard_subjects(["movant.>"])
