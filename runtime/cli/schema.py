"""``movant schema messages|asyncapi|graph|machine|routes``."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from runtime.cli.failures import OK, say
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import command
from runtime.cli.output import write_file, write_json

schema = LazyGroup(
    "schema",
    help="Print the schemas of every message on the wire, for other languages.",
    tree={
        "Commands": {
            "messages": Leaf("runtime.cli.schema:messages", "JSON Schema of each message."),
            "asyncapi": Leaf("runtime.cli.schema:asyncapi", "One AsyncAPI document."),
            "graph": Leaf("runtime.cli.schema:graph", "JSON Schema of a graph's file."),
            "machine": Leaf("runtime.cli.schema:machine", "JSON Schema of a machine's file."),
            "routes": Leaf("runtime.cli.schema:routes", "JSON Schema of a routing table's file."),
        }
    },
    examples=(("movant schema asyncapi > asyncapi.json", "for code generators"),),
)


@command(
    "messages",
    examples=(
        ("movant schema messages", "all, in one document by name"),
        ("movant schema messages --to schemas/", "one file each"),
    ),
)
@click.argument("name", default="")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write one file per message here.",
)
def messages(name: str, folder: Path | None) -> int:
    """Print the JSON Schema of every message, or of the one called NAME."""
    from protocols.errors import NotFoundError  # noqa: PLC0415 - not for --help
    from protocols.schema import messages as make  # noqa: PLC0415

    found = make()
    if name and name not in found:
        raise NotFoundError(
            f"there is no message {name!r}",
            hint=f"one of: {', '.join(sorted(found))}",
        )
    if name:
        found = {name: found[name]}
    if folder is None:
        write_json(found[name] if name else found)
        return OK
    import msgspec  # noqa: PLC0415 - see above

    with suppress(OSError):  # told when the first one is written
        folder.mkdir(parents=True, exist_ok=True)
    for each, content in found.items():
        text = msgspec.json.format(msgspec.json.encode(content), indent=2)
        write_file(folder / f"{each}.schema.json", text + b"\n")
    say(f"{len(found)} schemas in {folder}")
    return OK


@command("asyncapi", examples=(("movant schema asyncapi > asyncapi.json", "AsyncAPI 3"),))
def asyncapi() -> int:
    """Print the AsyncAPI document of all subjects and messages."""
    from protocols.schema import asyncapi as make  # noqa: PLC0415 - not for --help
    from runtime.version import VERSION  # noqa: PLC0415

    write_json(make(VERSION))
    return OK


@command(
    "machine", examples=(("movant schema machine > machine.schema.json", "for editors of YAML"),)
)
def machine() -> int:
    """Print the JSON Schema of a state machine's YAML file."""
    import msgspec  # noqa: PLC0415 - not for --help

    from protocols.machines.machine import Machine  # noqa: PLC0415

    write_json(msgspec.json.schema(Machine))
    return OK


@command("graph", examples=(("movant schema graph > graph.schema.json", "for editors of YAML"),))
def graph() -> int:
    """Print the JSON Schema of a graph's YAML file."""
    import msgspec  # noqa: PLC0415 - not for --help

    from protocols.graphs.graph import Graph  # noqa: PLC0415

    write_json(msgspec.json.schema(Graph))
    return OK


@command(
    "routes", examples=(("movant schema routes > routes.schema.json", "for editors of YAML"),)
)
def routes() -> int:
    """Print the JSON Schema of a routing table's YAML file."""
    import msgspec  # noqa: PLC0415 - not for --help

    from protocols.routes import RoutingTable  # noqa: PLC0415

    write_json(msgspec.json.schema(RoutingTable))
    return OK
