"""``movant run supply|discard``: what to do about a value that is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.failures import OK, say
from runtime.cli.options import Target, command, target
from runtime.cli.output import write_facts, write_json, write_line

if TYPE_CHECKING:
    from protocols.api import runs as api
    from runtime.client.client import Client


@command(
    "supply",
    examples=(
        ("movant run supply order-17 rows.json", "the value that message 21 refers to"),
        ("movant run supply order-17 rows.json --reason 'from the backup'", "and why"),
    ),
)
@click.argument("run_id", metavar="RUN")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--reason", default="", help="For people; it stands in the history.")
@target
def supply(run_id: str, path: Path, to: Target, *, reason: str) -> int:
    """Put back the value that blocks RUN. FILE has to be it, byte for byte.

    ``movant why`` says which value is missing, by its digest. Wrong bytes that somebody has stored
    in its place are replaced.
    """
    from runtime.cli.session import ask, full_id, myself  # noqa: PLC0415 - not for --help

    try:
        content = path.read_bytes()
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from error

    async def question(client: Client) -> api.Accepted:
        run = await full_id(client, run_id)
        return await client.supply(run, content, by=myself(reason))

    return _told(ask(to, question), to)


@command(
    "discard",
    examples=(
        ("movant run discard order-17 21", "nobody has the value of message 21 any more"),
        ("movant run discard order-17 21 --reason 'the disk is lost'", "and why"),
    ),
)
@click.argument("run_id", metavar="RUN")
@click.argument("message", type=click.IntRange(min=1))
@click.option("--reason", default="", help="For people; it stands in the history.")
@target
def discard(run_id: str, message: int, to: Target, *, reason: str) -> int:
    """Give up the value of MESSAGE that blocks RUN: it goes on without it, for good.

    The answer of a step becomes one of which nobody knows what it was, so the step is tried
    again or fails; a signal never came; a run whose input it was has failed. MESSAGE is a
    sequence, as movant why shows it.
    """
    from runtime.cli.session import ask, full_id, myself  # noqa: PLC0415 - not for --help

    async def question(client: Client) -> api.Accepted:
        run = await full_id(client, run_id)
        return await client.discard(run, message, by=myself(reason))

    return _told(ask(to, question), to)


def _told(found: api.Accepted, to: Target) -> int:
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        write_facts([("run", found.id), ("stored at", str(found.seq))])
        say(f"next:  movant why {found.id}")
    return OK
