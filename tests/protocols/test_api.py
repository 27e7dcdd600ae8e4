"""The API's messages: what is required, what is tolerated, and errors there and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import errors, headers
from protocols.api import runs as api
from protocols.catalogue import catalogue
from protocols.codec import convert, encode

ERRORS = [kind for kind in api.SERVICE_CODES if kind is not errors.InvalidInputError]


@pytest.mark.parametrize("verb", api.VERBS)
def test_every_request_and_result_has_an_example_that_decodes(verb: str) -> None:
    """The documented examples are what the Structs take, and unknown fields are ignored."""
    known = catalogue()
    request, result = known[f"api.{verb}"], known[f"api.{verb}.reply"]

    asked = convert({**request.example, "from_the_future": 1}, api.VERBS[verb].request)
    answered = msgspec.json.decode(encode(result.example), type=api.VERBS[verb].result)

    assert convert(msgspec.to_builtins(asked), type(asked)) == asked
    assert msgspec.json.decode(encode(answered), type=type(answered)) == answered


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (api.RunStart, {}),
        (api.RunStart, {"workflow": 1}),
        (api.RunStart, {"workflow": "w", "if_exists": "shrug"}),
        (api.RunStart, {"workflow": "w", "wait_s": 1e9}),
        (api.RunStartMany, {"workflow": "w", "items": [{}] * (api.ITEMS_MAX + 1)}),
        (api.RunList, {"limit": 0}),
        (api.RunList, {"limit": api.PAGE_MAX + 1}),
        (api.RunList, {"status": "odd"}),
        (api.RunSignal, {"id": "a"}),
    ],
)
def test_a_wrong_request_is_refused_with_its_field(kind: type[api.Message], value: Any) -> None:
    """Required fields are typed, and lists and waits are bounded."""
    with pytest.raises(errors.BadValueError):
        convert(value, kind)


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_reaches_the_client_as_what_it_was(kind: type[errors.MovantError]) -> None:
    """Class, message and hint survive the wire; NATS micro clients see a number."""
    error = kind("it is so", hint="do this")

    reply = msgspec.json.decode(encode(api.error_reply(error)), type=api.ErrorReply)
    found = headers.decode(headers.block(headers.encode(api.error_headers(error))))

    back = api.to_error(reply)
    assert (type(back), back.message, back.hint) == (kind, "it is so", "do this")
    assert found is not None
    assert found[headers.SERVICE_ERROR] == "it is so"
    assert int(found[headers.SERVICE_ERROR_CODE]) == api.SERVICE_CODES[kind]


def test_a_wrong_input_keeps_its_fields() -> None:
    """A client can mark each wrong field of a form."""
    error = errors.InvalidInputError("wrong", fields={"a.b": "is missing"}, hint="h")

    back = api.to_error(api.error_reply(error))

    assert isinstance(back, errors.InvalidInputError)
    assert back.fields == {"a.b": "is missing"}
    assert api.error_headers(error)[headers.SERVICE_ERROR_CODE] == "422"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("refused.not_found.archived", errors.NotFoundError),
        ("refused.odd", errors.RefusedError),
        ("odd.thing", errors.MovantError),
        ("", errors.MovantError),
    ],
)
def test_a_code_of_a_newer_daemon_is_its_nearest_known_one(
    code: str, kind: type[errors.MovantError]
) -> None:
    """An old client still knows what it must do."""
    back = api.to_error(api.ErrorReply(code=code, message="m"))

    assert type(back) is kind


def test_an_error_class_without_a_number_has_that_of_its_parent() -> None:
    """Nobody forgets a number when a class is added."""

    class OddError(errors.NotFoundError):
        code = "refused.not_found.odd"

    assert api.error_headers(OddError("m"))[headers.SERVICE_ERROR_CODE] == "404"


@given(message=st.text())
def test_any_message_fits_into_a_header(message: str) -> None:
    """Texts with line breaks or other scripts never break the reply."""
    found = api.error_headers(errors.RefusedError(message))

    assert headers.encode(found)
    assert found[headers.SERVICE_ERROR]


def test_codes_are_unique() -> None:
    """A code names one class, or the client could not find it."""
    codes = [kind.code for kind in api.SERVICE_CODES]

    assert len(set(codes)) == len(codes)
