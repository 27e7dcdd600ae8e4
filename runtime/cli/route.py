"""``movant workflow route``: who serves what the steps of a workflow ask for."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import click

from runtime.cli.failures import OK, say
from runtime.cli.options import Target, command, decoded, read_text, target
from runtime.cli.output import write_json, write_line, write_table

if TYPE_CHECKING:
    from protocols import api
    from protocols.routes import RoutingTable
    from runtime.client import Client


@command(
    "route",
    examples=(
        ("movant workflow route routes.toml orders", "new runs of orders use this table"),
        ("movant workflow route routes.toml --check", "only look whether it can be used"),
        ("movant workflow route --none orders", "steps ask the services of their names again"),
    ),
)
@click.argument("words", nargs=-1, metavar="[FILE] WORKFLOW...")
@click.option("--none", "nothing", is_flag=True, help="Use no table any more.")
@click.option("--check", is_flag=True, help="Check FILE and change nothing.")
@target
def route(words: tuple[str, ...], to: Target, *, nothing: bool, check: bool) -> int:
    """Let new runs of each WORKFLOW use the routing table in FILE (TOML or JSON).

    Runs that have started keep theirs; ``movant run migrate`` moves one. The table stays when
    a workflow is registered anew.
    """
    from protocols.routes import RoutingTable, checked  # noqa: PLC0415 - not for --help
    from runtime.cli.session import ask  # noqa: PLC0415 - not for --help

    names = words if nothing else words[1:]
    if not words or (check and (nothing or names)) or not (check or names):
        raise click.UsageError("Name a FILE, or --none, and workflows; with --check a FILE alone.")
    table = RoutingTable(services={}, routes={}) if nothing else read_table(words[0])
    checked(table)
    if check:
        say(f"{words[0]} can be used: {', '.join(table.routes) or 'no routes'}")
        return OK

    async def question(client: Client) -> api.WorkflowRouted:
        return await client.route(table, names)

    found = ask(to, question)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        write_table(("WORKFLOW", "DEFINITION"), [*found.definitions.items()])
    return OK


def read_table(path: str) -> RoutingTable:
    """Return the table in a file. Raises BadValueError with what is wrong in it, and where."""
    import msgspec  # noqa: PLC0415 - see route

    from protocols.errors import BadValueError  # noqa: PLC0415 - see route
    from protocols.routes import RoutingTable  # noqa: PLC0415 - see route

    data = read_text(path)
    value: Any
    try:
        value = tomllib.loads(data.decode()) if path.endswith(".toml") else decoded(data, path)
        return msgspec.convert(value, RoutingTable)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BadValueError(
            f"{path}: {error}", hint="it has the sections `services` and `routes`"
        ) from error
