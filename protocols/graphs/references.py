"""What references and conditions of a graph look at: whether it is there, and there in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from protocols.blobs import check_artifact_name
from protocols.conditions import Condition, ConditionError
from protocols.conditions import Path as Looked
from protocols.errors import BadValueError
from protocols.findings import Finding, Place, did_you_mean
from protocols.found_references import found_in, problems
from protocols.gates.gate import FILLED
from protocols.graphs.graph import ANYTHING, Field, Graph
from protocols.graphs.kinds import done_with, place_of
from protocols.graphs.order import Order
from protocols.guardrails.check import budgets_of
from protocols.references import Path, WrongReference

ROOTS: Final = ("input", "steps", "run")
ITEM_ROOTS: Final = ("item", "index")
"""Names inside of a ``foreach``."""
STEP_FIELDS: Final = ("result", "status", "error", "items")
RUN_FIELDS: Final = ("id", "started_at", "started_by", "profile")
_CONDITION: Final = "such as: steps.check.result.total > 100 && input.country == 'NL'"

_Parts = Sequence[Any]
_Wrong = tuple[str, str]
"""What is wrong, and what to do."""


class _Where(NamedTuple):
    """Who looks: the step, or the outputs of the graph when it is empty."""

    step: str
    roots: tuple[str, ...]


def references(graph: Graph, order: Order) -> Iterator[Finding]:
    """Return what is wrong with the references and conditions of a graph."""
    look = _Look(graph, order)
    for name, step in graph.steps.items():
        at: Place = ("steps", name)
        plain = _Where(name, ROOTS)
        inside = _Where(name, (*ROOTS, *ITEM_ROOTS)) if step.each else plain
        yield from look.template(done_with(step), (*at, *place_of(step)), inside)
        if step.when:
            yield from look.condition(step.condition, (*at, "when"), plain, step.condition_at)
        gate = step.gate
        if gate is not None and gate.auto_when:
            yield from look.condition(gate.auto_when, (*at, "gate", "auto_when"), inside, 0)
        for index, each in enumerate(step.fallbacks):
            there: Place = (*at, "fallbacks", index)
            if each.person is not None:
                shown = {key: getattr(each.person, key) for key in FILLED}
                yield from look.template(shown, (*there, "gate"), inside)
            elif each.params is not None:
                yield from look.template(each.params, (*there, "params"), inside)
        undo = step.undone_by
        if undo is not None:
            yield from look.template(undo.params, (*at, "undo", "params"), inside)
        yield from look.files(step.artifacts or {}, (*at, "artifacts"), name)
        if step.each:
            yield from look.items(step.foreach, (*at, "foreach"), plain)
    yield from look.template(graph.outputs, ("outputs",), _Where("", ROOTS))
    yield from _budgets(look, graph)
    if graph.limits is not None and graph.limits.per:
        yield from look.template(graph.limits.per, ("limits", "per"), _Where("", ("input",)))


def _budgets(look: _Look, graph: Graph) -> Iterator[Finding]:
    who = _Where("", ("input", "run"))
    for at, budget in budgets_of(graph):
        yield from look.template(budget.key, (*at, "key"), who)


class _Look:
    def __init__(self, graph: Graph, order: Order) -> None:
        self._graph = graph
        self._order = order
        fields = graph.fields
        self._input = ANYTHING if fields is None else Field(type="object", fields={**fields})

    def template(self, value: Any, at: Place, who: _Where) -> Iterator[Finding]:
        try:
            found = found_in(value)
        except WrongReference:
            for place, each in problems(value):
                yield Finding((*at, *place), each.message, _of_references(), offset=each.column)
            return
        for place, reference in found:
            optional = reference.whole is None
            for path in reference.paths:
                for wrong in self._path(path.parts, who, optional=optional):
                    yield _at((*at, *place), path, *wrong)

    def files(self, files: Mapping[str, Any], at: Place, step: str) -> Iterator[Finding]:
        """Check what a step keeps: names, and contents that may refer to its own result."""
        if not files:
            return
        yield from self.template(files, at, _Where(step, (*ROOTS, "result")))
        for name in files:
            try:
                check_artifact_name(name)
            except BadValueError as error:
                yield Finding((*at, name), error.message, error.hint, of_key=True)

    def condition(self, text: str, at: Place, who: _Where, before: int) -> Iterator[Finding]:
        if not text:
            return
        try:
            condition = Condition(text)
        except ConditionError as error:
            hint = "write paths without braces: input.total > 100" if "{{" in text else _CONDITION
            yield Finding(at, error.message, hint, offset=before + error.column)
            return
        for path in condition.paths:
            for wrong in self._path(path.parts, who, optional=True):
                yield _at(at, path, *wrong, before=before)

    def items(self, value: str | tuple[Any, ...], at: Place, who: _Where) -> Iterator[Finding]:
        """Check the list of a ``foreach``."""
        yield from self.template(value, at, who)
        if not isinstance(value, str):
            return
        try:
            found = found_in(value)
        except WrongReference:
            return
        path = found[0].reference.whole if len(found) == 1 else None
        if not found or value.strip() != value or not _is_whole(value):
            yield Finding(at, "foreach needs a list", "such as: foreach: '{{input.items}}'")
        elif path is not None and path.parts[0] == "input":
            field = _field(self._input, path.parts[1:])
            if field is not None and field.type not in {"array", "any"}:
                yield Finding(
                    at,
                    f"foreach needs a list, and {path} is {_a(field.type)}",
                    "refer to an array of the input, or to a step's result",
                    offset=path.column,
                    width=path.width,
                )

    def _path(self, parts: _Parts, who: _Where, *, optional: bool) -> Iterable[_Wrong]:
        root = parts[0]
        if root not in who.roots:
            known = did_you_mean(root, who.roots)
            if "input" in who.roots and root in (self._input.inner or {}):
                known = f"did you mean 'input.{root}'?"
            elif "steps" in who.roots and root in self._graph.steps:
                known = f"did you mean 'steps.{root}.result'?"
            elif root in ITEM_ROOTS:
                known = f"{root} is known in the params of a step with 'foreach'"
            return [(f"nothing here is called {root!r}", known)]
        if root == "steps":
            return self._step(parts, who)
        if root == "input":
            wrong = _into(self._input, parts[1:], "input", optional=optional)
            return [] if wrong is None else [wrong]
        if root == "run" and (len(parts) < 2 or parts[1] not in RUN_FIELDS):  # noqa: PLR2004
            return [(f"a run has {', '.join(RUN_FIELDS)}", "write run.id")]
        return []

    def _step(self, parts: _Parts, who: _Where) -> Iterator[_Wrong]:
        name = parts[1] if len(parts) > 1 else None
        if not isinstance(name, str):
            yield "the name of a step is missing", "write steps.NAME.result"
            return
        if name not in self._graph.steps:
            known = self._graph.steps.keys() - {who.step}
            yield f"there is no step {name[:60]!r}", did_you_mean(name, known)
            return
        if name == who.step:
            yield f"{name} refers to itself", "refer to a step that comes before"
        elif who.step and not self._order.comes_before(name, who.step):
            yield (
                f"{who.step} does not wait for {name}",
                f"write 'needs: [{', '.join((*self._graph.steps[who.step].needed, name))}]'",
            )
        field = parts[2] if len(parts) > 2 else None  # noqa: PLR2004 - steps.NAME.FIELD
        if field not in STEP_FIELDS:
            shown = "nothing" if field is None else repr(field)
            hint = did_you_mean(field, STEP_FIELDS) if isinstance(field, str) else ""
            yield (
                f"a step has {', '.join(STEP_FIELDS)}, not {shown}",
                hint if hint.startswith("did") else f"write steps.{name}.result",
            )
        elif field == "items" and not self._graph.steps[name].each:
            yield f"{name} has no 'foreach', and so no items", "write 'result'"


def _into(field: Field, parts: _Parts, where: str, *, optional: bool) -> _Wrong | None:
    """Follow a path into a field; return what is wrong with it, and what to do."""
    if not parts or field.type == "any":
        return None
    part, rest = parts[0], parts[1:]
    if not isinstance(part, str):
        if field.type != "array":
            return f"{where} is {_a(field.type)}: it has no items", "refer to the field itself"
        return _into(field.of_item, rest, f"{where}[*]", optional=optional)
    if field.type != "object":
        message = f"{where} is {_a(field.type)}: it has no field {part!r}"
        return message, "refer to the field itself"
    fields = field.inner
    if fields is None:
        return None
    inner = fields.get(part)
    if inner is None:
        return f"{where} has no field {part!r}", did_you_mean(part, fields)
    if rest and inner.optional and not optional:
        return f"{where}.{part} may be absent", "write '?? null' behind it, or another value"
    return _into(inner, rest, f"{where}.{part}", optional=optional)


def _field(field: Field, parts: _Parts) -> Field | None:
    """Return the field that a path leads to, when it is known."""
    for part in parts:
        fields = field.inner
        if fields is None or not isinstance(part, str) or part not in fields:
            return None
        field = fields[part]
    return field


def _is_whole(text: str) -> bool:
    return text.startswith("{{") and text.endswith("}}") and "{{" not in text[2:]


def _at(at: Place, path: Path | Looked, message: str, hint: str, before: int = 0) -> Finding:
    return Finding(at, message, hint, offset=before + path.column, width=path.width)


def _of_references() -> str:
    return "such as: {{steps.check.result.total}} or {{input.note ?? 'none'}}"


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aio" else f"a {word}"
