"""S9: what the users of the embedded server try to forge is refused, and has no power.

Two ways are tried for each kind of message: to publish it, and to have the server publish it,
as the acknowledgement or the answer to a message that is permitted.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from actors.store.blobs import Blobs
from protocols.blobs import blob_of, put_subject
from protocols.ports import Outgoing
from protocols.subjects import partition_of
from runtime.bridge import connect
from runtime.client.client import Client
from runtime.server.accounts import accounts, users
from tests.bridge.support import Collector
from tests.daemon.test_payloads import LARGE, press
from tests.support.daemon import until
from tests.support.nats import NatsServer
from tests.support.own import Own, own_daemon
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server

CONTENT = b"z" * 300_000
HEALED = blob_of(CONTENT)
VICTIM = "victim"
PARTITION = partition_of(VICTIM, 64)
POWERFUL = (
    f"movant.to.{VICTIM}.control.cancel",
    f"movant.to.{VICTIM}.control.migrate",
    f"movant.to.{VICTIM}.timer.sleep",
    f"movant.to.{VICTIM}.owner.pinned",
    f"movant.to.{VICTIM}.owner.timeout",
    f"movant.to.{VICTIM}.owner.refused",
    f"movant.to.{VICTIM}.owner.child",
    f"movant.to.{VICTIM}.owner.continued",
    f"movant.to.{VICTIM}.gate.approve",
    f"movant.to.{VICTIM}.pack.9",
    f"movant.mail.{PARTITION}._owner",
    f"movant.mail.{PARTITION}.{VICTIM}.signal.go",
    f"movant.timer.{PARTITION}.{VICTIM}.sleep",
    f"movant.fired.{PARTITION}.{VICTIM}.sleep",
    f"movant.event.probe-sleep.{VICTIM}.completed",
    f"movant.done.{PARTITION}.{VICTIM}",
    "movant.dead.forged",
    "$KV.movant_leases.owner",
    f"$KV.movant_checkpoints.{PARTITION}",
    "$KV.movant_keys.forged",
    "$KV.movant_definitions.forged",
    "$JS.API.STREAM.PURGE.MAIL",
    "$JS.API.STREAM.DELETE.MAIL",
    "$JS.API.STREAM.UPDATE.MAIL",
    "$JS.API.STREAM.CREATE.AUDIT",
    "$JS.API.STREAM.MSG.DELETE.MAIL",
    "$JS.API.STREAM.MSG.GET.MAIL",
    "$JS.API.DIRECT.GET.MAIL",
    "$JS.API.CONSUMER.CREATE.MAIL.x",
    "$JS.API.CONSUMER.DELETE.MAIL.x",
    "$JS.API.META.LEADER.STEPDOWN",
    "$SYS.REQ.USER.INFO",
)
"""Where only the daemon and the server themselves may write."""
OTHERS = {
    "client": ("movant.to.x.reply.s.1.t", "movant.svc.shop.buy"),
    "service": ("movant.to.x.start.probe.echo", "movant.to.x.signal.go", "movant.api.run.start"),
    "monitor": ("movant.to.x.start.probe.echo", "movant.to.x.reply.s.1.t", "movant.api.status"),
}
"""What each may not do although another may."""
PERMITTED = {
    "client": f"movant.to.{VICTIM}-x.signal.go",
    "service": f"movant.to.{VICTIM}-x.reply.s.1.t",
    "monitor": "$JS.API.STREAM.INFO.MAIL",
}
"""What each may send, and the server answers."""


@pytest.mark.parametrize("user", ["client", "service", "monitor"])
async def test_nobody_but_the_daemon_writes_what_has_power(user: str, tmp_path: Path) -> None:
    """Each subject is refused by name, and reading the streams is, except for the monitor."""
    readable = {"$JS.API.STREAM.MSG.GET.MAIL", "$JS.API.DIRECT.GET.MAIL"}
    tried = [*POWERFUL, *OTHERS[user]]
    if user == "monitor":
        tried = [subject for subject in tried if subject not in readable]
    async with own_daemon(tmp_path) as movant:
        with Raw(movant.login(user)) as raw:
            refused = []
            for subject in tried:
                raw.publish(subject.encode(), b"{}")
                refused.append(raw.refusals())

    assert refused == [[f'Permissions Violation for Publish to "{each}"'] for each in tried]


@pytest.mark.parametrize("user", ["client", "service", "monitor"])
async def test_an_acknowledgement_goes_to_no_subject_that_has_power(
    user: str, tmp_path: Path
) -> None:
    """The reply subject of a permitted message is not checked, and leads out of the account."""
    async with own_daemon(tmp_path) as movant:
        await movant("run.start", workflow="probe.sleep", input=1.5, id=VICTIM)
        await movant.waits(VICTIM, "timer")
        before = _traces(movant)
        with Raw(movant.login(user)) as raw:
            for subject in POWERFUL:
                raw.publish(PERMITTED[user].encode(), b"1", subject.encode())
            told = raw.refusals()
        if user != "monitor":
            await until(lambda: _stored(movant, PERMITTED[user]) == len(POWERFUL))
        await trio.sleep(0.1)
        after = _traces(movant)
        ended = await movant.ended(VICTIM)
        history = await movant("run.history", id=VICTIM)

    assert told == []
    assert after == before
    assert ended["status"] == "completed"
    assert ended["result"] == "awake"
    assert {each["kind"] for each in history["entries"]} <= {"start", "timer", "wake"}


async def test_an_answer_of_a_service_goes_to_no_subject_that_has_power(tmp_path: Path) -> None:
    """A client that names a purge as its reply subject does not make a service purge."""
    async with own_daemon(tmp_path) as movant:
        await movant("run.start", workflow="probe.sleep", input=1.0, id=VICTIM)
        with Raw(movant.login("service")) as service, Raw(movant.login("client")) as client:
            service.send(b"SUB $SRV.PING 5\r\n")
            service.sync()
            client.publish(b"$SRV.PING", b"", b"$JS.API.STREAM.PURGE.MAIL")
            asked = await service.next()
            service.publish(asked.reply, b"{}")
            answered = service.refusals()
            service.publish(b"$JS.API.STREAM.PURGE.MAIL", b"{}")
            refused = service.refusals()
        ended = await movant.ended(VICTIM)

    assert asked.reply != b"$JS.API.STREAM.PURGE.MAIL"
    assert answered == []
    assert len(refused) == 1
    assert ended["result"] == "awake"


async def test_permissions_of_users_in_one_account_would_not_do(nats_binary: str) -> None:
    """Why there are accounts: in one, an acknowledgement is stored as anything."""
    client = next(each for each in users() if each.name == "client")
    permissions = f"{{publish: {list(client.publish)}, subscribe: {list(client.subscribe)}}}"
    one_account = (
        "authorization { users: ["
        " {user: daemon, password: d}, "
        f" {{user: client, password: c, permissions: {permissions}}}"
        "]}"
    ).replace("'", '"')
    with NatsServer(nats_binary, extra=one_account) as server:
        place = server.url.removeprefix("nats://")
        with Raw(f"nats://daemon:d@{place}") as own, Raw(f"nats://client:c@{place}") as other:
            own.ask("$JS.API.STREAM.CREATE.MAIL", b'{"name":"MAIL","subjects":["movant.to.>"]}')
            other.publish(b"movant.to.x.signal.go", b"1", b"movant.to.victim.control.cancel")
            refused = other.refusals()
            with trio.fail_after(5):
                while own.messages("MAIL") < 2:
                    await trio.sleep(0.01)
            forged = own.stored("MAIL", "movant.to.victim.control.cancel")

    assert refused == []
    assert forged is not None


async def test_nobody_reads_what_is_not_for_him(tmp_path: Path) -> None:
    """Requests, answers and mailboxes of others cannot be listened to."""
    closed = {
        "client": ("movant.svc.>", "movant.to.>", "movant.mail.>", "movant.api.>", ">", "$KV.>"),
        "service": ("movant.event.>", "movant.to.>", "movant.api.>", ">", "$JS.>"),
        "monitor": ("movant.svc.>", "movant.to.>", "movant.api.>", ">", "$KV.>"),
    }
    async with own_daemon(tmp_path) as movant:
        refused = {}
        for user, subjects in closed.items():
            with Raw(movant.login(user)) as raw:
                for number, subject in enumerate(subjects):
                    raw.send(f"SUB {subject} {number}\r\n".encode())
                refused[user] = [each.rpartition(" ")[2].strip('"') for each in raw.refusals()]

    assert refused == {user: list(subjects) for user, subjects in closed.items()}


async def test_nobody_sees_the_inbox_of_another_user(tmp_path: Path) -> None:
    """An answer to a client reaches clients only."""
    async with own_daemon(tmp_path) as movant:
        seen = {user: Collector() for user in ("client", "service", "monitor")}
        async with (
            connect(movant.login("client"), name="c") as client,
            connect(movant.login("service"), name="s") as service,
            connect(movant.login("monitor"), name="m") as monitor,
        ):
            for user, transport in zip(seen, (client, service, monitor), strict=True):
                await transport.subscribe("_INBOX.>", seen[user])
            await movant("workflow.ls")
            await trio.sleep(0.1)

    answers = {
        user: sum(b"probe.echo" in each.payload for each in found.frames)
        for user, found in seen.items()
    }
    assert answers == {"client": 1, "service": 0, "monitor": 0}


async def test_every_user_can_do_what_he_is_for(tmp_path: Path) -> None:
    """A client starts and watches, a service serves and is found, a monitor reads."""
    shop = Shop()
    async with own_daemon(tmp_path, hosted=[shop.service]) as movant:
        ended = await movant.run("probe.retry", {"operation": "buy"}, id="a")
        with Raw(movant.login("client")) as raw:
            raw.put("movant.to.b.start.probe.echo", b"7")
        plain = await movant.ended("b")
        listed = await movant("service.ls")
        with Raw(movant.login("monitor")) as raw:
            kept = raw.messages("MAIL")
            start = raw.stored("MAIL", f"movant.mail.{partition_of('b', 64)}.b.start.probe.echo")
        checked = await movant("check")

    assert ended["status"] == "completed"
    assert shop.keys
    assert plain["result"] == 7
    assert [each["name"] for each in listed["services"] if each["state"] == "up"] == ["shop"]
    assert kept > 0
    assert start is not None
    assert [each["verdict"] for each in checked["findings"]] == ["ok"] * 6


def test_each_user_is_in_one_account_and_has_his_password() -> None:
    """The generated block names nobody twice and nobody without a password."""
    names = [each.name for each in users()]
    made = accounts({name: f"secret of {name}" for name in names})
    found = {
        user["user"]: user["password"] for account in made.values() for user in account["users"]
    }

    assert sorted(found) == sorted(names)
    assert all(secret == f"secret of {name}" for name, secret in found.items())
    assert [name for name, account in made.items() if "jetstream" in account] == ["MOVANT"]


def _stored(movant: Own, subject: str) -> int:
    stored = subject.replace("movant.to.", "movant.mail.*.")
    with Raw(movant.login("admin")) as raw:
        return sum(raw.subjects("MAIL", stored).values())


def _traces(movant: Own) -> dict[str, object]:
    """Return all that a forged message would leave behind."""
    with Raw(movant.login("admin")) as raw:
        streams = raw.ask("$JS.API.STREAM.NAMES")["streams"]
        return {
            "streams": sorted(streams),
            "victim": raw.subjects("MAIL", f"movant.mail.*.{VICTIM}.>"),
            "markers": raw.subjects("MAIL", "movant.mail.*._owner"),
            "timers": raw.subjects("TIMERS", ">"),
            "archive": raw.subjects("ARCHIVE", ">"),
            "events": raw.subjects("EVENTS", f"movant.event.*.{VICTIM}.>"),
            "keys": raw.messages("KV_movant_keys"),
            "definitions": raw.messages("KV_movant_definitions"),
            "dead": {each for each in raw.subjects("DEAD", ">") if "forged" in each},
            "leases": raw.subjects("KV_movant_leases", ">"),
        }


async def test_large_values_pass_between_the_accounts(tmp_path: Path) -> None:
    """A client puts, a service gets what it is asked with, and answers; no search is permitted."""
    async with own_daemon(tmp_path, hosted=[press()], workflows=[LARGE]) as movant:
        async with Client.connect(movant.login("client")) as client:
            await client.start("large.given", "x" * 700_000, id="given")
            await client.signal("given", "more", "y" * 300_000)
            given = await client.wait("given", timeout_s=20)
            chain = await client.start("large.chain", 700_000, wait_s=20)
            async with connect(movant.login("service"), name="service") as service:
                forged = Outgoing(put_subject("given", HEALED.digest, 0), b"forged")
                await service.request(forged, 3.0)
                await Blobs(service, alone=True).put("given", CONTENT)
            healed = await client.large.content("given", HEALED)
        with Raw(movant.login("service")) as raw:
            raw.publish(b"$JS.API.DIRECT.GET.BLOBS", b'{"last_by_subj":"movant.blob.>"}')
            raw.publish(b"$JS.API.STREAM.MSG.GET.BLOBS", b'{"last_by_subj":"movant.blob.>"}')
            refused = raw.refusals()

    assert given.result == {"given": 700_000, "said": 300_000}
    assert chain.result == {"text": "ab" * 350_000}
    assert len(refused) == 2
    assert healed == CONTENT
