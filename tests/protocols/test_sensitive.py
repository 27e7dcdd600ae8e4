"""What looks sensitive: measured on labelled samples, by key and by value."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.graphs.graph import Field
from protocols.guardrails.hidden import covered, hides, values_of
from protocols.guardrails.sensitive import (
    HIDDEN,
    TEXT_CHARS_MAX,
    Redactor,
    found,
    luhn,
    masked,
    of_key,
    spans,
)

CORPUS: Final = Path(__file__).parent / "sensitive.jsonl"
FALSE_MAX: Final = 0.02
MISSED_MAX: Final = 0.02


class Sample(msgspec.Struct, frozen=True):
    """A value, and what sorts of sensitive data it holds."""

    value: Any
    sorts: list[str]


def samples() -> list[Sample]:
    """Return the labelled samples."""
    lines = CORPUS.read_text().splitlines()
    return [msgspec.json.decode(line, type=Sample) for line in lines]


def test_false_positives_and_misses_on_the_corpus_are_few() -> None:
    """Of what is harmless less than two in a hundred are found, of what is not nearly all are."""
    told = [(each, {one.sort for one in found(each.value)}) for each in samples()]
    harmless = [(each, sorts) for each, sorts in told if not each.sorts]
    sensitive = [(each, sorts) for each, sorts in told if each.sorts]
    false = [each.value for each, sorts in harmless if sorts]
    missed = [each.value for each, sorts in sensitive if not set(each.sorts) <= sorts]

    assert len(told) >= 300
    assert len(false) / len(harmless) < FALSE_MAX, false
    assert len(missed) / len(sensitive) < MISSED_MAX, missed


def test_what_is_found_is_masked_and_nothing_of_it_is_left() -> None:
    """The redactor finds what a guardrail finds; masking twice changes nothing."""
    redactor = Redactor()

    for each in samples():
        shown = redactor.value(each.value)
        assert (shown != each.value) == bool(list(found(each.value))), each
        assert redactor.value(shown) == shown, each
        assert not list(found(shown)), shown


@settings(max_examples=25)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_value_is_too_odd_to_be_masked(value: Any) -> None:
    """Nothing raises, and what is masked stays so."""
    redactor = Redactor()

    shown = redactor.value(value)

    assert redactor.value(shown) == shown


@pytest.mark.parametrize(
    ("key", "sort"),
    [
        ("userPassword", "password"),
        ("DB_PASSWD", "password"),
        ("password_policy", None),
        ("x-api-key", "api_key"),
        ("APIKey", "api_key"),
        ("monkey", None),
        ("max_tokens", None),
        ("accessToken", "token"),
        ("primary_key", None),
    ],
)
def test_the_last_words_of_a_name_say_what_it_holds(key: str, sort: str | None) -> None:
    """In whatever way the words are joined."""
    assert of_key(key) == sort


def test_a_part_of_a_text_is_masked_and_the_rest_stays() -> None:
    """In order, also several of them."""
    text = "write to ann@example.org or call +49 30 1234567, password: hunter22"

    assert Redactor().text(text) == (
        f"write to {masked('email')} or call {masked('phone')}, password: {masked('password')}"
    )
    assert Redactor(("email",)).text(text).endswith("hunter22")


def test_a_text_that_nobody_can_look_through_is_masked_as_a_whole() -> None:
    """Rather than shown unseen."""
    assert Redactor().text("a" * (TEXT_CHARS_MAX + 1)) == masked("token")


def test_digits_that_only_look_like_a_card_do_not_add_up() -> None:
    """One digit off is no card."""
    assert luhn("4111111111111111")
    assert not spans("4111111111111112")


FIELDS: Final = {
    "name": Field(type="string"),
    "tax": Field(type="string", sensitive=True),
    "people": Field(
        type="array", items=Field(type="object", fields={"born": Field(sensitive=True)})
    ),
    "on": Field(type="boolean", sensitive=True, optional=True),
}
GIVEN: Final = {"name": "Ann", "tax": "NL-77 1", "people": [{"born": "1970-01-01"}], "on": True}


def test_fields_that_are_marked_are_covered_and_their_values_hidden_everywhere() -> None:
    """Also inside of texts, whatever they look like; without a definition all is covered."""
    redactor = Redactor(()).hiding(values_of(GIVEN, FIELDS))

    assert covered(GIVEN, FIELDS) == {
        "name": "Ann",
        "tax": HIDDEN,
        "people": [{"born": HIDDEN}],
        "on": HIDDEN,
    }
    assert redactor.value({"a": ["tax NL-77 1 of Ann", "NL-77 12"]}) == {
        "a": [f"tax {HIDDEN} of Ann", "NL-77 12"]
    }
    assert covered(GIVEN, None) == HIDDEN
    assert hides(FIELDS["people"])
    assert not hides(FIELDS["name"])


def test_names_that_somebody_adds_are_sensitive_as_well() -> None:
    """Whatever they hold."""
    assert Redactor((), keys=["Diagnosis"]).value({"diagnosis": {"a": 1}, "b": 2}) == {
        "diagnosis": HIDDEN,
        "b": 2,
    }
