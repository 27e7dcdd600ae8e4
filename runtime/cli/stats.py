"""``movant stats``: success, times, errors per service, bottlenecks, failures."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from protocols.api import runs as api
from runtime.cli.failures import OK, say
from runtime.cli.options import Target, ago, command, target
from runtime.cli.output import (
    duration,
    write_facts,
    write_json,
    write_jsonl,
    write_table,
    write_text,
)
from runtime.cli.session import ask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocols.api.stats import Spread
    from runtime.client.client import Client


@command(
    "stats",
    examples=(
        ("movant stats", "all runs whose history is kept"),
        ("movant stats --workflow order --since 1h", "what one workflow came to in the last hour"),
        ("movant stats -n 3", "only the three worst of each kind"),
        ("movant stats -o json | jq .success_rate", "one number, for a script"),
    ),
)
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option(
    "--since",
    default="",
    metavar="TIME",
    help="Only runs that started in the last 1h, 7d, ... or since 2026-03-01T14:00:00Z.",
)
@click.option("--runs", type=click.IntRange(0), default=0, help="Only the newest so many runs.")
@click.option(
    "-n", "--rows", type=click.IntRange(1), default=10, show_default=True, help="Rows of a table."
)
@target
def stats(to: Target, *, workflow: str | None, since: str, runs: int, rows: int) -> int:
    """Add up what runs have come to: success, times, errors, bottlenecks and failures.

    The runs are read and folded again, the newest first; that takes a second for some hundred.
    """
    begin = ago(since, "--since", time.time_ns())

    async def question(client: Client) -> api.RunStats:
        return await client.stats(
            workflow=workflow, since=begin, runs_max=runs, progress=_progress()
        )

    found = ask(to, question)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_jsonl([found])
    else:
        _show(found, rows)
    if found.unread:
        say(f"{found.unread:,} runs are counted without their steps: their history is not kept")
    return OK


class _progress:  # noqa: N801 - it is called like a function
    """Tells on a terminal how many runs of how many are read."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        if self._live:
            end = "\n" if done >= total else ""
            sys.stderr.write(f"\r{done:,} of {total:,} runs{end}")
            sys.stderr.flush()


def _show(found: api.RunStats, rows: int) -> None:
    write_facts(
        [
            ("runs", f"{found.runs:,}" + (f" of {found.total:,}" if found.next else "")),
            ("success", _percent(found.success_rate)),
            ("average", f"{_time(found.completion)} from start to end of completed runs"),
        ]
    )
    _table(
        ("WORKFLOW", "RUNS", "ACTIVE", "COMPLETED", "OTHER", "SUCCESS", "AVERAGE", "P95", "MAX"),
        [
            (
                each.workflow,
                f"{sum(each.outcomes.values()):,}",
                f"{each.outcomes.get('active', 0):,}",
                f"{each.outcomes.get('completed', 0):,}",
                _others(each.outcomes),
                _percent(each.success_rate),
                *_times(each.completion),
            )
            for each in found.workflows
        ],
        rows,
    )
    _table(
        ("SERVICE", "OPERATION", "REQUESTS", "ERRORS", "AVERAGE", "P95", "MAX", "KINDS"),
        [
            (
                each.service,
                each.operation,
                f"{each.requests:,}",
                f"{each.errors:,} ({_percent(each.error_rate)})" if each.errors else "0",
                *_times(each.latency),
                "  ".join(f"{kind} {count:,}" for kind, count in each.kinds.items()) or "-",
            )
            for each in found.services
        ],
        rows,
    )
    _table(
        ("BOTTLENECK", "STEP", "SERVICE", "TIMES", "AVERAGE", "P95", "MAX", "TOTAL"),
        [
            (
                each.workflow,
                each.step,
                each.service,
                f"{each.time.count:,}",
                *_times(each.time),
                duration(each.time.total_s),
            )
            for each in found.steps
        ],
        rows,
    )
    _table(
        ("FAILURES OF", "ENDED", "KIND", "RUNS", "NEWEST"),
        [
            (
                each.workflow,
                each.status,
                each.kind or "-",
                f"{each.runs:,}",
                each.example,
            )
            for each in found.failures
        ],
        rows,
    )


def _table(columns: tuple[str, ...], cells: Sequence[tuple[str, ...]], rows: int) -> None:
    if cells:
        write_text("")
        write_table(columns, cells[:rows])
        if len(cells) > rows:
            say(f"{len(cells) - rows:,} more rows: -n {len(cells)}")


def _others(outcomes: dict[str, int]) -> str:
    found = sorted(each for each in outcomes.items() if each[0] not in {"active", "completed"})
    return "  ".join(f"{status} {count:,}" for status, count in found) or "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _time(spread: Spread) -> str:
    return duration(spread.average_s) if spread.count else "-"


def _times(spread: Spread) -> tuple[str, str, str]:
    if not spread.count:
        return ("-", "-", "-")
    return (duration(spread.average_s), duration(spread.p95_s), duration(spread.max_s))
