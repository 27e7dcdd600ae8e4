"""The configurations that docs/operations.md gives for a server of one's own, as they stand.

Each is taken from the page, put into a real nats-server, and a daemon, a service and a client
work on it, each as the user that is meant for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import pytest
import trio

from protocols.api.runs import Empty, Findings
from protocols.errors import ConfigurationError, DisconnectedError, NotPermittedError
from protocols.ports import Outgoing
from protocols.subjects import partition_of
from runtime import permissions
from runtime.bridge import BridgeLimits, connect
from runtime.bridge.nkeys import public_text, seed_text
from runtime.client.client import Client
from runtime.client.discovery import login
from runtime.config import DaemonConfig, NatsConfig
from runtime.daemon import Daemon
from runtime.service_host import serve
from tests.support.configurations import block, configuration
from tests.support.daemon import PROBE
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server

USERS: Final = ("daemon", "admin", "client", "service", "monitor")
SETTINGS: Final = ("USER", "PASSWORD", "NKEY", "TLS_CA", "TLS_CERT", "TLS_KEY")

SECRET: Final = "d"  # noqa: S105 - of a server that lives for one test
GUESSED: Final = "guessed"

Logins = Mapping[str, NatsConfig]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*SETTINGS, "URL"):
        monkeypatch.delenv(f"MOVANT_NATS__{name}", raising=False)
    monkeypatch.delenv("MOVANT_NATS", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@contextmanager
def passwords(
    monkeypatch: pytest.MonkeyPatch, binary: str, *, tls: Path | None = None
) -> Iterator[tuple[NatsServer, Logins]]:
    """Start a server with passwords; yield it and the logins."""
    for user in USERS:
        monkeypatch.setenv(f"{user.upper()}_PASSWORD", f"secret-of-{user}")
    parts = ("tls", "passwords") if tls else ("passwords",)
    ca = str(tls / "ca.pem") if tls else ""
    with NatsServer(binary, extra=configuration(*parts)) as server:
        yield (
            server,
            {
                user: NatsConfig(
                    url=server.url, user=user, password=f"secret-of-{user}", tls_ca=ca
                )
                for user in USERS
            },
        )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a CA, a certificate for the server, and one for each user."""
    folder = tmp_path_factory.mktemp("tls")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    _openssl(
        folder, "req", "-x509", *key, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem"
    )
    names = {"server": "subjectAltName=IP:127.0.0.1", **dict.fromkeys(USERS, "")}
    for name, alternative in names.items():
        usage = "serverAuth" if name == "server" else "clientAuth"
        more = ("-addext", alternative) if alternative else ()
        _openssl(
            folder,
            *("req", "-x509", *key, "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-subj", f"/CN={name}", "-addext", f"extendedKeyUsage={usage}", *more),
            *("-keyout", f"{name}.key", "-out", f"{name}.pem"),
        )
    return folder


