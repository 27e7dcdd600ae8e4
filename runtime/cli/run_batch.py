"""One action over many runs: which ones, how many they are, and then each of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast, get_args

import click

from protocols.api import runs as api
from protocols.effects import FINAL, Status
from runtime.cli.failures import OK, RUN_FAILED, say
from runtime.cli.options import Target, ago
from runtime.cli.output import write_json, write_jsonl, write_line, write_runs, write_text
from runtime.cli.session import RETURN_S, ask

if TYPE_CHECKING:
    from runtime.client.client import Client
    from runtime.client.run_batch import Action, BatchResult, RunBatch

F = TypeVar("F", bound=Callable[..., Any])

SHOWN: Final = 10
"""Runs that are shown before it is asked back: enough to see what it is about."""
TOLD_S: Final = 5.0
"""So often it is told how far it is."""
OPEN: Final = tuple(each for each in get_args(Status) if each not in FINAL)


class Which(NamedTuple):
    """The runs that a command line names, with its times as they were written."""

    status: Status | None
    workflow: str | None
    late: bool
    active: bool
    definition: str
    prefix: str
    since: str
    until: str

    def query(self, now: int) -> api.RunQuery:
        """Return the query; ``now`` is when it was made, in nanoseconds since 1970."""
        told = self._asdict() | {
            "since": ago(self.since, "--since", now),
            "until": ago(self.until, "--until", now),
        }
        return api.RunQuery(**told)


class Many(NamedTuple):
    """What a command line says about many runs."""

    which: Which
    dry_run: bool
    yes: bool
    rate: float
    batch: str

    def __bool__(self) -> bool:
        """Tell whether it speaks of many runs."""
        return any(self.which)

    def check(self, *, alone: bool) -> None:
        """Raise UsageError unless it is either one run or many."""
        if alone == bool(self):
            raise click.UsageError("Give a run, or which runs: --workflow, --status and so on.")
        if alone and (self.dry_run or self.batch):
            raise click.UsageError("--dry-run and --batch go with many runs.")


def which_options(statuses: tuple[str, ...]) -> Callable[[F], F]:
    """Add the options that say which runs; the function gets them as ``which``."""
    return _group(
        "which",
        Which,
        click.option(
            "--status",
            type=click.Choice(statuses),
            metavar="STATUS",
            help=f"Only these: {', '.join(statuses)}.",
        ),
        click.option("--workflow", metavar="NAME", help="Only runs of this workflow."),
        click.option("--late", is_flag=True, help="Only those that take longer than they should."),
        click.option("--active", is_flag=True, help="Only those that have not ended."),
        click.option("--definition", default="", metavar="HASH", help="Only those with this one."),
        click.option(
            "--prefix", default="", metavar="TEXT", help="Only those whose id begins so."
        ),
        click.option(
            "--since",
            default="",
            metavar="TIME",
            help="Only those that started in the last 1h, 7d, ... or since 2026-03-01T14:00:00Z.",
        ),
        click.option(
            "--until", default="", metavar="TIME", help="Only those that started before that."
        ),
    )


def many_options(statuses: tuple[str, ...] = OPEN) -> Callable[[F], F]:
    """Add the options for an action over many runs; the function gets them as ``many``."""
    return _group(
        "many",
        Many,
        which_options(statuses),
        click.option("--dry-run", is_flag=True, help="Only tell which runs it would be."),
        click.option("--yes", is_flag=True, help="Do not ask, however many runs it is."),
        click.option(
            "--rate",
            type=click.FloatRange(0.01, 10_000),
            default=200.0,
            show_default=True,
            help="Runs a second, at most.",
        ),
        click.option(
            "--batch", default="", metavar="ID", help="Go on with a batch that broke off."
        ),
    )


def _group(
    name: str, kind: type[Which | Many], *options: Callable[[Any], Any]
) -> Callable[[F], F]:
    """Return a decorator that adds options, which the function gets as one tuple."""

    def decorate(function: F) -> F:
        @wraps(function)
        def called(*args: Any, **more: Any) -> Any:
            more[name] = kind(**{each: more.pop(each) for each in kind._fields})
            return function(*args, **more)

        decorated: Any = called
        for add in reversed(options):
            decorated = add(decorated)
        return cast("F", decorated)

    return decorate


def over(to: Target, many: Many, action: Action, what: str) -> int:
    """Do something with many runs: preview, question, progress, and what was refused.

    ``what`` says it behind "to". Exit 1 when a run has refused.
    """
    from runtime.client.run_batch import began_at  # noqa: PLC0415 - not for --help

    now = began_at(many.batch) if many.batch else time.time_ns() // 1_000_000 * 1_000_000
    query = many.which.query(now)

    def batch_of(client: Client) -> RunBatch:
        return client.batch(query, action, id=many.batch, at=now, rate=many.rate)

    async def look(client: Client) -> tuple[str, api.RunPage]:
        batch = batch_of(client)
        return batch.id, await batch.preview()

    batch_id, page = ask(to, look)
    if many.dry_run:
        _write_page(page, to)
        say(f"{page.total:,} runs would be asked to {what}")
        if page.total:
            say(f"next:  the same with --batch {batch_id} instead of --dry-run does it")
        return OK
    if not page.total:
        say("there are no such runs")
        return OK
    if not (many.yes or _agreed(page, what)):
        say("nothing was changed")
        return RUN_FAILED
    say(f"batch {batch_id}: should it break off, the same with --batch {batch_id} goes on")
    told = _Told(page.total, to)

    async def go(client: Client) -> None:
        async for each in batch_of(client).results():
            told.add(each)

    try:
        ask(to, go, patience_s=RETURN_S)
    finally:
        code = told.end(what)
    return code


class _Told:
    """Writes what becomes of runs, as it comes; a table has only those that refused."""

    def __init__(self, total: int, to: Target) -> None:
        self._total = total
        self._form = to.form
        self._results: list[BatchResult] = []
        self._done = self._refused = 0
        self._due = time.monotonic() + TOLD_S

    def add(self, each: BatchResult) -> None:
        self._done += 1
        self._refused += each.error is not None
        if self._form == "json":
            self._results.append(each)
        elif self._form == "jsonl":
            write_line(each)
        elif each.error is not None:
            write_text(f"{each.id}  {each.error.message}")
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + TOLD_S
            say(f"{self._done:,} of {self._total:,}")

    def end(self, what: str) -> int:
        """Say what it came to; return the exit code."""
        if self._form == "json":
            write_json(self._results)
        say(f"{self._done - self._refused:,} runs were asked to {what}, {self._refused:,} refused")
        return RUN_FAILED if self._refused else OK


def confirmed(count: int, what: str) -> bool:
    """Ask a person for the number of runs: whoever types it has read it."""
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: --yes goes on without a question.")
    told = click.prompt(f"type {count} to {what}", err=True, default="")
    return str(told).strip() == str(count)


def _agreed(page: api.RunPage, what: str) -> bool:
    """Show a person some of the runs, and ask for their number."""
    for row in page.runs[:SHOWN]:
        say(f"  {row.id}  {row.workflow}  {row.status}")
    if page.total > SHOWN:
        say(f"  and {page.total - SHOWN:,} more")
    return confirmed(page.total, f"ask {page.total:,} runs to {what}")


def _write_page(page: api.RunPage, to: Target) -> None:
    if to.form == "json":
        write_json(page)
    elif to.form == "jsonl":
        write_jsonl(page.runs)
    else:
        write_runs(page.runs)
