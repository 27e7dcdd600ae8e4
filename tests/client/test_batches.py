"""Cutting many starts into requests."""

from __future__ import annotations

from itertools import count

import msgspec
import pytest

from protocols.api import runs as api
from protocols.errors import BadValueError, ConfigurationError, InvalidIdError
from runtime.client.batches import starts

ROOM = 1_048_576


def _decoded(payloads: list[bytes]) -> list[api.RunStartMany]:
    return [msgspec.json.decode(payload, type=api.RunStartMany) for payload in payloads]


def _ids() -> str:
    return f"id{next(_numbers)}"


_numbers = count()


def test_items_keep_their_order_and_go_in_requests_of_the_asked_size() -> None:
    """Nothing is lost or doubled at the seams."""
    made = _decoded(list(starts("orders", range(7), _ids, items_max=3, bytes_max=ROOM)))

    assert [len(request.items) for request in made] == [3, 3, 1]
    assert [item.input for request in made for item in request.items] == list(range(7))
    assert {request.workflow for request in made} == {"orders"}
    assert all(item.id for request in made for item in request.items)


def test_a_request_stays_below_the_servers_limit() -> None:
    """Large inputs make small requests."""
    items = ["x" * 1_000] * 10

    made = list(starts("orders", items, _ids, items_max=100, bytes_max=4_096))

    assert all(len(payload) <= 4_096 for payload in made)
    assert sum(len(request.items) for request in _decoded(made)) == 10


def test_an_item_with_an_id_keeps_it() -> None:
    """The caller's id is what makes a start safe to repeat."""
    item = api.StartItem(input=1, id="mine")

    (request,) = _decoded(list(starts("orders", [item], _ids, items_max=1, bytes_max=ROOM)))

    assert request.items == [item]


def test_no_items_are_no_request() -> None:
    """An empty list asks nobody."""
    assert list(starts("orders", [], _ids, items_max=1, bytes_max=ROOM)) == []


@pytest.mark.parametrize(
    ("item", "error"),
    [(float("nan"), BadValueError), (api.StartItem(id="no way"), InvalidIdError)],
)
def test_what_is_no_value_or_id_is_refused_here(item: object, error: type[Exception]) -> None:
    """The daemon is not asked what the client can tell."""
    with pytest.raises(error):
        list(starts("orders", [item], _ids, items_max=1, bytes_max=ROOM))


@pytest.mark.parametrize("items_max", [0, api.ITEMS_MAX + 1])
def test_a_chunk_outside_the_api_is_refused(items_max: int) -> None:
    """The API takes 1 to 1,000 items."""
    with pytest.raises(ConfigurationError):
        list(starts("orders", [1], _ids, items_max=items_max, bytes_max=ROOM))
