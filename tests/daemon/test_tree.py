"""The daemon's real tree: who dies is restarted with all behind it, and no run notices."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import structlog
import trio

from actors.kernel.instance import Instance
from protocols.flow import FlowSettings
from protocols.service import Call, Service
from supervisors.intensity import RestartIntensityExceededError
from supervisors.supervisor import Supervisor
from tests.support.daemon import Running, daemon, offered, until
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = pytest.mark.server

CHILDREN = ["bridge", "store", "actors", "router", "workflows", "edges"]
EDGES = ["triggers", "api", "budgets", "http", "collector"]
CRASHES = 1_000
RUNS = 200


def root_of(movant: Running) -> Supervisor:
    """Return the root of a daemon's tree."""
    assert movant.daemon._root is not None
    return movant.daemon._root


def incarnations(supervisor: Supervisor) -> dict[str, Any]:
    """Return who runs now, by child."""
    return {name: child.run for name, child in supervisor._children.items()}


def is_up(supervisor: Supervisor, victim: str, restarts: int = 1) -> bool:
    """Tell whether every child runs, and one of them for the how many-th time again."""
    came_back = supervisor._children[victim].restarts == restarts
    return came_back and all(each.status == "running" for each in supervisor.view().children)


def is_gone(supervisor: Supervisor, victim: str, run: Any) -> bool:
    """Tell whether the end of an incarnation was noticed."""
    return supervisor._children[victim].run is not run


@pytest.mark.parametrize("victim", CHILDREN)
async def test_who_dies_comes_back_with_all_that_come_after_it(
    nats_server: NatsServer, victim: str
) -> None:
    """rest_for_one: those before it live on; a run that waits for an answer ends as it should."""
    shop = Shop()
    async with offered(nats_server.url, shop.service), daemon(nats_server.url, reask_s=1.0) as one:
        root = root_of(one)
        assert list(root._children) == CHILDREN
        await one(
            "run.start", workflow="probe.steps", input={"steps": 2, "operation": "slow"}, id="a"
        )
        await until(lambda: shop.calls)
        before = incarnations(root)

        root.kill_child(victim)
        await until(partial(is_up, root, victim))
        after = incarnations(root)
        shop.hold.set()
        ended = await one.ended("a")

    at = CHILDREN.index(victim)
    assert [name for name in CHILDREN if before[name] is not after[name]] == CHILDREN[at:]
    assert (ended["status"], ended["result"]) == ("completed", [0, 1])


@pytest.mark.parametrize("victim", EDGES)
async def test_an_edge_that_dies_touches_no_other(nats_server: NatsServer, victim: str) -> None:
    """one_for_one: API, health and collector have nothing to do with each other."""
    async with daemon(nats_server.url) as one:
        edges = root_of(one).value_of("edges")
        before = incarnations(edges)

        edges.kill_child(victim)
        await until(partial(is_up, edges, victim))
        after = incarnations(edges)
        ended = await one.run("probe.echo", 1)

    assert [name for name in EDGES if before[name] is not after[name]] == [victim]
    assert ended["result"] == 1


async def test_what_keeps_dying_climbs_the_tree_and_ends_the_daemon(
    nats_server: NatsServer,
) -> None:
    """The sixth death of an edge is one restart of all edges; the sixth of those ends it all."""
    async with daemon(nats_server.url) as one:
        root = root_of(one)
        edges = root.value_of("edges")
        for _ in range(6):
            await until(lambda: edges._children["http"].status == "running")
            run = edges._children["http"].run
            edges.kill_child("http")
            await until(partial(is_gone, edges, "http", run))
        for number in range(1, 6):
            await until(partial(is_up, root, "edges", number))
            root.kill_child("edges")
        await until(lambda: one.error is not None)

    error = one.error
    assert isinstance(error, RestartIntensityExceededError)
    assert (error.supervisor, error.child_id, error.restarts_max) == ("daemon", "edges", 5)
    assert one.daemon.state == "stopped"
    assert all(child.run is None for child in root._children.values())


@pytest.fixture
def silence() -> Iterator[None]:
    """Write no log: a thousand tracebacks take longer than the work."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.mark.slow
@pytest.mark.usefixtures("silence")
async def test_a_service_that_crashes_a_thousand_times_loses_no_request(
    nats_server: NatsServer,
) -> None:
    """Its handler raises what nobody expects; every step is asked again, and done once.

    The tree that asks it is not touched: a service never climbs it.
    """
    service = Service("shop")
    crashes: list[str] = []
    done: list[str] = []

    @service.operation("buy")
    async def buy(request: Any, call: Call) -> Any:
        await trio.lowlevel.checkpoint()
        if len(crashes) < CRASHES and call.attempt <= 5:
            crashes.append(call.key)
            raise ZeroDivisionError(call.key)
        done.append(call.key)
        return request["n"]

    async with daemon(
        nats_server.url, services=[service], flow={"*": FlowSettings(breaker_failures=0)}
    ) as one:
        items = [{"id": f"r{n}", "input": {"steps": 3}} for n in range(RUNS)]
        await one("run.start_many", workflow="probe.steps", items=items)
        with trio.fail_after(90):
            while (await one("run.ls", status="completed", limit=1))["total"] < RUNS:
                await trio.sleep(0.1)
        results = [(await one("run.show", id=each["id"]))["result"] for each in items]
        restarts = [child.restarts for child in root_of(one).view().children]

    assert len(crashes) == CRASHES
    assert results == [[0, 1, 2]] * RUNS
    assert len(done) == len(set(done)) == 3 * RUNS
    assert restarts == [0] * len(CHILDREN)


async def test_a_poison_message_stops_its_own_run_and_no_other(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The actor that folds it dies each time; it is told as blocked, and repaired code goes on."""
    async with daemon(nats_server.url) as one:
        owner = one.daemon.parts.owner
        for name in ("poisoned", "b", "c"):
            await one("run.start", workflow="probe.signals", input=4, id=name)
            await one.waits(name, "signal")
        real, tries = owner.guard.fold, []

        def fold(instance: Instance, mail: Any) -> Any:
            if instance.id == "poisoned" and getattr(mail, "body", b"") == b'"poison"':
                tries.append(mail.seq)
                raise MemoryError
            return real(instance, mail)

        monkeypatch.setattr(owner.guard, "fold", fold)
        await one("run.signal", id="poisoned", name="go", data="poison")
        await until(lambda: "poisoned" in owner.crashes)
        for number in range(4):
            for name in ("b", "c"):
                await one("run.signal", id=name, name="go", data=number)
        neighbours = [await one.ended(name) for name in ("b", "c")]
        await trio.sleep(0.5)
        quiet = len(tries)
        status = await one("status")
        listed = await one("run.ls", status="blocked")
        monkeypatch.undo()
        for number in range(3):
            await one("run.signal", id="poisoned", name="go", data=number)
        ended = await one.ended("poisoned")

    assert [each["result"] for each in neighbours] == [[0, 1, 2, 3]] * 2
    assert quiet == 1
    assert status["counters"]["crashed"] == 1
    assert [each["id"] for each in listed["runs"]] == ["poisoned"]
    assert ended["result"] == ["poison", 0, 1, 2]
