"""References: what they read, what they keep, and what is no reference."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.found_references import found_in, problems
from protocols.references import Template, WrongReference, as_text

NAMES: dict[str, Any] = {
    "input": {
        "name": "Ann",
        "seats": 4,
        "none": None,
        "list": [1, 2],
        "a b": 1,
        "houses": [{"units": [{"n": 1}, {"n": 2}]}, {"units": [{"n": 3}]}],
    },
    "steps": {
        "search-homes": {"status": "done", "result": [{"url": "x"}, {"url": "y"}]},
        "skipped": {"status": "skipped", "result": None},
        "empty": {"status": "done", "result": None},
    },
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{input.seats}}", 4),
        ("{{ input.seats }}", 4),
        ("{{input}}", NAMES["input"]),
        ("{{input.none}}", None),
        ("{{input.list[1]}}", 2),
        ('{{input["a b"]}}', 1),
        ("{{steps.search-homes.result[*].url}}", ["x", "y"]),
        ("{{steps.search-homes.result.map(p => p.url)}}", ["x", "y"]),
        ("{{input.houses[*].units[*].n}}", [1, 2, 3]),
        ("{{input.houses[*].units}}", [[{"n": 1}, {"n": 2}], [{"n": 3}]]),
        ("{{input.seats ?? 50}}", 4),
        ("{{input.rooms ?? 50}}", 50),
        ("{{input.none ?? input.rooms ?? 'no'}}", "no"),
        ("{{input.none ?? null}}", None),
        ("{{input.rooms ?? 1.5}}", 1.5),
        ("{{steps.skipped.result.id}}", None),
        ("for {{input.name}}: {{input.seats}}", "for Ann: 4"),
        ("{{input.list}} {{input.none}} {{input.name}}", "[1,2] null Ann"),
        ("{{'{{'}}", "{{"),
        ("{{'}}'}}!", "}}!"),
        ("no } reference { at all", "no } reference { at all"),
    ],
)
def test_a_reference_reads_what_it_names(text: str, value: Any) -> None:
    """A whole text keeps the type; inside of a text all is text."""
    assert Template(text).fill(NAMES) == value


@given(
    st.lists(
        st.sampled_from(["input", "steps", "search-homes", "skipped", "empty"])
        | st.sampled_from(["result", "status", "name", "none", "list", "url", "houses", "gone"]),
        min_size=1,
        max_size=4,
    )
)
def test_a_whole_reference_reads_what_the_same_one_inside_of_a_text_reads(
    parts: list[str],
) -> None:
    """There are two ways to read; what is missing is the same mistake in both."""
    reference = "{{" + ".".join(parts) + "}}"

    def read(text: str) -> str:
        try:
            return as_text(Template(text).fill(NAMES))
        except WrongReference as error:
            return error.message

    assert read(f"{reference}{{{{''}}}}") == read(reference)


def test_references_stand_anywhere_in_a_value() -> None:
    """In lists and objects; what has none is given as it is."""
    plain = {"a": [1, {"b": None}], "c": "text"}
    template = Template({"plain": plain, "deep": [{"x": "{{input.seats}}"}]})

    filled = template.fill(NAMES)

    assert filled == {"plain": plain, "deep": [{"x": 4}]}
    assert filled["plain"] is plain
    (found,) = found_in(template.value)
    assert found.place == ("deep", 0, "x")
    assert str(found.reference.paths[0]) == "input.seats"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{input.rooms}}", "input has no field 'rooms'"),
        ("{{input.name.first}}", "input.name, a text, has no field 'first'"),
        ("{{input.none.x}}", "input.none is null and has no field 'x'"),
        ("{{input.list[2]}}", "input.list, a list, has no item 2"),
        ("{{input.seats[*]}}", "input.seats, a number, has no items"),
        ("{{steps.search-homes.result.url}}", "steps.search-homes.result, a list, has no"),
        ("{{steps.empty.result.id}}", "steps.empty.result is null and has no field 'id'"),
    ],
)
def test_what_is_not_there_is_an_error(text: str, message: str) -> None:
    """Never an empty text: a step would be asked for something else."""
    with pytest.raises(WrongReference) as raised:
        Template(text).fill(NAMES)

    assert raised.value.message.startswith(message)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("ab {{", 4, "'}}' is missing"),
        ("{{input.a", 1, "'}}' is missing"),
        ("{{input..a}}", 9, "the name of a field is expected here, not '.'"),
        ("{{input.a b}}", 11, "'}}' or '??' is expected here, not 'b'"),
        ("{{input.a[-1]}}", 11, "a number, a text in quotes or * is expected here, not '-1'"),
        ("{{a.map(p => q.x)}}", 14, "'p' is expected here, not 'q'"),
        ("{{}}", 3, "a path or a constant is expected here, not '}}'"),
        ("{{1 ?? a}}", 5, "nothing comes behind a constant, not '??'"),
        ("{{a + b}}", 5, "'+' is not understood"),
        ("{{a.b()}}", 6, "'}}' or '??' is expected here, not '('"),
    ],
)
def test_what_is_no_reference_is_told_with_its_column(
    text: str, column: int, message: str
) -> None:
    """There are no calls, no arithmetic, no code."""
    ((place, error),) = problems({"x": [text]})

    assert place == ("x", 0)
    assert (error.column, error.message) == (column, message)
    with pytest.raises(WrongReference):
        Template({"x": [text]})


@given(st.text(alphabet="{}abc.[]*?'\"=>()0 -", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """And never by another error."""
    assert all(1 <= error.column <= len(text) + 1 for _, error in problems(text))
