"""Differences between two versions of a definition, and pictures of them."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import msgspec
import pytest

from protocols.changes import Change, as_lines, changes
from protocols.graphs.graph import Graph, GraphStep
from protocols.machines.machine import Machine, State
from protocols.pictures import graph_svg, machine_svg
from tests.graphs.orders import ORDER
from tests.motions.machines import PERMIT

STEPS = {
    "a": GraphStep(service="s", operation="a"),
    "b": GraphStep(service="s", operation="b", needs="a", timeout=5),
}
OLD = Graph(name="g", steps=STEPS)
NEW = Graph(
    name="g",
    timeout="1h",
    steps={
        "a": GraphStep(service="t", operation="a"),
        "b": GraphStep(service="s", operation="b"),
        "c": GraphStep(service="s", operation="c", needs="b"),
    },
)


def test_changes_are_told_by_what_they_mean() -> None:
    """What is done to the world, what comes behind what, and the rest."""
    found = {each.where: each for each in changes(OLD, NEW)}

    assert {key: (each.what, each.about) for key, each in found.items()} == {
        "step a.service": ("changed", "effect"),
        "step b.needs": ("removed", "edge"),
        "step b.timeout": ("removed", ""),
        "step c": ("added", "effect"),
        "timeout": ("added", ""),
    }
    assert (found["step a.service"].old, found["step a.service"].new) == ("s", "t")


def test_the_same_definition_has_no_changes() -> None:
    """However it was written: short forms are long ones when they are read."""
    again = msgspec.convert(msgspec.to_builtins(ORDER), Graph)

    assert changes(ORDER, again) == []
    assert changes(PERMIT, PERMIT) == []


def test_changes_are_read_from_the_older_one_to_the_newer() -> None:
    """One line each, in columns."""
    machine = Machine(name="m", initial="A", states={"A": State(terminal=True)})

    assert as_lines(changes(OLD, NEW))[:3] == [
        '~ step a.service  "s" -> "t"',
        '- step b.needs    ["a"]',
        "- step b.timeout  5.0",
    ]
    assert changes(OLD, machine) == [
        Change(what="changed", where="the definition", old="a graph", new="a state machine")
    ]


@pytest.mark.parametrize("text", [graph_svg(ORDER), machine_svg(PERMIT)])
def test_a_picture_shows_every_part_once(text: str) -> None:
    """It is XML, and no box stands over another one."""
    top = ET.fromstring(text)  # noqa: S314 - our own text
    names = ORDER.steps if "<title>order" in text else PERMIT.states
    shown = [each.text for each in top.iter("{http://www.w3.org/2000/svg}text")]
    boxes = [
        tuple(float(each.get(key, 0)) for key in ("x", "y", "width", "height"))
        for each in top.iter("{http://www.w3.org/2000/svg}rect")
        if each.get("width") != "100%"
    ]

    assert [shown.count(name) for name in names] == [1] * len(names)
    assert len(boxes) == len(names)
    for number, (x, y, width, height) in enumerate(boxes):
        for left, high, wide, tall in boxes[:number]:
            beside = x >= left + wide or left >= x + width
            assert beside or y >= high + tall or high >= y + height


def test_a_picture_of_odd_texts_is_still_one() -> None:
    """What people write stands in it as text."""
    graph = Graph(
        name="<&>",
        steps={"a": GraphStep(service="s", operation="a", when='input.x < 3 && "<b>" == input.y')},
    )

    top = ET.fromstring(graph_svg(graph))  # noqa: S314 - our own text

    assert top.findtext("{http://www.w3.org/2000/svg}title") == "<&>"
