"""The ring of servers: who is next, when to wait, and what a server may tell."""

from __future__ import annotations

import pytest

from protocols.errors import ConfigurationError
from runtime.bridge.client import checked_urls
from runtime.bridge.servers import LEARNED_MAX, Servers

A, B, C = "nats://a:1", "nats://b:2", "nats://c:3"


def test_a_loss_leads_to_the_next_server_at_once() -> None:
    """Only a whole round without success is followed by a wait, each round by a longer one."""
    servers = Servers([A, B, C])

    taken = [(servers.rounds, servers.take()) for _ in range(7)]

    assert taken == [(0, A), (0, B), (0, C), (1, A), (0, B), (0, C), (2, A)]


def test_after_a_connection_that_stood_the_next_one_is_tried_without_a_wait() -> None:
    """The place in the ring is kept: the server that was lost comes last."""
    servers = Servers([A, B])
    first = servers.take()
    servers.stood()

    assert (first, servers.rounds, servers.take()) == (A, 0, B)


def test_one_server_alone_is_tried_at_once_and_then_with_waits() -> None:
    """The same as without a ring."""
    servers = Servers([A])

    assert [(servers.rounds, servers.take())[0] for _ in range(4)] == [0, 1, 2, 3]


def test_learned_servers_follow_those_that_are_given() -> None:
    """With the scheme and login of who told; those that are known already are left out."""
    servers = Servers(["tls://ann:pw@a:1", "tls://ann:pw@b:2"])
    servers.take()

    servers.learn("tls://ann:pw@a:1", ["b:2", "a:1", "c:3"])

    assert [servers.take() for _ in range(3)] == [
        "tls://ann:pw@b:2",
        "tls://ann:pw@c:3",
        "tls://ann:pw@a:1",
    ]


def test_a_server_that_left_the_cluster_is_forgotten() -> None:
    """The last word counts; those that are given always stay."""
    servers = Servers([A])
    servers.learn(A, ["b:2", "c:3"])
    servers.learn("nats://b:2", ["a:1", "b:2"])

    assert servers.urls == [A, B]


@pytest.mark.parametrize("told", [None, "b:2", {"b": 2}, [7, "", "b", "x@b:2", "b:p", "["]])
def test_what_is_no_list_of_hosts_and_ports_is_ignored(told: object) -> None:
    """An INFO line comes from outside like everything else."""
    servers = Servers([A])

    servers.learn(A, told)

    assert servers.urls == [A]


def test_no_more_servers_are_learned_than_a_cluster_has() -> None:
    """A server cannot make a client hold what it likes."""
    servers = Servers([A])

    servers.learn(A, [f"s{number}:1" for number in range(1_000)])

    assert len(servers.urls) == 1 + LEARNED_MAX


def test_the_time_to_connect_is_shared() -> None:
    """A frozen first server leaves time for the others; nobody gets less than a second."""
    assert Servers([A]).try_s(5.0) == 5.0
    assert Servers([A, B]).try_s(5.0) == 2.5
    assert Servers([A] * 10).try_s(5.0) == 1.0
    assert Servers([A, B]).try_s(0.5) == 0.5


def test_several_urls_may_stand_in_one_setting() -> None:
    """Joined by commas, as NATS's own tools take them."""
    assert checked_urls(f"{A}, {B},") == (A, B)
    with pytest.raises(ConfigurationError, match="ws://"):
        checked_urls(f"{A},ws://b:2")
    with pytest.raises(ConfigurationError, match="no server URL"):
        checked_urls(" , ")
