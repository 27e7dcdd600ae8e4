"""``movant trigger`` and ``movant schedule``: what starts runs, and when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from protocols.triggers import KINDS
from runtime.cli.failures import OK, RUN_FAILED, USAGE, say
from runtime.cli.findings import refused, report
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import Target, command, moment, output_option, target
from runtime.cli.output import (
    Format,
    between,
    clock_time,
    write_facts,
    write_json,
    write_line,
    write_rows,
    write_table,
    write_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from protocols.api import triggers as said
    from runtime.client.client import Client

_HERE = "runtime.cli.trigger"

trigger = LazyGroup(
    "trigger",
    help="What starts runs by itself: times, requests, messages; and who may by hand.",
    tree={
        "Commands": {
            "ls": Leaf(f"{_HERE}:ls", "List triggers."),
            "show": Leaf(f"{_HERE}:show", "Show a trigger."),
            "add": Leaf(f"{_HERE}:add", "Add triggers to a workflow."),
            "rm": Leaf(f"{_HERE}:rm", "Remove an added trigger."),
            "pause": Leaf(f"{_HERE}:pause", "Let a trigger do nothing."),
            "resume": Leaf(f"{_HERE}:resume", "Let a trigger fire again."),
            "validate": Leaf(f"{_HERE}:validate", "Check files, without a daemon."),
        }
    },
    examples=(
        ("movant trigger ls", "what there is, and what it did last"),
        ("movant trigger add triggers.yaml", "triggers for a workflow in Python"),
    ),
)
schedule = LazyGroup(
    "schedule",
    help="Triggers that go by the clock.",
    tree={
        "Commands": {
            "ls": Leaf(f"{_HERE}:schedules", "List schedules."),
            "next": Leaf(f"{_HERE}:following", "Tell when one is due."),
            "trigger": Leaf(f"{_HERE}:fire", "Start its run now."),
            "pause": Leaf(f"{_HERE}:pause", "Let it do nothing."),
            "resume": Leaf(f"{_HERE}:resume", "Let it go on from now."),
            "backfill": Leaf(f"{_HERE}:backfill", "Start the runs of past times."),
        }
    },
    examples=(
        ("movant schedule next report-nightly -n 3", "when it is due"),
        (
            "movant schedule backfill report-nightly 2026-01-01T00:00:00Z 2026-01-08T00:00:00Z",
            "a week that was missed",
        ),
    ),
)
_name = click.argument("name")
_reason = click.option("--reason", default="", help="Why, for those who will ask.")


def _list(to: Target, workflow: str | None, kind: str) -> int:
    page = _ask(to, lambda client: client.triggers(workflow=workflow, kind=kind))
    rows = [_cells(each, page.server_time) for each in page.triggers]
    columns = ("TRIGGER", "NEXT", "LAST", "RESULT", "STANDS", "WHEN")
    write_rows(to.form, page.triggers, columns, rows)
    if to.form == "table" and not rows:
        say("there is none\nnext:  write 'triggers:' into a graph, or movant trigger add FILE")
    return OK


def _cells(row: said.TriggerRow, now: int) -> tuple[str, ...]:
    last = "-"
    if row.last is not None:
        last = f"{between(row.last.at, now)} ago: {row.last.outcome}"
    coming = f"in {between(now, row.next)}" if row.next > now else "now" if row.next else "-"
    result = row.result
    if row.last is not None and row.last.reason:
        result = row.last.reason
    return (
        row.name,
        coming,
        last,
        result or "-",
        _stands(row),
        f"{row.kind} {row.text}",
    )


def _stands(row: said.TriggerRow) -> str:
    if row.problem:
        return row.problem
    return f"paused {row.paused}" if row.paused else "ok"


@command(
    "ls",
    examples=(
        ("movant trigger ls", "all"),
        ("movant trigger ls --workflow report -o json", "those of one workflow, for programs"),
    ),
)
@click.option("--workflow", metavar="NAME", help="Only those of this workflow.")
@click.option("--kind", type=click.Choice(KINDS), help="Only triggers of this kind.")
@target
def ls(to: Target, *, workflow: str | None, kind: str | None) -> int:
    """List triggers: when they fire, what they did last, why they do nothing."""
    return _list(to, workflow, kind or "")


@command("ls", examples=(("movant schedule ls", "what is due next"),))
@click.option("--workflow", metavar="NAME", help="Only those of this workflow.")
@target
def schedules(to: Target, *, workflow: str | None) -> int:
    """List schedules: when they are due, what they did last, why they do nothing."""
    return _list(to, workflow, "schedule")


@command("show", examples=(("movant trigger show report-nightly", "all that it says"),))
@_name
@target
def show(name: str, to: Target) -> int:
    """Show a trigger with all that it says."""
    import msgspec  # noqa: PLC0415 - not for --help
    import yaml  # noqa: PLC0415

    found = _ask(to, lambda client: client.trigger(name))
    if to.form == "table":
        _write_row(found.row)
        told = msgspec.to_builtins(found.trigger)
        write_text("\n" + yaml.safe_dump([told], sort_keys=False).rstrip())
        return OK
    return _write(found, to)


@command(
    "add",
    examples=(
        ("movant trigger add triggers.yaml", "the file names its workflow"),
        ("movant trigger add triggers.yaml -o json", "for programs"),
    ),
)
@click.argument("file", type=click.Path())
@target
def add(file: str, to: Target) -> int:
    """Add the triggers in FILE to its workflow; those of the same names are replaced.

    They last until they are removed. A graph may have triggers of its own, which come and go
    with its definition.
    """
    from actors.definitions.validation import problems_of  # noqa: PLC0415
    from actors.files.triggers import load_document, load_triggers  # noqa: PLC0415 - not for --help

    if refused(problems_of(file, load_document), "nothing was added"):
        return USAGE
    loaded = load_triggers(file)
    found = _ask(to, lambda client: client.add_triggers(loaded))
    if to.form == "table":
        write_table(("TRIGGER",), [(each,) for each in found.names])
        return OK
    return _write(found, to)


@command("rm", examples=(("movant trigger rm orders-nightly", "it does not fire any more"),))
@_name
@target
def rm(name: str, to: Target) -> int:
    """Remove a trigger that was added. Runs that it started go on."""
    _ask(to, lambda client: client.remove_trigger(name))
    return OK


@command(
    "pause",
    examples=(("movant trigger pause report-nightly --reason 'wrong data'", "until resumed"),),
)
@_name
@_reason
@target
def pause(name: str, to: Target, *, reason: str) -> int:
    """Let a trigger do nothing. Messages that a stream keeps wait; times pass."""
    from runtime.cli.session import myself  # noqa: PLC0415 - not for --help

    by = myself(reason)
    return _row(_ask(to, lambda client: client.pause_trigger(name, by=by)), to)


@command("resume", examples=(("movant trigger resume report-nightly", "it goes on from now"),))
@_name
@_reason
@target
def resume(name: str, to: Target, *, reason: str) -> int:
    """Let a trigger fire again. What was due meanwhile is not made up for: see backfill."""
    from runtime.cli.session import myself  # noqa: PLC0415 - not for --help

    by = myself(reason)
    return _row(_ask(to, lambda client: client.resume_trigger(name, by=by)), to)


@command(
    "validate",
    examples=(("movant trigger validate triggers.yaml", "exit 1 when something is wrong"),),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@output_option
def validate(files: tuple[str, ...], form: Format) -> int:
    """Check files of triggers. Those in graphs are checked by ``movant workflow validate``."""
    from actors.definitions.validation import problems_of  # noqa: PLC0415
    from actors.files.triggers import load_document  # noqa: PLC0415 - not for --help

    return report([each for file in files for each in problems_of(file, load_document)], form)


@command("next", examples=(("movant schedule next report-nightly -n 10", "ten times"),))
@_name
@click.option("-n", "count", type=click.IntRange(1, 1_000), default=5, help="How many.")
@target
def following(name: str, to: Target, *, count: int) -> int:
    """Tell when a schedule is due, in its zone, and which runs come of it."""
    found = _ask(to, lambda client: client.due(name, count=count))
    if to.form == "table":
        say(f"{found.text}, {found.zone}")
        now = time.time_ns()
        cells = [
            (_local(each.due, found.zone), between(now, each.due), each.run)
            for each in found.times
        ]
        write_table(("DUE", "IN", "RUN"), cells)
        return OK
    return _write(found, to)


@command(
    "trigger", examples=(("movant schedule trigger report-nightly", "without waiting for it"),)
)
@_name
@_reason
@target
def fire(name: str, to: Target, *, reason: str) -> int:
    """Start the run of a schedule now, also when it is paused or another one runs."""
    from runtime.cli.session import myself  # noqa: PLC0415 - not for --help

    by = myself(reason)
    found = _ask(to, lambda client: client.fire_trigger(name, by=by))
    if to.form == "table":
        write_facts([("run", found.run)])
        say(f"next:  movant run watch {found.run}")
        return OK
    return _write(found, to)


@command(
    "backfill",
    examples=(
        (
            "movant schedule backfill report-nightly 2026-01-01T00:00:00Z 2026-01-08T00:00:00Z",
            "the runs of a week; those that are there are left alone",
        ),
    ),
)
@_name
@click.argument("begin", metavar="FROM")
@click.argument("end", metavar="TO")
@_reason
@target
def backfill(name: str, begin: str, end: str, to: Target, *, reason: str) -> int:
    """Start the runs of all times FROM up to TO (RFC 3339) that a schedule has in the past.

    They overlap as they like. A time whose run is there already has no second one.
    """
    from runtime.cli.session import myself  # noqa: PLC0415 - not for --help

    first, last = moment(begin), moment(end)
    by = myself(reason)
    found = _ask(to, lambda client: client.backfill(name, first, last, by=by))
    rows = [(_at(each.due), each.run, each.outcome, each.reason or "-") for each in found.runs]
    write_rows(to.form, found.runs, ("DUE", "RUN", "OUTCOME", "WHY"), rows)
    refused = sum(each.outcome == "refused" for each in found.runs)
    return RUN_FAILED if refused else OK


def _ask(to: Target, question: Callable[[Client], Coroutine[Any, Any, Any]]) -> Any:
    from runtime.cli.session import ask  # noqa: PLC0415 - not for --help

    return ask(to, question)


def _row(row: said.TriggerRow, to: Target) -> int:
    if to.form == "table":
        _write_row(row)
        return OK
    return _write(row, to)


def _write_row(row: said.TriggerRow) -> None:
    facts = [("trigger", row.name), ("workflow", row.workflow), ("when", f"{row.kind} {row.text}")]
    facts.append(("stands", _stands(row)))
    if row.next:
        facts.append(("next", clock_time(row.next, "seconds")))
    if row.last is not None:
        facts.append(("last", f"{clock_time(row.last.at, 'seconds')}: {row.last.outcome}"))
        if row.last.run:
            facts.append(("run", f"{row.last.run} {row.result}".rstrip()))
        if row.last.reason:
            facts.append(("why", row.last.reason))
    facts.append(("fired", f"{row.fired}, did nothing {row.skipped}"))
    write_facts(facts)


def _write(value: Any, to: Target) -> int:
    if to.form == "json":
        write_json(value)
    else:
        write_line(value)
    return OK


def _at(due: int) -> str:
    return clock_time(due, "seconds")


def _local(due: int, zone: str) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415 - not for --help
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    moment = datetime.fromtimestamp(due / 1e9, UTC).astimezone(ZoneInfo(zone))
    return f"{moment:%a %Y-%m-%d %H:%M:%S %z}"
