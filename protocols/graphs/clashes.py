"""Types of what a graph hands on: where a reference leads to something of another type.

Only what is certain is told: a whole reference to a field of the input, and a plain value. What
services answer is not declared, and is checked when it comes.

``never`` is asked where a file is read, and not of what is stored: runs may be on their way with
a graph that nobody would write any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from protocols.conditions import Condition, ConditionError
from protocols.findings import Finding, Place, did_you_mean
from protocols.found_references import found_in
from protocols.graphs.graph import Field, Graph
from protocols.graphs.input import input_type
from protocols.references import WrongReference

_FITS: Final = {("integer", "number")}
"""Types that fit others beside themselves."""


def types(graph: Graph) -> Iterator[Finding]:
    """Return the clashes of types in a graph."""
    yield from _outputs(graph)
    for name, step in graph.steps.items():
        if step.gate is not None and isinstance(step.gate.values, dict):
            at: Place = ("steps", name, "gate", "values")
            for key, field in step.gate.typed.items():
                if key in step.gate.values:
                    yield from _one(graph, step.gate.values[key], field, (*at, key))


def never(graph: Graph) -> Iterator[Finding]:
    """Return what cannot come to anything in whatever run."""
    for name, field in (graph.fields or {}).items():
        if field.min is not None and field.max is not None and field.min > field.max:
            message = f"no number is between {field.min:g} and {field.max:g}"
            yield Finding(("input", name, "max"), message, "exchange the two")
    for name, step in graph.steps.items():
        at: Place = ("steps", name)
        if step.when:
            yield from _undecidable(graph, step.condition, step.condition_at, (*at, "when"))
        if step.gate is not None and step.gate.auto_when:
            yield from _undecidable(graph, step.gate.auto_when, 0, (*at, "gate", "auto_when"))


def _undecidable(graph: Graph, text: str, before: int, at: Place) -> Iterator[Finding]:
    try:
        condition = Condition(text)
    except ConditionError:
        return  # told already
    if why := condition.undecidable():
        yield Finding(at, why, "such as: input.total > 100")
    elif len(condition.paths) == 1 and condition.paths[0].width == len(text.strip()):
        path = condition.paths[0]
        kind = _into(graph.fields or {}, path.parts[1:]) if path.parts[0] == "input" else ""
        if kind not in {"", "boolean"}:
            message = f"{text.strip()} is of type {kind}: it is neither true nor false"
            hint = f"compare it, such as: {text.strip()} == …"
            yield Finding(at, message, hint, offset=before + path.column, width=path.width)


def wrong_result(graph: Graph, result: Any) -> str:
    """Return why a result does not fit the declared output; empty when it does."""
    fields = graph.result_fields
    if fields is None:
        return ""
    try:
        msgspec.convert(result, input_type(fields, "Output"))
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _outputs(graph: Graph) -> Iterator[Finding]:
    fields = graph.result_fields
    given = graph.outputs
    if fields is None or not isinstance(given, dict):
        return
    for name in given:
        if name not in fields:
            message = f"{name[:60]!r} is no field of the output"
            yield Finding(("outputs", name), message, did_you_mean(name, fields), of_key=True)
    for name, field in fields.items():
        if name in given:
            yield from _one(graph, given[name], field, ("outputs", name))
        elif not field.optional and field.default is msgspec.UNSET:
            message = f"the outputs lack {name[:60]!r}, which the output declares"
            yield Finding(("outputs",), message, f"write '{name}: …', or make it optional")


def _one(graph: Graph, given: Any, field: Field, at: Place) -> Iterator[Finding]:
    kind = _kind(graph, given)
    if kind and field.type not in {"any", kind} and (kind, field.type) not in _FITS:
        yield Finding(at, f"{field.type} is expected here, and this is {kind}", "change one")


def _kind(graph: Graph, given: Any) -> str:
    """Return the type of a value or of what a reference leads to; empty when nobody knows."""
    if isinstance(given, bool):
        return "boolean"
    for kind, name in (
        (int, "integer"),
        (float, "number"),
        (dict, "object"),
        (list | tuple, "array"),
    ):
        if isinstance(given, kind):
            return name
    if not isinstance(given, str):
        return ""
    try:
        references = found_in(given)
    except WrongReference:
        return ""
    if not references:
        return "string"
    whole = references[0].reference.whole
    if not (given.startswith("{{") and given.endswith("}}") and given.count("{{") == 1):
        return "string"
    if whole is None or whole.parts[0] != "input":
        return ""
    return _into(graph.fields or {}, whole.parts[1:])


def _into(fields: Mapping[str, Field], parts: tuple[Any, ...]) -> str:
    if not parts or parts[0] not in fields:
        return ""
    field = fields[parts[0]]
    if len(parts) > 1:
        return _into(field.inner or {}, parts[1:])
    return "" if field.optional or field.type == "any" else field.type
