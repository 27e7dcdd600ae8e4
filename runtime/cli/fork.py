"""``movant run fork``: a run that begins with what another one has done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec import UNSET

from protocols.api import runs as api
from runtime.cli.failures import OK, RUN_FAILED, say
from runtime.cli.migrate import Renamed
from runtime.cli.options import Target, command, read_value, target
from runtime.cli.output import write_facts, write_json, write_line, write_table
from runtime.cli.session import ask, full_id, myself

if TYPE_CHECKING:
    from runtime.client.client import Client


@command(
    "fork",
    examples=(
        ("movant run fork order-17 --from ship --plan", "what would be taken over"),
        ("movant run fork order-17 --from ship --set address.city=Delft", "with another input"),
        ("movant run fork order-17 --from ship --to latest --id order-17b", "with repaired code"),
    ),
)
@click.argument("run_id", metavar="RUN")
@click.option(
    "--from", "step", required=True, metavar="STEP", help="The step or state to begin with."
)
@click.option(
    "-f",
    "--input",
    "file",
    default="",
    metavar="FILE",
    type=click.Path(),
    help="Its input, as JSON.",
)
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="A part of the input that is another one; VALUE is JSON or text.",
)
@click.option("--id", "new_id", default="", metavar="ID", help="Id of the new run.")
@click.option(
    "--to",
    "definition",
    default="",
    metavar="HASH",
    help="Its definition, or 'latest'; default: that of RUN.",
)
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
    help="A step to take over though something is against it; 'all' of them.",
)
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    metavar="NAME",
    help="What you may do, for workflows that need it.",
)
@click.option("--plan", is_flag=True, help="Only tell what would happen.")
@click.option("--reason", default="", help="For people; it stands in the history.")
@target
def fork(
    run_id: str,
    to: Target,
    *,
    step: str,
    file: str,
    pairs: tuple[str, ...],
    new_id: str,
    definition: str,
    moves: tuple[tuple[str, str], ...],
    accept: tuple[str, ...],
    permissions: tuple[str, ...],
    plan: bool,
    reason: str,
) -> int:
    """Start a run that begins at a step of RUN, with what RUN did before that.

    RUN has ended, or is blocked, and stays as it is. What was done before STEP is taken over with
    its results and not asked for again; STEP, what lies behind it, and what RUN never came to are
    done by the new run.
    """
    given = read_value((), file) if file else UNSET
    changes = dict(each.partition("=")[::2] for each in pairs)
    values = {key: read_value((f"x={text}",), "")["x"] for key, text in changes.items()}
    wrong = [each for each in pairs if not each.partition("=")[1]]
    if wrong:
        raise click.UsageError(f"--set {wrong[0]!r} is not of the form key=value.")

    async def question(client: Client) -> api.RunForked:
        return await client.fork(
            await full_id(client, run_id),
            step,
            input=given,
            new_id=new_id,
            changes=values,
            definition=definition,
            moves=dict(moves),
            accept=accept,
            preview=plan,
            permissions=permissions,
            by=myself(reason),
        )

    found = ask(to, question)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        _write(found, plan=plan)
    return RUN_FAILED if found.problems else OK


def _write(found: api.RunForked, *, plan: bool) -> None:
    if not plan:
        write_facts([("run", found.id), ("forked from", found.origin), ("at", found.step)])
        taken = [each.step for each in found.steps if each.what == "taken"]
        say(f"taken over: {', '.join(taken) or 'nothing'}")
        say(f"next:  movant run watch {found.id}")
        return
    write_facts([("run", found.origin), ("definition", found.definition), ("at", found.step)])
    write_table(
        ("STEP", "WAS", "STATUS", "WHAT", "NOTE"),
        [(each.step, each.was or "-", each.status, each.what, each.note) for each in found.steps],
    )
    for problem in found.problems:
        say(f"not possible: {problem}")
    if not found.problems:
        say("nothing was written; without --plan it starts")
