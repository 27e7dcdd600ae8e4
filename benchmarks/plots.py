"""Plots of results as SVG: small, and the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")  # no window, and before pyplot chooses for itself

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

Result = Mapping[str, Any]

SIZE: Final = (7.0, 3.6)
STYLE: Final[Any] = {
    "svg.hashsalt": "movant",  # ids in the file do not change from run to run
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def throughput(results: Sequence[Result], path: Path) -> None:
    """Draw w8: steps per second by instances and durability, beside the raw limits."""
    axes = _open()
    runs = [each for each in results if each["benchmark"] == "w8"]
    for kind in sorted({(each["durability"], each["service"]) for each in runs}):
        line = sorted(
            (each["instances"], each["steps_per_s"])
            for each in runs
            if (each["durability"], each["service"]) == kind
        )
        axes.plot(*zip(*line, strict=True), marker="o", label=", ".join(kind))
    for name, label, dashes in (
        ("fdatasync_per_s", "fdatasync, one by one", "--"),
        ("round_trips_per_s", "core NATS round trips, one by one", ":"),
    ):
        best = max(each[name] for each in runs)
        axes.axhline(best, linestyle=dashes, color="grey", label=f"{label}: {best:,}/s")
    axes.set(xscale="log", ylim=0, xlabel="instances of 8 steps", ylabel="durable steps/s")
    axes.legend(frameon=False)
    _close(axes, path, "Durable steps per second")


def waiting(results: Sequence[Result], path: Path) -> None:
    """Draw waiting: memory of an instance in each state."""
    axes = _open()
    found = _one(results, "waiting")
    bars = {
        "daemon: in memory": found["bytes_per_live"],
        "daemon: dormant, first burst": found["bytes_per_dormant_first"],
        "daemon: dormant": found["bytes_per_dormant"],
        "server: its messages": found["bytes_per_dormant_server"],
    }
    _bars(axes, bars)
    axes.set_xlabel("bytes of resident memory per instance")
    _close(axes, path, f"{found['instances']:,} instances that wait for a signal")


def crash(results: Sequence[Result], path: Path) -> None:
    """Draw crash: stored steps over time, around the restart of each victim."""
    axes = _open()
    for each in results:
        if each["benchmark"] != "crash":
            continue
        times = [at for at, _ in each["timeline"]]
        done, total = [], 0
        for _, count in each["timeline"]:
            total += count
            done.append(total)
        axes.step(times, done, where="post", label=f"{each['victim']}: done {each['done_s']} s")
    axes.axvline(0.0, color="grey", linestyle="--", label="restart command")
    axes.set(xlabel="seconds since the restart command", ylabel="stored steps", ylim=0)
    axes.legend(frameon=False)
    _close(axes, path, "SIGKILL at half of the steps")


def faults(results: Sequence[Result], path: Path) -> None:
    """Draw faults: what ended in each second, and when a service was killed."""
    axes = _open()
    found = _one(results, "faults")
    times, ended = zip(*found["timeline"], strict=True)
    axes.step(times, ended, where="post", label="motions and workflows that ended")
    axes.plot(found["killed_at"], [0] * len(found["killed_at"]), "x", label="SIGKILL of a service")
    axes.set(xlabel="seconds", ylabel="per second", ylim=(-1, None))
    axes.legend(frameon=False)
    _close(axes, path, f"{found['kills']} kills in {found['seconds']:g} seconds")


def takeover(results: Sequence[Result], path: Path) -> None:
    """Draw takeover: stored steps of the lost partitions over time, for each way to go."""
    axes = _open()
    for each in results:
        if each["benchmark"] != "takeover":
            continue
        times = [at for at, *_ in each["timeline"]]
        total, done = 0, []
        for _, count, _ in each["timeline"]:
            total += count
            done.append(total)
        label = f"{each['variant']}, {each['detection']}, {each['instances']:,}"
        label += f": all go on at {each['done_s']} s"
        axes.step(times, [count / total for count in done], where="post", label=label)
    axes.axvline(0.0, color="grey", linestyle="--", label="signal")
    axes.set(xlabel="seconds since the signal", ylabel="part of their steps", ylim=0)
    axes.legend(frameon=False)
    _close(axes, path, "Steps of the partitions that change their owner")


def owners(results: Sequence[Result], path: Path) -> None:
    """Draw owners: throughput by the number of daemons, relative to one."""
    axes = _open()
    found = [each for each in results if each["benchmark"] == "owners"]
    line = sorted([(1, 1.0), *((each["daemons"], each["relative"]) for each in found)])
    axes.plot(*zip(*line, strict=True), marker="o")
    axes.axhline(0.8, linestyle="--", color="grey", label="target for two")
    axes.set(
        ylim=0, xticks=[at for at, _ in line], xlabel="daemons", ylabel="steps/s, one daemon = 1"
    )
    axes.legend(frameon=False)
    _close(axes, path, "Several daemons on the same two cores")


def dormant(results: Sequence[Result], path: Path) -> None:
    """Draw dormant: memory and disk by the number of waiting instances."""
    axes = _open()
    runs = [each for each in results if each["benchmark"] == "dormant"]
    found = max(runs, key=lambda each: each["instances"])
    counts = [each["instances"] for each in found["samples"]]
    for name, label in (
        ("disk", "disk"),
        ("server", "server, resident"),
        ("daemon", "daemon, resident"),
    ):
        values = [each[name] / 2**20 for each in found["samples"]]
        axes.plot(counts, values, marker="o", label=label)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(ylim=0, xlabel="instances that wait for a signal", ylabel="MB")
    axes.legend(frameon=False)
    _close(axes, path, f"{found['instances']:,} dormant instances")


def endless(results: Sequence[Result], path: Path) -> None:
    """Draw endless: memory and disk, speed, and the time of one instance over the run."""
    found = _one(results, "endless")
    samples = found["samples"]
    _, (memory, speed, latency) = plt.subplots(
        3, 1, figsize=(SIZE[0], 2 * SIZE[1]), layout="constrained", sharex=True
    )
    times = [each["at_s"] for each in samples]

    def line(axes: Axes, name: str, label: str) -> None:
        axes.plot(times, [each[name] for each in samples], label=label, linewidth=1)

    for name, label in (
        ("server_mb", "server, resident"),
        ("daemon_mb", "daemon, resident"),
        ("disk_mb", "disk"),
        ("MAIL_mb", "MAIL"),
        ("ARCHIVE_mb", "ARCHIVE"),
    ):
        line(memory, name, label)
    memory.set(ylim=0, ylabel="MB")
    memory.legend(frameon=False, ncols=3)
    line(speed, "steps_per_s", "steps/s")
    speed.set(ylim=0, ylabel="steps/s")
    line(latency, "probe_ms", "probe")
    latency.set(yscale="log", ylabel="ms, one instance", xlabel="seconds")
    _close(memory, path, f"{found['minutes']:g} minutes at {found['steps_per_s']:,} steps/s")


def inside(results: Sequence[Result], path: Path) -> None:
    """Draw what happens inside one process: kernel, actors, bridge."""
    axes = _open()
    kernel, actors, bridge = (_one(results, name) for name in ("kernel", "actors", "bridge"))
    bars = {
        "kernel: steps": kernel["steps_per_s"],
        "kernel: folds": kernel["folds_per_s"],
        "actors: asks": actors["asks_per_s"],
        "actors: tells": actors["tells_per_s"],
        "bridge: round trips": bridge["round_trips_per_s"],
        "bridge: messages one way": bridge["one_way_per_s"],
    }
    _bars(axes, bars)
    axes.set(xscale="log", xlabel="per second, on one core each")
    _close(axes, path, "Inside one process")


PLOTS: Final = {
    throughput: ("w8",),
    waiting: ("waiting",),
    crash: ("crash",),
    faults: ("faults",),
    takeover: ("takeover",),
    owners: ("owners",),
    dormant: ("dormant",),
    endless: ("endless",),
    inside: ("kernel", "actors", "bridge"),
}
"""What is drawn, and whose results it needs."""


def draw(results: Sequence[Result], directory: Path) -> list[str]:
    """Draw what there are results for into a directory and return the file names."""
    measured = {each["benchmark"] for each in results}
    drawn = []
    with mpl.rc_context(STYLE):
        for plot, needed in PLOTS.items():
            if measured.issuperset(needed):
                drawn.append(f"{plot.__name__}.svg")
                plot(results, directory / drawn[-1])
    return drawn


def _one(results: Sequence[Result], name: str) -> Result:
    return next(each for each in results if each["benchmark"] == name)


def _bars(axes: Axes, bars: Mapping[str, float]) -> None:
    names = list(bars)[::-1]
    drawn = axes.barh(names, [bars[name] for name in names], color="tab:blue")
    axes.bar_label(drawn, labels=[f"{bars[name]:,.0f}" for name in names], padding=3)
    axes.margins(x=0.15)


def _open() -> Axes:
    return plt.subplots(figsize=SIZE, layout="constrained")[1]


def _close(axes: Axes, path: Path, title: str) -> None:
    axes.set_title(title, loc="left")
    figure = axes.get_figure(root=True)
    assert figure is not None
    # No date and no version of the drawing program: a redraw changes nothing.
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close("all")
    path.write_text("".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()))
