"""Runs, end to end: what a workflow asks for happens."""

from __future__ import annotations

import time

import msgspec
import pytest
import trio

from actors.kernel.instance import Instance
from actors.owning.inbound import parse
from actors.owning.letters import Letter
from protocols.ports import Outgoing
from protocols.subjects import mailbox, partition_of
from tests.support.daemon import Running, daemon, plainly, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def test_a_run_asks_its_services_and_ends(nats_server: NatsServer) -> None:
    """Three steps, three effects, one result."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        ended = await movant.run("probe.steps", {"steps": 3}, id="a")

    assert ended["status"] == "completed"
    assert ended["result"] == [0, 1, 2]
    assert shop.keys == ["a/1/s", "a/1/s#2", "a/1/s#3"]


async def test_functions_of_ones_own_run_plain_and_async(shared_daemon: Running) -> None:
    """Both give their result; one that raises fails its step with the reason."""
    ran = await shared_daemon.run("probe.local", 1)
    raised = await shared_daemon.run("probe.local_fails")

    assert ran["result"] == [2, 3]
    assert raised["result"][0] == "code"
    assert "ValueError: no luck" in raised["result"][1]


async def test_sleeps_and_timeouts_come_by_themselves(shared_daemon: Running) -> None:
    """A durable timer fires, and not before its time."""
    began = time.monotonic()
    slept = await shared_daemon.run("probe.sleep", 0.3)
    took_s = time.monotonic() - began
    expired = await shared_daemon.run("probe.timeout", 0.1)

    assert slept["result"] == "awake"
    assert took_s >= 0.3
    assert expired["result"] == "expired"


async def test_a_step_is_tried_again_after_its_delay(nats_server: NatsServer) -> None:
    """Two failures, then a success: three calls with one key and a rising attempt."""
    shop = Shop()
    shop.failures = 2
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        ended = await movant.run("probe.retry", {"operation": "flaky"}, id="a")
        refused = await movant.run("probe.retry", {"operation": "refuse"}, id="b")

    assert ended["result"] == "at last"
    assert [call.attempt for call in shop.calls if call.operation == "flaky"] == [1, 2, 3]
    assert {call.key for call in shop.calls if call.operation == "flaky"} == {"a/1/s"}
    assert refused["status"] == "failed"
    assert refused["failure"]["kind"] == "too_late"
    assert [call.operation for call in shop.calls].count("refuse") == 1


async def test_a_step_without_an_answer_times_out(nats_server: NatsServer) -> None:
    """At the deadline of its last attempt the step fails, with a kind of its own."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        ended = await movant.run(
            "probe.retry", {"operation": "slow", "attempts": 2, "timeout_s": 0.3}
        )

    assert ended["failure"]["kind"] == "timeout"
    assert ended["status"] == "failed"


async def test_a_run_is_cancelled_and_undoes(nats_server: NatsServer) -> None:
    """Cancel runs what stands in finally, then the run is cancelled; a second cancel is late."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        await movant("run.start", workflow="probe.tidy", id="a")
        await movant.waits("a", "signal")
        await movant("run.cancel", id="a", reason="enough", message_id="m1")
        await movant("run.cancel", id="a", reason="enough", message_id="m1")
        view = await movant.ended("a")

    assert view["status"] == "cancelled"
    assert shop.keys == ["a/1/undo"]


@pytest.mark.parametrize("workflow", ["probe.signals", "probe.steps"])
async def test_a_run_that_has_not_begun_is_cancelled(
    shared_daemon: Running, kept_nats: NatsServer, workflow: str
) -> None:
    """A cancel before the start ends the run as soon as it starts."""
    instance = f"before-{workflow.replace('.', '-')}"
    await plainly(kept_nats.url, [(f"movant.to.{instance}.control.cancel", b'"no"', None)])
    view = await shared_daemon.run(
        workflow, {"steps": 1} if "steps" in workflow else 1, id=instance
    )

    assert view["status"] == "cancelled"


# Children


async def test_a_child_brings_its_result(shared_daemon: Running) -> None:
    """The parent goes on with what the child returned."""
    ended = await shared_daemon.run(
        "probe.parent", {"workflow": "probe.echo", "input": {"a": [1]}}, id="parent-1"
    )

    assert ended["result"] == {"a": [1]}


async def test_a_child_that_fails_fails_in_the_parent(shared_daemon: Running) -> None:
    """With the child's kind and message."""
    ended = await shared_daemon.run("probe.parent", {"workflow": "probe.fail"})

    assert ended["result"] == {"kind": "broken", "message": "on purpose"}


