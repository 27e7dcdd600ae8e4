"""Seven offices, one daemon, three applications, and a kill -9 in the middle.

    python -m examples.civic.demo

Everything runs as a process of its own: the daemon with its embedded nats-server, and each
office. The daemon is killed when some steps are done and others are under way, and started
again. At the end every application has its outcome, and the offices' registers show that no
idempotency key was worked on twice. The exit code is 0 only if all of that is true.

Everything is kept in a temporary folder and every process is ended by its pid. What depends
on the command line of movant stands in ``MOVANT``, ``start_daemon`` and ``cli`` alone.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from examples.civic.records import Records, Statistics
from examples.stage import Stage, on_stage

WORKFLOW: Final = "civic.restaurant"
HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent

MOVANT: Final = (sys.executable, "-m", "runtime")
"""The command ``movant``, of the interpreter that runs this."""

HOSTED: Final = ("business", "permits", "health", "safety", "environmental")
PLAIN: Final = ("parking", "utilities")
WORK_S: Final = 0.3
"""How long an office takes for a request: long enough to be interrupted."""
KILL_AFTER_ANSWERS: Final = 5
"""The three licences and the first reviews are done, the others are under way."""
READY_S_MAX: Final = 20.0
OUTCOMES_S_MAX: Final = 40.0
STOP_S_MAX: Final = 8.0
POLL_S: Final = 0.05
FINAL: Final = ("completed", "failed", "cancelled")


class Expected(msgspec.Struct, frozen=True):
    """What has to become of one application."""

    file: str
    status: str
    requests: int
    """Steps, each with a key of its own."""
    total_cost: int


EXPECTED: Final[Mapping[str, Expected]] = {
    "lunch-12": Expected("simple.json", "completed", 7, 450),
    "harbor-grill": Expected("alcohol_and_renovation.json", "completed", 11, 5205),
    "maple-supper": Expected("refused_by_zoning.json", "failed", 6, 1250),
}


class Interruption(msgspec.Struct, frozen=True):
    """What the kill found, and when; times are nanoseconds since 1970."""

    killed_at: int
    back_at: int
    answers: int
    """Answers that the offices had given."""
    under_way: int
    """Requests that an office was working on."""


def start_daemon(stage: Stage) -> None:
    """Start the daemon with its embedded server and wait until it answers."""
    stage.start_daemon()
    wait_for("the daemon", lambda: answers(stage), READY_S_MAX)


def start_service(stage: Stage, office: str) -> None:
    """Start one office."""
    module = "examples.civic.plain" if office in PLAIN else "examples.civic.hosted"
    stage.start(office, module, office, *stage.service_words, "--work-s", str(WORK_S))


def file_applications(stage: Stage) -> None:
    """Register the workflow and start one instance per application."""
    stage.cli("workflow", "register", str(HERE / "restaurant.py"))
    for run, expected in EXPECTED.items():
        path = str(HERE / "applications" / expected.file)
        stage.cli("run", "start", WORKFLOW, "-f", path, "--id", run)


def statistics(stage: Stage) -> dict[str, Statistics]:
    """Read the offices' registers."""
    return {
        office: Records(stage.folder / f"{office}.sqlite").statistics()
        for office in (*HOSTED, *PLAIN)
    }


def answered(stage: Stage) -> int:
    """Count what all offices together have done so far."""
    return sum(office.done for office in statistics(stage).values())


def all_ended(stage: Stage) -> bool:
    """Tell whether every application has its outcome."""
    return all(stage.cli("run", "show", run)["status"] in FINAL for run in EXPECTED)


def check_outcome(run: str, shown: Mapping[str, Any]) -> list[str]:
    """Compare one outcome with what was expected; return what is wrong."""
    expected = EXPECTED[run]
    if shown["status"] != expected.status:
        return [f"{run}: status is {shown['status']}, not {expected.status}"]
    if expected.status == "completed":
        cost = shown["result"]["total_cost"]
        permit = shown["result"]["documents"]["business_operating_permit"]
        wrong = [] if permit == f"BOP-{run}" else [f"{run}: permit is {permit}"]
    else:
        details = shown["failure"]["details"]
        cost = details["total_cost"]
        holds = "business_license" in details["obtained"] and "zoning" in details["refused"]
        wrong = [] if holds else [f"{run}: the failure does not say what was obtained"]
    return wrong if cost == expected.total_cost else [*wrong, f"{run}: total cost is {cost}"]


def check_registers(offices: Mapping[str, Statistics]) -> list[str]:
    """Compare the registers with the number of steps; return what is wrong."""
    wrong = [
        f"{office}: {found.done_twice} keys were worked on twice"
        for office, found in offices.items()
        if found.done_twice
    ]
    keys = sum(found.keys for found in offices.values())
    steps = sum(expected.requests for expected in EXPECTED.values())
    return wrong if keys == steps else [*wrong, f"{keys} keys were seen for {steps} steps"]


