"""nats-py under the bridge: its private names, and logins that are refused or limited."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import TypedDict

import pytest
import trio
from nats.aio.client import Client  # noqa: TID251 - the names that the bridge depends on
from nats.aio.transport import TcpTransport  # noqa: TID251

from protocols.errors import ConfigurationError, NotPermittedError
from protocols.ports import Outgoing
from runtime.bridge import BridgeLimits, NatsTransport, connect
from runtime.bridge.client import PRIVATE_NAMES, PRIVATE_TRANSPORT_NAMES
from tests.bridge.support import Collector, Told, until
from tests.support.nats import NatsServer


class Login(TypedDict):
    """What ``connect`` takes."""

    user: str
    password: str


USERS = """
authorization {
  users = [
    { user: "all", password: "a" }
    { user: "limited", password: "b", permissions: {
        publish: "open.>", subscribe: ["open.>", "_INBOX.*.r.*"] } }
    { user: "deaf", password: "c", permissions: { publish: ">", subscribe: "open.>" } }
  ]
}
"""


def login(user: str, password: str) -> Login:
    """Return the arguments that log in as one of the users above."""
    return Login(user=user, password=password)


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_the_private_names_of_the_client_are_there(name: str) -> None:
    """A nats-py that renames one of them must fail here and not at night."""
    assert hasattr(Client(), name)


@pytest.mark.parametrize("name", PRIVATE_TRANSPORT_NAMES)
def test_the_private_names_of_its_transport_are_there(name: str) -> None:
    """The socket is taken over through these."""
    assert name in vars(TcpTransport())  # type: ignore[no-untyped-call] # nats-py has no types


@pytest.mark.parametrize("name", ["_read_loop", "_flusher", "_ping_interval"])
def test_the_loops_that_we_replace_are_coroutines_without_arguments(name: str) -> None:
    """An override with another signature would not override."""
    method = getattr(Client, name)

    assert inspect.iscoroutinefunction(method)
    assert list(inspect.signature(method).parameters) == ["self"]


def test_nats_py_is_the_pinned_version() -> None:
    """The bridge was read against the source of 2.16."""
    assert version("nats-py").startswith("2.16.")


@pytest.mark.server
async def test_a_refused_login_is_told_at_once(nats_binary: str) -> None:
    """A wrong password is a setting to mend, not a connection to wait for."""
    with NatsServer(nats_binary, extra=USERS) as server:
        with trio.fail_after(2.0), pytest.raises(ConfigurationError, match="refuses the login"):
            async with connect(server.url, name="test", **login("all", "wrong")):
                pass
        async with connect(server.url, name="test", **login("all", "a")) as transport:
            assert transport.connected


@pytest.mark.server
async def test_a_subscription_that_is_not_permitted_is_an_error(nats_binary: str) -> None:
    """Without this the actor would be deaf and not know it."""
    with NatsServer(nats_binary, extra=USERS) as server:
        async with connect(server.url, name="test", **login("limited", "b")) as transport:
            with pytest.raises(
                NotPermittedError, match=r"user 'limited' may not subscribe to closed\.x"
            ):
                await transport.subscribe("closed.x", Collector())
            await transport.subscribe("open.x", Collector())


@pytest.mark.server
async def test_a_request_that_is_not_permitted_fails_at_once(nats_binary: str) -> None:
    """The error names the user and the subject; other requests go on waiting for theirs."""
    with NatsServer(nats_binary, extra=USERS) as server:
        async with (
            connect(server.url, name="test", **login("limited", "b")) as transport,
            trio.open_nursery() as nursery,
        ):
            await transport.subscribe("open.silent", Collector())
            waiting = Told()
            transport.request_soon(Outgoing("open.silent", b""), 60.0, waiting)
            with trio.fail_after(2.0):
                with pytest.raises(NotPermittedError, match=r"'limited' .* publish to closed\.x"):
                    await transport.request(Outgoing("closed.x", b""), 60.0)
                for _ in range(2):
                    nursery.start_soon(_refused, transport)
            assert waiting.answers == []


@pytest.mark.server
async def test_a_message_that_is_not_permitted_is_told_to_who_asks(nats_binary: str) -> None:
    """A publish has no answer; whoever wants to know is told the subject."""
    with NatsServer(nats_binary, extra=USERS) as server:
        async with connect(server.url, name="test", **login("limited", "b")) as transport:
            told: list[str] = []
            stop = transport.on_refusal(told.append)
            transport.publish(Outgoing("closed.y", b""))
            await until(lambda: told)
            stop()
            transport.publish(Outgoing("closed.z", b""))
            await transport.subscribe("open.y", Collector())

    assert told == ["closed.y"]


async def _refused(transport: NatsTransport) -> None:
    with pytest.raises(NotPermittedError):
        await transport.request(Outgoing("closed.x", b""), 60.0)


@pytest.mark.server
async def test_a_user_without_its_own_inbox_gets_no_transport(nats_binary: str) -> None:
    """Requests could never be answered: said at the start, not by timeouts."""
    with (
        NatsServer(nats_binary, extra=USERS) as server,
        pytest.raises(ConfigurationError, match="_INBOX"),
    ):
        async with connect(server.url, name="test", **login("deaf", "c")):
            pass


@pytest.mark.server
async def test_a_limited_user_is_watched_by_pings(nats_binary: str) -> None:
    """Who may not send probes is not cut off for it, and a frozen server is still noticed."""
    limits = BridgeLimits(watchdog_s=0.05, connect_s=1.0, reconnect_s_min=0.02)
    with NatsServer(nats_binary, extra=USERS) as server:
        async with connect(
            server.url, name="test", **login("limited", "b"), limits=limits
        ) as transport:
            seen = Collector()
            await transport.subscribe("open.x", seen)
            await until(lambda: transport.statistics().rtt_s > 0)
            transport.publish(Outgoing("open.x", b"x"))
            await until(lambda: seen.frames)
            reconnects = transport.statistics().reconnects
            server.freeze()
            await until(lambda: not transport.connected)

    assert reconnects == 0
