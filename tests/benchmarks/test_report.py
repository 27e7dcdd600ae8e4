"""The report is a function of its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import crash, endless, report, takeover, targets
from benchmarks.calls import Called, count, digest, noter, read
from protocols.subjects import partition_of

COMMON: dict[str, Any] = {
    "machine": "one",
    "versions": {"movant": "0"},
    "commit": "abc",
    "date": "2030-01-01",
    "load": 0.5,
}
SERVED: dict[str, Any] = {
    "instances": 1_000,
    "durability": "fsync",
    "lost": 0,
    "fdatasync_per_s": 2_000,
    "round_trips_per_s": 4_000,
    "rss_mb": {"daemon": 50.0, "server": 40.0},
    "cpu_s": {"daemon": 1.0, "server": 0.5},
}
RESULTS: list[dict[str, Any]] = [
    {"benchmark": "w8", "service": "hosted", "steps_per_s": 10_000, **SERVED},
    {
        "benchmark": "motions",
        "transitions_per_s": 4_999,
        "findings": 0,
        **SERVED,
        "instances": 10_000,
    },
    {
        "benchmark": "waiting",
        "allocator": "python",
        "start_per_s": 4_999,
        "finish_s": 2.5,
        "bytes_per_dormant": 700,
        "bytes_per_dormant_first": 4_000,
        "bytes_per_dormant_server": 900,
        "bytes_per_live": 7_000,
        **SERVED,
    },
    {
        "benchmark": "crash",
        "victim": "daemon",
        "done_s": 0.7,
        "steps_rerun": 3,
        "in_flight": 2,
        "timeline": [[-0.05, 400], [0.0, 0], [0.05, 400]],
        **SERVED,
    },
    {
        "benchmark": "faults",
        "seconds": 3.0,
        "kills": 2,
        "wrong_ends": 1,
        "killed_at": [0.5, 1.5],
        "timeline": [[0, 10], [1, 0], [2, 20]],
        **SERVED,
    },
    {
        "benchmark": "takeover",
        "variant": "kill",
        "detection": "lease",
        "step_s": 1.0,
        "first_progress_s": 4.5,
        "done_s": 8.1,
        "timeline": [[-0.1, 100, 100], [0.0, 0, 100], [0.1, 300, 0]],
        **SERVED,
    },
    {"benchmark": "owners", "daemons": 2, "relative": 0.9, "steps_per_s": 9_000, **SERVED},
    {
        "benchmark": "dormant",
        "p99_ms": 7.0,
        "first_progress_s": 2.0,
        "samples": [
            {"instances": count, "daemon": 5_000_000, "server": count, "disk": count}
            for count in (0, 500, 1_000)
        ],
        **SERVED,
    },
    {
        "benchmark": "endless",
        "minutes": 0.1,
        "steps_per_s": 5_100,
        "throughput": 0.89,
        "samples": [
            {
                "at_s": float(at),
                "steps_per_s": 5_000,
                "probe_ms": 9.0,
                **dict.fromkeys(("server_mb", "daemon_mb", "disk_mb", "MAIL_mb", "ARCHIVE_mb"), 1),
            }
            for at in range(3)
        ],
        **SERVED,
    },
    {"benchmark": "kernel", "steps_per_s": 100_000, "folds_per_s": 110_000},
    {"benchmark": "router", "decisions_per_s": 1_000_000, "park_s": 0.5, "release_s": 0.5},
    {"benchmark": "actors", "asks_per_s": 100_000, "tells_per_s": 2_000_000},
    {"benchmark": "bridge", "round_trips_per_s": 200_000, "one_way_per_s": 600_000},
]


PLOTTED = (
    "throughput",
    "waiting",
    "crash",
    "faults",
    "takeover",
    "owners",
    "dormant",
    "endless",
    "inside",
)


def results() -> list[dict[str, Any]]:
    """Return one made-up result of each benchmark."""
    return [{**COMMON, **each} for each in RESULTS]


def test_the_same_results_give_the_same_files(tmp_path: Path) -> None:
    """A redraw changes nothing: no date, no random id in a plot."""
    first, second = tmp_path / "first", tmp_path / "second"

    report.write(results(), first)
    report.write(json.loads((first / report.RESULTS).read_text()), second)

    files = {path.name: path.read_bytes() for path in first.iterdir()}
    assert files == {path.name: path.read_bytes() for path in second.iterdir()}
    assert {f"{name}.svg" for name in PLOTTED} <= files.keys()
    assert max(map(len, files.values())) < 50_000


def test_a_missed_target_is_shown() -> None:
    """The page does not hide what is below its target, and says what was met."""
    page = report.page(results(), [])

    assert "| waiting 1,000 fsync python | start_per_s | >= 5,000 | 4,999 | **no** |" in page
    assert "| waiting 1,000 fsync python | finish_s | <= 3 | 2.5 | yes |" in page
    assert "| motions 10,000 fsync | transitions_per_s | >= 5,000 | 4,999 | **no** |" in page
    assert "| faults 1,000 fsync | wrong_ends | <= 0 | 1 | **no** |" in page
    assert "| takeover 1,000 fsync kill lease | done_s | <= 8 | 8.1 | **no** |" in page
    assert "| owners 1,000 fsync 2 | relative | >= 0.8 | 0.9 | yes |" in page
    assert "| endless 1,000 fsync | throughput | >= 0.9 | 0.89 | **no** |" in page
    assert "| crash 1,000 daemon | steps_rerun | <= 2 in flight | 3 | **no** |" in page


def test_a_timeline_has_no_holes() -> None:
    """Times without a reply stand in it as well, and nothing is counted twice."""
    found = crash.timeline([9.99, 10.26, 10.27], zero=10.0)

    assert found == [
        (-0.05, 1),
        (0.0, 0),
        (0.05, 0),
        (0.1, 0),
        (0.15, 0),
        (0.2, 0),
        (0.25, 2),
    ]


def test_a_run_that_never_ended_misses_its_target() -> None:
    """No figure is no success."""
    target = targets.Target("crash", "done_s", 2.0)

    assert not target.met(None)
    assert target.met(2.0)
    assert not target.met(2.1)


def test_what_is_run_again_replaces_what_stood_there() -> None:
    """The others stay as they are, and the order is that of the whole set."""
    new = [{**COMMON, "benchmark": "owners", "daemons": count} for count in (2, 4)]

    found = report.merged(results(), new)

    assert [each["benchmark"] for each in found] == [
        "w8",
        "motions",
        "waiting",
        "crash",
        "faults",
        "takeover",
        "owners",
        "owners",
        "dormant",
        "endless",
        "kernel",
        "router",
        "actors",
        "bridge",
    ]
    assert [each for each in found if each["benchmark"] == "owners"] == new


def step(instance: str, number: int, at: float) -> takeover.Step:
    """Return a made-up reply."""
    return takeover.Step(instance, digest(f"{instance} {number}"), at)


def test_what_was_asked_before_the_signal_is_no_progress() -> None:
    """Only a reply that the survivor asked for counts, or the end of the instance."""
    event = takeover.Event(at=10.0, partitions=frozenset(range(64)), steps=0)
    steps = [
        step("a", 1, 9.5),
        step("a", 2, 10.5),  # asked for by the one that was killed
        step("a", 3, 14.0),
        step("b", 1, 9.0),
        step("b", 2, 14.5),
        step("c", 1, 10.9),
        step("over", 1, 9.0),
    ]
    asked = [Called(digest("a 3"), 13.5), Called(digest("b 2"), 13.0)]
    ended = {"a": 20.0, "b": 20.0, "c": 11.0, "over": 9.5}

    found = takeover.caught_up(steps, ended, asked, event)

    assert found == {"a": (14.0, 3.5), "b": (14.5, 5.5), "c": (11.0, pytest.approx(0.1))}


def test_harm_is_what_a_frozen_daemon_sends_for_what_it_has_lost() -> None:
    """Neither what it sent before it was frozen, nor what it sends when it owns again."""
    number = partition_of("x", 64)
    event = takeover.Event(10.0, frozenset({number}), steps=0, returned_at=20.0)
    key_of = {digest(each): "x" for each in ("before", "late", "again", "queued")}
    sent = [
        Called(digest("before"), 9.0),
        Called(digest("queued"), 9.9),
        Called(digest("late"), 20.1),
        Called(digest("again"), 22.0),
    ]
    wire = [
        Called(digest("before"), 9.1),
        Called(digest("queued"), 15.0),  # asked by the other one
        Called(digest("queued"), 20.05),  # left the frozen one's queue only then
        Called(digest("late"), 20.2),
        Called(digest("again"), 22.1),
    ]

    found = takeover.harmful(sent, wire, key_of, {number: 21.0}, event)

    assert found == [sent[2], wire[2]]


def test_a_slow_probe_is_never_thinned_out() -> None:
    """Of many samples few are kept; speed and the slowest probe are those of all of them."""
    run = endless.Run()
    run.samples = [{"at_s": float(at), "completed": 10.0 * at} for at in range(101)]
    run.probes = [(at + 0.5, 5.0 if at == 37 else 0.01) for at in range(100)]

    found = endless.thinned(run, 10)

    assert len(found) == 9
    assert {each["steps_per_s"] for each in found} == {80}
    assert max(each["probe_ms"] for each in found) == 5_000


def test_notes_outlive_the_process_that_made_them(tmp_path: Path) -> None:
    """A second process goes on behind the first one; nothing is noted without a path."""
    path = tmp_path / "calls"
    assert count(path) == 0
    noter(path)("a")
    noter(path)("b")
    noter(None)("c")

    assert count(path) == 2
    assert [each.digest for each in read(path)] == [digest("a"), digest("b")]
