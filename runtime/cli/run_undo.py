"""``movant run undo|review``."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import click

from protocols.api import runs as api
from protocols.effects import Status
from runtime.cli.failures import OK, say
from runtime.cli.options import Target, command, read_value, target
from runtime.cli.output import write_facts, write_json, write_line, write_table
from runtime.cli.run_batch import Many, many_options, over
from runtime.cli.session import ask, full_id, myself

if TYPE_CHECKING:
    from runtime.client.client import Client


@command(
    "undo",
    examples=(
        ("movant run undo --plan order-17", "what would be undone, in which order"),
        ("movant run undo order-17 --reason 'wrong address'", "stop it and undo what it did"),
        ("movant run undo --definition 9f2c --status completed --since 1d", "a bad day's work"),
    ),
)
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--plan", is_flag=True, help="Only show what would be undone.")
@click.option("--reason", default="", help="For people; it stands in the history.")
@many_options(get_args(Status))
@target
def undo(run_id: str | None, to: Target, *, many: Many, plan: bool, reason: str) -> int:
    """Undo what RUN did, the newest first; one that has not ended is stopped by that.

    What a run left that has ended is undone by another run, whose id is shown. Without RUN:
    what all runs did that the options name; without a status those that have not ended.
    """
    many.check(alone=run_id is not None)
    if run_id is None:
        if plan:
            raise click.UsageError("--plan goes with one run, --dry-run with many.")
        return over(to, many, api.RunUndo(id="", reason=reason, by=myself(reason)), "undo")

    async def question(client: Client) -> api.RunUndone:
        run = await full_id(client, run_id)
        return await client.undo(run, plan=plan, reason=reason, by=myself(reason))

    found = ask(to, question)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    elif plan:
        write_table(
            ("STEP", "OUTCOME", "UNDONE BY", "KEY"),
            [
                (
                    f"{each.run}:{each.path}" if each.run else each.path,
                    "undecided" if each.undecided else each.outcome,
                    f"{each.service}.{each.operation}",
                    each.key,
                )
                for each in found.plan
            ],
        )
        say(f"{len(found.plan)} steps of run {found.id} ({found.status}) would be undone")
    else:
        facts = [("run", found.id), ("steps", str(len(found.plan)))]
        write_facts([*facts, ("undone by", found.run)] if found.run else facts)
        say(f"next:  movant run watch {found.run or found.id}")
    return OK


@command(
    "review",
    examples=(
        ("movant run review order-17 /bank.charge --done --result '\"ch-77\"'", "it was done"),
        (
            "movant run review order-17 /bank.charge --not-done",
            "it was not: it is tried again",
        ),
    ),
)
@click.argument("run_id", metavar="RUN")
@click.argument("step")
@click.option("--done/--not-done", "done", required=True, help="Whether it had its effect.")
@click.option("--result", default="", help="Its result as JSON, when it was done.")
@click.option("--reason", default="", help="For people; it stands in the history.")
@target
def review(run_id: str, step: str, to: Target, *, done: bool, result: str, reason: str) -> int:
    """Say whether STEP of RUN was done, when nobody but a person can know.

    STEP is its path, as movant why shows it.
    """
    value = read_value((), "", result)

    async def question(client: Client) -> api.Accepted:
        run = await full_id(client, run_id)
        return await client.review(run, step, done=done, result=value, by=myself(reason))

    found = ask(to, question)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        write_facts([("run", found.id), ("stored at", str(found.seq))])
        say(f"next:  movant why {found.id}")
    return OK
