"""Templates: what values make of them, and how mistakes are told."""

from __future__ import annotations

from typing import Any, Final

import pytest

from actors.definitions.templates import instantiate, parse, template_of
from actors.files.definitions import as_yaml, pack_data
from actors.files.definitions import parse as parse_definition
from protocols.errors import ConfigurationError, InvalidInputError
from protocols.graphs.graph import Graph
from protocols.machines.machine import Machine

BUILD: Final = """\
template: build
description: Builds and checks a service.
parameters:
  language: {type: string, enum: [java, node]}
  reviewers: {type: array, items: string, default: [ann]}
  limit: {type: string, default: 10m}
  options: {type: object, fields: {strict: boolean}, default: {strict: true}}
name: "build-{{template.language}}"
input: {repo: string}
steps:
  "compile-{{template.language}}":
    service: "{{template.language}}-builder"
    operation: compile
    params: {repo: "{{input.repo}}", strict: "{{template.options.strict}}"}
    timeout: "{{template.limit}}"
  approve:
    gate: {title: "Deploy {{template.language}}?", approvers: "{{template.reviewers}}"}
    needs: "compile-{{template.language}}"
    when: "{{template.reviewers[0]}} != input.repo"
"""


def made(text: str = BUILD, name: str = "", **values: Any) -> Any:
    """Return what a template makes of values."""
    return instantiate(template_of(text.encode()), values, name)


def test_values_stand_where_they_are_referred_to() -> None:
    """Whole texts keep the type of the value; keys, texts and conditions take it as text."""
    graph = made(language="java", reviewers=["eve", "bob"])

    assert isinstance(graph, Graph)
    assert graph.name == "build-java"
    step = graph.steps["compile-java"]
    assert (step.service, step.timeout) == ("java-builder", 600.0)
    assert step.params == {"repo": "{{input.repo}}", "strict": True}
    gate = graph.steps["approve"]
    assert gate.gate is not None
    assert gate.gate.approvers == ("eve", "bob")
    assert (gate.when, gate.needed) == ('"eve" != input.repo', ("compile-java",))


def test_the_same_values_make_the_same_definition() -> None:
    """Also when they were left to their defaults; a name of one's own makes another one."""
    one = pack_data(made(language="node")).hash

    assert one == pack_data(made(language="node", limit="10m", options={"strict": True})).hash
    assert one != pack_data(made(language="java")).hash
    named = made(name="mine", language="node")
    assert (named.name, pack_data(named).hash != one) == ("mine", True)


def test_what_is_made_is_a_file_like_any_other() -> None:
    """Written out and read again it is the same definition."""
    graph = made(language="java")

    document = parse_definition(as_yaml(graph).encode())

    assert document.problems == []
    assert document.value == graph


def test_a_state_machine_can_be_a_template() -> None:
    """The name of the template is that of the machine when it gives no other."""
    machine = made(
        "template: stamp\nparameters: {days: {type: integer, default: 7}}\ninitial: A\nstates:\n"
        '  A: {owner: clerk, next: B, timeout: "{{template.days}}d"}\n  B: {terminal: true}\n',
        days=3,
    )

    assert isinstance(machine, Machine)
    assert (machine.name, machine.states["A"].timeout) == ("stamp", 3 * 86_400.0)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "language"),
        ({"language": "go"}, "go"),
        ({"language": "java", "colour": "red"}, "colour"),
        ({"language": "java", "limit": "{{input.repo}}"}, "reference"),
        ({"language": "java", "reviewers": ["{{template.limit}}"]}, "reference"),
    ],
)
def test_values_that_do_not_fit_make_nothing(values: dict[str, Any], why: str) -> None:
    """A value that would be read as a reference is none: who fills in writes no definition."""
    with pytest.raises(InvalidInputError, match=why):
        made(**values)


def test_values_with_which_the_definition_is_wrong_are_told_at_their_place() -> None:
    """What the file refers to is what has to be another value."""
    with pytest.raises(ConfigurationError, match=r"template build:15:14: .*soon"):
        made(language="java", limit="soon")


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ("{{template.limit}}", "{{template.limitt}}", (15, 14), "no parameter 'limitt'"),
        ("service:", "servce:", (12, 5), "'servce' is not known here"),
        ("options.strict}}", "options | x}}", (14, 46), "no reference to a parameter"),
        ("options.strict}}", "options.loud}}", (14, 46), "reads what is not there"),
        ("default: 10m", "default: 10x", (15, 14), "10x"),
        ("default: {strict: true}", "default: {strict: 5}", (4, 3), "parameter 'options'"),
        ("template: build\n", "", (1, 1), "this is no template"),
        ("template: build\n", "template: a b\n", (1, 11), "template is a name"),
    ],
)
def test_mistakes_are_told_at_load(old: str, new: str, at: tuple[int, int], message: str) -> None:
    """Checked with defaults, the example, and values that fit."""
    document = parse(BUILD.replace(old, new).encode())

    errors = [each for each in document.problems if each.severity == "error"]

    assert [(each.line, each.column) for each in errors][:1] == [at]
    assert message in errors[0].message


def test_what_is_filled_in_makes_no_reference_and_takes_no_place() -> None:
    """A brace beside a brace would read something else; a key that is there would be lost."""
    text = "template: t\nparameters: {a: string, b: string}\nsteps:\n"
    step = "{service: s, operation: o, params: {p: 1}}"
    braces = text + f"  x: {step}\n".replace("1", '"{{template.a}}{{template.b}}input.card }}"')
    keys = text + f'  "{{{{template.a}}}}": {step}\n  "{{{{template.b}}}}": {step}\n'

    with pytest.raises(ConfigurationError, match="read as a reference"):
        made(braces, a="{", b="{ ")
    with pytest.raises(ConfigurationError, match="stands twice"):
        made(keys, a="x", b="x")
    assert made(keys, a="x", b="y").steps.keys() == {"x", "y"}


def test_a_parameter_that_nobody_reads_is_a_warning() -> None:
    """The file works, and says more than it does."""
    document = parse(BUILD.replace("{{template.limit}}", "5m").encode())

    (warning,) = document.problems

    assert (warning.severity, "'limit'" in warning.message) == ("warning", True)
    assert template_of(BUILD.encode()).head.template == "build"


def test_a_template_is_not_deployed_as_a_workflow() -> None:
    """Its references would be taken for those of a graph."""
    (problem,) = parse_definition(BUILD.encode()).problems

    assert "this is a template" in problem.message