@pytest.fixture
def served(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name the server's certificates in the environment of the server."""
    monkeypatch.setenv("TLS_CERT", str(certificates / "server.pem"))
    monkeypatch.setenv("TLS_KEY", str(certificates / "server.key"))
    monkeypatch.setenv("TLS_CA", str(certificates / "ca.pem"))
    return certificates


async def test_passwords(nats_binary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users with passwords, without encryption."""
    with passwords(monkeypatch, nats_binary) as (server, logins):
        await _all_work(logins, monkeypatch)
        await _nobody_else(server)


async def test_nkeys(nats_binary: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The server knows public keys; seeds stand in files."""
    logins: dict[str, NatsConfig] = {}
    for user in USERS:
        seed = os.urandom(32)
        path = tmp_path / f"{user}.nk"
        path.write_text(f"{seed_text(seed)}\n")
        monkeypatch.setenv(f"{user.upper()}_NKEY", public_text(seed))
        logins[user] = NatsConfig(nkey=str(path))
    with NatsServer(nats_binary, extra=configuration("nkeys")) as server:
        urls = {user: _at(each, server.url) for user, each in logins.items()}
        await _all_work(urls, monkeypatch)
        path = tmp_path / "stranger.nk"
        path.write_text(seed_text(os.urandom(32)))
        await _nobody_else(server, _at(NatsConfig(nkey=str(path)), server.url))


async def test_a_server_certificate(
    nats_binary: str, monkeypatch: pytest.MonkeyPatch, served: Path
) -> None:
    """Passwords over TLS; a client that does not know the CA does not connect."""
    with passwords(monkeypatch, nats_binary, tls=served) as (server, logins):
        await _all_work(logins, monkeypatch)
        unknown = msgspec.structs.replace(logins["client"], tls_ca="", url=_tls(server.url))
        with pytest.raises(DisconnectedError, match="certificate verify failed"):
            await _connected(unknown)


async def test_client_certificates(
    nats_binary: str, monkeypatch: pytest.MonkeyPatch, served: Path
) -> None:
    """The name in the certificate is the user; without one there is no connection."""
    with NatsServer(nats_binary, extra=configuration("certificates")) as server:
        logins = {
            user: NatsConfig(
                url=_tls(server.url),
                tls_ca=str(served / "ca.pem"),
                tls_cert=str(served / f"{user}.pem"),
                tls_key=str(served / f"{user}.key"),
            )
            for user in USERS
        }
        await _all_work(logins, monkeypatch)
        nameless = NatsConfig(url=logins["client"].url, tls_ca=str(served / "ca.pem"))
        with pytest.raises((DisconnectedError, ConfigurationError)):
            await _connected(nameless)


async def test_a_late_answer_of_a_restricted_service_is_stored(
    nats_binary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply needs no allow_responses: here that has ended long before."""
    text = configuration("passwords").replace('expires: "2m"', 'expires: "1ms"')
    for user in USERS:
        monkeypatch.setenv(f"{user.upper()}_PASSWORD", f"secret-of-{user}")
    with NatsServer(nats_binary, extra=text) as server:
        logins = {
            user: NatsConfig(url=server.url, user=user, password=f"secret-of-{user}")
            for user in USERS
        }
        async with _daemon(logins["daemon"]), _client(logins, monkeypatch) as client:
            place = server.url.removeprefix("nats://")
            with Raw(f"nats://service:secret-of-service@{place}") as raw:
                raw.send(b"SUB movant.svc.shop.> q 5\r\n")
                raw.sync()
                run = await client.start("probe.retry", {"operation": "buy"}, id="late")
                request = await raw.next()
                await trio.sleep(0.2)
                raw.publish(request.reply, b'"sold"')
                refused = raw.refusals()
                outcome = await client.wait(run.id, timeout_s=10)

    assert refused == []
    assert (outcome.status, outcome.result) == ("completed", "sold")


async def test_the_mapping_spreads_mailboxes_as_the_transform_does(
    nats_binary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S10: two streams with ranges of partitions; each message stands where we compute it."""
    monkeypatch.setenv("DAEMON_PASSWORD", "d")
    with NatsServer(nats_binary, extra=block("mapping")) as server:
        place = server.url.removeprefix("nats://")
        with Raw(f"nats://daemon:d@{place}") as raw:
            for name, partitions in (("MAIL_0", range(32)), ("MAIL_1", range(32, 64))):
                subjects = ",".join(f'"movant.mail.{each}.>"' for each in partitions)
                made = raw.ask(
                    f"$JS.API.STREAM.CREATE.{name}",
                    f'{{"name":"{name}","subjects":[{subjects}]}}'.encode(),
                )
                assert "error" not in made
            ids = [f"order-{number}" for number in range(40)]
            acks = [raw.ask(f"movant.to.{each}.signal.go", b"1") for each in ids]
            reply = raw.ask("movant.to.order-1.reply.s.1.t", b"1")
            kept = {name: raw.subjects(name, ">") for name in ("MAIL_0", "MAIL_1")}

    for each, ack in zip(ids, acks, strict=True):
        partition = partition_of(each, 64)
        assert ack["stream"] == f"MAIL_{partition // 32}"
        assert f"movant.mail.{partition}.{each}.signal.go" in kept[ack["stream"]]
    assert reply["stream"] == f"MAIL_{partition_of('order-1', 64) // 32}"
    assert all(kept.values())


LIMITED: Final = """
authorization { users: [
  {user: daemon, password: d, permissions: {
    publish: {allow: ">", deny: ["movant.timer.>", "$JS.API.STREAM.PURGE.*", "billing.v2.>"]}
    subscribe: {allow: ">", deny: "movant.event.>"}
  }}
]}
"""


async def test_missing_permissions_are_named_and_nothing_is_changed(nats_binary: str) -> None:
    """Every one, with its pattern; asking stores nothing and purges nothing."""
    with NatsServer(nats_binary, extra=LIMITED) as server:
        nats = NatsConfig(url=server.url, user="daemon", password=SECRET)
        place = f"nats://daemon:d@{server.url.removeprefix('nats://')}"
        async with connect(nats.url, name="test", **login(nats)) as transport:
            with Raw(place) as raw:
                raw.ask(
                    "$JS.API.STREAM.CREATE.MAIL", b'{"name":"MAIL","subjects":["movant.to.>"]}'
                )
                raw.ask("movant.to.a.signal.go", b"1")
            lacking = await permissions.missing(transport, ["billing.v2.>"])
            with Raw(place) as raw:
                kept = raw.messages("MAIL")
                streams = raw.ask("$JS.API.STREAM.NAMES")["streams"]

    assert lacking == [
        "publish movant.timer.>",
        "publish $JS.API.STREAM.PURGE.*",
        "publish billing.v2.>",
        "subscribe movant.event.>",
    ]
    assert kept == 1
    assert streams == ["MAIL"]


async def test_a_daemon_that_lacks_a_permission_says_so_at_once(nats_binary: str) -> None:
    """It does not wait for answers that cannot come."""
    config = LIMITED.replace('"$JS.API.STREAM.PURGE.*"', '"$JS.API.STREAM.CREATE.*"')
    with NatsServer(nats_binary, extra=config) as server:
        daemon = Daemon(
            DaemonConfig(name="d", nats=NatsConfig(url=server.url, user="daemon", password=SECRET))
        )
        with (
            trio.fail_after(5),
            pytest.raises(NotPermittedError, match=r"'daemon' .*\$JS\.API\.STREAM\.CREATE"),
        ):
            await daemon.run()


async def _all_work(logins: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a daemon, a service and a client, each with its own login."""
    shop = Shop()
    stop = trio.Event()
    async with _daemon(logins["daemon"]), trio.open_nursery() as nursery:

        async def offer(*, task_status: trio.TaskStatus[None]) -> None:
            await serve([shop.service], "", stop, drain_s=0.5, task_status=task_status)

        _become(logins["service"], monkeypatch)
        await nursery.start(offer)
        async with _client(logins, monkeypatch) as client:
            outcome = await client.start("probe.retry", {"operation": "buy"}, wait_s=10)
            events = [each.kind async for each in client.watch(outcome.id)]
            services = await client.services()
            with pytest.raises(NotPermittedError, match="may not publish to movant"):
                await client.calls.transport.request(Outgoing("movant.svc.shop.buy", b"1"), 30)
            told = await client.calls.call("check", Empty(), Findings)
        stop.set()

    assert outcome.status == "completed"
    assert shop.keys
    assert events == ["completed"]
    assert [(each.name, each.state) for each in services.services] == [("shop", "up")]
    assert [each.found for each in told.findings if each.verdict != "ok"] == []


async def _nobody_else(server: NatsServer, *more: NatsConfig) -> None:
    nameless = NatsConfig(url=server.url)
    guessed = NatsConfig(url=server.url, user="client", password=GUESSED)
    for refused in (nameless, guessed, *more):
        with pytest.raises(ConfigurationError, match="refuses the login"):
            await _connected(refused)


async def _connected(nats: NatsConfig) -> None:
    limits = BridgeLimits(connect_s=1.0, reconnect_s_min=0.02)
    async with connect(nats.url, name="test", limits=limits, **login(nats)):
        pass


@asynccontextmanager
async def _daemon(nats: NatsConfig) -> AsyncIterator[None]:
    daemon = Daemon(
        DaemonConfig(name="foreign", nats=nats, workflows=(PROBE,), drain_timeout_s=5.0)
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(daemon.run)
        try:
            yield
        finally:
            daemon.drain()


@asynccontextmanager
async def _client(logins: Logins, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    _become(logins["client"], monkeypatch)
    async with Client.connect() as client:
        yield client


def _become(nats: NatsConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what the page says that a program of movant's needs."""
    monkeypatch.setenv("MOVANT_NATS", nats.url)
    for name in SETTINGS:
        monkeypatch.delenv(f"MOVANT_NATS__{name}", raising=False)
        if value := getattr(nats, name.lower()):
            monkeypatch.setenv(f"MOVANT_NATS__{name}", value)


def _tls(url: str) -> str:
    return url.replace("nats://", "tls://")


def _at(nats: NatsConfig, url: str) -> NatsConfig:
    return msgspec.structs.replace(nats, url=url)


def _openssl(folder: Path, *arguments: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl to make certificates with")
    subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)
