"""``movant guardrail ls|test|validate|register``: rules that steps are held to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.cli.failures import OK, RUN_FAILED, USAGE, say
from runtime.cli.findings import refused, report
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import Target, command, output_option, read_value, target
from runtime.cli.output import Format, clock_time, write_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocols.api import runs as api
    from protocols.guardrails.evaluation import When
    from protocols.guardrails.guardrail import Guardrail
    from runtime.client.client import Client

guardrail = LazyGroup(
    "guardrail",
    help="Guardrails: rules that steps are held to.",
    tree={
        "Commands": {
            "ls": Leaf("runtime.cli.guardrail:ls", "List rules: shared ones, or those of a file."),
            "test": Leaf("runtime.cli.guardrail:test", "Try the rules of a file on a value."),
            "validate": Leaf("runtime.cli.guardrail:validate", "Check files of shared rules."),
            "register": Leaf("runtime.cli.guardrail:register", "Share the rules of a file."),
        }
    },
    examples=(
        (
            "movant guardrail test outreach.yaml -i about='card 4111 1111 1111 1111'",
            "would it do?",
        ),
        ("movant guardrail register guardrails.yaml", "for what is registered from now on"),
    ),
)


@command(
    "ls",
    examples=(
        ("movant guardrail ls", "the rules that definitions share"),
        ("movant guardrail ls outreach.yaml -o json", "those of a file, for programs"),
    ),
)
@click.argument("file", default="", type=click.Path())
@target
def ls(file: str, to: Target) -> int:
    """List the guardrails that are shared, or those that FILE defines (without a daemon)."""
    rules: Mapping[str, Guardrail]
    if file:
        rules = _of_file(file)
    else:
        from runtime.cli.session import ask  # noqa: PLC0415 - not for --help

        async def question(client: Client) -> api.GuardrailSet:
            return await client.guardrails()

        found = ask(to, question)
        rules = found.guardrails
        if to.form == "table" and rules:
            say(f"set {found.hash}, shared since {clock_time(found.at, 'seconds')}")
    rows = [{"name": name, "rule": rule} for name, rule in rules.items()]
    cells = [
        (name, each.type, each.severity, each.action, _told(each)) for name, each in rules.items()
    ]
    write_rows(to.form, rows, ("NAME", "TYPE", "SEVERITY", "THEN", "RULE"), cells)
    if to.form == "table" and not rows:
        say("there are none\nnext:  movant guardrail register FILE")
    return OK


@command(
    "test",
    examples=(
        ("movant guardrail test outreach.yaml -i about=lamps", "before a step with these params"),
        ("movant guardrail test outreach.yaml --after -f answer.json", "on what a step has given"),
        ("movant guardrail test guardrails.yaml --only compliance -i x=1", "one rule of a set"),
    ),
)
@click.argument("file", type=click.Path())
@click.option("--after", is_flag=True, help="The value is a step's result, not its params.")
@click.option("--only", multiple=True, metavar="NAME", help="Only these rules.")
@click.option("-i", "--value", "pairs", multiple=True, metavar="KEY=VALUE", help="A field of it.")
@click.option(
    "-f",
    "--file",
    "source",
    default="",
    metavar="FILE",
    type=click.Path(),
    help="The value, as JSON.",
)
@output_option
def test(
    file: str,
    form: Format,
    *,
    after: bool,
    only: tuple[str, ...],
    pairs: tuple[str, ...],
    source: str,
) -> int:
    """Try the guardrails of FILE, a definition or a set, on a value. Nothing is run or asked.

    Exit 1 when one of them blocks. Rules that depend on other runs, or on a function, are left
    out.
    """
    from protocols.guardrails.evaluation import Guard  # noqa: PLC0415 - not for --help

    rules = _of_file(file)
    unknown = [each for each in only if each not in rules]
    if unknown:
        from protocols.errors import NotFoundError  # noqa: PLC0415
        from protocols.findings import did_you_mean  # noqa: PLC0415

        raise NotFoundError(
            f"{file} has no guardrail {unknown[0]!r}", hint=did_you_mean(unknown[0], rules)
        )
    value = read_value(pairs, source)
    when: When = "after" if after else "before"
    facts = _facts(value, when)
    left = []
    found = []
    for name, rule in rules.items():
        if only and name not in only:
            continue
        if rule.type in {"rate-limit", "python"}:
            left.append(name)
        else:
            found += Guard(name, rule).check(when, facts)
    write_rows(
        form,
        found,
        ("GUARDRAIL", "SEVERITY", "THEN", "CONFIDENCE", "REASON"),
        [
            (each.guardrail, each.severity, each.action, f"{each.confidence:g}", each.reason)
            for each in found
        ],
    )
    if form == "table":
        say(f"{len(found)} violations")
        if left:
            say(f"not tried: {', '.join(left)}")
    return RUN_FAILED if any(each.action == "block" for each in found) else OK


@command(
    "validate",
    examples=(("movant guardrail validate guardrails.yaml", "exit 1 when something is wrong"),),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@output_option
def validate(files: tuple[str, ...], form: Format) -> int:
    """Check files of shared guardrails; those of a definition are checked with it."""
    from actors.definitions.validation import problems_of  # noqa: PLC0415
    from actors.files.rules import load_document  # noqa: PLC0415 - not for --help

    return report([each for file in files for each in problems_of(file, load_document)], form)


@command(
    "register",
    examples=(("movant guardrail register guardrails.yaml", "in the place of the former set"),),
)
@click.argument("file", type=click.Path())
@target
def register(file: str, to: Target) -> int:
    """Share the guardrails in FILE: what is registered from now on gets them.

    They take the place of those that were shared before. Definitions that are registered already
    keep theirs, and so do their runs.
    """
    from actors.definitions.validation import problems_of  # noqa: PLC0415
    from actors.files.rules import load_document, load_rules  # noqa: PLC0415 - not for --help
    from runtime.cli.session import ask, myself  # noqa: PLC0415

    if refused(problems_of(file, load_document)):
        return USAGE
    rules = load_rules(file)

    async def question(client: Client) -> api.GuardrailSet:
        return await client.share_guardrails(
            rules.guardrails, description=rules.description, by=myself()
        )

    found = ask(to, question)
    write_rows(to.form, [found], ("SET", "RULES"), [(found.hash, str(len(found.guardrails)))])
    return OK


def _of_file(file: str) -> Mapping[str, Guardrail]:
    """Return the guardrails of a definition, or of a set. Raises ConfigurationError."""
    from actors.files.definitions import load_document as load_definition  # noqa: PLC0415
    from actors.files.rules import load_rules  # noqa: PLC0415
    from actors.files.yaml_struct import value_of  # noqa: PLC0415
    from protocols.guardrails.check import rules_of  # noqa: PLC0415

    text = Path(file).read_text(errors="replace") if Path(file).is_file() else "steps:"
    if "steps:" not in text and "states:" not in text:
        return load_rules(file).guardrails
    return rules_of(value_of(load_definition(file), file, "movant workflow validate"))


def _facts(value: Any, when: When) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "params": None if when == "after" else value,
        "input": {},
        "steps": {},
        "run": {"id": "test"},
        "step": {"name": "test", "service": "", "operation": "", "kind": "service"},
    }
    return facts if when == "before" else {**facts, "result": value, "took_s": 0.0, "calls": 1}


def _told(rule: Guardrail) -> str:
    """Return the parameters of a rule on one line."""
    from msgspec import to_builtins  # noqa: PLC0415 - not for --help

    from runtime.cli.output import compact  # noqa: PLC0415

    given = {**to_builtins(rule)}
    for key in ("type", "severity", "every", "description"):
        given.pop(key, None)
    every = "every step: " if rule.every else ""
    return every + (rule.description or (compact(given, 80) if given else "-"))
