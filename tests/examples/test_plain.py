"""The offices without movant, as processes, asked over a real nats-server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from examples.civic import plain
from examples.civic.model import Connection, Parking
from examples.civic.records import Records
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

SUBJECT = "movant.svc.parking.requirements-assess"
BODY = b'{"business_address":"123 Main St","seating_capacity":50,"employees":5}'
TOO_SHORT_S = 0.02
READY_S_MAX = 15.0


class Office:
    """One office as a process; ended by its pid."""

    def __init__(self, name: str, data: Path, url: str, work_s: float = 0.0) -> None:
        self.records = Records(data / f"{name}.sqlite")
        self._asked_to_stop = False
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "examples.civic.plain", name),
                *("--data", str(data), "--nats", url, "--work-s", str(work_s)),
            ],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )

    def stop(self) -> None:
        """Ask the process to stop, once: a second signal would end it while it is exiting."""
        if not self._asked_to_stop:
            self._asked_to_stop = True
            self.process.terminate()

    def end(self) -> int:
        """Ask the process to stop if nobody has yet, and return its exit code."""
        self.stop()
        return self.process.wait(10)


@pytest.fixture
def office(tmp_path: Path, nats_server: NatsServer) -> Iterator[Office]:
    """Open the parking office."""
    office = Office("parking", tmp_path, nats_server.url)
    yield office
    if office.process.poll() is None:
        office.end()


def test_the_answer_lands_in_the_mailbox(nats_server: NatsServer, office: Office) -> None:
    """A request with a stream's subject as reply subject needs nobody who waits."""

    async def scenario(client: Client) -> None:
        await make_mail(client)
        reply = "movant.to.run-1.reply.parking.1.token"

        await client.publish(SUBJECT, BODY, reply=reply, headers={"Movant-Key": "k1"})
        stored = await stored_message(client, reply)

        assert stored.data is not None
        assert msgspec.json.decode(stored.data, type=Parking).required_spaces == 20
        assert "Nats-Service-Error" not in (stored.headers or {})

    run(nats_server, scenario)
    assert office.records.statistics().done == 1


def test_a_repeated_key_gets_the_same_answer_and_one_record(
    nats_server: NatsServer, office: Office
) -> None:
    """Attempts of one step share a key; the office does the work once."""

    async def scenario(client: Client) -> None:
        headers = {"Movant-Key": "k1"}

        answers = await asyncio.gather(
            *(client.request(SUBJECT, BODY, headers=headers, timeout=5) for _ in range(5))
        )

        assert len({answer.data for answer in answers}) == 1

    run(nats_server, scenario)
    told = office.records.statistics()
    assert told.keys <= 2  # the probe that waited for the office, and k1
    assert told.done == told.keys
    assert told.requests >= 5
    assert told.done_twice == 0


@pytest.mark.parametrize(
    "body", [b"not json", b"", b"[]", b'{"business_address":""}', b"\xff", b"[" * 5000]
)
def test_a_bad_body_gets_an_error_reply_and_the_office_lives(
    nats_server: NatsServer, office: Office, body: bytes
) -> None:
    """Refused with kind ``validation``: no effect, no use in asking again."""

    async def scenario(client: Client) -> None:
        bad = await client.request(SUBJECT, body, headers={"Movant-Key": "bad"}, timeout=5)
        good = await client.request(SUBJECT, BODY, headers={"Movant-Key": "good"}, timeout=5)

        assert bad.headers is not None
        assert bad.headers["Nats-Service-Error-Code"] == "400"
        assert bad.headers["Nats-Service-Error"].startswith("bad request")
        assert bad.headers["Movant-Outcome"] == "refused"
        assert bad.headers["Movant-Error-Kind"] == "validation"
        assert msgspec.json.decode(good.data, type=Parking).compliant

    run(nats_server, scenario)
    assert office.process.poll() is None


