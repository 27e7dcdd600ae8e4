"""Changes: what is another one in a newer version of a graph or a machine, by meaning.

    + step check            desk.check, behind charge
    - step audit
    ~ step ship.needs       ["pack"] -> ["pack", "check"]

Layout, comments and short forms are no part of a definition, so they are no change.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.graphs.graph import Graph
from protocols.machines.machine import Machine

PARTS: Final = {"steps": "step", "states": "state", "input": "input"}
"""What is compared part by part, and what one of them is called."""
EFFECTS: Final = frozenset(
    {"service", "operation", "child", "params", "foreach", "undo", "owner", "pivot"}
)
"""Keys that say what is done to the world."""
EDGES: Final = frozenset({"needs", "join", "when", "next", "signals", "initial"})
"""Keys that say what comes behind what."""

About = Literal["", "effect", "edge"]


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One difference. ``old`` and ``new`` are what stands there; one of them may be absent."""

    what: Literal["added", "removed", "changed"]
    where: Annotated[str, Meta(description="Such as `step ship.needs`.")]
    old: Any = None
    new: Any = None
    about: Annotated[
        About,
        Meta(description="`effect`: what is done to the world. `edge`: what comes behind what."),
    ] = ""


def changes(old: Graph | Machine, new: Graph | Machine) -> list[Change]:
    """Return how a definition differs from an older one, in the order of its parts."""
    before, after = msgspec.to_builtins(old), msgspec.to_builtins(new)
    if isinstance(old, Graph) != isinstance(new, Graph):
        kinds = {True: "a graph", False: "a state machine"}
        was, now = kinds[isinstance(old, Graph)], kinds[isinstance(new, Graph)]
        return [Change(what="changed", where="the definition", old=was, new=now)]
    found: list[Change] = []
    for key in {**before, **after}:
        if key not in PARTS:
            found += _key(key, key, before, after)
            continue
        inner_before, inner_after = before.get(key) or {}, after.get(key) or {}
        for name in {**inner_before, **inner_after}:
            found += _part(f"{PARTS[key]} {name}", name, inner_before, inner_after)
    return found


def _part(where: str, name: str, before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """Compare one step, state or field."""
    if name in before and name in after:
        old, new = before[name], after[name]
        if not (isinstance(old, dict) and isinstance(new, dict)):
            return _key(where, name, before, after)
        return [each for key in {**old, **new} for each in _key(f"{where}.{key}", key, old, new)]
    (change,) = _key(where, name, before, after)
    return [msgspec.structs.replace(change, about="effect" if where[:4] == "step" else "edge")]


def _key(where: str, key: str, before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    old, new = before.get(key), after.get(key)
    if old == new:
        return []
    about: About = "effect" if key in EFFECTS else "edge" if key in EDGES else ""
    what: Literal["added", "removed", "changed"] = "changed"
    if key not in before or key not in after:
        what = "added" if key not in before else "removed"
    return [Change(what=what, where=where, old=old, new=new, about=about)]


def as_lines(found: list[Change]) -> list[str]:
    """Return changes as text, one a line."""
    width = max((len(each.where) for each in found), default=0)
    return [f"{_SIGNS[each.what]} {each.where:<{width}}  {_told(each)}".rstrip() for each in found]


_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}


def _told(change: Change) -> str:
    if change.what == "changed":
        return f"{_brief(change.old)} -> {_brief(change.new)}"
    return _brief(change.new if change.what == "added" else change.old)


def _brief(value: Any) -> str:
    return msgspec.json.encode(value).decode()
