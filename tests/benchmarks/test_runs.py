"""Each benchmark runs as its users run it. What it measures is no matter of a test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RUN_S = 50.0
EVERYWHERE = {"benchmark", "versions", "commit", "machine"}
SERVED = EVERYWHERE | {
    "instances",
    "durability",
    "lost",
    "fdatasync_per_s",
    "round_trips_per_s",
    "rss_mb",
    "cpu_s",
}

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("nats_binary")]


def run(*arguments: str) -> Mapping[str, Any]:
    """Run a benchmark with ``--json`` and return the object on its last line."""
    # A run that takes too long is killed; its processes end with it.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments, "--json"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        timeout=RUN_S,
    )
    found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("service", ["hosted", pytest.param("plain", marks=pytest.mark.long)])
def test_w8_tells_steps_per_second(service: str) -> None:
    """All instances complete, with a service of ours and with a stranger's."""
    found = run("w8", "--instances", "8", "--service", service)

    assert found.keys() >= SERVED | {"service", "steps_per_s", "instances_per_s", "start_per_s"}
    assert found.keys() >= {"p50_ms", "p99_ms", "done_s"}
    assert found["service"] == service
    assert found["lost"] == 0


def test_w8_tells_what_a_graph_costs_beside_its_twin_in_python() -> None:
    """Both forms take turns in one run, and all instances complete."""
    found = run("w8", "--form", "both", "--instances", "4", "--durability", "interval")

    assert found.keys() >= SERVED | {"yaml_to_python", "yaml_daemon_us_per_step"}
    assert found["benchmark"] == "w8-forms"
    assert found["yaml_to_python"] > 0
    assert found["lost"] == 0


@pytest.mark.long
def test_motions_tells_transitions_per_second() -> None:
    """All motions end where they have to, and what is witnessed of them is verified."""
    found = run("motions", "--motions", "20")

    assert found.keys() >= SERVED | {"transitions_per_s", "motions_per_s", "motion_p99_ms"}
    assert found.keys() >= {"transition_p99_ms", "daemon_bytes_per_motion"}
    assert found["transitions"] == 18 * 8 + 2 * 3
    assert found["lost"] == found["findings"] == 0
    assert found["verified"] == found["sampled"] == 20


@pytest.mark.long
def test_faults_end_all_as_their_inputs_say() -> None:
    """Services that are killed and started again cost time, and nothing else."""
    found = run("faults", "--seconds", "5", "--per-s", "12", "--seed", "7")

    assert found.keys() >= SERVED | {"restarts", "timeline", "killed_at", "drained_s"}
    assert found["started"] >= 50
    assert found["lost"] == found["wrong_ends"] == found["findings"] == found["refused"] == 0
    assert found["kills"] == found["restarts"] > 0


@pytest.mark.long
def test_waiting_tells_memory_and_times() -> None:
    """All instances leave memory, and all end when they are signalled."""
    found = run("waiting", "--instances", "8")

    assert found.keys() >= SERVED | {"start_per_s", "finish_s", "bytes_per_dormant"}
    assert found["lost"] == 0
    assert found["signals_refused"] == 0


@pytest.mark.long
def test_crash_loses_nothing() -> None:
    """Every result is right, and only steps in flight run again."""
    found = run("crash", "--instances", "20", "--victim", "daemon")

    assert found.keys() >= SERVED | {"victim", "done_s", "ready_s", "steps_rerun", "timeline"}
    assert found["lost"] == 0
    assert found["steps_rerun"] <= found["in_flight"]
    assert 80 <= found["steps_at_kill"] <= found["handler_calls"]
    assert found["handler_calls"] - found["steps_rerun"] == 160
    assert sum(count for _, count in found["timeline"]) >= 160


@pytest.mark.long
def test_takeover_tells_when_all_go_on() -> None:
    """One of two daemons is frozen and returns: nothing is lost, nothing harmful is sent."""
    found = run("takeover", "--instances", "30", "--step-s", "0.3", "--frozen-s", "5", "--freeze")

    assert found.keys() >= SERVED | {"first_progress_s", "done_s", "pause_p50_s", "timeline"}
    assert found["lost"] == 0
    assert found["partitions_moved"] == 32
    assert found["instances_moved"] > 0
    assert 0 < found["first_progress_s"] <= found["done_s"] <= found["ended_s"]
    assert found["pause_p50_s"] > 0
    assert found.get("harmful", 0) == 0


