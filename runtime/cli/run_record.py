"""``movant run export`` and ``movant run replay``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from runtime.cli.failures import OK, RUN_FAILED, say
from runtime.cli.options import Target, command, output_option, read_text, target
from runtime.cli.output import Format, pretty, write_facts, write_file, write_json, write_line

if TYPE_CHECKING:
    from runtime.client.client import Client
    from runtime.client.recording import Recording, Replayed


@command(
    "export",
    examples=(
        ("movant run export order-17 > order-17.json", "everything that has happened to it"),
        ("movant run export order-17 --to order-17.json", "the same"),
    ),
)
@click.argument("run_id", metavar="RUN")
@click.option("--to", "path", type=click.Path(path_type=Path, dir_okay=False), help="Write here.")
@target
def export(run_id: str, to: Target, *, path: Path | None) -> int:
    """Write the mailbox of RUN and its definition as one JSON document.

    It holds inputs and results as they are: treat it like the data of the run.
    """
    from runtime.cli.session import ask, full_id  # noqa: PLC0415 - not for --help
    from runtime.client.recording import record  # noqa: PLC0415

    async def question(client: Client) -> Recording:
        return await record(client, await full_id(client, run_id), time.time_ns())

    found = ask(to, question)
    if path is None:
        if to.form == "jsonl":
            write_line(found)
        else:
            write_json(found)
    else:
        write_file(path, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    where = f" in {path}" if path else ""
    say(f"{len(found.messages)} messages of run {found.id}{where}")
    return OK


@command(
    "replay",
    examples=(
        ("movant run replay order-17.json", "exit 0 when the fold gives what was recorded"),
        ("movant run replay order-17.json --with orders.py", "would this code do the same?"),
        ("movant run export order-17 | movant run replay -", "without a file"),
    ),
)
@click.argument("file", type=click.Path())
@click.option("--with", "source", metavar="SOURCE", help="Fold with this workflow file instead.")
@output_option
def replay(file: str, form: Format, *, source: str | None) -> int:
    """Fold the exported run in FILE here and compare; nothing is sent to anybody.

    The workflow's code runs on this machine, with your rights.
    """
    from actors.definitions.packing import pack  # noqa: PLC0415 - not for --help
    from runtime.client.recording import read  # noqa: PLC0415
    from runtime.client.recording import replay as fold  # noqa: PLC0415

    recording = read(read_text(file))
    found = fold(recording, pack(source) if source else None)
    if form == "json":
        write_json(found)
    elif form == "jsonl":
        write_line(found)
    else:
        write_facts(_facts(found))
        say("\n".join(found.differences) if found.differences else "the same as recorded")
    return RUN_FAILED if found.differences else OK


def _facts(found: Replayed) -> list[tuple[str, str]]:
    outcome = found.outcome
    facts = [
        ("run", found.id),
        ("definition", found.definition),
        ("folded", f"{found.folded} messages"),
        ("status", outcome.status),
    ]
    if outcome.status == "completed":
        facts.append(("result", pretty(outcome.result)))
    if outcome.failure is not None:
        facts.append(("failure", f"{outcome.failure.kind}: {outcome.failure.message}"))
    if outcome.blocked:
        facts.append(("blocked", outcome.blocked))
    if outcome.waiting:
        facts.append(("waiting for", "\n".join(outcome.waiting)))
    return facts
