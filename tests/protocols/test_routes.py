"""Routing tables: what is refused when they are read, and what they come to."""

from __future__ import annotations

import re
from typing import Any

import pytest

from protocols.errors import BadValueError, ConfigurationError
from protocols.routes import (
    RoutingTable,
    ServiceFacts,
    checked,
    encoded,
    joined,
    split,
    table_hash,
    table_of,
)

CARDS: dict[str, Any] = {
    "services": {
        "card-eu": {"cost": 1, "locality": "eu"},
        "card-us": {"weight": 2},
        "clerks": {"capabilities": ["manual"]},
    },
    "routes": {
        "cards": {"to": ["card-eu", "card-us"], "rank": "measured", "fallback": "manual"},
        "manual": {"to": ["clerks"], "needs": ["manual"]},
    },
}


def table(**changes: Any) -> Any:
    """Return the table with other services or routes."""
    import msgspec  # noqa: PLC0415 - only here

    return table_of(msgspec.json.encode({**CARDS, **changes}))


def test_a_fallback_chain_becomes_one_list_of_candidates() -> None:
    """The route's own first, then those of its fallback, each with what speaks for it."""
    choices = checked(table())["cards"]

    assert [(each.service, each.factor) for each in choices.candidates] == [
        ("card-eu", 0.5),
        ("card-us", 2.0),
        ("clerks", 1.0),
    ]
    assert choices.ranked


@pytest.mark.parametrize(
    ("routes", "problem"),
    [
        ({"cards": {"to": ["card-uk"]}}, "unknown service 'card-uk'"),
        ({"cards": {"to": []}}, "route cards has no owner"),
        ({"cards": {"to": ["card-eu", "card-eu"]}}, "names card-eu twice"),
        ({"cards": {"to": ["card-eu"], "needs": ["manual"]}}, "card-eu is not capable of manual"),
        ({"cards": {"to": ["card-eu"], "fallback": "x"}}, "its fallback 'x' is no route"),
        ({"cards": {"to": ["card-eu"], "fallback": "cards"}}, "cards -> cards go in a circle"),
        (
            {
                "a": {"to": ["clerks"], "fallback": "b"},
                "b": {"to": ["clerks"], "fallback": "c"},
                "c": {"to": ["clerks"], "fallback": "a"},
            },
            "a -> b -> c -> a go in a circle",
        ),
        ({"no name": {"to": ["clerks"]}}, "'no name' is not valid"),
    ],
)
def test_a_wrong_table_is_refused_with_its_problem(routes: Any, problem: str) -> None:
    """Before anything is sent by it."""
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        checked(table(routes=routes))


def test_all_problems_are_told_at_once() -> None:
    """Whoever mends a table mends it once."""
    with pytest.raises(ConfigurationError) as caught:
        checked(
            table(routes={"a": {"to": []}, "b": {"to": ["odd"]}}),
            {"ship": "states.SENT.owner of orders"},
        )

    assert "route a has no owner" in caught.value.message
    assert "unknown service 'odd'" in caught.value.message
    assert "ship has no owner" in caught.value.message
    assert "states.SENT.owner of orders" in caught.value.message


def test_a_circle_behind_a_route_is_told_once() -> None:
    """The route that leads there is not part of it."""
    routes = {
        "in": {"to": ["clerks"], "fallback": "a"},
        "a": {"to": ["clerks"], "fallback": "b"},
        "b": {"to": ["clerks"], "fallback": "a"},
    }

    with pytest.raises(ConfigurationError) as caught:
        checked(table(routes=routes))

    assert caught.value.message.count("circle") == 1


def test_a_table_that_could_not_be_read_again_is_refused() -> None:
    """The same bound when it is stored and when it is loaded, or its runs would be blocked."""
    services = {f"s{number}": ServiceFacts() for number in range(2_000)}

    with pytest.raises(ConfigurationError, match="at most 65536 bytes"):
        checked(RoutingTable(services=services, routes={}))


def test_names_that_need_an_owner_are_routes_or_services() -> None:
    """Such as the services of a machine's states."""
    assert checked(table(), {"cards": "", "clerks": ""})


@pytest.mark.parametrize("data", [b"", b"[]", b'{"services": {}}', b"\xff", b"[" * 5_000])
def test_what_is_no_table_is_refused(data: bytes) -> None:
    """Whatever a person uploads."""
    with pytest.raises(BadValueError):
        table_of(data)


def test_the_hash_is_that_of_the_content() -> None:
    """Order of keys and blanks do not matter, everything else does."""
    turned = {"routes": dict(reversed(CARDS["routes"].items())), "services": CARDS["services"]}

    assert table_hash(table()) == table_hash(table(**turned))
    assert table_hash(table()) != table_hash(table(routes={}))
    assert table_of(encoded(table())) == table()


def test_code_and_table_are_pinned_together() -> None:
    """One hash or two; there and back."""
    assert [split(joined("a1", "")), split(joined("a1", "b2"))] == [("a1", ""), ("a1", "b2")]
