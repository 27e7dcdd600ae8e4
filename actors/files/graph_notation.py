"""Other ways to write a graph, brought to the one form that ``protocols.graphs.graph`` has.

    steps as a list    {id, component, action, parameters, dependencies, retryPolicy, …}
    phases             {id, agent_type, method, dependencies, max_retries, …}

Words are exchanged in the nodes, before anything is built: so each mistake keeps its place. What
such a file says and movant cannot do yet is refused, and never left out on the quiet.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from actors.files.yaml_nodes import Node, Rewritten
from actors.files.yaml_struct import Builder
from actors.graphs.approval import WORD as APPROVAL
from actors.graphs.approval import approvals
from protocols.findings import did_you_mean
from protocols.graphs.references import STEP_FIELDS
from protocols.references import Path, Reference, WrongReference, parse

Entries = dict[str, tuple[Node, Node]]

STEP_WORDS: Final = {"dependencies": "needs"}
LIST_WORDS: Final = {
    "component": "service",
    "action": "operation",
    "parameters": "params",
    "dependencies": "needs",
    "retryPolicy": "retry",
}
PHASE_WORDS: Final = {"agent_type": "service", "method": "operation", "dependencies": "needs"}
STEP_TYPES: Final = ("llm", "mcp", "web", "mobile", "database", "api")
"""Of a step in a list: what its component is. A request is the same for all of them."""
FALLBACKS: Final = {
    "component-replacement": "replacementComponent",
    "parameter-adjustment": "adjustments",
    "workflow-modification": "modifications",
    "manual-intervention": "reason",
}
"""Types of fallbacks, each with the key that says more."""
TRIGGER_WORDS: Final = {"schedule": "schedule", "webhook": "endpoint", "manual": "permission"}
"""Types of triggers, each with the key that says the rest."""
_TIMES: Final = ("timeout", "deadline", "warn_after")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]+")
"""A dot as well: no service and no connector may have one in its name."""


def normalise(top: Node, builder: Builder) -> None:
    """Bring the nodes of a graph to the one form; what stands there twice is wrong."""
    if top.entries is None:
        return
    if "phases" in top.entries and "steps" not in top.entries:
        top.entries = _phases(top.entries, builder)
    elif "steps" in top.entries and top.entries["steps"][1].items is not None:
        top.entries = _list(top.entries, builder)
    if "triggers" in top.entries:
        _triggers(top.entries["triggers"][1], builder)
    _fallbacks(top.entries, builder)
    steps = top.entries.get("steps")
    for _, step in ((steps[1].entries if steps else None) or {}).values():
        if step.entries is not None:
            step.entries = _renamed(step.entries, STEP_WORDS, builder)
            _fallbacks(step.entries, builder)
    if steps is not None and steps[1].entries is not None:
        approvals(steps[1], builder)


def _triggers(triggers: Node, builder: Builder) -> None:
    """Bring triggers with a type to those that have one key of their own."""
    for each in triggers.items or ():
        entries = each.entries
        if entries is None or "type" not in entries:
            continue
        key, kind = entries.pop("type")
        word = TRIGGER_WORDS.get(str(kind.plain()))
        if word is None:
            known = did_you_mean(str(kind.plain()), TRIGGER_WORDS)
            builder.wrong(kind, "this is no type of a trigger", known)
        elif word in entries:
            says = entries.pop(word)
            entries[str(kind.plain())] = says
        else:
            builder.wrong(key, f"{word!r} is missing", f"write '{word}: …' beside it")


# A list of steps


def _list(entries: Entries, builder: Builder) -> Entries:
    """Bring a file with a list of steps to the one form."""
    entries = _named(dict(entries), builder)
    key, steps = entries["steps"]
    camel = any("component" in (each.entries or {}) for each in steps.items or ())
    _milliseconds(entries, builder, known=camel)
    if "retryPolicy" in entries:
        at, policy = entries.pop("retryPolicy")
        _policy(policy, builder)
        defaults = _mapping(at, {"retry": (at, policy)})
        if "defaults" in entries:
            builder.wrong(at, "'retryPolicy' stands beside 'defaults'", "write 'retry' there")
        entries["defaults"] = (at, defaults)
    entries["steps"] = (key, _by_id(steps, builder, _listed))
    return entries


def _listed(_: str, entries: Entries, builder: Builder) -> Entries:
    """Bring one step of a list to the one form."""
    camel = "component" in entries
    entries = _renamed(_titled(entries), LIST_WORDS, builder)
    _milliseconds(entries, builder, known=camel)
    if "retry" in entries:
        _policy(entries["retry"][1], builder)
    if not camel:
        return entries
    kind = entries.pop("type", None)
    if kind is not None and kind[1].value not in STEP_TYPES:
        known = did_you_mean(str(kind[1].plain()), STEP_TYPES)
        builder.wrong(kind[1], "this is no type of a step", known)
    _as_name(entries["service"][1])
    for word in {"params", "foreach"} & entries.keys():
        at, value = entries[word]
        entries[word] = (at, _referring(value))
    return entries


def _milliseconds(entries: Entries, builder: Builder, *, known: bool) -> None:
    """Read bare numbers of times as milliseconds, where it is ``known`` that they are."""
    if known and "timeoutMs" in entries:
        given = entries.pop("timeoutMs")
        if "timeout" in entries:
            builder.wrong(given[0], "'timeoutMs' is the same as 'timeout'", "take one away")
        entries["timeout"] = given
    for word in _TIMES:
        if word not in entries:
            continue
        at = entries[word][1]
        if isinstance(at.value, bool) or not isinstance(at.value, int | float):
            continue
        if known and word == "timeout":
            at.value /= 1_000
        else:
            hint = f"write the unit, such as '{at.value}s' or '{at.value}ms'"
            builder.wrong(at, "a time in a list of steps may be meant in milliseconds", hint)


def _policy(policy: Node, builder: Builder) -> None:
    if policy.entries is not None:
        policy.entries = _renamed(policy.entries, {"maxAttempts": "attempts"}, builder)


def _fallbacks(entries: Entries, builder: Builder) -> None:
    """Bring fallbacks with a ``type`` to those that graphs have, in their order."""
    if "fallbacks" not in entries:
        return
    for each in entries["fallbacks"][1].items or ():
        if each.entries is not None and "type" in each.entries:
            each.entries = _fallback(each, each.entries, builder)


def _fallback(at: Node, entries: Entries, builder: Builder) -> Entries:
    kind = entries["type"][1]
    word = FALLBACKS.get(str(kind.plain()))
    if word is None:
        known = did_you_mean(str(kind.plain()), FALLBACKS)
        builder.wrong(kind, f"{str(kind.plain())[:60]!r} is no kind of a fallback", known)
        return {"result": (at, Node(None, at.line, at.column, at.width))}
    if entries.keys() != {"type", word}:
        message = f"a fallback of this type says {word!r}, and nothing else"
        builder.wrong(at, message, f"write 'type' and {word!r}")
        return entries
    key, value = entries[word]
    if word == "replacementComponent":
        return {"service": (key, _as_name(value))}
    if word == "adjustments":
        return {"params": (key, _referring(value))}
    if word == "reason":
        return {"gate": (key, value)}
    found = dict(value.entries or {})
    changed: Entries = {"skip": found.pop("skipSteps")} if "skipSteps" in found else {}
    return {**changed, **({"result": (key, _mapping(key, found))} if found else {})}


# Phases


def _phases(entries: Entries, builder: Builder) -> Entries:
    """Bring a file with phases to the one form: each gets what the run and its file say."""
    entries = _named(dict(entries), builder)
    key, phases = entries.pop("phases")
    given: Entries = {
        word: entries.pop(word) for word in ("technology", "config") if word in entries
    }

    def phase(name: str, found: Entries, builder: Builder) -> Entries:
        found = _renamed(_titled(found), PHASE_WORDS, builder)
        if "service" in found:
            _as_name(found["service"][1])
        _retries(found, builder)
        if "service" in found and "params" not in found:
            handed = given
            if APPROVAL in found and "config" in given:
                handed = {**given, **_approved(name, found, given["config"])}
            found["params"] = (key, _handed_on(key, handed, found.get("needs")))
        return found

    entries["steps"] = (key, _by_id(phases, builder, phase))
    return entries


def _retries(entries: Entries, builder: Builder) -> None:
    """Count retries as calls: one more."""
    if "max_retries" not in entries:
        return
    at, retries = entries.pop("max_retries")
    if isinstance(retries.value, bool) or not isinstance(retries.value, int) or retries.value < 0:
        builder.wrong(retries, f"a whole number >= 0 is expected here, not {retries.kind}")
    elif "retry" in entries:
        builder.wrong(at, "'max_retries' stands beside 'retry'", "take one of the two away")
    else:
        retries.value += 1
        entries["retry"] = (at, retries)


def _handed_on(at: Node, given: Entries, needs: tuple[Node, Node] | None) -> Node:
    """Return what a phase gets: the input of the run, and the results of the phases before it."""
    entries = {"input": (at, _text(at, "{{input}}")), **given}
    names = [] if needs is None else [each.plain() for each in needs[1].items or [needs[1]]]
    results = {
        name: (at, _text(at, f"{{{{steps.{name}.result}}}}"))
        for name in names
        if isinstance(name, str)
    }
    if results:
        entries["results"] = (at, _mapping(at, results))
    return _mapping(at, entries)


def _approved(name: str, found: Entries, config: tuple[Node, Node]) -> Entries:
    """Let who approves a phase change its configuration; return what the phase gets then."""
    key, value = found[APPROVAL]
    wanted = value.entries is not None or value.value is True
    if not wanted or (value.entries and "values" in value.entries):
        return {}
    shown = _mapping(key, {"config": config})
    fields = _mapping(key, {"config": (key, _text(key, "object"))})
    found[APPROVAL] = (
        key,
        _mapping(key, {"values": (key, shown), "fields": (key, fields), **(value.entries or {})}),
    )
    return {"config": (key, _text(key, f"{{{{steps.{name}-approval.result.values.config}}}}"))}


# Both


def _named(entries: Entries, builder: Builder) -> Entries:
    """Let ``id`` be the name, and the name of a file for people a part of its description."""
    if "id" not in entries:
        return entries
    name = entries.pop("id")
    entries = _titled(entries)
    return _renamed({"id": name, **entries}, {"id": "name"}, builder)


def _titled(entries: Entries) -> Entries:
    """Let the name that people read be the description, or its beginning."""
    found = dict(entries)
    title = found.pop("name", None)
    if title is None:
        return found
    key, text = title
    if "description" in found:
        more = found["description"][1]
        both = isinstance(text.value, str) and isinstance(more.value, str)
        text = _text(text, f"{text.value}: {more.value}") if both else more
    found["description"] = (key, text)
    return found


def _by_id(steps: Node, builder: Builder, one: Callable[[str, Entries, Builder], Entries]) -> Node:
    """Return a list of steps as a mapping by their ids."""
    found: Entries = {}
    for each in steps.items or ():
        if each.entries is None:
            builder.wrong(each, f"a mapping is expected here, not {each.kind}")
            continue
        entries = dict(each.entries)
        _, at = entries.pop("id", (each, each))
        if at is each:
            builder.wrong(at, "'id' is missing", "write 'id: …', the name of the step")
        elif not isinstance(at.value, str):
            builder.wrong(at, f"a text is expected here, not {at.kind}", "the name of the step")
        elif at.value in found:
            hint = f"it is in line {found[at.value][0].line} already: choose another name"
            builder.wrong(at, f"the id {at.value[:60]!r} stands twice", hint)
        else:
            each.entries = one(at.value, entries, builder)
            found[at.value] = (at, each)
    if steps.items is None:
        builder.wrong(steps, f"a list is expected here, not {steps.kind}")
    return _mapping(steps, found)


def _as_name(node: Node) -> Node:
    """Let the text of a node be the name of a service: in ``local-llama3.1:8b`` two must go."""
    if isinstance(node.value, str):
        node.value = _NOT_IN_NAMES.sub("-", node.value)
    return node


def _referring(node: Node) -> Node:
    """Bring the references in a value to those that graphs have."""
    if node.entries is not None:
        node.entries = {
            name: (key, _referring(value)) for name, (key, value) in node.entries.items()
        }
    elif node.items is not None:
        node.items = [_referring(each) for each in node.items]
    elif isinstance(node.value, str) and "{{" in node.value:
        try:
            pieces = parse(node.value)
        except WrongReference:
            return node  # told at its place by who checks references
        text = "".join(each if isinstance(each, str) else str(_known(each)) for each in pieces)
        if text != node.value:
            return _text(node, text)
    return node


def _known(reference: Reference) -> Reference:
    return reference._replace(paths=tuple(map(_path, reference.paths)))


def _path(path: Path) -> Path:
    """Return a path as graphs have it: into the input, and into what a step has answered."""
    parts: tuple[Any, ...] = path.parts
    if parts[0] == "context":
        parts = ("input", *parts[1:])
    elif parts[0] == "steps" and len(parts) > 2 and parts[2] not in STEP_FIELDS:  # noqa: PLR2004
        parts = (*parts[:2], "result", *parts[2:])
    return path._replace(parts=parts)


def _text(at: Node, text: str) -> Node:
    return Rewritten(text, at.line, at.column, at.width)


def _mapping(at: Node, entries: Entries) -> Node:
    node = Node(None, at.line, at.column, at.width)
    node.entries = entries
    return node


def _renamed(entries: Entries, words: dict[str, str], builder: Builder) -> Entries:
    if not words.keys() & entries.keys():
        return entries
    found: Entries = {}
    for name, (key, value) in entries.items():
        word = words.get(name, name)
        if word != name and word in entries:
            builder.wrong(key, f"{name!r} is the same as {word!r}", "take one of the two away")
        else:
            found[word] = (key, value)
    return found