@pytest.mark.long
def test_owners_compares_with_one_daemon() -> None:
    """Both run on stores of their own, and all instances complete."""
    found = run("owners", "--instances", "20", "--rounds", "1")

    assert found.keys() >= SERVED | {"daemons", "relative", "steps_per_s", "steps_per_s_one"}
    assert found["lost"] == 0
    assert found["relative"] > 0


@pytest.mark.long
def test_dormant_tells_memory_and_times() -> None:
    """What waits ends when it is signalled, also after a restart of everything."""
    found = run(
        "dormant",
        "--instances",
        "40",
        "--signals",
        "5",
        "--after-restart",
        "3",
        "--levels",
        "0.5,1",
    )

    assert found.keys() >= SERVED | {"p99_ms", "burst_p99_ms", "first_progress_s", "samples"}
    assert found["lost"] == 0
    assert found["signalled"] == 13
    assert [each["instances"] for each in found["samples"]] == [0, 20, 40]


@pytest.mark.long
def test_endless_tells_how_it_goes_on() -> None:
    """The load is paced, and everything that was started ends."""
    found = run("endless", "--minutes", "0.05", "--per-s", "40", "--keep-s", "1")

    assert found.keys() >= SERVED | {"throughput", "steps_per_s", "probe_p99_ms", "samples"}
    assert found["lost"] == found["refused"] == 0
    assert found["started"] >= 120
    assert len(found["samples"]) >= 2


def test_kernel_tells_steps_per_second() -> None:
    """The kernel alone needs no server."""
    found = run("kernel", "--instances", "2", "--steps", "3", "--rounds", "1")

    assert found.keys() >= EVERYWHERE | {"steps_per_s", "folds_per_s", "bytes_per_instance"}
    assert found["transitions_per_s"] > 0


def test_router_tells_decisions_and_the_cost_of_parking() -> None:
    """Choosing and parking alone need no server."""
    found = run("router", "--decisions", "500", "--requests", "300", "--rounds", "1")

    assert found.keys() >= EVERYWHERE | {"decisions_per_s", "park_s", "release_s"}


def test_graphs_tell_what_loading_planning_and_running_cost() -> None:
    """Without a server; the runs are folded to their ends."""
    found = run(
        *("graphs", "--file-steps", "20", "--steps", "30", "--instances", "3", "--rounds", "1")
    )

    assert found.keys() >= EVERYWHERE | {"load_ms", "plan_ms", "graph_to_python", "reference_us"}
    assert found["steps"] == 30


def test_guardrails_tell_what_an_evaluation_costs() -> None:
    """Without a server; far below the 50 ms that one may take."""
    found = run("guardrails", "--people", "5", "--rounds", "20", "--instances", "3")

    assert found.keys() >= EVERYWHERE | {"redaction_ms", "guarded_to_plain"}
    assert found["evaluation_ms"].keys() == {"p50", "p99", "max"}
    assert found["within_limit"]


def test_graphs_tell_how_fast_a_wide_one_runs_with_a_daemon() -> None:
    """Layers of 50 steps, alone and several at once."""
    found = run("graphs", "--dag", "120", "--runs", "2")

    assert found.keys() >= EVERYWHERE | {"alone_steps_per_s", "steps_per_s", "register_ms"}
    assert (found["steps"], found["needs"], found["layers"]) == (120, 210, 3)


def test_bridge_tells_round_trips_per_second() -> None:
    """A server and an echo process, nothing of movant but the bridge."""
    found = run("bridge", "--messages", "200", "--in-flight", "20", "--singles", "10")

    assert found.keys() >= EVERYWHERE | {"round_trips_per_s", "one_way_per_s", "p50_us", "rss_mb"}


@pytest.mark.long
@pytest.mark.slow
def test_actors_tells_asks_per_second() -> None:
    """Actors alone: no server either."""
    found = run("actors", "--quick")

    assert found.keys() >= EVERYWHERE | {"tells_per_s", "asks_per_s", "bytes_per_actor"}


def test_a_name_that_nobody_knows_is_refused() -> None:
    """The usage is printed and the status is 2."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nothing"],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        timeout=RUN_S,
    )

    assert done.returncode == 2
    assert "w8|motions|waiting|crash|faults" in done.stdout


def test_gates_tells_how_long_a_question_takes() -> None:
    """Every gate is found again after a restart, though all events are gone."""
    found = run("gates", "--gates", "12", "--questions", "5", "--decisions", "2")

    assert found.keys() >= EVERYWHERE | {"inbox_ratio", "p99_ms", "decide_p99_ms", "known_s"}
    assert found["purged"] > 12
