"""``movant workflow plan``: what a graph would do, without doing anything."""

from __future__ import annotations

import click

from runtime.cli.failures import OK, USAGE, say
from runtime.cli.options import command, output_option
from runtime.cli.output import Format, write_json, write_line, write_text


@command(
    "plan",
    examples=(
        ("movant workflow plan order.yaml", "order, effects, what cannot be undone, times"),
        ("movant workflow plan order.yaml -o json | jq .worst_s", "for programs"),
        ("movant workflow plan order.yaml --profile dev", "as it is under a profile"),
    ),
)
@click.argument("source", type=click.Path())
@click.option("--profile", default="", metavar="NAME", help="As it is under this profile.")
@output_option
def plan(source: str, form: Format, *, profile: str) -> int:
    """Tell what the graph in the YAML file SOURCE would do: nothing is run, nothing is asked.

    Its times are those of services that are there and use all the time they have.
    """
    from actors.definitions.packing import DOCUMENTS  # noqa: PLC0415
    from actors.definitions.validation import problems_of  # noqa: PLC0415
    from actors.files.definitions import graph_of, load_document  # noqa: PLC0415 - not for --help
    from protocols.errors import ConfigurationError  # noqa: PLC0415
    from protocols.findings import did_you_mean  # noqa: PLC0415
    from protocols.graphs import text as graph_text  # noqa: PLC0415
    from protocols.graphs.profile import under  # noqa: PLC0415
    from runtime.cli.findings import as_text  # noqa: PLC0415

    graph = None
    if source.endswith(DOCUMENTS):
        document = load_document(source)
        problems = problems_of(source, lambda _: document)
        for each in problems:
            say(as_text(each))
        if any(each.severity == "error" for each in problems):
            return USAGE
        graph = graph_of(document)
    if graph is None:
        raise ConfigurationError(
            f"{source} is no graph: what it does is decided while it runs",
            hint="name a YAML file with 'steps'",
        )
    if profile:
        if profile not in graph.profiles:
            hint = did_you_mean(profile, graph.profiles) or "it has none"
            raise ConfigurationError(f"{source} has no profile {profile!r}", hint=hint)
        graph = under(graph, profile)
    found = graph_text.plan(graph)
    if form == "json":
        write_json(found)
    elif form == "jsonl":
        write_line(found)
    else:
        write_text(graph_text.plan_text(found).rstrip("\n"))
    return OK
