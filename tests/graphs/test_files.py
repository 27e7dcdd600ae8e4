"""Graphs in files: YAML with every mistake at its place, Python beside it, both deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.definitions.loading import load
from actors.definitions.packing import open_pack, pack
from actors.definitions.validation import validate
from actors.files.definitions import (
    Definition,
    build,
    check,
    load_document,
    pack_document,
    parse,
)
from actors.files.yaml_struct import Document, parse_nodes
from actors.graphs.interpreter import GraphWorkflow
from protocols.errors import ConfigurationError
from protocols.graphs.graph import Graph
from tests.graphs.orders import ORDER, ORDER_FILE

SMALL: Final = """\
name: small
timeout: 1h
input: {count: integer, tags: array, note: {type: string, optional: true}}
steps:
  first: {service: x, operation: a}
  second:
    service: y
    operation: b
    needs: first
    when: steps.first.result.ok && input.count > 1
    params: {id: "{{steps.first.result.id}}", n: '{{input.count}}', all: "{{input.tags}}"}
outputs: {b: "{{steps.second.result}}"}
"""


def problems_of(text: str) -> list[tuple[int, int, str, str]]:
    """Return line, column, message and hint of what is wrong with a text."""
    found = parse(text.encode())
    return [(each.line, each.column, each.message, each.hint) for each in found.problems]


def test_the_same_graph_in_yaml_and_in_python_is_the_same() -> None:
    """Equal as data, and after its own JSON."""
    document = load_document(ORDER_FILE)

    assert document.problems == []
    assert document.value == ORDER
    assert msgspec.json.decode(msgspec.json.encode(ORDER), type=Graph) == ORDER


@pytest.mark.parametrize(
    ("change", "line", "column", "message", "hint"),
    [
        (("needs: first", "nedes: first"), 9, 5, "'nedes' is not known here", "did you mean"),
        (
            ("needs: first", "needs: fist"),
            9,
            12,
            "there is no step 'fist'",
            "did you mean 'first'?",
        ),
        (
            ("needs: first", "needs: [first, second]"),
            9,
            20,
            "second needs itself",
            "take it away",
        ),
        (("needs: first", "needs: [first, first]"), 9, 20, "first stands twice", "take one"),
        (
            ("needs: first", "dependencies: [fist]"),
            9,
            20,
            "there is no step 'fist'",
            "did you mean 'first'?",
        ),
        (
            ("needs: first", "needs: first\n    dependencies: [first]"),
            10,
            5,
            "'dependencies' is the same as 'needs'",
            "take one of the two away",
        ),
        (
            ("    needs: first\n", ""),
            9,
            11,
            "second does not wait for first",
            "write 'needs: [first]'",
        ),
        (
            ("operation: a}", "operation: a, needs: second}"),
            5,
            37,
            "the steps wait for each other: first -> second -> first",
            "take one of these needs away",
        ),
        (
            ("steps.first.result.id", "steps.frist.result.id"),
            11,
            21,
            "there is no step 'frist'",
            "did you mean 'first'?",
        ),
        (
            ("steps.first.result.id", "steps.second.result.id"),
            11,
            21,
            "second refers to itself",
            "refer to a step that comes before",
        ),
        (
            ("steps.first.result.id", "steps.first.resutl"),
            11,
            21,
            "a step has result, status, error, items, not 'resutl'",
            "did you mean 'result'?",
        ),
        (("steps.first.result.id", "stesp.first"), 11, 21, "nothing here is called 'stesp'", "di"),
        (("steps.first.result.id", "item.id"), 11, 21, "nothing here is called 'item'", "item is"),
        (("{{steps.first.result.id}}", "{{steps..x}}"), 11, 27, "the name of a field is", "such"),
        (("'{{input.count}}'", "'{{input.cuont}}'"), 11, 53, "input has no field 'cuont'", "did"),
        (
            ("'{{input.count}}'", "'{{input.count.x}}'"),
            11,
            53,
            "input.count is an integer: it has no field 'x'",
            "refer to the field itself",
        ),
        (
            ("'{{input.count}}'", "'{{input.count[0]}}'"),
            11,
            53,
            "input.count is an integer: it has no items",
            "refer to the field itself",
        ),
        (("steps.first.result.ok", "steps.first.ok"), 10, 11, "a step has result, status", "wri"),
        (("input.count > 1", "inptu.count > 1"), 10, 36, "nothing here is called 'inptu'", "did"),
        (
            ("input.count > 1", "count > 1"),
            10,
            36,
            "nothing here is called 'count'",
            "did you mean 'input.count'",
        ),
        (
            ("{{steps.second.result}}", "{{second}}"),
            12,
            17,
            "nothing here",
            "did you mean 'steps.second.res",
        ),
        (
            ("input.count > 1", "{{input.count}} > 1"),
            10,
            36,
            "'{' is not",
            "write paths without braces",
        ),
        (("operation: a}", "params: {}}"), 5, 3, "'operation' is missing", "write"),
        (("input.count > 1", "input.count >"), 10, 49, "something is missing", "such as: steps."),
        (
            ("    needs: first", "    needs: first\n    foreach: '{{input.count}}'"),
            10,
            17,
            "foreach needs a list, and input.count is an integer",
            "refer to an array",
        ),
        (
            ("    needs: first", "    needs: first\n    foreach: input.tags"),
            10,
            14,
            "foreach needs a list",
            "such as: foreach: '{{input.items}}'",
        ),
        (("{{steps.second.result}}", "{{steps.third.result}}"), 12, 17, "there is no step 't", ""),
        (("operation: a}", "operation: a, join: any}"), 5, 43, "there is nothing to join", "wri"),
        (("operation: a}", "operation: a b}"), 5, 34, "'a b' is no operation", "letters"),
        (("service: x", "service: -"), 5, 20, "", ""),
        (("  first:", "  1st:"), 5, 3, "'1st' is no name of a step", "letters"),
        (
            ("operation: a}", "operation: a, timeout: 2h}"),
            5,
            46,
            "one call may take 2h, but the whole run only 1h",
            "let a call take less, or the run more",
        ),
        (
            ("operation: a}", "operation: a, timeout: 2m, deadline: 1m}"),
            5,
            60,
            "one call may take 2m, but the step with all its calls only 1m",
            "let a call take less, or the step more",
        ),
        (
            ("operation: a}", "operation: a, on_error: {tiemout: continue}}"),
            5,
            48,
            "'tiemout' is no error kind",
            "did you mean 'timeout'? A service's own kind is declared: 'kinds: [tiemout]'",
        ),
        (
            ("operation: a}", "operation: a, on_error: {system: return_to_previous}}"),
            5,
            56,
            "return_to_previous is nothing that a step of a graph can do",
            "one of: compensate, continue, fallback, halt_and_alert, retry, review",
        ),
        (
            ("operation: a}", "operation: a, on_error: {timeout: {do: fallback, services: [z]}}}"),
            5,
            48,
            "after a timeout the work may have been done",
            "write 'unknown: switch'",
        ),
        (("operation: a}", "operation: a, on_error: retry}"), 5, 47, "retry is for one kind", ""),
        (("count: integer", "count: intger"), 3, 16, "'intger' is none of the words", "did you"),
        (
            ("count: integer", "count: {type: integer, default: x}"),
            3,
            41,
            "the field 'count': Expected `int`, got `str`",
            "",
        ),
        (
            ("count: integer", "count: {type: integer, fields: {}}"),
            3,
            40,
            "fields belongs to object, not to integer",
            "",
        ),
        (
            ("  second:", "  first: {service: z}\n  second:"),
            6,
            3,
            "the key 'first' stands twi",
            "",
        ),
        (("service: y", "service: &a y"), 7, 14, "anchors and aliases are not read", "write"),
        (("steps:", "stesp:"), 1, 1, "'steps' is missing", "write 'steps: …'"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_to_do(
    change: tuple[str, str], line: int, column: int, message: str, hint: str
) -> None:
    """Line and column are those of the word; the advice names the nearest right one."""
    assert problems_of(SMALL) == []

    first = problems_of(SMALL.replace(*change))[0]

    assert first[:2] == (line, column), first
    assert first[2].startswith(message)
    assert first[3].startswith(hint)


def test_the_caret_stands_below_the_reference() -> None:
    """Also inside of a text."""
    document = parse(SMALL.replace("'{{input.count}}'", "'a {{input.cuont}} b'").encode())
    (problem,) = document.problems

    assert document.excerpt(problem).endswith(
        'all: "{{input.tags}}"}\n       |' + " " * 55 + "^" * len("input.cuont")
    )


def test_slow_services_may_make_it_impossible_to_finish_in_time() -> None:
    """As in a workflow whose steps may take 420 s within 300 s: a warning, and no more."""
    text = SMALL.replace("timeout: 1h", "timeout: 90s")

    (problem,) = parse(text.encode()).problems

    assert (problem.line, problem.severity) == (2, "warning")
    assert problem.message == (
        "cannot finish in time when services are slow: one call each of first -> second may take "
        "2m, the whole run only 1m30s"
    )


def test_an_undo_behind_the_point_of_no_return_is_a_warning() -> None:
    """It is never asked for."""
    text = SMALL.replace("operation: a}", "operation: a, pivot: true}").replace(
        "needs: first", "needs: first\n    undo: c"
    )

    (problem,) = parse(text.encode()).problems

    assert (problem.line, problem.severity) == (10, "warning")
    assert problem.message.startswith("second is never undone")


def test_a_file_is_packed_as_data(tmp_path: Path) -> None:
    """Comments and layout are no part of the hash; the pack is loaded as the same graph."""
    plain, told, other = (tmp_path / f"{name}.yaml" for name in ("plain", "told", "other"))
    plain.write_text(SMALL)
    told.write_text("# why\n" + SMALL.replace("needs: first", "dependencies: [first]"))
    other.write_text(SMALL.replace("service: y", "service: z"))

    packs = [pack(each) for each in (plain, told, other)]

    assert packs[0] == packs[1]
    assert packs[0].hash != packs[2].hash
    (flow,) = load(packs[0].data, packs[0].hash).values()
    assert isinstance(flow, GraphWorkflow)
    assert flow.graph == load_document(plain).value
    assert open_pack(packs[0].data) == packs[0]
    assert flow.input_schema()["$defs"]["Input"]["required"] == ["count", "tags"]


def test_a_graph_in_python_is_registered_like_a_workflow(tmp_path: Path) -> None:
    """And a wrong one is refused with the line of its name."""
    file = tmp_path / "small.py"
    text = """\
