"""What bad input gets: a defined answer each, and the daemon serves the others meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from protocols import errors
from protocols.subjects import partition_of
from tests.support.daemon import Running, daemon, plainly, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server


@asynccontextmanager
async def serving(url: str, shop: Shop | None = None) -> AsyncIterator[Running]:
    """Run a daemon and, when the test is over, prove that it still serves."""
    async with daemon(url, services=[(shop or Shop()).service]) as movant:
        yield movant
        ended = await movant.run("probe.steps", {"steps": 1}, id="still-serving")
        assert ended["status"] == "completed"
        status = await movant("status")
        assert status["state"] == "ready", status["problems"]


# The API


@pytest.mark.parametrize(
    ("verb", "payload", "kind", "says"),
    [
        ("run.start", b'{"workflow":"no.such"}', errors.NotFoundError, "no workflow 'no.such'"),
        ("run.start", b"{", errors.BadValueError, "truncated"),
        ("run.start", b"\xff\xfe", errors.BadValueError, "run.start"),
        ("run.start", b'{"workflow":5}', errors.BadValueError, "$.workflow"),
        ("run.start", b"{}", errors.BadValueError, "workflow"),
        ("run.start", b'{"workflow":"probe.*"}', errors.RefusedError, "probe.*"),
        ("run.start", b'{"workflow":"probe.echo","id":"a.b"}', errors.InvalidIdError, "a.b"),
        ("run.start", b'{"workflow":"probe.echo","id":"_a"}', errors.InvalidIdError, "_a"),
        ("run.start", b'{"workflow":"probe.echo","id":""}', errors.InvalidIdError, "''"),
        ("run.start", b'{"workflow":"probe.echo","input":1e999}', errors.BadValueError, ""),
        (
            "run.start",
            b'{"workflow":"probe.echo","input":99999999999999999999999}',
            errors.BadValueError,
            "64 bits",
        ),
        (
            "run.start",
            b'{"workflow":"probe.echo","input":%b}' % (b"[" * 70 + b"]" * 70),
            errors.BadValueError,
            "deeper",
        ),
        (
            "run.start",
            b'{"workflow":"probe.echo","input":%b}' % (b"[" * 9999),
            errors.BadValueError,
            "",
        ),
        ("run.show", b'{"id":"nobody"}', errors.NotFoundError, "nobody"),
        ("run.cancel", b'{"id":"nobody"}', errors.NotFoundError, "nobody"),
        ("run.history", b'{"id":"nobody"}', errors.NotFoundError, "nobody"),
        ("run.wait", b'{"id":"nobody","timeout_s":1}', errors.NotFoundError, "nobody"),
        ("run.ls", b'{"limit":100000}', errors.BadValueError, "limit"),
        ("run.ls", b'{"after":"\xc2\xb2"}', errors.BadValueError, "after"),
        ("run.signal", b'{"id":"a","name":"b c"}', errors.InvalidIdError, "b c"),
        ("run.signal", b'{"id":"a","name":"go","message_id":"\\n"}', errors.BadValueError, ""),
        ("workflow.show", b'{"name":"no.such"}', errors.NotFoundError, "no.such"),
        ("workflow.register", b'{"data":"AAAA","hash":"x"}', errors.RefusedError, ""),
        ("service.show", b'{"name":"nobody"}', errors.NotFoundError, "nobody"),
        ("no.such.verb", b"{}", errors.NotFoundError, "no verb"),
    ],
)
async def test_the_api_refuses(
    shared_daemon: Running, verb: str, payload: bytes, kind: type[errors.MovantError], says: str
) -> None:
    """A wrong request gets an error of its kind that names what is wrong."""
    with pytest.raises(kind) as refused:
        await shared_daemon.raw(verb, payload)

    assert says in f"{refused.value}"
    assert (await shared_daemon.run("probe.echo", 1))["status"] == "completed"


async def test_a_wrong_input_names_its_fields(shared_daemon: Running) -> None:
    """The caller learns which field is wrong, and nothing is started."""
    with pytest.raises(errors.InvalidInputError) as refused:
        await shared_daemon("run.start", workflow="probe.order", input={"item": 5}, id="wrong-1")

    assert refused.value.fields
    with pytest.raises(errors.NotFoundError):
        await shared_daemon("run.show", id="wrong-1")


async def test_an_input_that_is_no_message_s_is_kept_beside_it(shared_daemon: Running) -> None:
    """Above 256 KiB a value is stored apart, and the run has it all the same."""
    ended = await shared_daemon.run("probe.echo", "x" * 300_000, id="large")
    view = await shared_daemon("run.show", id="large")

    assert ended["status"] == "completed"
    assert view["input_blob"]["size"] == view["result_blob"]["size"] == 300_002


async def test_a_start_that_is_repeated_returns_or_refuses(shared_daemon: Running) -> None:
    """Running or finished: the same instance, or AlreadyExistsError when asked for that."""
    first = await shared_daemon("run.start", workflow="probe.signals", input=1, id="twice")
    again = await shared_daemon("run.start", workflow="probe.signals", input=1, id="twice")
    with pytest.raises(errors.AlreadyExistsError):
        await shared_daemon(
            "run.start", workflow="probe.signals", input=1, id="twice", if_exists="refuse"
        )
    await shared_daemon("run.signal", id="twice", name="go", data=7)
    await shared_daemon.ended("twice")
    finished = await shared_daemon("run.start", workflow="probe.signals", input=1, id="twice")
    with pytest.raises(errors.AlreadyExistsError):
        await shared_daemon(
            "run.start", workflow="probe.signals", input=1, id="twice", if_exists="refuse"
        )

    assert (first["created"], again["created"], finished["created"]) == (True, False, False)
    assert again["status"] == "running"
    assert finished["status"] == "completed"
    assert finished["result"] == [7]


async def test_a_signal_before_the_start_is_kept(shared_daemon: Running) -> None:
    """The run finds it when it starts, and one start is created, not two."""
    await shared_daemon("run.signal", id="early", name="go", data="early bird")
    started = await shared_daemon.run("probe.signals", 1, id="early")
    again = await shared_daemon("run.start", workflow="probe.signals", input=1, id="early")

    assert started["created"]
    assert started["result"] == ["early bird"]
    assert not again["created"]


# Raw messages


async def test_a_raw_start_of_an_unknown_workflow_waits_for_it(nats_server: NatsServer) -> None:
    """It is visible as pending, and begins when the workflow is registered."""
    async with serving(nats_server.url) as movant:
        await plainly(nats_server.url, [("movant.to.soon.start.probe.later", b"5", None)])
        view = await movant.waits("soon", "pin")

        assert view["status"] == "pending"
        assert view["waiting"][0]["detail"] == "probe.later"


async def test_a_raw_start_with_a_wrong_input_fails_with_the_fields(
    nats_server: NatsServer,
) -> None:
    """Nobody checked it before it was stored: the run ends as failed and says why."""
    async with serving(nats_server.url) as movant:
        await plainly(
            nats_server.url,
            [("movant.to.wrong.start.probe.order", b'{"item":1,"count":"many"}', None)],
        )
        view = await movant.ended("wrong")

        assert view["status"] == "failed"
        assert view["failure"]["kind"] == "validation"


async def test_msgpack_goes_in(nats_server: NatsServer) -> None:
    """Payloads may be MessagePack by their content type, for starts, signals and replies."""
    lines = {"Content-Type": "application/msgpack"}
    value = {"a": [1, 2.5, "x", None]}
    packed = msgspec.msgpack.encode(value)
    async with serving(nats_server.url) as movant:
        await plainly(
            nats_server.url,
            [
                ("movant.to.packed.start.probe.echo", packed, lines),
                ("movant.to.packed-2.signal.go", packed, lines),
                ("movant.to.packed-2.start.probe.signals", msgspec.msgpack.encode(1), lines),
            ],
        )

        assert (await movant.ended("packed"))["result"] == value
        assert (await movant.ended("packed-2"))["result"] == [value]


async def test_msgpack_comes_back_from_a_service(nats_server: NatsServer) -> None:
    """A foreign service may reply in MessagePack; clients read the result as JSON."""
    value = {"a": [1, 2.5, None], "b": "x"}
    async with daemon(nats_server.url) as movant:
        with Raw(nats_server.url) as service:
            service.send(b"SUB movant.svc.shop.buy q 5\r\n")
            service.sync()
            await movant("run.start", workflow="probe.steps", input={"steps": 1}, id="a")
            request = await service.next()
            lines = {"Content-Type": "application/msgpack"}
            service.put(request.reply.decode(), msgspec.msgpack.encode(value), lines)
            ended = await movant.ended("a")

    assert ended["result"] == [value]


async def test_one_id_twice_in_one_request_is_created_once(shared_daemon: Running) -> None:
    """Both starts go into one commit: the server cannot tell them apart there, the writer can."""
    items = [{"id": "same", "input": n} for n in range(3)] + [{"id": "other", "input": 1}]
    answer = await shared_daemon("run.start_many", workflow="probe.echo", items=items)
    ended = await shared_daemon.ended("same")
    history = await shared_daemon("run.history", id="same")

    assert [each["created"] for each in answer["results"]] == [True, False, False, True]
    assert ended["result"] == 0
    assert [each["kind"] for each in history["entries"]] == ["start"]


DEAD = [
    ("not JSON", "movant.to.d1.start.probe.echo", b"{", {}, "value"),
    (
        "not MessagePack",
        "movant.to.d2.start.probe.echo",
        b"\xc1",
        {"Content-Type": "application/msgpack"},
        "value",
    ),
    ("a key twice", "movant.to.d3.signal.go", b'{"a":1,"a":2}', {}, "value"),
    ("too large", "movant.to.d4.signal.go", b'"%b"' % (b"x" * 300_000), {}, "value"),
    ("a newer schema", "movant.to.d5.start.probe.echo", b"1", {"Movant-Schema": "2"}, "schema"),
    (
        "a schema that is no number",
        "movant.to.d6.signal.go",
        b"1",
        {"Movant-Schema": "\u00b2"},
        "schema",
    ),
    ("a bad id", "movant.to._owner.signal.go", b"1", {}, "id"),
    ("an id with a dollar", "movant.to.$x.signal.go", b"1", {}, "id"),
    ("a long id", f"movant.to.{'x' * 129}.signal.go", b"1", {}, "id"),
    ("no kind", "movant.to.d7", b"1", {}, "stray"),
    ("no name", "movant.to.d8.signal", b"1", {}, "stray"),
    ("an unknown kind", "movant.to.d9.noise.x", b"1", {}, "kind"),
    ("an unknown verb", "movant.to.d10.control.explode", b"1", {}, "kind"),
    ("an unknown decision", "movant.to.d11.owner.explode", b"{}", {}, "kind"),
    ("a wild id", "movant.to.*.x", b"1", {}, "stray"),
    ("a wild workflow", "movant.to.d12.start.>", b"1", {}, "stray"),
    ("a workflow's name that is none", "movant.to.d13.start.-x", b"2", {}, "name"),
    ("a signal's name that is none", "movant.to.d13.signal.-x", b"3", {}, "name"),
    (
        "a hash that is none",
        "movant.to.d14.start.probe.echo",
        b"1",
        {"Movant-Definition": ">"},
        "name",
    ),
    ("a forged reply", "movant.to.d15.reply.s.1.00-0123456789ab", b"1", {}, "token"),
    ("an attempt that is no number", "movant.to.d16.reply.s.\u00b2.tok", b"1", {}, "stray"),
    ("a firing of no partition", "movant.fired.99.d18.t", b"4", {}, "stray"),
    ("a marker of no partition", "movant.mail.\u00b2._owner", b"{}", {}, "stray"),
    ("a marker that is none", "movant.mail.7._owner", b"[]", {}, "value"),
]


@pytest.mark.parametrize(
    ("subject", "payload", "lines", "reason"),
    [each[1:] for each in DEAD],
    ids=[d[0] for d in DEAD],
)
async def test_a_dead_letter(  # noqa: PLR0917 - pytest passes by name
    shared_daemon: Running,
    kept_nats: NatsServer,
    subject: str,
    payload: bytes,
    lines: dict[str, str],
    reason: str,
) -> None:
    """What no fold can take is kept with its reason, and the next message is folded."""
    with Raw(kept_nats.url) as raw:
        raw.put(subject, payload, lines or None)
        raw.sync()

        def kept() -> bool:
            letter = raw.stored("DEAD", f"movant.dead.{reason}")
            return letter is not None and letter["data"] == payload

        await until(kept)

    assert await shared_daemon.counter("dead") >= 1
    assert (await shared_daemon.run("probe.echo", 1))["status"] == "completed"


def pub(subject: bytes, payload: bytes = b"1", reply: bytes = b"") -> bytes:
    """Return the bytes of a publish, unchecked."""
    return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload)


def hpub(subject: bytes, lines: bytes) -> bytes:
    """Return the bytes of a publish with a header block, unchecked."""
    return b"HPUB %b %d %d\r\n%b1\r\n" % (subject, len(lines), len(lines) + 1, lines)


HOSTILE = {
    "a subject that is no UTF-8": pub(b"movant.to.h1.signal.\xff\xfe"),
    "an id that is no UTF-8": pub(b"movant.to.\xff.signal.go"),
    "a reply subject that is no UTF-8": pub(b"movant.to.h2.signal.go", reply=b"\xff"),
    "an empty header block": hpub(b"movant.to.h3.signal.go", b"NATS/1.0\r\n\r\n"),
    "a block of line ends": hpub(b"movant.to.h4.signal.go", b"\r\n\r\n"),
    "a line without a colon": hpub(b"movant.to.h5.signal.go", b"NATS/1.0\r\nnoise\r\n\r\n"),
    "headers that are no UTF-8": hpub(
        b"movant.to.h6.signal.go", b"NATS/1.0\r\n\xff: \xfe\r\n\r\n"
    ),
    "5,000 headers": hpub(
        b"movant.to.h7.signal.go", b"NATS/1.0\r\n" + b"a: b\r\n" * 5000 + b"\r\n"
    ),
    "a subject of 3.9 kB": pub(b"movant.to.h8.signal." + b"x" * 3_900),
    "a vertical tab": pub(b"movant.to.h9.signal.a\x0bb"),
    "an error code that is no number": hpub(
        b"movant.to.h1.reply.s.1.t",
        b"NATS/1.0\r\nNats-Service-Error-Code: \xc2\xb2\xc2\xb2\r\n\r\n",
    ),
    "a result of 400 digits": pub(
        b"movant.to.h1.owner.child", b'{"step":"s","result":%b}' % (b"9" * 400)
    ),
    "a sequence of its own": hpub(
        b"movant.to.h3.signal.go",
        b"NATS/1.0\r\nNats-Sequence: 1\r\nNats-Subject: movant.mail.1.x.start.y\r\n"
        b"Nats-Time-Stamp: yesterday\r\n\r\n",
    ),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_bytes_stop_nobody(
    shared_daemon: Running, kept_nats: NatsServer, data: bytes
) -> None:
    """Bytes that made clients deaf: the daemon reads on, live and from the store."""
    with Raw(kept_nats.url) as raw:
        raw.send(data)
        raw.sync()

    for instance in (f"h{n}" for n in range(1, 10)):
        accepted = await shared_daemon("run.signal", id=instance, name="after", data=1)
        page = await shared_daemon("run.history", id=instance, limit=1000)
        assert page["entries"][-1]["seq"] == accepted["seq"]
    assert (await shared_daemon.run("probe.echo", 1))["status"] == "completed"


@pytest.mark.parametrize(
    "asked", ["movant.api.status", "$SRV.PING", "$SRV.INFO.movant", "movant.svc.shop.buy"]
)
async def test_nobody_lets_movant_write_for_him(
    shared_daemon: Running, kept_nats: NatsServer, asked: str
) -> None:
    """A reply subject inside movant's own subjects is not answered: it would have our rights."""
    with Raw(kept_nats.url) as raw:
        before = await shared_daemon("run.signal", id="victim", name="before")
        raw.publish(asked.encode(), b"{}", reply=b"movant.to.victim.control.cancel")
        raw.publish(asked.encode(), b"{}", reply=b"movant.mail.1._owner")
        raw.sync()
        # Behind the others on every queue that they pass.
        answered = await trio.to_thread.run_sync(raw.ask, asked, b'{"n":"x"}')
        after = await shared_daemon("run.signal", id="victim", name="after")

    assert answered
    assert after["seq"] == before["seq"] + 1


