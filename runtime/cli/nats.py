"""``movant nats install|path|version|cluster|env|context|credentials``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.cli.failures import OK, say
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import command, output_option
from runtime.cli.output import Format, write_json, write_line, write_text

if TYPE_CHECKING:
    from runtime.server.binary import Binary

nats = LazyGroup(
    "nats",
    help="The NATS server: its binary, its users, and how other programs log in.",
    tree={
        "Logins": {
            "env": Leaf("runtime.cli.nats_logins:env", "Print what a program has to export."),
            "context": Leaf("runtime.cli.nats_logins:context", "Make a context for the nats CLI."),
            "credentials": Leaf("runtime.cli.nats_logins:credentials", "List users and files."),
        },
        "Binary": {
            "install": Leaf("runtime.cli.nats:install", "Install nats-server for movant alone."),
            "path": Leaf("runtime.cli.nats:path", "Print where nats-server is."),
            "version": Leaf("runtime.cli.nats:version", "Print its version."),
            "cluster": Leaf("runtime.cli.cluster:cluster", "Run three servers as a cluster here."),
        },
    },
    examples=(
        ("movant nats install", "into movant's cache; nothing else is changed"),
        ('eval "$(movant nats env --user service)"', "for a service that is no part of movant"),
        ("$(movant nats path) --help", "use the one that movant uses"),
    ),
)


@command("install", examples=(("movant nats install", "safe to repeat"),))
@output_option
def install(form: Format) -> int:
    """Install nats-server into movant's cache, unless there is one that is new enough.

    Nothing of the system is changed.
    """
    from runtime.server.binary import install as do  # noqa: PLC0415 - not for --help

    shown = ""

    def progress(stage: str, _share: float) -> None:
        nonlocal shown
        if stage != shown:
            say(f"nats-server: {stage}")
            shown = stage

    _write(do(progress), form, "nats-server {version} at {path}")
    return OK


@command("path", examples=(("movant nats path", "exit 2 when there is none that will do"),))
@output_option
def path(form: Format) -> int:
    """Print the path of the nats-server that movant uses."""
    from runtime.server.binary import find  # noqa: PLC0415 - not for --help

    _write(find(), form, "{path}")
    return OK


@command("version", examples=(("movant nats version", "such as 2.15.1"),))
@output_option
def version(form: Format) -> int:
    """Print the version of the nats-server that movant uses."""
    from runtime.server.binary import find  # noqa: PLC0415 - not for --help

    _write(find(), form, "{version}")
    return OK


def _write(binary: Binary, form: Format, template: str) -> None:
    facts = {"path": binary.path, "version": binary.version_text}
    if form == "json":
        write_json(facts)
    elif form == "jsonl":
        write_line(facts)
    else:
        write_text(template.format(**facts))