async def test_a_child_of_a_child_is_cancelled_with_its_parent(shared_daemon: Running) -> None:
    """Cancel goes down; the child is cancelled, not forgotten."""
    await shared_daemon(
        "run.start",
        workflow="probe.parent",
        input={"workflow": "probe.signals", "input": 1, "id": "kid-1"},
        id="parent-2",
    )
    await shared_daemon.waits("kid-1", "signal")
    await shared_daemon("run.cancel", id="parent-2")

    assert (await shared_daemon.ended("parent-2"))["status"] == "cancelled"
    assert (await shared_daemon.ended("kid-1"))["status"] == "cancelled"


@pytest.mark.parametrize("finished", [True, False])
async def test_a_child_whose_id_is_taken_is_a_clear_failure(
    shared_daemon: Running, *, finished: bool
) -> None:
    """The parent is told, whether the other run has ended or not, and that run is left alone."""
    taken = f"taken-{finished}"
    await shared_daemon("run.start", workflow="probe.signals", input=1, id=taken)
    if finished:
        await shared_daemon("run.signal", id=taken, name="go", data="mine")
        await shared_daemon.ended(taken)

    ended = await shared_daemon.run(
        "probe.parent", {"workflow": "probe.echo", "id": taken}, id=f"parent-{taken}"
    )

    assert ended["result"]["kind"] == "exists"
    assert taken in ended["result"]["message"]
    view = await shared_daemon("run.show", id=taken)
    assert view["status"] == ("completed" if finished else "running")
    assert view["workflow"] == "probe.signals"


async def test_a_child_finds_the_signal_that_came_before_it(shared_daemon: Running) -> None:
    """A mailbox with a signal and no start is not taken."""
    await shared_daemon("run.signal", id="kid-2", name="go", data="early")
    ended = await shared_daemon.run(
        "probe.parent", {"workflow": "probe.signals", "input": 1, "id": "kid-2"}
    )

    assert ended["result"] == ["early"]


async def test_a_child_of_an_unknown_workflow_waits_visibly(shared_daemon: Running) -> None:
    """It may be deployed later; parent and child say what they wait for."""
    await shared_daemon(
        "run.start",
        workflow="probe.parent",
        input={"workflow": "no.such", "id": "kid-3"},
        id="parent-3",
    )
    child = await shared_daemon.waits("kid-3", "pin")
    parent = await shared_daemon.waits("parent-3", "child")

    assert child["waiting"][0]["detail"] == "no.such"
    assert parent["waiting"][0]["detail"] == "no.such kid-3"


# Between instances


async def test_signals_between_runs_arrive_once_and_in_order(shared_daemon: Running) -> None:
    """ctx.send is a message with an identity."""
    await shared_daemon("run.start", workflow="probe.signals", input=5, id="receiver")
    await shared_daemon.run("probe.send", {"to": "receiver", "times": 5})

    assert (await shared_daemon.ended("receiver"))["result"] == [0, 1, 2, 3, 4]


async def test_an_event_of_the_workflow_is_stored(
    shared_daemon: Running, kept_nats: NatsServer
) -> None:
    """EVENTS holds what the author emits and the lifecycle, once each."""
    await shared_daemon.run("probe.emit", {"a": 1}, id="emitter")
    with Raw(kept_nats.url) as raw:
        stored = raw.subjects("EVENTS", "movant.event.probe-emit.emitter.>")
        event = raw.stored("EVENTS", "movant.event.probe-emit.emitter.shipped")

    kinds = {subject.rpartition(".")[2]: count for subject, count in stored.items()}
    assert kinds == {"started": 1, "shipped": 1, "completed": 1}
    assert event is not None
    assert msgspec.json.decode(event["data"]) == {"a": 1}


# Memory


async def gateway_fold(movant: Running, instance: str) -> str:
    """Return the state hash of a fold of the stored mailbox."""
    parts = movant.daemon.parts
    partition = partition_of(instance, 64)
    stored = await parts.mailboxes.subject(mailbox(instance, partition))
    fresh = Instance(instance, parts.definitions.workflow)
    for each in stored:
        parsed = parse(each, parts.keys)
        assert isinstance(parsed, Letter)
        fresh.fold(parsed.mail)
    return fresh.state_hash()


