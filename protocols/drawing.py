"""Drawing: a graph or a machine as an SVG picture, in layers from top to bottom.

    nodes and edges -> a layer for each node -> an order in each layer with few crossings -> SVG

Edges that pass layers get a point in each of them, so that lines do not run through boxes. What
leads back, as in a machine, is drawn on the right side. Colours work on white and on black.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from itertools import pairwise
from typing import Final

import msgspec

CHAR_PX: Final = 7.2
LINE_PX: Final = 16
PAD_PX: Final = 12
GAP_X: Final = 28
GAP_Y: Final = 54
MARGIN: Final = 20
TEXT_CHARS: Final = 34
SWEEPS: Final = 8
"""Of ordering: more of them change next to nothing."""
POINTS_MAX: Final = 10_000
"""Of all edges together: in a picture that has more, the longest edges run straight."""
BACK_PX: Final = 18
SMALL_PX: Final = 5.4
"""Of a character beside an edge."""

STYLES: Final = {
    "service": ("#e8f0fe", "#3b6fd4"),
    "gate": ("#fff4d6", "#b7791f"),
    "child": ("#ece7fb", "#6b4fc8"),
    "signal": ("#e3f6f1", "#1f8a70"),
    "sleep": ("#eef0f2", "#6b7680"),
    "set": ("#eef0f2", "#6b7680"),
    "end": ("#e4f5e6", "#2f8f46"),
    "failed": ("#fde8e6", "#c43c2f"),
    "parked": ("#fff4d6", "#b7791f"),
}
"""Fill and line of each kind of box."""


class Box(msgspec.Struct, kw_only=True):
    """One node: its first line is its name."""

    name: str
    lines: tuple[str, ...] = ()
    kind: str = "service"
    dashed: bool = False


class Line(msgspec.Struct, kw_only=True):
    """One edge, with what stands beside it."""

    begin: str
    end: str
    text: str = ""
    dashed: bool = False


class _Place(msgspec.Struct):
    """Where a box, or a point of a long edge, is: its middle. ``space`` is kept free for it."""

    width: float
    height: float
    space: float
    x: float = 0.0
    y: float = 0.0


def svg(title: str, boxes: Iterable[Box], lines: Iterable[Line]) -> str:
    """Return a picture of nodes and edges. Edges to unknown nodes are left out."""
    nodes = {each.name: each for each in boxes}
    edges = _merged(each for each in lines if each.begin in nodes and each.end in nodes)
    layer = _layers(nodes, edges)
    forward = [each for each in edges if layer[each.begin] < layer[each.end]]
    back = [each for each in edges if layer[each.begin] >= layer[each.end]]
    rows, routes = _rows(nodes, forward, layer)
    texts: dict[str, int] = {}
    for each in forward:
        texts[each.end] = max(texts.get(each.end, 0), len(_cut(each.text)))
    places = _place(rows, nodes, texts)
    width = max((each.x + each.width / 2 for each in places.values()), default=100) + MARGIN
    height = max((each.y + each.height / 2 for each in places.values()), default=20) + MARGIN
    drawn = []
    told: dict[str, int] = {}
    for edge in forward:
        stands = told.get(edge.end, 0)
        told[edge.end] = stands + bool(edge.text)
        drawn.append(_forward(edge, [places[name] for name in routes[id(edge)]], stands))
    for number, edge in enumerate(back):
        side = width + BACK_PX * number
        drawn.append(_back(edge, places[edge.begin], places[edge.end], side))
    text = max((len(each.text) for each in back), default=0) * CHAR_PX
    width += (BACK_PX * len(back) + text) if back else 0
    drawn += [_box(each, places[each.name]) for each in nodes.values()]
    top = LINE_PX + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height + top:.0f}" '
        f'viewBox="0 0 {width:.0f} {height + top:.0f}" font-family="Helvetica, Arial, sans-serif" '
        f'font-size="12">\n<title>{escape(title)}</title>\n'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="#7a8591"/>'
        "</marker></defs>\n"
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f'<text x="{MARGIN}" y="{MARGIN + 4}" font-size="15" font-weight="bold" fill="#1f2933">'
        f"{escape(title)}</text>\n"
        f'<g transform="translate(0 {top})">\n' + "\n".join(drawn) + "\n</g>\n</svg>\n"
    )


def _merged(lines: Iterable[Line]) -> list[Line]:
    """Return edges with one for each pair of nodes; what they say stands in one text."""
    found: dict[tuple[str, str], Line] = {}
    for each in lines:
        key = (each.begin, each.end)
        if key in found:
            text = " / ".join(filter(None, (found[key].text, each.text)))
            dashed = found[key].dashed and each.dashed
            found[key] = Line(begin=each.begin, end=each.end, text=text, dashed=dashed)
        else:
            found[key] = each
    return list(found.values())


# Where everything is


def _layers(nodes: Mapping[str, Box], edges: Iterable[Line]) -> dict[str, int]:
    """Return the layer of each node: one below the lowest of those that lead to it.

    What leads back to a node on the way to it does not count.
    """
    outgoing: dict[str, list[str]] = {name: [] for name in nodes}
    incoming = dict.fromkeys(nodes, 0)
    for each in edges:
        if each.begin != each.end:
            outgoing[each.begin].append(each.end)
            incoming[each.end] += 1
    order, back = _ordered(nodes, outgoing, incoming)
    layer = dict.fromkeys(nodes, 0)
    for name in order:
        for to in outgoing[name]:
            if (name, to) not in back:
                layer[to] = max(layer[to], layer[name] + 1)
    return layer


def _ordered(
    nodes: Iterable[str], outgoing: Mapping[str, list[str]], incoming: Mapping[str, int]
) -> tuple[list[str], set[tuple[str, str]]]:
    """Return the nodes, each before those that it leads to, and the edges that lead back."""
    state: dict[str, int] = {}
    done: list[str] = []
    back: set[tuple[str, str]] = set()
    for root in sorted(nodes, key=lambda name: incoming[name] > 0):
        stack = [(root, iter(outgoing[root]))] if root not in state else []
        state.setdefault(root, 1)
        while stack:
            name, followers = stack[-1]
            to = next(followers, None)
            if to is None:
                state[name] = 2
                done.append(name)
                stack.pop()
            elif to not in state:
                state[to] = 1
                stack.append((to, iter(outgoing[to])))
            elif state[to] == 1:
                back.add((name, to))
    return done[::-1], back


def _rows(
    nodes: Mapping[str, Box], edges: list[Line], layer: Mapping[str, int]
) -> tuple[list[list[str]], dict[int, list[str]]]:
    """Return the order in each layer, and the way of each edge, by points in between."""
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    for name in nodes:
        rows[layer[name]].append(name)
    routes: dict[int, list[str]] = {}
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    bent = _bent(edges, layer)
    for number, edge in enumerate(edges):
        way = [edge.begin]
        for at in range(layer[edge.begin] + 1, layer[edge.end]) if id(edge) in bent else ():
            point = f"\0{number}.{at}"
            rows[at].append(point)
            way.append(point)
        way.append(edge.end)
        routes[id(edge)] = way
        for one, two in pairwise(way):
            below.setdefault(one, []).append(two)
            above.setdefault(two, []).append(one)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for at in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            near = above if down else below
            other = {name: n for n, name in enumerate(rows[at - 1 if down else at + 1])}
            rows[at] = _by_middle(rows[at], near, other)
    return rows, routes


def _bent(edges: list[Line], layer: Mapping[str, int]) -> set[int]:
    """Return the edges that get points in the layers that they pass, the short ones first."""
    found: set[int] = set()
    left = POINTS_MAX
    for each in sorted(edges, key=lambda each: layer[each.end] - layer[each.begin]):
        left -= layer[each.end] - layer[each.begin] - 1
        if left < 0:
            break
        found.add(id(each))
    return found


def _by_middle(
    row: list[str], near: Mapping[str, list[str]], other: Mapping[str, int]
) -> list[str]:
    """Return a row, ordered by the middle of the neighbours of each."""
    keys = {}
    for number, name in enumerate(row):
        found = sorted(other[each] for each in near.get(name, ()) if each in other)
        keys[name] = sum(found) / len(found) if found else float(number)
    return sorted(row, key=lambda name: keys[name])


def _place(
    rows: list[list[str]], nodes: Mapping[str, Box], texts: Mapping[str, int]
) -> dict[str, _Place]:
    """Return where each box and point is; rows stand in the middle of the picture."""
    places = {name: _size(nodes.get(name), texts.get(name, 0)) for row in rows for name in row}
    widths = [
        sum(places[name].space for name in row) + GAP_X * max(0, len(row) - 1) for row in rows
    ]
    widest = max(widths, default=0)
    y = 0.0
    for row, width in zip(rows, widths, strict=True):
        tallest = max((places[name].height for name in row), default=0)
        x = MARGIN + (widest - width) / 2
        for name in row:
            found = places[name]
            found.x, found.y = x + found.space / 2, y + tallest / 2
            x += found.space + GAP_X
        y += tallest + GAP_Y
    return places


def _size(box: Box | None, text: int) -> _Place:
    if box is None:
        return _Place(2, 2, 2)
    longest = max(len(_cut(each)) for each in (box.name, *box.lines))
    width = max(70, longest * CHAR_PX + 2 * PAD_PX)
    height = LINE_PX * (1 + len(box.lines)) + 2 * PAD_PX - 6
    return _Place(width, height, max(width, text * SMALL_PX))


# How it is drawn


def _box(box: Box, at: _Place) -> str:
    fill, line = STYLES.get(box.kind, STYLES["service"])
    left, top = at.x - at.width / 2, at.y - at.height / 2
    dash = ' stroke-dasharray="5 4"' if box.dashed else ""
    round_px = 16 if box.kind in {"sleep", "signal", "end", "failed"} else 6
    y = top + PAD_PX + 9
    bold = ' font-weight="bold"'
    text = [
        f'<text x="{at.x:.1f}" y="{y + LINE_PX * number:.1f}" text-anchor="middle" '
        f'fill="{"#52606d" if number else "#1f2933"}"{"" if number else bold}>'
        f"{escape(_cut(each))}</text>"
        for number, each in enumerate((box.name, *box.lines))
    ]
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{at.width:.1f}" height="{at.height:.1f}" '
        f'rx="{round_px}" fill="{fill}" stroke="{line}" stroke-width="1.4"{dash}/>\n'
        + "\n".join(text)
    )


def _forward(edge: Line, way: list[_Place], stands: int) -> str:
    """Draw an edge from the bottom of one box, through its points, to the top of another.

    Its text is above the box, and above those that ``stands`` counts.
    """
    first, last = way[0], way[-1]
    x, y = first.x, first.y + first.height / 2
    path = f"M{x:.1f} {y:.1f}"
    for place in way[1:]:
        to_x = place.x
        to_y = place.y - place.height / 2 if place is last else place.y
        half = (y + to_y) / 2
        path += f" C{x:.1f} {half:.1f} {to_x:.1f} {half:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
    return _path(path, edge) + _label(edge.text, x, y - 12 - 11 * stands, anchor="middle")


def _back(edge: Line, begin: _Place, end: _Place, side: float) -> str:
    """Draw an edge that leads back: between the rows, and along the right side."""
    x, y = begin.x + BACK_PX, begin.y + begin.height / 2
    to_x, to_y = end.x + BACK_PX, end.y - end.height / 2
    low, high = y + BACK_PX, to_y - BACK_PX
    path = f"M{x:.1f} {y:.1f} V{low:.1f} H{side:.1f} V{high:.1f} H{to_x:.1f} V{to_y:.1f}"
    return _path(path, edge) + _label(edge.text, side + 4, (y + to_y) / 2, anchor="start")


def _path(path: str, edge: Line) -> str:
    dash = ' stroke-dasharray="5 4"' if edge.dashed else ""
    return (
        f'<path d="{path}" fill="none" stroke="#7a8591" stroke-width="1.3" '
        f'stroke-linejoin="round" marker-end="url(#arrow)"{dash}/>'
    )


def _label(text: str, x: float, y: float, *, anchor: str) -> str:
    if not text:
        return ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="10" fill="#52606d" '
        f'stroke="#ffffff" stroke-width="3" paint-order="stroke">{escape(_cut(text))}</text>'
    )


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS else text[: TEXT_CHARS - 1] + "…"
