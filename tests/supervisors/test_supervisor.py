"""The supervisor on virtual time: OTP's restart matrix, order, shutdown, escalation."""

# ruff: noqa: ARG001  # pytest-trio finds the clock among the arguments of a test

from __future__ import annotations

from itertools import pairwise, product
from typing import get_args

import pytest
import trio
import trio.testing

from protocols.errors import AlreadyExistsError, NotFoundError, UnavailableError
from supervisors.backoff import NO_BACKOFF, Backoff
from supervisors.child import ChildSpec, ChildStatus, Exit, Restart, StartFailedError, restarts
from supervisors.intensity import Intensity, RestartIntensityExceededError
from supervisors.strategy import Strategy, affected
from supervisors.supervisor import Supervisor
from supervisors.tree import SupervisorSpec, build, lines
from tests.supervisors.stage import Boom, Stage, running

NAMES = ["a", "b", "c"]


def _specs(stage: Stage, *names: str, restart: Restart = "permanent") -> list[ChildSpec]:
    return [ChildSpec(id=name, start=stage.child(name), restart=restart) for name in names]


async def _end(stage: Stage, supervisor: Supervisor, name: str, exit_kind: Exit) -> None:
    if exit_kind == "killed":
        supervisor.kill_child(name)
        await trio.testing.wait_all_tasks_blocked()
    else:
        await stage.order(name, "return" if exit_kind == "normal" else "boom")


@pytest.mark.parametrize(
    ("strategy", "restart", "exit_kind"),
    list(product(Strategy, get_args(Restart), get_args(Exit))),
)
async def test_the_restart_matrix(
    autojump_clock: trio.testing.MockClock,
    stage: Stage,
    strategy: Strategy,
    restart: Restart,
    exit_kind: Exit,
) -> None:
    """Strategy x restart type x exit: exactly OTP's children stop in reverse, start in order."""
    specs = _specs(stage, *NAMES)
    specs[1] = ChildSpec(id="b", start=stage.child("b"), restart=restart)
    supervisor = Supervisor("s", specs, strategy=strategy, backoff=NO_BACKOFF)

    async with running(supervisor):
        stage.take()
        await _end(stage, supervisor, "b", exit_kind)
        log = stage.take()

        group = list(affected(strategy, NAMES, "b")) if restarts(restart, exit_kind) else []
        ended = ["b"] + [name for name in reversed(group) if name != "b"]
        assert [line for line in log if line.startswith("end")] == [f"end {n}" for n in ended]
        assert [line for line in log if line.startswith("up")] == [f"up {n}" for n in group]
        alive = {child.id for child in supervisor.view().children if child.status == "running"}
        assert alive == ({"a", "b", "c"} if group else {"a", "c"})


