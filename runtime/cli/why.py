"""``movant why``: one sentence about a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from runtime.cli.failures import OK
from runtime.cli.options import Target, command, target
from runtime.cli.output import write_json, write_line, write_text

if TYPE_CHECKING:
    from protocols.api import runs as api
    from runtime.client.client import Client


@command(
    "why",
    examples=(
        ("movant why order-17", "what it waits for, who wakes it, and what happens if not"),
        ("movant why order-17 -o json | jq .kind", "for programs"),
    ),
)
@click.argument("run_id", metavar="RUN")
@target
def why(run_id: str, to: Target) -> int:
    """Say what RUN waits for, since when, who or what wakes it, and what happens if not."""
    from runtime.cli.session import ask, full_id  # noqa: PLC0415 - not for --help
    from runtime.why import why as told  # noqa: PLC0415

    async def question(client: Client) -> api.RunView:
        return await client.show(await full_id(client, run_id))

    found = told(ask(to, question), time.time_ns())
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        write_text(found.sentence)
    return OK
