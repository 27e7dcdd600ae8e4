"""Files that nobody meant to write: each is told with place and advice, in bounded time."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import pytest

from actors.files import connectors, toml_nodes
from actors.files.definitions import Definition, build, check, load_document, parse
from actors.files.yaml_nodes import DEPTH_MAX, YamlProblem
from actors.files.yaml_struct import Document, parse_nodes
from protocols.drawing import POINTS_MAX
from protocols.errors import NotFoundError
from protocols.findings import ERRORS_MAX, did_you_mean
from protocols.graphs.graph import Graph, GraphStep
from protocols.graphs.text import plan, plan_text
from protocols.pictures import graph_svg

ROOT: Final = Path(__file__).parents[2]
GRAPH: Final = "name: w\nsteps:\n  a: {service: s, operation: o}\n"
MACHINE: Final = "name: m\ninitial: A\nstates:\n  A: {owner: o, next: B}\n  B: {terminal: true}\n"
LATER: Final = "a list or a text is expected here, not "


def with_key(key: str) -> str:
    """Return the text of a graph whose step has one key more."""
    return GRAPH.replace("operation: o", f"operation: o, {key}")


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "hint"),
    [
        ("", 1, 1, "the file is empty", "one file"),
        ("- a\n", 1, 1, "a mapping is expected here, not a list", "begin with 'name: …'"),
        (GRAPH.encode("utf-16"), 1, 1, "not readable as UTF-8", "save the file"),
        (GRAPH + "  b: é\0\n", 4, 7, "no valid YAML: control characters", "take the character"),
        (
            GRAPH.replace("operation", "opreation").replace("\n", "\r\n"),
            3,
            19,
            "'opreation'",
            "did",
        ),
        (GRAPH.replace("operation", "opreation").replace("\n", "\r"), 3, 19, "'opreation'", "did"),
        ("\ufeff" + GRAPH.replace("steps", "stpes"), 2, 1, "'stpes' is not known", "did you mean"),
        ("name: w\nsteps:\n\ta: {}\n", 3, 1, "no valid YAML", "indent with spaces"),
        ("# x\n" * 70_000, 1, 1, "more than 262144 bytes", "make several"),
        ("a: " + "[" * 10_000, 1, 1003, "no valid YAML: exceeded maximum nesting", ""),
        ("{a: " * 10_000, 1, 4 * DEPTH_MAX + 5, f"more than {DEPTH_MAX} levels", "make it flat"),
        ("name: 'w\nsteps: {}\n", 1, 7, "no valid YAML: found unexpected end", "it begins here"),
        (GRAPH + "  b: {service: s\n", 4, 6, "no valid YAML: did not find", "it begins here"),
        ("name: w\ndescription: do: it\n", 2, 16, "no valid YAML: mapping values", "indent it as"),
        ("name: @w\n", 1, 7, "no valid YAML: found character", "put the text into quotes"),
        (with_key("params: {{input.x}}"), 3, 42, "a key is a mapping", "write keys as plain"),
        (with_key("params: " + "9" * 6_000), 3, 41, "a number beyond 64 bits", "put it into"),
        (with_key("params: 1e999"), 3, 41, "a number that is too large", "put it into quotes"),
        (with_key("critical: yes"), 3, 43, "true or false is expected", "write true or false"),
        (with_key("retry: 010"), 3, 40, "a whole number or nothing is", "such as 3: without"),
        (with_key("foreach: 5"), 3, 42, LATER + "a number", ""),
        (with_key("join: 5"), 3, 39, "there is nothing to join", "write 'needs: [...]'"),
        (with_key("when: '5'"), 3, 39, "a number is neither true nor false", "such as"),
        (with_key("when: 'lower(input.x, 1)'"), 3, 40, "there is no function 'lower'", "such as"),
        (with_key("when: 'input.x.has(1)'"), 3, 48, "there is no function 'has'", "such as"),
        (with_key("when: '1 + 1 > 1'"), 3, 42, "'+' is not understood: there is no", "such as"),
        (
            "input: {x: string}\n" + with_key("when: input.x"),
            4,
            39,
            "input.x is of type string: it is neither true nor false",
            "compare it",
        ),
        (
            "input: {n: {type: number, min: 5, max: 1}}\n" + GRAPH,
            1,
            40,
            "no number is between 5 and 1",
            "exch",
        ),
        ("name: w\nsteps:\n", 2, 7, "a mapping is expected here, not nothing", "write it behind"),
        ("id: w\nsteps: [{id: 5}]\n", 2, 14, "a text is expected here, not a number", "the name"),
        (MACHINE.replace("A\nst", "[A]\nst"), 2, 10, "a text is expected here, not a list", ""),
        (
            MACHINE.replace("next: B", "next: [{to: B, when: '5'}, B]"),
            4,
            38,
            "a number is neither true nor false",
            "such as",
        ),
    ],
)
def test_a_malformed_file_is_told_with_its_place_and_what_to_do(
    text: str | bytes, line: int, column: int, message: str, hint: str
) -> None:
    """Never a traceback, and an excerpt that a terminal can show."""
    document = parse(text if isinstance(text, bytes) else text.encode())

    first = next(each for each in document.problems if each.message != "'steps' is missing")

    assert first[:2] == (line, column), first
    assert first.message.startswith(message), first
    assert first.hint.startswith(hint), first
    shown = document.excerpt(first)
    assert len(shown) < 600
    assert shown.replace("\n", "").isprintable()


@pytest.mark.parametrize("file", sorted(ROOT.glob("examples/**/*.yaml")), ids=lambda x: x.stem)
def test_a_file_that_is_right_is_the_same_without_places(file: Path) -> None:
    """To the byte: its hash is that of what it says, however it was read."""
    text = file.read_bytes()

    quick = parse(text)
    slow: Document[Definition] = parse_nodes(text, build, check)

    assert quick == slow
    assert msgspec.json.encode(quick.value) == msgspec.json.encode(slow.value)


def test_numbers_of_64_bits_are_whole() -> None:
    """And not the nearest one with a fraction."""
    document = parse(with_key(f"params: [{2**63 - 1}, {-(2**63)}, {2**64 - 1}]").encode())

    assert isinstance(document.value, Graph)
    assert document.value.steps["a"].params == [2**63 - 1, -(2**63), 2**64 - 1]


@pytest.mark.parametrize(
    "step",
    [
        "  step-{n}: {{service: s, operation: o, nedes: x}}\n",
        "  step-{n}: {{service: s, operation: o, needs: stpe-{n}}}\n",
        "  step-{n}: {{service: s, operation: o, params: '{{{{steps.stpe-{n}.result}}}}'}}\n",
    ],
)
def test_a_hundred_mistakes_are_told(step: str) -> None:
    """Of three hundred in one file: who corrects them sees the others then."""
    text = "name: w\nsteps:\n" + "".join(step.format(n=n) for n in range(300))

    found = parse(text.encode()).problems

    assert [each.severity for each in found] == ["error"] * ERRORS_MAX + ["warning"]
    assert found[-1].message == "more errors follow"


def test_a_long_cycle_is_told_in_few_words() -> None:
    """With its length."""
    steps = "".join(
        f"  s{n}: {{service: s, operation: o, needs: s{(n + 1) % 500}}}\n" for n in range(500)
    )

    (found,) = parse(f"name: w\nsteps:\n{steps}".encode()).problems

    assert "… (500 steps)" in found.message
    assert len(found.message) < 200


def test_a_caret_stands_below_wide_characters() -> None:
    """They take two cells of a terminal, and accents of their own none."""
    document = parse(with_key("description: 日本e\u0301, opreation: p").encode())

    line, caret = document.excerpt(document.problems[0]).split("\n")

    assert caret.index("^") == line.index("opreation") + 2 - 1


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    """A directory may have the name of a file."""
    with pytest.raises(NotFoundError, match="is no file"):
        load_document(tmp_path)


def test_the_nearest_of_many_names_is_found() -> None:
    """By its beginning or its end, without looking at all of them."""
    names = [f"step-{n}" for n in range(5_000)]

    assert did_you_mean("stpe-4321", names) == "did you mean 'step-4321'?"
    assert did_you_mean("step-432l", names).startswith("did you mean 'step-432")


def test_a_large_graph_is_planned_and_drawn() -> None:
    """A chain with needs far back: its long edges run straight, for they pass every layer."""
    graph = Graph(
        name="large",
        steps={
            f"s{n}": GraphStep(
                service="s",
                operation="o",
                needs=tuple(f"s{each}" for each in sorted({n - 1, n // 2}) if each < n and n),
            )
            for n in range(500)
        },
    )

    told, drawn = plan_text(plan(graph)), graph_svg(graph)

    assert told.count("level ") == len(graph.steps)
    needs = sum(len(each.needed) for each in graph.steps.values())
    assert needs < drawn.count(" C") <= needs + POINTS_MAX


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=" + "[" * 10_000, "no valid TOML: maximum recursion depth exceeded"),
        ("[" + ".".join("a" * 100) + "]\nx=1\n", f"more than {DEPTH_MAX} levels deep"),
        ("a=" + "9" * 6_000, "no valid TOML: Exceeds the limit"),
    ],
)
def test_toml_is_read_in_bounds(text: str, message: str) -> None:
    """As YAML is."""
    with pytest.raises(YamlProblem, match=message):
        toml_nodes.read(text.encode())


def test_connectors_may_begin_with_a_mark_of_utf_8() -> None:
    """As editors on some systems write it; a kind is a text."""
    document = connectors.parse(b"\xef\xbb\xbf[connectors.a]\nkind = ['http']\n", toml=True)

    assert [each.message for each in document.problems] == ["a text is expected here, not a list"]
