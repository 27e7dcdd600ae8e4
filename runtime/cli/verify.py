"""``movant verify``: fold again, and compare with what was stated."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from runtime.cli.failures import OK, RUN_FAILED, say, tell_error
from runtime.cli.options import Target, command, target
from runtime.cli.output import write_facts, write_json, write_line, write_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocols.api import runs as api
    from runtime.client.client import Client

AT_ONCE: Final = 4
"""A daemon folds on one thread; more would only wait there, and hold up others."""
_PAGE: Final = 500


@command(
    "verify",
    examples=(
        ("movant verify order-17", "exit 0 when nobody has changed anything"),
        ("movant verify --all", "every run that is listed, with what differs"),
        ("movant verify --all -o jsonl | jq -c 'select(.findings != [])'", "for programs"),
    ),
)
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--all", "wants_all", is_flag=True, help="Every run, the newest first.")
@target
def verify(run_id: str | None, to: Target, *, wants_all: bool) -> int:
    """Fold RUN again and compare its messages, its statements and its record.

    Each message that was edited, dropped, moved or put in is named. Exit 1 when there is one.
    """
    if wants_all == bool(run_id):
        raise click.UsageError("name one RUN, or --all.")
    if wants_all:
        return _all(to)
    from runtime.cli.session import ask, full_id  # noqa: PLC0415 - not for --help

    async def question(client: Client) -> api.RunVerified:
        return await client.verify(await full_id(client, run_id or ""))

    found = ask(to, question)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        write_facts(_facts(found))
        _tell(found.findings, "")
        for note in found.notes:
            say(f"note: {note}")
    return RUN_FAILED if found.findings else OK


def _all(to: Target) -> int:
    from runtime.cli.session import ask  # noqa: PLC0415 - not for --help

    results: list[api.RunVerified] = []
    failed: list[str] = []

    async def question(client: Client) -> int:
        ids, total = await _ids(client)
        await _each(client, ids, total, done)
        return total

    def done(found: api.RunVerified | None, run: str) -> None:
        if found is None:
            failed.append(run)
            return
        if to.form == "jsonl":
            write_line(found)
        elif to.form == "table" and found.findings:
            _tell(found.findings, found.id)
        # What is clean is counted only: a listing of a million would not fit.
        results.append(found)

    total = ask(to, question)
    wrong = [each for each in results if each.findings]
    if to.form == "json":
        write_json(results)
    named = sum(each.covered for each in results)
    say(
        f"{len(results):,} of {total:,} runs verified, {len(wrong):,} with findings,"
        f" {len(failed):,} not verified; statements name {named:,} of"
        f" {sum(each.messages for each in results):,} messages"
    )
    noted = sum(bool(each.notes) for each in results)
    if noted:
        say(f"{noted:,} runs have notes; movant verify RUN shows them")
    return RUN_FAILED if wrong or failed else OK


async def _ids(client: Client) -> tuple[list[str], int]:
    """Return the ids of all runs, and how many there are."""
    ids: list[str] = []
    after = ""
    while True:
        page = await client.list(limit=_PAGE, after=after)
        ids += [row.id for row in page.runs]
        after = page.next
        if not after:
            return ids, len(ids)


async def _each(
    client: Client, ids: list[str], total: int, done: Callable[[Any, str], None]
) -> None:
    """Verify runs, some at once, and tell how far that is."""
    import trio  # noqa: PLC0415 - not for --help

    from protocols.errors import MovantError, NotFoundError  # noqa: PLC0415

    limit = trio.CapacityLimiter(AT_ONCE)
    progress = _Progress(total)

    async def one(run: str) -> None:
        async with limit:
            try:
                found = await client.verify(run)
            except NotFoundError:  # forgotten since it was listed
                pass
            except MovantError as error:
                tell_error(error)
                done(None, run)
            else:
                done(found, run)
            progress.step()

    for start in range(0, len(ids), _PAGE):
        async with trio.open_nursery() as nursery:
            for run in ids[start : start + _PAGE]:
                nursery.start_soon(one, run)
    progress.end()


class _Progress:
    """How many runs of how many are done: on a terminal one line that changes."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._every = max(1, total // 100)
        self._live = sys.stderr.isatty()

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        if self._live and (self._done % self._every == 0 or self._done == self._total):
            sys.stderr.write(f"\r{self._done:,} of {self._total:,} runs")
            sys.stderr.flush()

    def end(self) -> None:
        """All are done."""
        if self._live and self._total:
            sys.stderr.write("\n")


def _facts(found: api.RunVerified) -> list[tuple[str, str]]:
    return [
        ("run", found.id),
        ("status", found.status),
        ("messages", f"{found.messages:,}, of which statements name {found.covered:,}"),
        ("statements", f"{found.statements:,}, of which EVENTS has {found.published:,}"),
        ("head", found.head),
        ("verdict", f"{len(found.findings)} findings" if found.findings else "ok"),
    ]


def _tell(findings: list[api.Discrepancy], run: str) -> None:
    if not findings:
        return
    head = ("RUN",) if run else ()
    own = (run,) if run else ()
    write_table(
        (*head, "WHAT", "STREAM", "SEQ", "SUBJECT", "DIFFERS"),
        [
            (*own, each.kind, each.stream, str(each.seq or "-"), each.subject or "-", each.detail)
            for each in findings
        ],
    )
