"""``movant template``: definitions with parameters, listed and made into workflows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.cli.failures import DEGRADED, OK, USAGE, say
from runtime.cli.findings import refused, report
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import Target, command, output_option, read_text, read_value, target
from runtime.cli.output import (
    Format,
    aligned,
    compact,
    write_facts,
    write_file,
    write_json,
    write_line,
    write_rows,
    write_text,
)
from runtime.cli.session import ask, myself

if TYPE_CHECKING:
    from actors.definitions.validation import Problem
    from protocols.api import runs as api
    from runtime.client.client import Client

template = LazyGroup(
    "template",
    help="Templates: graphs and state machines with parameters.",
    tree={
        "Commands": {
            "register": Leaf("runtime.cli.template:register", "Store templates."),
            "validate": Leaf("runtime.cli.template:validate", "Check them, without a daemon."),
            "ls": Leaf("runtime.cli.template:ls", "List templates."),
            "show": Leaf("runtime.cli.template:show", "Show a template and what it takes."),
            "instantiate": Leaf("runtime.cli.template:instantiate", "Make a workflow of one."),
        }
    },
    examples=(
        ("movant template register build.yaml", "store it"),
        ("movant template instantiate build -p language=java --register", "make a workflow"),
    ),
)


@command(
    "register",
    examples=(("movant template register build.yaml", "its name leads to it from now on"),),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@target
def register(files: tuple[str, ...], to: Target) -> int:
    """Check the templates in each FILE and store them.

    What was made of an earlier version of a template stays as it is.
    """
    if refused(_problems(files)):
        return USAGE
    texts = [read_text(file).decode() for file in files]

    async def question(client: Client) -> list[api.TemplateRow]:
        return [await client.register_template(text, by=myself()) for text in texts]

    return _write_all(ask(to, question), to)


@command(
    "validate",
    examples=(("movant template validate build.yaml", "exit 1 when something is wrong"),),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@output_option
def validate(files: tuple[str, ...], form: Format, *, strict: bool) -> int:
    """Check templates: filled in with their example, or with values that fit."""
    return report(_problems(files), form, strict=strict)


@command("ls", examples=(("movant template ls", "every template and what it takes"),))
@target
def ls(to: Target) -> int:
    """List the templates."""

    async def question(client: Client) -> api.TemplatePage:
        return await client.templates()

    rows = ask(to, question).templates
    _write_all(rows, to)
    if to.form == "table" and not rows:
        say("no template is stored\nnext:  movant template register FILE")
    return OK


@command(
    "show",
    examples=(
        ("movant template show build", "its parameters and its text"),
        ("movant template show build -o json | jq .schema", "the JSON Schema of its parameters"),
    ),
)
@click.argument("name")
@target
def show(name: str, to: Target) -> int:
    """Show the template NAME; its hash is taken as well. Exit 3 for one that cannot be used."""

    async def question(client: Client) -> api.TemplateView:
        return await client.template(name)

    found = ask(to, question)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        facts = [("template", found.name), ("hash", found.hash)]
        if found.description:
            facts.append(("says", found.description))
        stands = [("unusable", found.error)] if found.error else _parameters(found.schema)
        write_facts([*facts, *stands, ("text", found.text)])
    return DEGRADED if found.error else OK


@command(
    "instantiate",
    examples=(
        ("movant template instantiate build -p language=java", "look at what it makes"),
        ("movant template instantiate build -p language=java --register", "and deploy it"),
        ("movant template instantiate build -f values.json --write java.yaml", "into a file"),
    ),
)
@click.argument("name", metavar="TEMPLATE")
@click.option(
    "-p",
    "--parameter",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter; VALUE is JSON or text.",
)
@click.option(
    "-f",
    "--file",
    default="",
    metavar="FILE",
    type=click.Path(),
    help="Parameters as JSON; - reads them.",
)
@click.option("--name", "called", default="", help="Name of the workflow.")
@click.option("--register", "wants", is_flag=True, help="Let new runs start with it.")
@click.option(
    "--write", default="", metavar="FILE", type=click.Path(), help="Write it to a file, as YAML."
)
@target
def instantiate(
    name: str,
    pairs: tuple[str, ...],
    file: str,
    to: Target,
    *,
    called: str,
    wants: bool,
    write: str,
) -> int:
    """Make a workflow of TEMPLATE. The same parameters make the same definition."""
    given = read_value(pairs, file) or {}
    if not isinstance(given, dict):
        raise click.UsageError("The parameters are one JSON object.")

    async def question(client: Client) -> api.TemplateInstance:
        return await client.instantiate(name, given, name=called, register=wants, by=myself())

    found = ask(to, question)
    if write:
        write_file(Path(write), found.text.encode())
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    elif not (write or wants):
        write_text(found.text.rstrip("\n"))
    else:
        write_facts([("workflow", found.workflow), ("definition", found.definition)])
        say(
            f"next:  movant run start {found.workflow}"
            if wants
            else f"next:  movant workflow register {write}"
        )
    return OK


def _parameters(schema: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what the parameters are, a line each; the JSON Schema of them is for programs."""
    whole = schema.get("$defs", {}).get("Parameters", schema)
    required = whole.get("required", ())
    rows = []
    for name, each in whole.get("properties", {}).items():
        kind = " | ".join(map(str, each.get("enum", ()))) or str(each.get("type", "any"))
        default = "-" if "default" not in each else compact(each["default"])
        rows.append(
            (
                name,
                kind,
                "must be there" if name in required else default,
                each.get("description", "-"),
            )
        )
    table = aligned(("NAME", "HOLDS", "DEFAULT", "WHAT IT IS"), rows)
    return [("parameters", "\n".join(table) if rows else "none")]


def _problems(files: tuple[str, ...]) -> list[Problem]:
    from actors.definitions.templates import load_template  # noqa: PLC0415 - not for --help
    from actors.definitions.validation import problems_of  # noqa: PLC0415

    return [each for file in files for each in problems_of(file, load_template)]


def _write_all(rows: list[api.TemplateRow], to: Target) -> int:
    write_rows(
        to.form,
        rows,
        ("TEMPLATE", "HASH", "PARAMETERS", "WHAT IT IS FOR"),
        [
            (
                row.name,
                row.hash[:12],
                ", ".join(row.parameters) or "-",
                f"unusable: {row.error}" if row.error else row.description or "-",
            )
            for row in rows
        ],
    )
    return OK
