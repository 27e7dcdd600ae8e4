"""``movant run migrate``: runs that go on with another definition, one or many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from protocols.api import runs as api
from protocols.errors import MovantError
from runtime.cli.failures import OK, RUN_FAILED, say
from runtime.cli.options import Target, command, target
from runtime.cli.output import write_facts, write_json, write_jsonl, write_line, write_table
from runtime.cli.run_batch import confirmed
from runtime.cli.session import ask, full_id, myself

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from typing import Protocol

    from protocols.effects import Status
    from runtime.client.client import Client

    class _One(Protocol):
        """Asks for one run."""

        def __call__(
            self, client: Client, run: str, *, preview: bool, wanted: str = ""
        ) -> Awaitable[api.RunMigrated]:
            """Ask."""
            ...


MANY_MAX: Final = 10_000
"""Runs of one command: each is folded once for the preview, and once when it goes over."""


class Renamed(click.ParamType[tuple[str, str]]):
    """``old=new``: a step or a state that has another name now."""

    name = "old=new"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split the two names."""
        old, sign, new = value.partition("=")
        if not (old and sign and new):
            self.fail(f"{value!r} is not old=new", param, ctx)
        return old, new


@command(
    "migrate",
    examples=(
        ("movant run migrate order-17", "go on with the definition registered last"),
        ("movant run migrate order-17 --dry-run", "what would become of each step"),
        ("movant run migrate order-17 --to 9f2c --map ship=send", "a step has another name now"),
        ("movant run migrate --workflow orders --from 77ab --to 9f2c", "all that run on one"),
    ),
)
@click.argument("run_ids", metavar="[RUN]...", nargs=-1)
@click.option("--to", "definition", default="", help="Hash of a definition; default: the latest.")
@click.option(
    "--map",
    "moves",
    type=Renamed(),
    multiple=True,
    help="What a step or a state is called now. May be given several times.",
)
@click.option(
    "--accept",
    multiple=True,
    metavar="STEP",
    help="A step that has run, and does something else in the new definition; 'all' of them.",
)
@click.option("--workflow", metavar="NAME", help="All runs of this workflow that have not ended.")
@click.option("--status", type=click.Choice(("running", "blocked")), help="Only those.")
@click.option("--from", "former", default="", metavar="HASH", help="Only those with this one.")
@click.option("--dry-run", is_flag=True, help="Only tell what would happen.")
@click.option("--yes", is_flag=True, help="Do not ask, however many runs it is.")
@click.option("--refold", is_flag=True, help="Fold from the start, also a graph or a machine.")
@click.option("--force", is_flag=True, help="Also when the mailbox cannot be folded with it.")
@click.option("--reason", default="", help="For people; it stands in the history.")
@target
def migrate(
    run_ids: tuple[str, ...],
    to: Target,
    *,
    definition: str,
    moves: tuple[tuple[str, str], ...],
    accept: tuple[str, ...],
    workflow: str | None,
    status: Status | None,
    former: str,
    dry_run: bool,
    yes: bool,
    refold: bool,
    force: bool,
    reason: str,
) -> int:
    """Let RUN, or all runs of a workflow, go on with another definition.

    A graph or a machine goes over from where it stands: what is done keeps its result, what is
    open goes on. Code, and what is blocked, is folded from its start. Whatever does not fit is
    told and not written.
    """
    if bool(run_ids) == bool(workflow):
        raise click.UsageError("Give one or more runs, or --workflow.")

    async def one(client: Client, run: str, *, preview: bool, wanted: str = "") -> api.RunMigrated:
        return await client.migrate(
            run,
            definition=wanted or definition,
            how="fold" if refold else "",
            moves=dict(moves),
            accept=accept,
            preview=preview,
            force=force,
            by=myself(reason),
        )

    async def chosen(client: Client) -> list[str]:
        if workflow is None:
            return [await full_id(client, each) for each in run_ids]
        return await _runs_of(client, workflow, status, former)

    async def look(client: Client) -> list[api.RunMigrated | tuple[str, str]]:
        return [await _tried(one(client, run, preview=True), run) for run in await chosen(client)]

    if len(run_ids) == 1:
        found = ask(to, lambda client: _only(client, run_ids[0], one, preview=dry_run))
        return _write_preview(found, to) if dry_run else _write_one(found, to)
    previews = ask(to, look)
    fit = [each for each in previews if isinstance(each, api.RunMigrated) and not each.problems]
    _write_many(previews, to, dry=dry_run)
    say(f"{len(fit)} of {len(previews)} runs can go over")
    if dry_run or not fit:
        return OK if len(fit) == len(previews) else RUN_FAILED
    if not yes and not confirmed(len(fit), f"let {len(fit)} runs go over"):
        say("nothing was changed")
        return RUN_FAILED

    async def go(client: Client) -> list[api.RunMigrated | tuple[str, str]]:
        # To what was previewed, whatever is registered meanwhile.
        return [
            await _tried(one(client, each.id, preview=False, wanted=each.definition), each.id)
            for each in fit
        ]

    done = ask(to, go)
    failed = _tell(done)
    return RUN_FAILED if failed or len(fit) < len(previews) else OK