import movant

small = movant.Graph(
    name="small",
    steps={"a": movant.GraphStep(service="x", operation="y", needs="b")},
)
"""
    file.write_text(text.replace(', needs="b"', ""))
    assert pack(file).workflows == ("small",)
    assert validate(file) == []
    file.write_text(text)

    (problem,) = validate(file)

    assert (problem.file, problem.line) == (str(file), 4)
    assert "steps.a.needs[0]: there is no step 'b'" in problem.message


def test_errors_of_a_file_name_file_line_and_column(tmp_path: Path) -> None:
    """Whoever deploys it learns where to look."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.replace("needs: first", "needs: fist"))

    with pytest.raises(ConfigurationError, match=r"small\.yaml:9:12: there is no step 'fist'"):
        pack_document(file)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_line_of_a_graph_may_be_broken(data: Any) -> None:
    """A character taken, put or doubled anywhere gives a graph or a mistake with a place."""
    text = ORDER_FILE.read_text()
    at = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.sampled_from(["", ":", "x", " ", "\n", "[", "}", "7", "&", text[at] * 2]))

    broken = (text[:at] + put + text[at + 1 :]).encode()

    document = parse(broken)

    slow: Document[Definition] = parse_nodes(broken, build, check)
    assert document == slow
    assert document.value is not None or document.problems
    for each in document.problems:
        assert 1 <= each.line <= text.count("\n") + 3
        document.excerpt(each)