async def test_a_finished_temporary_child_is_forgotten(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """A temporary child leaves the tree when it ends; a transient one stays as finished."""
    specs = _specs(stage, "t", restart="temporary") + _specs(stage, "u", restart="transient")

    async with running(Supervisor("s", specs)) as supervisor:
        await stage.order("t", "boom")
        await stage.order("u", "return")

        assert [(c.id, c.status) for c in supervisor.view().children] == [("u", "finished")]


async def test_temporary_siblings_do_not_come_back_with_their_group(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """one_for_all stops a temporary sibling and does not start it again, as in OTP."""
    specs = _specs(stage, "a") + _specs(stage, "t", restart="temporary")
    supervisor = Supervisor("s", specs, strategy=Strategy.ONE_FOR_ALL, backoff=NO_BACKOFF)

    async with running(supervisor):
        await stage.order("a", "boom")

        assert [child.id for child in supervisor.view().children] == ["a"]


async def test_the_next_child_starts_when_the_one_before_has_reported(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """A slow start holds up the children after it, and only them."""
    stage.start_s["b"] = 7

    async with running(Supervisor("s", _specs(stage, *NAMES))):
        assert trio.current_time() == pytest.approx(7, abs=0.01)
        assert stage.take() == ["start a", "up a", "start b", "up b", "start c", "up c"]


async def test_children_stop_in_reverse_order(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """A child may use those that were started before it until it has ended itself."""
    async with running(Supervisor("s", _specs(stage, *NAMES))):
        stage.take()

    assert stage.take() == ["end c", "end b", "end a"]


async def test_a_child_that_cannot_start_ends_the_supervisor(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """The children before it are stopped; the error names the child and has its error as cause."""
    stage.failing_starts["b"] = 1

    with pytest.raises(StartFailedError) as caught:
        await Supervisor("s", _specs(stage, *NAMES)).run()

    assert caught.value.child_id == "b"
    assert isinstance(caught.value.__cause__, Boom)
    assert stage.take() == ["start a", "up a", "start b", "end a"]


async def test_a_start_that_hangs_is_given_up(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """A start has a deadline, so that it cannot hold up the daemon for ever."""
    stage.start_s["a"] = 1_000
    spec = ChildSpec(id="a", start=stage.child("a"), start_timeout_s=3)

    with pytest.raises(StartFailedError, match="not started within 3 s"):
        await Supervisor("s", [spec]).run()

    assert trio.current_time() == pytest.approx(3, abs=0.01)


async def test_a_child_that_returns_without_reporting_has_failed_to_start(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Otherwise the supervisor would wait, or believe in a child that is not there."""

    async def silent(*, task_status: ChildStatus) -> None:
        del task_status

    with pytest.raises(StartFailedError, match="without reporting"):
        await Supervisor("s", [ChildSpec(id="a", start=silent)]).run()


async def test_a_restart_that_fails_is_one_more_failure(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """Failed restarts are tried again, and counted, until the child is up."""
    supervisor = Supervisor("s", _specs(stage, "a"), report=stage.reports.append)

    async with running(supervisor):
        stage.failing_starts["a"] = 3
        await stage.order("a", "boom")
        await trio.sleep(5)

        (view,) = supervisor.view().children
        assert (view.status, view.restarts) == ("running", 4)
        assert stage.events().count("child.restarting") == 4


async def test_restarts_back_off(autojump_clock: trio.testing.MockClock, stage: Stage) -> None:
    """The delays of a child that fails again and again grow, up to the maximum."""
    backoff = Backoff(delay_s=1, max_delay_s=4, jitter=0.2)
    supervisor = Supervisor(
        "s",
        _specs(stage, "a"),
        intensity=Intensity(restarts_max=10, period_s=60),
        backoff=backoff,
        report=stage.reports.append,
    )

    async with running(supervisor):
        for _ in range(5):
            await stage.order("a", "boom")
            await trio.sleep(4)

    delays = [each.delay_s for each in stage.reports if each.event == "child.restarting"]
    for delay_s, full_s in zip(delays, [1, 2, 4, 4, 4], strict=True):
        assert full_s * 0.8 <= delay_s <= full_s


async def test_siblings_live_on_while_one_child_waits_for_its_restart(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """A backoff blocks nothing: another child can fail and come back meanwhile."""
    supervisor = Supervisor(
        "s", _specs(stage, "a", "b"), backoff=Backoff(delay_s=10, max_delay_s=10, jitter=0)
    )

    async with running(supervisor):
        await stage.order("a", "boom")
        await trio.sleep(5)
        await stage.order("b", "boom")
        await trio.sleep(5.1)
        statuses = [child.status for child in supervisor.view().children]
        await trio.sleep(5)

        assert statuses == ["running", "restarting"]
        assert [child.status for child in supervisor.view().children] == ["running", "running"]


async def test_a_group_comes_back_in_order_when_failures_overlap(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """A later failure of an earlier child joins the restart that is already due."""
    supervisor = Supervisor(
        "s",
        _specs(stage, *NAMES),
        strategy=Strategy.REST_FOR_ONE,
        backoff=Backoff(delay_s=10, max_delay_s=10, jitter=0),
    )

    async with running(supervisor):
        await stage.order("b", "boom")
        await trio.sleep(4)
        await stage.order("a", "boom")
        stage.take()
        await trio.sleep(10.1)

        assert [line for line in stage.take() if line.startswith("up")] == ["up a", "up b", "up c"]


async def test_a_child_that_keeps_failing_is_escalated(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """The fourth failure in the period ends it, with the child's own error as cause."""
    supervisor = Supervisor(
        "s",
        _specs(stage, "a", "b"),
        intensity=Intensity(restarts_max=3, period_s=60),
        report=stage.reports.append,
    )
    caught: list[BaseException] = []

    async def run() -> None:
        try:
            await supervisor.run()
        except RestartIntensityExceededError as error:
            caught.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        for _ in range(4):
            await trio.testing.wait_all_tasks_blocked()
            await stage.order("a", "boom")
            await trio.sleep(1)

    (error,) = caught
    assert isinstance(error, RestartIntensityExceededError)
    assert (error.child_id, error.restarts_max) == ("a", 3)
    assert isinstance(error.__cause__, Boom)
    assert stage.events("a")[-1] == "supervisor.escalated"
    assert stage.take()[-1] == "end b"


async def test_failures_that_are_far_apart_do_not_escalate(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """The window slides: what is older than the period is forgotten."""
    supervisor = Supervisor(
        "s", _specs(stage, "a"), intensity=Intensity(restarts_max=1, period_s=10)
    )

    async with running(supervisor):
        for _ in range(5):
            await stage.order("a", "boom")
            await trio.sleep(10.5)

        assert supervisor.view().children[0].restarts == 5


async def test_a_parent_restarts_a_supervisor_that_has_escalated(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """Escalation climbs one level: the parent counts one restart and builds it all anew."""
    inner = SupervisorSpec(
        id="inner",
        children=tuple(_specs(stage, "a", "b")),
        intensity=Intensity(restarts_max=0, period_s=10),
    )
    root = build(SupervisorSpec(id="root", children=(inner,)), report=stage.reports.append)

    async with running(root):
        stage.take()
        await stage.order("a", "boom")
        await trio.sleep(1)

        assert stage.take() == ["end a", "end b", "start a", "up a", "start b", "up b"]
        (view,) = root.view().children
        assert (view.restarts, view.status) == (1, "running")
        assert "RestartIntensityExceededError" in view.last_error
        escalated = [each for each in stage.reports if each.event == "supervisor.escalated"]
        assert [(each.supervisor, each.child) for each in escalated] == [("root/inner", "a")]


async def test_a_nested_tree_stops_from_the_leaves(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """A supervisor is asked to stop, and has stopped its own children before its siblings go."""
    inner = SupervisorSpec(id="inner", children=tuple(_specs(stage, "b", "c")))
    root = build(SupervisorSpec(id="root", children=(*_specs(stage, "a"), inner)))

    async with running(root):
        shown = list(lines(root.view()))
        stage.take()

    assert shown[0] == "root (one_for_one, running)"
    assert shown[2] == "  inner (one_for_one, running)"
    assert shown[3] == "    b (running)"
    assert stage.take() == ["end c", "end b", "end a"]


async def test_a_child_is_asked_to_stop_and_has_time_for_it(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """Within its shutdown time a child ends by itself."""
    stage.clean_up_s["a"] = 3
    spec = ChildSpec(id="a", start=stage.child("a", stoppable=True), shutdown=5)

    async with running(Supervisor("s", [spec], report=stage.reports.append)):
        pass

    assert trio.current_time() == pytest.approx(3, abs=0.01)
    assert stage.reports[-1].reason == "normal"


@pytest.mark.parametrize(("shutdown", "took_s"), [(5.0, 5), ("brutal", 0)])
async def test_a_child_that_does_not_stop_is_killed(
    autojump_clock: trio.testing.MockClock, stage: Stage, shutdown: float, took_s: float
) -> None:
    """At the deadline of its spec, or at once when that is brutal."""
    spec = ChildSpec(id="a", start=stage.child("a", deaf=True), shutdown=shutdown)

    async with running(Supervisor("s", [spec], report=stage.reports.append)):
        pass

    assert trio.current_time() == pytest.approx(took_s, abs=0.01)
    assert stage.reports[-1].reason == ("overdue" if took_s else "killed")


async def test_infinity_waits_as_long_as_it_takes(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """A supervisor below may need more time than anybody can tell beforehand."""
    stage.clean_up_s["a"] = 5_000
    spec = ChildSpec(id="a", start=stage.child("a", stoppable=True), shutdown="infinity")

    async with running(Supervisor("s", [spec])):
        pass

    assert trio.current_time() == pytest.approx(5_000, abs=0.1)


async def test_a_stop_overtakes_a_start_that_hangs(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """Shutdown does not wait for a child that is still coming up."""
    stage.start_s["b"] = 25
    supervisor = Supervisor("s", _specs(stage, "a", "b"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await trio.sleep(1)
        supervisor.request_stop()

    assert trio.current_time() == pytest.approx(1, abs=0.01)
    assert stage.take() == ["start a", "up a", "start b", "end a"]


async def test_a_stop_in_the_middle_of_a_group_restart_stops_every_child(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """A child that is being stopped for a restart is still waited for at the end."""
    stage.clean_up_s["b"] = 3
    specs = [
        ChildSpec(id="a", start=stage.child("a")),
        ChildSpec(id="b", start=stage.child("b", stoppable=True)),
    ]
    supervisor = Supervisor("s", specs, strategy=Strategy.ONE_FOR_ALL)

    async with running(supervisor):
        await stage.order("a", "boom")
        stage.take()
        await trio.sleep(1)

    assert trio.current_time() == pytest.approx(3, abs=0.01)
    assert stage.take() == ["end b"]


async def test_children_come_and_go_at_run_time(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """start_child, terminate_child and restart_child change the tree while it runs."""
    async with running(Supervisor("s", _specs(stage, "a"))) as supervisor:
        value = await supervisor.start_child(_specs(stage, "b")[0])
        with pytest.raises(AlreadyExistsError):
            await supervisor.start_child(_specs(stage, "b")[0])
        await supervisor.terminate_child("a")
        await trio.sleep(60)
        after_terminate = [(c.id, c.status) for c in supervisor.view().children]
        await supervisor.restart_child("a")

        assert value == "b"
        assert after_terminate == [("a", "terminated"), ("b", "running")]
        assert [c.status for c in supervisor.view().children] == ["running", "running"]
        with pytest.raises(NotFoundError):
            await supervisor.terminate_child("nobody")


async def test_a_dynamic_child_that_cannot_start_is_not_kept(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """The caller hears why, the supervisor goes on."""
    stage.failing_starts["b"] = 1

    async with running(Supervisor("s", _specs(stage, "a"))) as supervisor:
        with pytest.raises(StartFailedError):
            await supervisor.start_child(_specs(stage, "b")[0])

        assert [child.id for child in supervisor.view().children] == ["a"]


async def test_a_terminated_child_stays_down_when_its_group_restarts(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """What an operator has taken down, only an operator brings back."""
    supervisor = Supervisor(
        "s", _specs(stage, "a", "b"), strategy=Strategy.ONE_FOR_ALL, backoff=NO_BACKOFF
    )

    async with running(supervisor):
        await supervisor.terminate_child("b")
        await stage.order("a", "boom")

        assert [c.status for c in supervisor.view().children] == ["running", "terminated"]


async def test_commands_to_a_supervisor_that_has_ended_are_refused(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """Nobody waits for ever for a supervisor that is gone."""
    async with running(Supervisor("s", _specs(stage, "a"))) as supervisor:
        pass

    with pytest.raises(UnavailableError):
        await supervisor.terminate_child("a")


async def test_every_record_of_a_child_has_one_shape(
    autojump_clock: trio.testing.MockClock, stage: Stage
) -> None:
    """Reports tell supervisor, child, context, reason and restarts, in the order of events."""
    supervisor = Supervisor("s", _specs(stage, "a"), report=stage.reports.append)

    async with running(supervisor):
        await stage.order("a", "boom")
        await trio.sleep(1)

    assert [(r.event, r.context, r.reason, r.restarts) for r in stage.reports] == [
        ("child.started", "start", "started", 0),
        ("child.failed", "run", "error", 0),
        ("child.restarting", "run", "error", 1),
        ("child.started", "start", "started", 1),
        ("child.stopped", "shutdown", "killed", 1),
    ]
    assert all(r.supervisor == "s" and r.child == "a" for r in stage.reports)
    assert all(first.at <= second.at for first, second in pairwise(stage.reports))