def report(stage: Stage, kill: Interruption, took_s: float) -> list[str]:
    """Print outcomes, one history and the registers; return what is wrong."""
    wrong = []
    print(f"\nOutcomes, {took_s:.1f} s after the applications were filed")
    for run in EXPECTED:
        shown = stage.cli("run", "show", run)
        wrong += check_outcome(run, shown)
        print(f"  {run:<14} {shown['status']:<10} {outcome(shown)}")
    print("\nHistory of harbor-grill: all that has happened to it, and all that was needed")
    print_lines(history(stage.cli("run", "history", "harbor-grill"), kill))
    offices = statistics(stage)
    wrong += check_registers(offices)
    print("\nRequests to the offices; the key of a step is the same in every repeat")
    rows: list[tuple[str, ...]] = [
        ("office", "served by", "requests", "repeats", "keys", "done", "twice", "refused")
    ]
    for office, found in offices.items():
        numbers = (found.requests, found.requests - found.keys, found.keys, found.done)
        kind = "nats-py alone" if office in PLAIN else "movant"
        rows.append((office, kind, *map(str, (*numbers, found.done_twice, found.refused))))
    print_lines(rows)
    print()
    return wrong


def history(entries: Sequence[Mapping[str, Any]], kill: Interruption) -> list[tuple[str, ...]]:
    """Return the lines of a history, with the moments of the kill and of the second start."""
    lines: list[tuple[str, ...]] = []
    marks = [(kill.killed_at, "the daemon is killed"), (kill.back_at, "the daemon is back")]
    seen: set[tuple[str, int]] = set()
    began = entries[0]["at"]
    for entry in entries:
        while marks and marks[0][0] < entry["at"]:
            at, what = marks.pop(0)
            lines.append((f"+{(at - began) / 1e9:.2f}s", "-----", what))
        what = entry.get("path") or entry.get("name") or ""
        said = entry.get("summary", "") if entry["kind"] == "reply" else ""
        step = (what, entry.get("attempt", 0))
        if said and step in seen:  # sent again because nobody had confirmed the first
            said += ", again: dropped"
        seen.add(step)
        lines.append((f"+{(entry['at'] - began) / 1e9:.2f}s", entry["kind"], what, said))
    return lines


def print_lines(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns; numbers stand to the right."""
    longest = max(map(len, rows))
    padded = [(*row, *("",) * (longest - len(row))) for row in rows]
    widths = [max(map(len, column)) for column in zip(*padded, strict=True)]
    right = [column[-1].isdigit() for column in zip(*padded, strict=True)]
    for row in padded:
        cells = zip(row, widths, right, strict=True)
        line = "  ".join(c.rjust(width) if r else c.ljust(width) for c, width, r in cells)
        print(f"  {line}".rstrip())


def outcome(shown: Mapping[str, Any]) -> str:
    """Say the outcome of a run in one line."""
    if shown["status"] == "completed":
        result = shown["result"]
        return f"{result['documents']['business_operating_permit']}, ${result['total_cost']:,}"
    return str((shown.get("failure") or {}).get("message", ""))


def demonstrate(stage: Stage) -> list[str]:
    """Play the story; return what went wrong."""
    print("Starting the daemon, with a NATS server of its own, and seven offices …")
    start_daemon(stage)
    for office in (*HOSTED, *PLAIN):
        start_service(stage, office)
    steps = sum(expected.requests for expected in EXPECTED.values())
    print(f"Filing three applications: {', '.join(EXPECTED)} ({steps} steps in all) …")
    file_applications(stage)
    filed_at = time.time_ns()
    wait_for("answers", lambda: answered(stage) >= KILL_AFTER_ANSWERS, READY_S_MAX)
    kill = interrupt(stage)
    wait_for("the outcomes", lambda: all_ended(stage), OUTCOMES_S_MAX)
    wrong = report(stage, kill, (time.time_ns() - filed_at) / 1e9)
    if kill.answers >= steps:
        wrong.append("the kill came too late to interrupt anything")
    for problem in wrong:
        print(f"WRONG: {problem}")
    print("All as expected." if not wrong else "Not as expected.")
    return wrong


def interrupt(stage: Stage) -> Interruption:
    """Kill the daemon, tell what is left, and start it again."""
    pid = stage.kill("daemon")
    killed_at = time.time_ns()
    offices = statistics(stage).values()
    answers_given = sum(office.done for office in offices)
    under_way = sum(office.keys - office.done for office in offices)
    print(f"Killed the daemon: SIGKILL to process {pid}.")
    print(f"  gone:  its memory, with {under_way} requests under way")
    print(f"  left:  the mailboxes on disk, {answers_given} answers given, the offices")
    print("Starting it again: it reads the mailboxes, and goes on …")
    start_daemon(stage)
    back_at = time.time_ns()
    return Interruption(killed_at, back_at, answers_given, under_way)


def answers(stage: Stage) -> bool:
    """Tell whether the daemon answers; say so at once when it has ended instead."""
    stage.check()
    try:
        stage.cli("status")
    except (RuntimeError, ValueError, subprocess.TimeoutExpired):
        return False
    return True


def wait_for(what: str, is_there: Callable[[], bool], seconds: float) -> None:
    """Look again and again until it is there; raise TimeoutError when it takes too long."""
    deadline = time.monotonic() + seconds
    while not is_there():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not there after {seconds:g} s")
        threading.Event().wait(POLL_S)


def main() -> int:
    """Run the demonstration and return the exit code."""
    with on_stage("movant-civic-") as stage:
        try:
            return 1 if demonstrate(stage) else 0
        except (RuntimeError, TimeoutError) as error:
            print(f"The demonstration failed: {error}")
            return 1


if __name__ == "__main__":
    sys.exit(main())