def test_a_refusal_carries_its_kind_and_its_details(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Kind in a header, details in the body: what a workflow needs to decide."""
    office = Office("utilities", tmp_path, nats_server.url)

    async def scenario(client: Client) -> None:
        subject = "movant.svc.utilities.connections-capacity"
        await until_open(client, subject)

        refused = await client.request(
            subject, b'{"business_address":"1 Main St","power_kw":501}', timeout=5
        )
        granted = await client.request(
            subject, b'{"business_address":"1 Main St","power_kw":60}', timeout=5
        )

        assert refused.headers is not None
        assert refused.headers["Movant-Error-Kind"] == "connection_too_large"
        assert refused.headers["Movant-Outcome"] == "refused"
        assert msgspec.json.decode(refused.data) == {"power_kw_max": 500}
        assert msgspec.json.decode(granted.data, type=Connection).fee == 290

    try:
        run(nats_server, scenario, subject="")
    finally:
        assert office.end() == 0


def test_an_answer_waits_for_its_mailbox_and_is_handed_in_when_there_is_one(
    nats_server: NatsServer, office: Office
) -> None:
    """Without a stream nobody acknowledges: the office tries again until somebody does."""

    async def scenario(client: Client) -> None:
        reply = "movant.to.run-1.reply.parking.1.token"
        tries = await client.subscribe("movant.to.>")

        await client.publish(SUBJECT, BODY, reply=reply, headers={"Movant-Key": "k1"})
        await tries.next_msg(timeout=5)
        await make_mail(client)
        stored = await stored_message(client, reply)

        assert stored.data is not None
        assert msgspec.json.decode(stored.data, type=Parking).compliant

    run(nats_server, scenario)
    assert office.records.statistics().done_twice == 0


def test_an_office_that_is_asked_to_stop_hands_in_what_it_began(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """SIGTERM in the middle of the work: the answer still lands in the mailbox."""
    office = Office("parking", tmp_path, nats_server.url, work_s=0.3)

    async def scenario(client: Client) -> None:
        await make_mail(client)
        reply = "movant.to.run-1.reply.parking.1.token"

        await client.publish(SUBJECT, BODY, reply=reply, headers={"Movant-Key": "k1"})
        await seen(office, "k1")
        office.stop()
        stored = await stored_message(client, reply)

        assert stored.data is not None

    try:
        run(nats_server, scenario)
    finally:
        code = office.end()
    assert code == 0


def test_an_office_without_movant_imports_nothing_of_it() -> None:
    """Only the words on the wire are shared."""
    program = (
        "import sys, examples.civic.plain\n"
        "ours = {'movant', 'protocols', 'actors', 'supervisors', 'runtime', 'trio', 'pykka'}\n"
        "sys.exit(str(ours & set(sys.modules)) if ours & set(sys.modules) else 0)\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        timeout=20,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )

    assert ended.returncode == 0


@pytest.mark.parametrize(
    ("ack", "stored"),
    [
        (b'{"stream":"MAIL","seq":7}', True),
        (b'{"stream":"MAIL","seq":7,"duplicate":true}', True),
        (b'{"error":{"code":503},"stream":"MAIL","seq":0}', False),
        (b'{"type":"x"}', False),
        (b"thanks", False),
        (b"[]", False),
    ],
)
def test_only_a_streams_acknowledgement_ends_the_trying(*, ack: bytes, stored: bool) -> None:
    """Any other answer is as good as none."""
    assert plain.is_stored(ack) is stored


def run(
    server: NatsServer, scenario: Callable[[Client], Awaitable[None]], subject: str = SUBJECT
) -> None:
    """Run a scenario with a client, once the office at ``subject`` is open."""

    async def main() -> None:
        async with connected(server) as client:
            if subject:
                await until_open(client, subject)
            await scenario(client)

    asyncio.run(main())


@asynccontextmanager
async def connected(server: NatsServer) -> AsyncIterator[Client]:
    """Connect for one scenario."""
    client = await nats.connect(server.url)
    try:
        yield client
    finally:
        await client.close()


async def until_open(client: Client, subject: str) -> None:
    """Wait until somebody subscribes: ask with a body that leaves no record."""
    async with asyncio.timeout(READY_S_MAX):
        while True:
            try:
                await client.request(subject, b"anybody there?", timeout=2)
            except nats.errors.NoRespondersError:
                await asyncio.sleep(TOO_SHORT_S)
            else:
                return


async def make_mail(client: Client) -> None:
    """Make the stream that keeps all mailboxes."""
    await client.jetstream().add_stream(name="MAIL", subjects=["movant.to.>"])


async def stored_message(client: Client, subject: str) -> Any:
    """Wait for the first message that MAIL stores of ``subject``."""
    stream = client.jetstream()
    arrived: asyncio.Queue[Msg] = asyncio.Queue()
    await stream.subscribe(subject, cb=arrived.put, ordered_consumer=True)
    async with asyncio.timeout(10):
        return await arrived.get()


async def seen(office: Office, key: str) -> None:
    """Wait until the office has counted the request."""
    async with asyncio.timeout(10):
        while office.records.statistics().keys == 0:
            await asyncio.sleep(TOO_SHORT_S)
    assert office.records.find(key) is None, "the office was too quick for this test"
