"""``movant version``."""

from __future__ import annotations

import platform

from runtime.cli.failures import OK
from runtime.cli.options import command, output_option
from runtime.cli.output import Format, write_json, write_line, write_text
from runtime.version import VERSION


@command(
    "version",
    examples=(
        ("movant version", "such as movant 0.1.0"),
        ("movant version -o json", "with Python and platform"),
    ),
)
@output_option
def version(form: Format) -> int:
    """Show the version of movant; the daemon's own is in movant status."""
    facts = {
        "movant": VERSION,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    if form == "json":
        write_json(facts)
    elif form == "jsonl":
        write_line(facts)
    else:
        write_text(f"movant {VERSION}")
    return OK
