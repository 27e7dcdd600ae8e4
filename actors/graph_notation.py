"""Other ways to write a graph, brought to the one form that ``protocols.graph`` has.

Words are exchanged in the nodes, before anything is built: so each mistake keeps its place.
"""

from __future__ import annotations

from typing import Final

from actors.yaml_nodes import Node
from actors.yaml_struct import Builder

_STEP_WORDS: Final = {"dependencies": "needs"}


def normalise(top: Node, builder: Builder) -> None:
    """Bring the nodes of a graph to the one form; what stands there twice is wrong."""
    steps = (top.entries or {}).get("steps")
    if steps is None:
        return
    for _, step in (steps[1].entries or {}).values():
        if step.entries is not None:
            step.entries = _renamed(step.entries, _STEP_WORDS, builder)


def _renamed(
    entries: dict[str, tuple[Node, Node]], words: dict[str, str], builder: Builder
) -> dict[str, tuple[Node, Node]]:
    if not words.keys() & entries.keys():
        return entries
    found: dict[str, tuple[Node, Node]] = {}
    for name, (key, value) in entries.items():
        word = words.get(name, name)
        if word != name and word in entries:
            builder.wrong(key, f"{name!r} is the same as {word!r}", "take one of the two away")
        else:
            found[word] = (key, value)
    return found
