"""``movant workflow register|ls|show|validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from runtime.cli.failures import OK, USAGE, say
from runtime.cli.findings import refused, report
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import Target, command, output_option, target
from runtime.cli.output import (
    Format,
    clock_time,
    pretty,
    write_facts,
    write_json,
    write_line,
    write_rows,
    write_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocols.api import runs as api
    from protocols.graphs.graph import Graph
    from protocols.machines.machine import Machine
    from runtime.client.client import Client

workflow = LazyGroup(
    "workflow",
    help="Register and inspect workflows.",
    tree={
        "Commands": {
            "register": Leaf("runtime.cli.workflow:register", "Deploy workflows."),
            "validate": Leaf(
                "runtime.cli.workflow:validate", "Check workflows, without a daemon."
            ),
            "plan": Leaf("runtime.cli.plan:plan", "Tell what a graph would do."),
            "ls": Leaf("runtime.cli.workflow:ls", "List workflows."),
            "show": Leaf("runtime.cli.workflow:show", "Show a workflow and its input."),
            "source": Leaf("runtime.cli.versions:source", "Write the source of a definition."),
        },
        "Versions": {
            "versions": Leaf("runtime.cli.versions:versions", "List its versions."),
            "diff": Leaf("runtime.cli.versions:diff", "Show how two versions differ."),
            "rollback": Leaf("runtime.cli.versions:rollback", "Go back to an earlier version."),
        },
    },
    examples=(
        ("movant workflow validate orders.py", "before a deployment"),
        ("movant workflow register orders.py", "new runs start with this definition"),
    ),
)


@command(
    "register",
    examples=(
        ("movant workflow register orders.py", "a file with the modules that it imports"),
        ("movant workflow register shop/ billing.py", "a package and a file"),
        ("movant workflow register permit.yaml", "a graph or a state machine"),
    ),
)
@click.argument("sources", nargs=-1, required=True, type=click.Path())
@click.option("--reason", default="", help="For people; it stands in the list of versions.")
@target
def register(sources: tuple[str, ...], to: Target, *, reason: str) -> int:
    """Check and pack SOURCES and make them the definition that new runs start with.

    A source is a Python file, a package directory, a module name, or a YAML file with a graph or
    a state machine. Runs that have started keep their definition. ``movant workflow rollback``
    takes a deployment back.
    What ``movant workflow validate`` calls an error is not deployed.
    """
    from actors.definitions.packing import DOCUMENTS, pack  # noqa: PLC0415 - not for --help
    from actors.definitions.validation import validate as check  # noqa: PLC0415
    from runtime.cli.session import ask, myself  # noqa: PLC0415

    # A file of data says all that is wrong with it; code has to be found first.
    packs = [(source, pack(source)) for source in sources if not source.endswith(DOCUMENTS)]
    if refused([problem for source in sources for problem in check(source)]):
        return USAGE
    packs += [(source, pack(source)) for source in sources if source.endswith(DOCUMENTS)]

    async def question(client: Client) -> list[api.WorkflowRegistered]:
        return [
            await client.register(each.data, each.hash, source=source, by=myself(reason))
            for source, each in packs
        ]

    found = ask(to, question)
    write_rows(
        to.form,
        found,
        ("WORKFLOW", "DEFINITION", "NEW"),
        [(name, each.hash, _yes(each.created)) for each in found for name in each.workflows],
    )
    return OK


@command(
    "validate",
    examples=(
        ("movant workflow validate orders.py", "exit 1 when something is wrong"),
        ("movant workflow validate shop/ -o jsonl", "for editors"),
    ),
)
@click.argument("sources", nargs=-1, required=True, type=click.Path())
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@output_option
def validate(sources: tuple[str, ...], form: Format, *, strict: bool) -> int:
    """Check SOURCES for what would stop a deployment or give another result at the next fold."""
    from actors.definitions.validation import validate as check  # noqa: PLC0415 - not for --help

    return report(
        [problem for source in sources for problem in check(source)], form, strict=strict
    )


@command("ls", examples=(("movant workflow ls", "every workflow with its latest definition"),))
@target
def ls(to: Target) -> int:
    """List the registered workflows."""
    from runtime.cli.session import ask  # noqa: PLC0415 - not for --help

    async def question(client: Client) -> api.WorkflowPage:
        return await client.workflows()

    rows = ask(to, question).workflows
    write_rows(
        to.form,
        rows,
        ("WORKFLOW", "DEFINITION", "VERSIONS", "REGISTERED"),
        [
            (row.name, row.definition, str(row.versions), clock_time(row.registered_at, "seconds"))
            for row in rows
        ],
    )
    if to.form == "table" and not rows:
        say("no workflow is registered\nnext:  movant workflow register FILE")
    return OK


@command(
    "show",
    examples=(
        ("movant workflow show orders", "its latest definition and the schema of its input"),
        ("movant workflow show orders -o json | jq .input_schema", "only the schema"),
        ("movant workflow show orders@77ab", "an earlier definition"),
        ("movant workflow show permit --format mermaid", "the diagram of a graph or a machine"),
        ("movant workflow show permit --format svg > permit.svg", "as a picture"),
    ),
)
@click.argument("name", metavar="NAME[@HASH]")
@click.option(
    "--format",
    "drawn",
    type=click.Choice(("facts", "yaml", "json", "text", "mermaid", "svg")),
    default="facts",
    show_default=True,
    help="A graph or a state machine as data, as text, or as a diagram.",
)
@target
def show(name: str, to: Target, *, drawn: str) -> int:
    """Show the workflow NAME; a definition's hash is taken as well."""
    from protocols.errors import NotFoundError  # noqa: PLC0415 - not for --help
    from runtime.cli.session import ask  # noqa: PLC0415

    async def question(client: Client) -> api.WorkflowView:
        called, _, digest = name.partition("@")
        if digest:
            return await client.workflow(called, hash=digest)
        try:
            return await client.workflow(name)
        except NotFoundError:
            if len(name) != _HASH_CHARS:
                raise
            return await client.workflow(hash=name)

    view = ask(to, question)
    if to.form == "json":
        write_json(view)
    elif to.form == "jsonl":
        write_line(view)
    elif drawn != "facts":
        write_text(_drawn(view, drawn))
    else:
        write_facts(_facts(view))
    return OK