def _tell(done: Sequence[api.RunMigrated | tuple[str, str]]) -> int:
    """Say what became of many runs; return how many did not go over."""
    failed = [each for each in done if isinstance(each, tuple)]
    for run, why in failed:
        say(f"{run}: {why}")
    say(f"{len(done) - len(failed)} runs went over")
    return len(failed)


async def _only(client: Client, word: str, one: _One, *, preview: bool) -> api.RunMigrated:
    return await one(client, await full_id(client, word), preview=preview)


async def _tried(asked: Awaitable[api.RunMigrated], run: str) -> api.RunMigrated | tuple[str, str]:
    """Return the answer, or the run and why there is none: the others go on."""
    try:
        return await asked
    except MovantError as error:
        return run, error.message


async def _runs_of(client: Client, workflow: str, status: Status | None, former: str) -> list[str]:
    """Return the runs of a workflow that have not ended, the oldest first."""
    found: list[str] = []
    cursor = ""
    while len(found) < MANY_MAX:
        page = await client.list(
            workflow=workflow,
            status=status,
            active=True,
            definition=former,
            limit=api.PAGE_MAX,
            after=cursor,
        )
        found += [row.id for row in page.runs]
        cursor = page.next
        if not cursor:
            break
    return found[::-1]


def _write_one(found: api.RunMigrated, to: Target) -> int:
    if to.form == "table":
        write_facts(
            [
                ("run", found.id),
                ("definition", found.definition),
                ("how", _HOW[found.how]),
                ("status", found.status),
            ]
        )
        say(f"next:  movant run show {found.id}")
    elif to.form == "json":
        write_json(found)
    else:
        write_line(found)
    return OK


_HOW: Final = {
    "switch": "switch: it goes on from where it stands",
    "fold": "fold: as if it had begun with it",
}


def _write_preview(found: api.RunMigrated, to: Target) -> int:
    """Write what would become of each step of a run."""
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        write_facts(
            [("run", found.id), ("definition", found.definition), ("how", _HOW[found.how])]
        )
        write_table(
            ("STEP", "WAS", "STATUS", "WHAT", "NOTE"),
            [
                (each.step or "-", each.was or "-", each.status, each.what, each.note)
                for each in found.steps
            ],
        )
        for problem in found.problems:
            say(f"not possible: {problem}")
        if not found.problems:
            say("nothing was written; without --dry-run it goes over")
    return RUN_FAILED if found.problems else OK


def _write_many(
    previews: Sequence[api.RunMigrated | tuple[str, str]], to: Target, *, dry: bool
) -> None:
    if to.form == "jsonl":
        write_jsonl([_row(each) for each in previews])
    elif to.form == "json":
        write_json([_row(each) for each in previews])
    elif dry or previews:
        write_table(
            ("RUN", "HOW", "KEPT", "OPEN", "NEW", "DROPPED", "PROBLEM"),
            [_cells(each) for each in previews],
        )


def _row(each: api.RunMigrated | tuple[str, str]) -> object:
    return {"id": each[0], "problems": [each[1]]} if isinstance(each, tuple) else each


def _cells(each: api.RunMigrated | tuple[str, str]) -> tuple[str, ...]:
    if isinstance(each, tuple):
        return each[0], "-", "-", "-", "-", "-", each[1]
    counts = [
        str(sum(step.what == what for step in each.steps))
        for what in ("kept", "open", "new", "dropped")
    ]
    return each.id, each.how, *counts, "; ".join(each.problems) or "-"
