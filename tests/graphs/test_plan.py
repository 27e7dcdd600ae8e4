"""Plans and pictures of graphs: order, effects, times; nothing is run."""

from __future__ import annotations

import msgspec

from protocols.graphs.graph import Graph, GraphStep
from protocols.graphs.order import Order
from protocols.graphs.text import as_mermaid, as_text, plan, plan_text
from tests.graphs.orders import ORDER, graph_of


def test_a_plan_tells_order_effects_and_times() -> None:
    """Two calls of 30 s with 5 s between; the charge also at another bank."""
    found = plan(ORDER)
    text = plan_text(found)
    by_name = {each.name: each for each in found.steps}

    assert [(each.name, each.level) for each in found.steps] == [
        ("check", 1),
        ("charge", 2),
        ("gift", 2),
        ("pack", 3),
        ("ship", 4),
        ("tell", 5),
    ]
    assert by_name["check"].worst_s == 30 + 5 + 30
    assert by_name["charge"].worst_s == 2 * (30 + 5 + 30)
    assert by_name["ship"].worst_s == 600 + 5 + 600
    assert by_name["charge"].halts
    assert found.longest == ("check", "charge", "pack", "ship", "tell")
    assert found.worst_s == 65 + 130 + 65 + 1205 + 65
    assert found.no_undo == ("check", "gift", "ship", "tell")
    assert [each.name for each in found.steps if each.kept] == ["ship", "tell"]
    assert text.startswith(
        "order: 6 steps, nothing is run\nlevel 1\n  check   stock.check; up to 1m5s"
    )
    assert "  pack    depot.pack; for each of {{input.items}}; up to 1m5s each; undone by" in text
    assert "worst case: 25m30s, along check -> charge -> pack -> ship -> tell\n" in text
    assert "limit: 2d\n" in text


def test_a_graph_is_shown_as_text_and_as_a_diagram() -> None:
    """For people: what comes after what, and under which condition."""
    text = as_text(ORDER)
    diagram = as_mermaid(ORDER)

    assert (
        "pack  depot.pack\n    after charge, gift\n    for each of {{input.items}}, 2 at" in text
    )
    assert "on network: retry, then fallback (other-bank)" in text
    assert diagram.startswith('flowchart TD\n    s0["check<br/>stock.check"]\n')
    assert '    s0 -->|"input.amount > 1000 && steps.check.result.gifts > 0"| s2\n' in diagram


def test_a_cycle_is_named_step_by_step() -> None:
    """In the order in which the steps would wait for each other; others are no part of it."""
    steps: dict[str, str | tuple[str, ...]] = {"a": "c", "b": "a", "c": "b", "d": "c", "e": ()}
    graph = Graph(
        name="x",
        steps={
            name: GraphStep(service="s", operation="o", needs=needs)
            for name, needs in steps.items()
        },
    )

    order = Order(graph)

    assert order.cycle == ["a", "b", "c", "a"]
    assert order.names == ["e"]


def test_what_comes_before_is_known_across_steps() -> None:
    """Also where many ways lead from one to the other."""
    order = Order(ORDER)

    assert order.comes_before("check", "tell")
    assert order.comes_before("gift", "ship")
    assert not order.comes_before("gift", "charge")
    assert not order.comes_before("tell", "check")


def test_a_step_that_nobody_may_repeat_has_one_try_at_most_where_it_is_unknown() -> None:
    """And a graph survives its own JSON with all of that."""
    graph = graph_of("""
        name: small
        steps: {a: {service: s, operation: a, idempotent: false, retry: 1, timeout: 10s}}
    """)

    assert plan(graph).worst_s == 10
    assert msgspec.json.decode(msgspec.json.encode(graph), type=Graph) == graph
