"""``approval_required``: the short form of a gate before a step.

    deploy: {needs: [build], approval_required: true, …}

    deploy-approval: {needs: [build], gate: {title: Begin deploy?, …}}
    deploy:          {needs: [deploy-approval], …}

What stands there instead of ``true`` are keys of the gate.
"""

from __future__ import annotations

from typing import Final

from actors.files.yaml_nodes import Node, Rewritten
from actors.files.yaml_struct import Builder

WORD: Final = "approval_required"
_MOVED: Final = ("needs", "join")
_COPIED: Final[tuple[str, ...]] = ("needs", "join", "when")

Entries = dict[str, tuple[Node, Node]]


def approvals(steps: Node, builder: Builder) -> None:
    """Put a gate before each step that wants one."""
    assert steps.entries is not None
    found: Entries = {}
    needed = _needed(steps.entries)
    for name, (key, step) in steps.entries.items():
        asked = None if step.entries is None else step.entries.pop(WORD, None)
        if asked is not None and asked[1].value is not False:
            at, value = asked
            gate = f"{name}-approval"
            if gate in steps.entries:
                builder.wrong(at, f"there is a step {gate!r} already", "give it another name")
            elif value.value is not True and value.entries is None:
                builder.wrong(value, "true, false, or the keys of a gate are expected here")
            else:
                assert step.entries is not None
                found[gate] = (at, _gate(at, name, step.entries, value, needed))
                kept = {word: each for word, each in step.entries.items() if word not in _MOVED}
                step.entries = {**kept, "needs": (at, _list(at, [gate]))}
        found[name] = (key, step)
    steps.entries = found


def _gate(at: Node, name: str, step: Entries, value: Node, needed: dict[str, list[str]]) -> Node:
    """Return the step that is the gate."""
    own = value.entries or {}
    needs = [] if "needs" not in step else _names(step["needs"][1])
    # Work is sent back only where nobody else has begun with it.
    again = [each for each in needs if needed.get(each) == [name]]
    decisions = [
        "approve",
        *(["modify"] if "fields" in own else []),
        "reject",
        *(["retry"] if again else []),
        "skip",
        "cancel",
    ]
    if {"quorum"} & own.keys():
        decisions = [each for each in decisions if each not in {"modify", "skip"}]
    gate: Entries = {
        "title": (at, _text(at, f"Begin {name}?")),
        "decisions": (at, _list(at, decisions)),
        **({"retry": (at, _list(at, again))} if again and "decisions" not in own else {}),
        **own,
    }
    copied = {word: step[word] for word in _COPIED if word in step}
    return _mapping(at, {"gate": (at, _mapping(at, gate)), **copied})


def _needed(steps: Entries) -> dict[str, list[str]]:
    """Return who needs each step."""
    found: dict[str, list[str]] = {}
    for name, (_, step) in steps.items():
        needs = (step.entries or {}).get("needs")
        for each in _names(needs[1]) if needs else ():
            found.setdefault(each, []).append(name)
    return found


def _names(needs: Node) -> list[str]:
    return [
        each.value
        for each in (needs.items if needs.items is not None else [needs])
        if isinstance(each.value, str)
    ]


def _text(at: Node, text: str) -> Node:
    return Rewritten(text, at.line, at.column, at.width)


def _list(at: Node, texts: list[str]) -> Node:
    node = Node(None, at.line, at.column, at.width)
    node.items = [_text(at, each) for each in texts]
    return node


def _mapping(at: Node, entries: Entries) -> Node:
    node = Node(None, at.line, at.column, at.width)
    node.entries = entries
    return node