# Replies


async def test_replies_that_are_forged_late_double_or_for_nobody(
    nats_server: NatsServer,
) -> None:
    """One reply counts; the others are dead letters or counted, and never change the result."""
    shop = Shop()
    async with serving(nats_server.url, shop) as movant:
        await movant("run.start", workflow="probe.retry", input={"operation": "slow"}, id="one")
        await until(lambda: shop.calls)
        partition = partition_of("one", 64)
        with Raw(nats_server.url) as raw:
            raw.put("movant.to.one.reply.s.1.00-0123456789ab", b'"forged"')
            raw.put("movant.to.nobody.reply.s.1.00-0123456789ab", b'"forged"')
            shop.hold.set()
            view = await movant.ended("one")
            (reply,) = [
                each
                for each in raw.subjects("MAIL", f"movant.mail.{partition}.one.reply.>")
                if "0123456789ab" not in each
            ]
            raw.put(reply.replace(f"movant.mail.{partition}.", "movant.to."), b'"late"')
            raw.sync()

        assert view["result"] is None
        late = await movant.view_when(
            "one", lambda v: v["counters"]["late"] or v["counters"]["duplicates"]
        )
        assert late["result"] is None
        assert late["status"] == "completed"


async def test_what_a_service_answers_wrongly_fails_the_step_and_nothing_else(
    nats_server: NatsServer,
) -> None:
    """No value, or more than a payload may have: a failure with a kind, not a stuck step."""
    async with serving(nats_server.url) as movant:
        odd = await movant.run("probe.retry", {"operation": "odd", "attempts": 1})
        huge = await movant.run("probe.retry", {"operation": "huge", "attempts": 1})

        assert odd["status"] == huge["status"] == "failed"
        assert odd["failure"]["kind"] == "error"
        assert huge["failure"]["kind"] == "over_limit"


async def test_a_stream_that_nobody_serves_is_not_an_absent_daemon(
    nats_server: NatsServer,
) -> None:
    """A cluster without a leader answers like that; whoever asked may try again."""
    async with daemon(nats_server.url) as movant:
        with Raw(nats_server.url) as raw:
            raw.ask("$JS.API.STREAM.DELETE.KV_movant_definitions")
        with pytest.raises(errors.UnavailableError) as refused:
            await movant("run.start", workflow="not.known", id="a")

    assert type(refused.value) is errors.UnavailableError
    assert "elects a new leader" in refused.value.hint


async def test_a_header_in_another_case_counts_for_nothing_and_that_is_told(
    nats_server: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A repeat is no repeat without an id, now and whenever it is folded; once is said why."""
    async with daemon(nats_server.url) as movant:
        with Raw(nats_server.url) as raw:
            for _ in range(2):
                raw.put("movant.to.odd.signal.go", b"1", {"movant-id": "same"})
        run = await movant.run("probe.signals", 2, id="odd")

    assert run["result"] == [1, 1]
    assert capsys.readouterr().out.count("letter.header_ignored") == 1
