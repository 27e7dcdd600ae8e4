"""The report is a function of its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import crash, report

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
    {"benchmark": "kernel", "steps_per_s": 100_000, "folds_per_s": 110_000},
    {"benchmark": "actors", "asks_per_s": 100_000, "tells_per_s": 2_000_000},
    {"benchmark": "bridge", "round_trips_per_s": 200_000, "one_way_per_s": 600_000},
]


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
    assert {"throughput.svg", "waiting.svg", "crash.svg", "inside.svg"} <= files.keys()
    assert max(map(len, files.values())) < 50_000


def test_a_missed_target_is_shown() -> None:
    """The page does not hide what is below its target, and says what was met."""
    page = report.page(results(), [])

    assert "| waiting 1,000 fsync python | start_per_s | >= 5,000 | 4,999 | **no** |" in page
    assert "| waiting 1,000 fsync python | finish_s | <= 3 | 2.5 | yes |" in page
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
    target = report.Target("crash", "done_s", 2.0)

    assert not target.met(None)
    assert target.met(2.0)
    assert not target.met(2.1)
