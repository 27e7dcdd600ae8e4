"""``movant run artifacts`` and ``movant run artifact``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.failures import OK, say
from runtime.cli.options import Target, command, target
from runtime.cli.output import (
    clock_time,
    write_bytes,
    write_file,
    write_json,
    write_jsonl,
    write_table,
)

if TYPE_CHECKING:
    from protocols.api.blobs import ArtifactRow
    from runtime.client.client import Client


@command(
    "artifacts",
    examples=(
        ("movant run artifacts order-17", "files and reports that it has made"),
        ("movant run artifacts order-17 -o json", "for programs, with digests"),
    ),
)
@click.argument("run_id", metavar="RUN")
@target
def artifacts(run_id: str, to: Target) -> int:
    """List the artifacts of RUN. Of several with one name the latest counts."""
    from runtime.cli.session import ask, full_id  # noqa: PLC0415 - not for --help

    async def question(client: Client) -> list[ArtifactRow]:
        return await client.artifacts(await full_id(client, run_id))

    rows = ask(to, question)
    if to.form == "json":
        write_json(rows)
    elif to.form == "jsonl":
        write_jsonl(rows)
    else:
        write_table(
            ("NAME", "SIZE", "TYPE", "STEP", "AT"),
            [
                (row.name, f"{row.size:,}", row.content_type, row.path, clock_time(row.at))
                for row in rows
            ],
        )
        say(
            f"next:  movant run artifact {run_id} {rows[0].name} --to ."
            if rows
            else "it has kept none"
        )
    return OK


@command(
    "artifact",
    examples=(
        ("movant run artifact order-17 invoice.pdf --to .", "write it here, under its name"),
        ("movant run artifact order-17 totals.json | jq .sum", "read it"),
    ),
)
@click.argument("run_id", metavar="RUN")
@click.argument("name", metavar="NAME")
@click.option("--to", "path", type=click.Path(path_type=Path), help="Write to this file, or here.")
@target
def artifact(run_id: str, name: str, to: Target, *, path: Path | None) -> int:
    """Write the artifact NAME of RUN to standard output or to a file.

    The digest is checked first: a file is whole or not there.
    """
    from protocols.blobs import check_artifact_name  # noqa: PLC0415 - not for --help
    from runtime.cli.session import ask, full_id  # noqa: PLC0415

    check_artifact_name(name)

    async def question(client: Client) -> bytes:
        return await client.artifact(await full_id(client, run_id), name)

    content = ask(to, question)
    if path is None:
        write_bytes(content)
        return OK
    if path.is_dir():
        path /= name
    write_file(path, content)
    say(f"{len(content):,} bytes in {path}")
    return OK