def _drawn(view: api.WorkflowView, drawn: str) -> str:
    """Return a definition as text or as a diagram. Raises ConfigurationError for code."""
    import msgspec  # noqa: PLC0415 - not for --help

    from protocols import pictures  # noqa: PLC0415
    from protocols.errors import ConfigurationError  # noqa: PLC0415
    from protocols.graphs import text as graph_text  # noqa: PLC0415
    from protocols.graphs.graph import Graph  # noqa: PLC0415
    from protocols.machines import text as machine_text  # noqa: PLC0415
    from protocols.machines.machine import Machine  # noqa: PLC0415

    if view.graph is not None:
        graph = msgspec.convert(view.graph, Graph)
        forms = (graph_text.as_text, graph_text.as_mermaid, pictures.graph_svg)
        text = _formed(drawn, graph, dict(zip(_FORMS, forms, strict=True)))
    elif view.machine is not None:
        machine = msgspec.convert(view.machine, Machine)
        shapes = (machine_text.as_text, machine_text.as_mermaid, pictures.machine_svg)
        text = _formed(drawn, machine, dict(zip(_FORMS, shapes, strict=True)))
    else:
        raise ConfigurationError(
            f"workflow {view.name} is code, no graph and no state machine",
            hint=f"movant workflow source {view.name}",
        )
    return text.rstrip("\n")


_FORMS = ("text", "mermaid", "svg")
D = TypeVar("D", "Graph", "Machine")


def _formed(drawn: str, definition: D, forms: dict[str, Callable[[D], str]]) -> str:
    """Return a definition in one of the forms, or as data."""
    import msgspec  # noqa: PLC0415 - not for --help

    from actors.files.definitions import as_yaml  # noqa: PLC0415

    if drawn in forms:
        return forms[drawn](definition)
    if drawn == "yaml":
        return as_yaml(definition)
    return msgspec.json.format(msgspec.json.encode(definition), indent=2).decode()


_HASH_CHARS = 32


def _facts(view: Any) -> list[tuple[str, str]]:
    facts = [
        ("workflow", view.name),
        ("definition", view.definition + ("" if view.latest else "  (not the latest)")),
    ]
    if view.document:
        facts.append(("says", view.document))
    facts.append(("offers", "\n".join(view.workflows)))
    if view.modules:
        facts.append(("modules", "\n".join(view.modules)))
    if view.libraries:
        libraries = "\n".join(f"{name} {number}" for name, number in view.libraries.items())
        facts.append(("libraries", libraries))
    facts.append(("input", pretty(view.input_schema)))
    if view.routes:
        facts.append(("routes", pretty(view.routes["routes"])))
    return facts


def _yes(value: bool) -> str:  # noqa: FBT001 - a cell
    return "yes" if value else "no"
