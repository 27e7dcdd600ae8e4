"""``movant workflow register|ls|show|validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from runtime.cli.failures import OK, USAGE, say
from runtime.cli.findings import as_text, report
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
    from protocols import api
    from runtime.client import Client

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
        }
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
@click.argument("sources", nargs=-1, required=True)
@target
def register(sources: tuple[str, ...], to: Target) -> int:
    """Check and pack SOURCES and make them the definition that new runs start with.

    A source is a Python file, a package directory, a module name, or a YAML file with a graph or
    a state machine. Runs that have started keep their definition. Registering an old state again
    is how a deployment is taken back.
    What ``movant workflow validate`` calls an error is not deployed.
    """
    from actors.packing import DOCUMENTS, pack  # noqa: PLC0415 - not for --help
    from actors.validation import validate as check  # noqa: PLC0415
    from runtime.cli.session import ask  # noqa: PLC0415

    # A file of data says all that is wrong with it; code has to be found first.
    packs = [pack(source) for source in sources if not source.endswith(DOCUMENTS)]
    problems = [problem for source in sources for problem in check(source)]
    for each in problems:
        say(as_text(each))
    if any(problem.severity == "error" for problem in problems):
        say("nothing was registered")
        return USAGE
    packs += [pack(source) for source in sources if source.endswith(DOCUMENTS)]

    async def question(client: Client) -> list[api.WorkflowRegistered]:
        return [await client.register(each.data, each.hash) for each in packs]

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
@click.argument("sources", nargs=-1, required=True)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@output_option
def validate(sources: tuple[str, ...], form: Format, *, strict: bool) -> int:
    """Check SOURCES for what would stop a deployment or give another result at the next fold."""
    from actors.validation import validate as check  # noqa: PLC0415 - not for --help

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
        ("movant workflow show permit --format mermaid", "the diagram of a graph or a machine"),
    ),
)
@click.argument("name")
@click.option(
    "--format",
    "drawn",
    type=click.Choice(("facts", "text", "mermaid")),
    default="facts",
    show_default=True,
    help="A graph or a state machine as text, or as a Mermaid diagram.",
)
@target
def show(name: str, to: Target, *, drawn: str) -> int:
    """Show the workflow NAME; a definition's hash is taken as well."""
    from protocols.errors import NotFoundError  # noqa: PLC0415 - not for --help
    from runtime.cli.session import ask  # noqa: PLC0415

    async def question(client: Client) -> api.WorkflowView:
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

    from protocols import graph_text, machine_text  # noqa: PLC0415
    from protocols.errors import ConfigurationError  # noqa: PLC0415
    from protocols.graph import Graph  # noqa: PLC0415
    from protocols.machine import Machine  # noqa: PLC0415

    mermaid = drawn == "mermaid"
    if view.graph is not None:
        graph = msgspec.convert(view.graph, Graph)
        text = graph_text.as_mermaid(graph) if mermaid else graph_text.as_text(graph)
    elif view.machine is not None:
        machine = msgspec.convert(view.machine, Machine)
        text = machine_text.as_mermaid(machine) if mermaid else machine_text.as_text(machine)
    else:
        raise ConfigurationError(
            f"workflow {view.name} is code, no graph and no state machine",
            hint=f"movant workflow show {view.name}",
        )
    return text.rstrip("\n")


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
