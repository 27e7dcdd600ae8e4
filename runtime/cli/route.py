"""``movant route validate|register|remove|ls|show``: who serves what steps ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from runtime.cli.failures import OK, USAGE, say
from runtime.cli.findings import refused, report
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import Target, command, output_option, target
from runtime.cli.output import (
    Format,
    write_json,
    write_line,
    write_rows,
    write_table,
    write_text,
)

if TYPE_CHECKING:
    from protocols.api import runs as api
    from protocols.routes import RoutingTable
    from runtime.client.client import Client

route = LazyGroup(
    "route",
    help="Routing tables: who serves what the steps of workflows ask for.",
    tree={
        "Commands": {
            "register": Leaf("runtime.cli.route:register", "Let workflows use a table."),
            "remove": Leaf("runtime.cli.route:remove", "Let workflows use no table."),
            "validate": Leaf("runtime.cli.route:validate", "Check tables, without a daemon."),
            "ls": Leaf("runtime.cli.route:ls", "List the tables in use."),
            "show": Leaf("runtime.cli.route:show", "Show the table of a workflow."),
        }
    },
    examples=(
        ("movant route validate routes.yaml", "before a deployment"),
        ("movant route register routes.yaml orders", "new runs of orders use this table"),
    ),
)


@command(
    "register",
    examples=(
        ("movant route register routes.yaml orders", "new runs of orders use this table"),
        ("movant route register routes.yaml orders returns", "one table for two workflows"),
    ),
)
@click.argument("file", type=click.Path())
@click.argument("workflows", nargs=-1, required=True, metavar="WORKFLOW...")
@target
def register(file: str, workflows: tuple[str, ...], to: Target) -> int:
    """Let new runs of each WORKFLOW use the routing table in FILE (YAML or JSON).

    Runs that have started keep theirs; ``movant run migrate`` moves one. The table stays when
    a workflow is registered anew. All daemons use it within half a second.
    """
    from actors.definitions.validation import problems_of  # noqa: PLC0415
    from actors.files.routes import load_document, load_table  # noqa: PLC0415 - not for --help

    if refused(problems_of(file, load_document)):
        return USAGE
    return _use(load_table(file), workflows, to)


@command(
    "remove",
    examples=(("movant route remove orders", "steps ask the services of their names again"),),
)
@click.argument("workflows", nargs=-1, required=True, metavar="WORKFLOW...")
@target
def remove(workflows: tuple[str, ...], to: Target) -> int:
    """Let new runs of each WORKFLOW use no routing table. Runs that have started keep theirs."""
    from protocols.routes import RoutingTable  # noqa: PLC0415 - not for --help

    return _use(RoutingTable(services={}, routes={}), workflows, to)


def _use(table: RoutingTable, workflows: tuple[str, ...], to: Target) -> int:
    from runtime.cli.session import ask  # noqa: PLC0415 - not for --help

    async def question(client: Client) -> api.WorkflowRouted:
        return await client.route(table, workflows)

    found = ask(to, question)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        write_table(("WORKFLOW", "DEFINITION"), [*found.definitions.items()])
    for service in found.absent:
        say(f"warning: {service} does not answer now; what only it may serve waits for it")
    return OK


@command(
    "validate",
    examples=(
        ("movant route validate routes.yaml", "exit 1 when something is wrong"),
        ("movant route validate *.yaml -o jsonl", "for editors"),
    ),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@output_option
def validate(files: tuple[str, ...], form: Format) -> int:
    """Check routing tables: each route has an owner, each service is listed, no circles.

    Whether a machine asks for something that the table does not know is checked at
    ``movant route register``, since a table does not say whose it is.
    """
    from actors.definitions.validation import problems_of  # noqa: PLC0415
    from actors.files.routes import load_document  # noqa: PLC0415 - not for --help

    return report([each for file in files for each in problems_of(file, load_document)], form)


@command("ls", examples=(("movant route ls", "which workflows use which table"),))
@target
def ls(to: Target) -> int:
    """List the workflows that use a routing table."""
    from runtime.cli.session import ask  # noqa: PLC0415 - not for --help

    async def question(client: Client) -> api.WorkflowPage:
        return await client.workflows()

    rows = [each for each in ask(to, question).workflows if each.table]
    write_rows(to.form, rows, ("WORKFLOW", "TABLE"), [(each.name, each.table) for each in rows])
    if to.form == "table" and not rows:
        say("no workflow uses a routing table\nnext:  movant route register FILE WORKFLOW")
    return OK


@command(
    "show",
    examples=(
        ("movant route show orders", "the table of new runs, as a file to be edited"),
        ("movant route show 9f2c6a_7b1e44 -o json", "that of a run, by its definition"),
    ),
)
@click.argument("name", metavar="WORKFLOW")
@target
def show(name: str, to: Target) -> int:
    """Show the routing table of WORKFLOW; a run's definition (with a ``_``) is taken as well."""
    import msgspec  # noqa: PLC0415 - not for --help

    from actors.files.routes import as_yaml  # noqa: PLC0415
    from protocols.errors import NotFoundError  # noqa: PLC0415
    from protocols.routes import RoutingTable, split  # noqa: PLC0415
    from runtime.cli.session import ask  # noqa: PLC0415

    async def question(client: Client) -> api.WorkflowView:
        return await (client.workflow(hash=name) if split(name)[1] else client.workflow(name))

    table = ask(to, question).routes
    if not table:
        raise NotFoundError(
            f"{name} uses no routing table",
            hint=f"movant route register FILE {name} lets it use one",
        )
    if to.form == "json":
        write_json(table)
    elif to.form == "jsonl":
        write_line(table)
    else:
        write_text(as_yaml(msgspec.convert(table, RoutingTable)))
    return OK
