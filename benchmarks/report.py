"""A short set of benchmarks as a page with plots: ``docs/benchmarks/report.md``.

    python -m benchmarks report               run the set and write the page
    python -m benchmarks report --redraw      write the page again from results.json
    python -m benchmarks report --only a,b    run these again, keep the other results

Each benchmark runs in a process of its own, one after the other. What is lost, wrong or above
a target stands in the page like everything else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.stage import ROOT
from benchmarks.targets import TARGETS, Result

DIRECTORY: Final = ROOT / "docs" / "benchmarks"
RESULTS: Final = "results.json"
PAGE: Final = "report.md"
VICTIMS: Final = ("daemon", "server", "service")
SHORT: Final = (
    *(
        f"w8 --instances {instances} --durability {durability}"
        for durability in ("fsync", "interval")
        for instances in (100, 1_000, 5_000)
    ),
    *(f"w8 --instances {instances} --service plain" for instances in (100, 1_000)),
    "w8 --idle",
    "w8 --form both --durability interval",
    "graphs --dag 2000",
    "motions --motions 1000",
    "motions --motions 10000",
    "waiting --instances 10000",
    "waiting --instances 10000 --allocator c",
    *(f"crash --instances 1000 --victim {victim}" for victim in VICTIMS),
    "faults",
    "pipeline",
    "gates",
    "takeover",
    "takeover --one-host",
    "takeover --freeze",
    "takeover --drain",
    "takeover --instances 2500",
    "takeover --instances 2500 --freeze",
    "owners --daemons 2",
    "owners --daemons 4",
    "dormant",
    "endless",
    "kernel",
    "graphs",
    "guardrails",
    "router",
    "actors --quick",
    "bridge --messages 50000",
)
TINY: Final = (
    "w8 --instances 10",
    "w8 --idle",
    "motions --motions 20",
    "waiting --instances 20",
    *(f"crash --instances 10 --victim {victim}" for victim in VICTIMS),
    "faults --seconds 4 --per-s 10",
    "pipeline --motions 40 --questions 5 --rounds 1",
    "gates --gates 40 --questions 5 --decisions 5",
    "takeover --instances 20 --step-s 0.05",
    "owners --instances 20 --rounds 1",
    "dormant --instances 40 --signals 5 --after-restart 3",
    "endless --minutes 0.1 --per-s 20",
    "kernel --instances 10 --rounds 1",
    "router --decisions 1000 --requests 1000 --rounds 1",
    "actors --quick",
    "bridge --messages 2000 --in-flight 100 --singles 100",
)


class Section(msgspec.Struct, frozen=True):
    """A part of the page: a plot and a table about some benchmarks."""

    title: str
    benchmarks: tuple[str, ...]
    plot: str
    columns: str
    text: str = ""


INTRODUCTION: Final = (
    "Written by `python -m benchmarks report` (`make bench`); the figures stand in"
    f" [{RESULTS}]({RESULTS}). Client, daemon, NATS server and service share the machine. Single"
    " runs: expect a fifth more or less. Rows may come from machines that differ in speed:"
    " `round trips` is how many requests a second a client got answered, one after the other, in"
    " the same run."
)
SECTIONS: Final = (
    Section(
        "Durable steps",
        ("w8", "w8-idle", "w8-forms", "graphs-dag"),
        "throughput",
        "benchmark instances durability service steps_per_s start_per_s done_s p50_ms p99_ms lost"
        " yaml_to_python of_w8 fdatasync_per_s round_trips_per_s",
        "Instances of 8 sequential steps with 200-byte payloads, all started at once. `w8-idle`"
        " is one instance at a time, `w8-forms` the same steps as a graph beside them in Python,"
        " `graphs-dag` four runs at once of a graph of 2,000 steps.",
    ),
    Section(
        "Motions",
        ("motions",),
        "",
        "instances states durability transitions_per_s of_w8 motions_per_s start_per_s done_s"
        " motion_p50_ms motion_p99_ms transition_p50_ms transition_p99_ms alone_p50_ms"
        " alone_p99_ms"
        " daemon_bytes_per_motion server_bytes_per_motion lost sampled verified findings"
        " fdatasync_per_s",
        "Motions of one machine, all started at once: seven states of five owners, and a vote that"
        " ends every tenth after two. A transition counts when its witnessed event is stored."
        " `transition_…` is the time from one to the next of the same motion, by the answers in"
        " its mailbox; `alone_…` the same for motions that run one after another. `verified`: of"
        " `sampled` motions those that `movant verify` finds clean, with all of their statements"
        " published.",
    ),
    Section(
        "Waiting",
        ("waiting",),
        "waiting",
        "instances durability allocator start_per_s finish_s signals_per_s bytes_per_dormant"
        " bytes_per_dormant_first bytes_per_live bytes_per_dormant_server lost",
        "Start N, let them leave memory, start N more, then signal those. `bytes_per_dormant` is"
        " what the second N added to the daemon's resident memory; the first burst also leaves"
        " behind what the allocator keeps for the next one. A daemon that is started with"
        " `PYTHONMALLOC=malloc` (`allocator c`) gives that back as well; it needs about a tenth"
        " more processor time.",
    ),
    Section(
        "Crash",
        ("crash",),
        "crash",
        "victim instances durability ready_s done_s lost steps_rerun in_flight steps_at_kill",
        "SIGKILL of one process when half of the steps are done. Times count from the restart"
        " command; `steps_rerun` is counted by the service's own record of its calls.",
    ),
    Section(
        "Services that are killed all the time",
        ("faults",),
        "faults",
        "seconds seed per_s started lost wrong_ends refused kills restarts ended_per_s"
        " transitions_per_s steps_per_s drained_s requests_reasked sampled verified findings",
        "Motions and instances of 8 steps are started at a fixed rate, while the processes of"
        " their services get SIGKILL and are started again, at random. `wrong_ends`: ended"
        " otherwise than their input says. `drained_s`: from the last fault until all had ended.",
    ),
    Section(
        "People who ask",
        ("pipeline", "gates"),
        "",
        "benchmark motions gates durability filled_s first_ms p50_ms p99_ms cpu_ms moved_max_ms"
        " restarted_first_ms restarted_p50_ms restarted_p99_ms known_s missing"
        " fdatasync_per_s round_trips_per_s",
        "`pipeline`: one page of where all active motions are. `gates`: one page of what waits for"
        " a person. Asked one after the other right after the last one was started, then after"
        " SIGKILL of the daemon; `known_s` until all are known again, `cpu_ms` what an answer"
        " costs the daemon.",
    ),
    Section(
        "Takeover",
        ("takeover",),
        "takeover",
        "variant detection instances step_s claimed_s asked_s first_progress_s done_s pause_p50_s"
        " pause_p99_s ended_s lost steps_rerun harmful harmful_queued instances_moved"
        " partitions_moved",
        "Two daemons; the one without the server gets SIGKILL, SIGSTOP and SIGCONT (`freeze`) or"
        " SIGTERM (`drain`) when a quarter of the steps is done. Each step takes `step_s` in the"
        " service, and all instances are alive at once. Times count from the signal:"
        " `first_progress_s` until the first step that the survivor asked for is stored,"
        " `done_s` until each instance of the lost partitions has its next step stored or has"
        " ended; both contain one step. `detection lease`: the two believe to be on two hosts,"
        " so a lease of 2 s has to lapse; `process`: the survivor sees that the process is gone."
        " `harmful`: requests that the frozen one sent after its return for what it had lost."
        " 10,000 instances with steps of 1 s ask for 10,000 steps/s, half of what a machine does"
        " that has 20,000 in w8; 2,500 are half of one that has 5,000.",
    ),
    Section(
        "Several daemons on one machine",
        ("owners",),
        "owners",
        "daemons instances durability relative steps_per_s steps_per_s_one rounds lost",
        "The load of w8. One daemon and N of them take turns on fresh stores; `relative` is the"
        " ratio of the medians. On the same cores more daemons cannot be faster: what is measured"
        " is what sharing costs.",
    ),
    Section(
        "Dormant",
        ("dormant",),
        "dormant",
        "instances durability start_per_s daemon_mb server_mb disk_mb daemon_bytes_per_dormant"
        " server_bytes_per_dormant disk_bytes_per_dormant p50_ms p99_ms round_trip_p99_ms"
        " burst_p50_ms burst_p99_ms"
        " ready_s first_progress_s restarted_p50_ms restarted_p99_ms lost",
        "Instances that wait for a signal, none in the daemon's memory. `p50_ms` and `p99_ms`:"
        " from the request to signal a random one to the event that tells its end, one after the"
        " other; `burst_…`: 1,000 at once. Then daemon and server are killed with SIGKILL;"
        " `first_progress_s` is the time from the restart command to the end of the next instance"
        " that is signalled.",
    ),
    Section(
        "Endless",
        ("endless",),
        "endless",
        "minutes per_s keep_s steps_per_s steps_per_s_first steps_per_s_last throughput"
        " probe_p50_ms probe_p99_ms probe_max_ms server_growth daemon_growth disk_growth"
        " MAIL_growth ARCHIVE_growth lost refused day_instances day_steps",
        "Instances of 8 steps, started at a fixed rate; what has ended is kept for `keep_s`"
        " seconds. `throughput` is the last minute over the first one, `probe_…` the time of one"
        " more instance each second, `…_growth` the highest value of the last third of the run"
        " over that of the third before.",
    ),
    Section(
        "Inside one process",
        ("kernel", "graphs", "guardrails", "router", "actors", "bridge"),
        "inside",
        "benchmark steps_per_s folds_per_s transitions_per_s bytes_per_instance load_ms plan_ms"
        " plain_step_us guarded_step_us guarded_to_plain step_p99_ms decisions_per_s park_s"
        " release_s tells_per_s asks_per_s bytes_per_actor round_trips_per_s one_way_per_s p50_us"
        " p99_us",
    ),
)


def measure(commands: Sequence[str], told: Callable[[str], None]) -> list[Result]:
    """Run benchmarks one after the other and return what they print."""
    results = []
    for command in commands:
        load = os.getloadavg()[0]
        told(f"{command} (load {load:.1f})")
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", *command.split(), "--json"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        result = json.loads(done.stdout.splitlines()[-1])
        results.append({**result, "load": round(load, 2)})
    return results


def merged(stored: Sequence[Result], new: Sequence[Result]) -> list[Result]:
    """Return the results in the order of the set, new ones in the place of those before."""
    names = {each["benchmark"] for each in new}
    order = [each.split()[0] for each in SHORT]
    found = [*(each for each in stored if each["benchmark"] not in names), *new]
    return sorted(found, key=lambda each: order.index(each["benchmark"].partition("-")[0]))


def page(results: Sequence[Result], plots: Sequence[str]) -> str:
    """Return the page. Pure: the same results give the same text."""
    first = results[0]
    commits = dict.fromkeys(f"{each['commit']}, {each['date']}" for each in results)
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    loads = [each["load"] for each in results if "load" in each]  # one run by itself has none
    setting = (
        f"- machine: {first['machine']}\n- versions: {versions}\n"
        f"- commit: {'; '.join(commits)}\n"
        f"- load average before each run: {min(loads)} to {max(loads)}"
    )
    parts = ["# Benchmarks", INTRODUCTION, setting, "## Targets", _targets(results)]
    for section in SECTIONS:
        rows = [each for each in results if each["benchmark"] in section.benchmarks]
        if not rows:
            continue
        parts += [f"## {section.title}", section.text] if section.text else [f"## {section.title}"]
        if f"{section.plot}.svg" in plots:
            parts.append(f"![{section.title}]({section.plot}.svg)")
        parts.append(_table(rows, section.columns))
    costs = [each for each in results if "server" in each.get("rss_mb", {})]
    parts += ["## Memory and processor time", _costs(costs)]
    return "\n\n".join(parts)


WHAT: Final = ("durability", "service", "allocator", "victim", "variant", "detection", "daemons")
"""Settings that tell the runs of one benchmark apart."""
NOTE: Final = """\
`steps_per_sync` is `steps_per_s` over `fdatasync_per_s` of the same run. On a disk that syncs
2,750 times a second five steps a sync are 13,750 steps/s. This one syncs about 8,000 times, and
40,000 steps/s are more than two cores compute: a step costs about 21 us in the daemon, 28 us in
the server and 8 us in the service, and client and start-up come on top. A plain reply is one
synced write of the server, which reaches 0.9 of the raw rate with nothing else to do. Tried:
rarer garbage collections (a third of the daemon's time, kept), cheaper tokens and encoding
(kept), batches of 200, 500 and 1,000 (1,000 kept), two and three commits under way at once (no
difference), `GOGC=400` for the server (no difference), larger collector thresholds (no
difference), thread switch intervals of 0.3, 1 and 20 ms (the default of 5 ms is best)."""


def _targets(results: Sequence[Result]) -> str:
    rows = []
    measured = [
        {**each, "steps_per_sync": round(each["steps_per_s"] / each["fdatasync_per_s"], 2)}
        if each["benchmark"] == "w8"
        else each
        for each in results
    ]
    for target in TARGETS:
        for each in measured:
            if target.applies(each):
                value = each[target.key]
                what = " ".join(str(each[key]) for key in WHAT if key in each)
                met = "yes" if target.met(value) else "**no**"
                rows.append(
                    f"| {each['benchmark']} {each.get('instances', 1):,} {what} | {target.key} |"
                    f" {target.text()} | {_show(value)} | {met} | {_trips(each)} |"
                )
    for each in results:
        if each["benchmark"] == "crash":
            met = "yes" if each["steps_rerun"] <= each["in_flight"] else "**no**"
            rows.append(
                f"| crash {each['instances']:,} {each['victim']} | steps_rerun |"
                f" <= {each['in_flight']:,} in flight | {each['steps_rerun']:,} | {met} |"
                f" {_trips(each)} |"
            )
    rows += ["", NOTE]
    head = f"| run | figure | target | measured | met | round trips |\n|{'---|' * 6}"
    return "\n".join([head, *rows])


def _trips(result: Result) -> str:
    if result["benchmark"] == "bridge":
        return ""  # many at once
    return _show(result.get("round_trips_per_s"))


def _table(results: Sequence[Result], keys: str) -> str:
    columns = [key for key in keys.split() if any(key in each for each in results)]
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"
    rows = [f"| {' | '.join(_show(each.get(column)) for column in columns)} |" for each in results]
    return "\n".join([head, *rows])


def _costs(results: Sequence[Result]) -> str:
    rows = ["| run | peak memory, MB | processor, s |", "|---|---|---|"]
    for each in results:
        name = " ".join(str(each[key]) for key in ("benchmark", "instances", *WHAT) if key in each)
        costs = [
            ", ".join(f"{process} {value:g}" for process, value in each[key].items())
            for key in ("rss_mb", "cpu_s")
        ]
        rows.append(f"| {name} | {' | '.join(costs)} |")
    return "\n".join(rows)


def _show(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def write(results: Sequence[Result], directory: Path) -> None:
    """Write results, plots and page."""
    from benchmarks.plots import draw  # noqa: PLC0415  # matplotlib takes a second to import

    directory.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(each) for each in results)
    (directory / RESULTS).write_text(f"[\n{lines}\n]\n")
    (directory / PAGE).write_text(page(results, draw(results, directory)) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="run a short set and write the report")
    parser.add_argument("--directory", type=Path, default=DIRECTORY)
    parser.add_argument("--tiny", action="store_true", help="see that everything runs")
    parser.add_argument("--redraw", action="store_true", help="measure nothing")
    parser.add_argument("--json", action="store_true", help="print the results on the last line")
    parser.add_argument(
        "--only", default="", metavar="NAMES", help="comma-separated; keep the other results"
    )
    arguments = parser.parse_args(argv)
    commands = TINY if arguments.tiny else SHORT
    if arguments.redraw:
        results = json.loads((arguments.directory / RESULTS).read_text())
    elif arguments.only:
        stored = json.loads((arguments.directory / RESULTS).read_text())
        names = arguments.only.split(",")
        new = measure([each for each in commands if each.split()[0] in names], print)
        results = merged(stored, new)
    else:
        results = measure(commands, print)
    write(results, arguments.directory)
    print(f"wrote {arguments.directory / PAGE}")
    if arguments.json:
        print(json.dumps({"benchmark": "report", "results": results}))


if __name__ == "__main__":
    main()
