"""``movant calendar ZONE``."""

from __future__ import annotations

import click

from runtime.cli.failures import OK
from runtime.cli.options import command
from runtime.cli.output import write_json


@command(
    "calendar",
    examples=(("movant calendar Europe/Zurich", "what 'offsets' of a calendar in Python are"),),
)
@click.argument("zone")
def calendar(zone: str) -> int:
    """Print from when on the clocks of ZONE are how many seconds ahead of UTC."""
    from actors.files.calendars import offsets  # noqa: PLC0415 - not for --help

    write_json(offsets(zone))
    return OK