async def test_an_instance_leaves_memory_and_comes_back_the_same(nats_server: NatsServer) -> None:
    """State hash before passivation and after activation are equal."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        owner = movant.daemon.parts.owner
        await movant("run.start", workflow="probe.signals", input=3, id="a")
        await movant("run.signal", id="a", name="go", data=1)
        await movant.view_when("a", lambda view: view["state"] == {"seen": 1})
        before = owner.live["a"].instance.state_hash()
        owner.live["a"].touched = float("-inf")
        await until(lambda: "a" not in owner.live)
        activations = owner.statistics().activations
        view = await movant("run.show", id="a")
        unmoved = owner.statistics().activations, len(owner.live)
        folded = await gateway_fold(movant, "a")
        await movant("run.signal", id="a", name="go", data=2)
        await movant("run.signal", id="a", name="go", data=3)
        ended = await movant.ended("a")

    assert view["state"] == {"seen": 1}
    assert unmoved == (activations, 0)  # a query folds, and makes nobody live
    assert folded == before
    assert ended["result"] == [1, 2, 3]


async def test_who_waits_is_told_the_same_wherever_a_run_is(nats_server: NatsServer) -> None:
    """Of one in memory only the standing is looked at; of one that is not, what its fold tells."""
    async with daemon(nats_server.url) as movant:
        owner = movant.daemon.parts.owner
        await movant("run.start", workflow="probe.signals", input=1, id="a")
        await movant.waits("a", "signal")
        live = await movant("run.wait", id="a", timeout_s=0.1)
        owner.live["a"].touched = float("-inf")
        await until(lambda: "a" not in owner.live)
        dormant = await movant("run.wait", id="a", timeout_s=0.1)
        await movant("run.signal", id="a", name="go", data=5)
        ended = await movant("run.wait", id="a", timeout_s=10.0)

    assert live == dormant
    assert live["status"] == "running"
    assert (ended["status"], ended["result"]) == ("completed", [5])


async def test_a_list_of_10_000_reads_what_is_new_and_keeps_the_rest(
    nats_server: NatsServer,
) -> None:
    """So the second page comes much sooner than the first one."""
    async with daemon(nats_server.url) as movant:
        for part in range(10):
            items = [{"input": n, "id": f"r{part}-{n}"} for n in range(1_000)]
            await movant("run.start_many", workflow="probe.echo", items=items)
        began = time.monotonic()
        page = await movant("run.ls", limit=1_000)
        first_s = time.monotonic() - began
        began = time.monotonic()
        page = await movant("run.ls", limit=1_000, after=page["next"], status="completed")
        again_s = time.monotonic() - began

    assert page["runs"]
    assert again_s < first_s / 2, (first_s, again_s)


async def test_who_asks_again_meanwhile_gets_the_same_answer(nats_server: NatsServer) -> None:
    """The daemon does not begin anew: repeats would make a slow answer slower still."""
    request = msgspec.json.encode(
        {"workflow": "probe.signals", "input": 1, "id": "a", "wait_s": 20.0}
    )
    answers: list[bytes] = []

    async def ask(movant: Running, prefix: str) -> None:
        frame = await movant.transport.request(Outgoing(f"{prefix}.run.start", request), 20.0)
        answers.append(frame.payload)

    async with daemon(nats_server.url) as movant, trio.open_nursery() as nursery:
        nursery.start_soon(ask, movant, "movant.api")
        await movant.waits("a", "signal")
        nursery.start_soon(ask, movant, "movant.api.again")
        await movant("run.show", id="a")  # behind it on the same connection
        await movant("run.signal", id="a", name="go", data=5)
        await until(lambda: len(answers) == 2)
        stats = await movant.transport.request(Outgoing("$SRV.STATS.movant", b""), 5.0)
    counts = {
        each["name"]: each["num_requests"]
        for each in msgspec.json.decode(stats.payload)["endpoints"]
    }

    assert answers[0] == answers[1]
    assert msgspec.json.decode(answers[0])["result"] == [5]
    assert counts["run-start"] == 1
