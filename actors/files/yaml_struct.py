"""YAML files as Structs: what people declare, read with every mistake at its place.

    permit.yaml --read--> nodes --build--> Machine --check--> findings, each at its node
    routes.yaml --read--> nodes --build--> RoutingTable --'

JSON is YAML: a file of either kind is read by the same few lines.
"""

from __future__ import annotations

import re
import types
import typing
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from actors.files.yaml_nodes import BYTES_MAX, Node, Rewritten, YamlProblem, read
from protocols.errors import ConfigurationError, NotFoundError
from protocols.findings import ERRORS_MAX, Finding, did_you_mean

T = TypeVar("T")
EXCERPT_CHARS: Final = 100
"""To the left of what is meant, and to its right: a file may be one line."""
_EXPECTED: Final = re.compile(r"Expected `(?P<kind>[^`]+)`(?: (?P<limit>[<>]=? [\d.]+))?")
_LIMITS: Final = ("ge", "gt", "le", "lt", "max_length", "min_length", "multiple_of", "pattern")
_SCALARS: Final = (str, int, float, bool)
_OF_NOTHING: Final = "write it behind the key, or indented below it"
_AS_TEXT: Final = {
    "bool": "write true or false, without quotes",
    "int": "such as 3: without quotes, a unit, or a 0 before it",
    "float": "such as 1.5: without quotes or a unit",
}
"""Advice where a text stands in place of another value."""
_WORDS: Final = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}


class Located(NamedTuple):
    """One thing that is wrong with a file. ``line`` and ``column`` begin at 1."""

    line: int
    column: int
    message: str
    hint: str
    severity: typing.Literal["error", "warning"] = "error"
    width: int = 1


class Document(NamedTuple, Generic[T]):
    """A file as far as it could be read: what it says, if that can be told, and what is wrong."""

    text: str
    value: T | None
    problems: list[Located]

    def excerpt(self, problem: Located) -> str:
        """Return the line of a problem, and below it a caret; of a long line a part."""
        lines = _lines(self.text)
        if not 1 <= problem.line <= len(lines):
            return ""
        begin = (
            max(0, problem.column - EXCERPT_CHARS // 2) if problem.column > EXCERPT_CHARS else 0
        )
        line = lines[problem.line - 1][begin : begin + 2 * EXCERPT_CHARS]
        line = "".join(each if each.isprintable() else " " for each in line)
        column = problem.column - begin
        room = max(1, min(problem.width, len(line) - column + 1))
        number = f"{problem.line:>6} | "
        blank = " " * sum(map(_cells, line[: column - 1]))
        return f"{number}{line}\n{'':>6} | {blank}{'^' * room}"


def _cells(char: str) -> int:
    """Return how wide a character is on a terminal."""
    return 0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")


@lru_cache(maxsize=1)
def _lines(text: str) -> list[str]:
    """Return lines as YAML counts them: what else breaks lines here is not allowed there."""
    return text.splitlines()


def parse(text: bytes, kind: type[T], check: Callable[[T], Sequence[Finding]]) -> Document[T]:
    """Read the text of a file as a Struct, and check that. Never raises for what is wrong."""
    return parse_nodes(text, lambda top, builder: builder.build(top, kind), check)


def parse_nodes(
    text: bytes,
    build: Callable[[Node, Builder], T | None],
    check: Callable[[T], Sequence[Finding]],
    reader: Callable[[bytes], Node] = read,
) -> Document[T]:
    """Read the text of a file whose nodes tell what it is. Never raises for what is wrong.

    ``reader`` makes nodes of the text; it raises YamlProblem.
    """
    shown = text[: BYTES_MAX + 1].decode("utf-8-sig", "replace")
    try:
        top = reader(text)
    except YamlProblem as problem:
        wrong = Located(problem.line, problem.column, problem.message, problem.hint)
        return Document(shown, None, [wrong])
    builder = Builder()
    try:
        value = build(top, builder)
    except _EnoughError:
        value = None
    problems = builder.problems
    if not problems and value is not None:
        problems = [_located(top, finding) for finding in check(value)]
    else:
        value = None
    return Document(shown, value, _told(problems))


def _told(problems: list[Located]) -> list[Located]:
    """Return the problems that are told, errors first, each in the order of the file."""
    found = sorted(problems, key=lambda each: (each.severity, each.line, each.column))
    errors = sum(each.severity == "error" for each in found)
    if errors <= ERRORS_MAX:
        return found
    at = found[ERRORS_MAX]
    more = Located(at.line, at.column, "more errors follow", "correct those above", "warning")
    return [*found[:ERRORS_MAX], more]


def load(source: Path | str, parser: Callable[[bytes], Document[T]]) -> Document[T]:
    """Read a file. Raises NotFoundError when there is none."""
    path = Path(source)
    if not path.is_file():
        wrong = "is no file" if path.exists() else "does not exist"
        raise NotFoundError(f"{path} {wrong}", hint="name a file that is there")
    try:
        with path.open("rb") as file:
            return parser(file.read(BYTES_MAX + 1))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


def value_of(document: Document[T], source: Path | str, checker: str) -> T:
    """Return what a file says. Raises ConfigurationError with file, line and column.

    ``checker`` is the command that shows every mistake.
    """
    errors = [each for each in document.problems if each.severity == "error"]
    if errors or document.value is None:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ConfigurationError(
            f"{source}:{first.line}:{first.column}: {first.message}{more}",
            hint=first.hint or f"{checker} {source} shows every mistake",
        )
    return document.value


class _EnoughError(Exception):
    """There are more mistakes than are told."""


class _Shape(NamedTuple):
    """What a node has to be, to be of a kind; a union has one of each form, or none."""

    form: typing.Literal["any", "union", "struct", "mapping", "list", "scalar"]
    kind: Any
    members: tuple[Any, ...] = ()
    as_they_are: frozenset[type] = frozenset()
    """Types of values that nothing has to be done with."""


class Builder:
    """Builds the parts of a definition from nodes by their annotations; keeps what is wrong."""

    def __init__(self) -> None:
        self.problems: list[Located] = []

    def build(self, node: Node, kind: Any) -> Any:
        """Return a node's value as ``kind``; None when something in it is wrong."""
        return self._build(node, _shape(kind))

    def _build(self, node: Node, shape: _Shape) -> Any:
        if type(node.value) in shape.as_they_are:
            return node.value
        if shape.form == "scalar":
            return self._scalar(node, shape.kind)
        if shape.form == "union":
            return self._one_of(node, shape)
        if shape.form == "any":
            return node.plain()
        if shape.form == "struct":
            return self._struct(node, shape.kind)
        if shape.form == "mapping":
            return self._mapping(node, shape.members[1])
        return self._list(node, shape.members[0])

    def wrong(self, node: Node, message: str, hint: str = "") -> None:
        """Keep what is wrong at a node."""
        self.problems.append(Located(node.line, node.column, message, hint, width=node.width))
        if len(self.problems) > ERRORS_MAX:
            raise _EnoughError

    def _one_of(self, node: Node, shape: _Shape) -> Any:
        """Choose among the members of a union by what the node is."""
        mapping, items, scalar = shape.members
        if node.entries is not None:
            chosen = mapping
        elif node.items is not None:
            chosen = items
        elif scalar is not None and (scalar is not type(None) or node.value is None):
            return self._scalar(node, scalar, listed=items is not None)
        else:
            chosen = None
        if chosen is None:
            others = sorted({_word(each) for each in typing.get_args(shape.kind)} - {"nothing"})
            keys = _fields(mapping) if mapping and _shape(mapping).form == "struct" else {}
            hint = f"write '{{{next(iter(keys))}: …}}'" if keys else ""
            self.wrong(node, f"{' or '.join(others)} is expected here, not {node.kind}", hint)
            return None
        return self.build(node, chosen)

    def _struct(self, node: Node, kind: type[msgspec.Struct]) -> Any:
        if node.entries is None:
            self._no_mapping(node)
            return None
        fields = _fields(kind)
        before = len(self.problems)
        values: dict[str, Any] = {}
        for name, (key, value) in node.entries.items():
            field = fields.get(name)
            if field is None:
                self.wrong(key, f"{name[:60]!r} is not known here", did_you_mean(name, fields))
            else:
                attribute, shape = field
                values[attribute] = self._build(value, shape)
        for name in _required(kind):
            if name not in node.entries:
                self.wrong(node, f"{name!r} is missing", f"write '{name}: …'")
        if len(self.problems) > before:
            return None
        try:
            return kind(**values)
        except ValueError as error:
            # What a part says about one of its fields begins with the field's name.
            _, at = node.entries.get(str(error).split(" ", 1)[0], (node, node))
            self.wrong(at, str(error))
            return None

    def _mapping(self, node: Node, kind: Any) -> Any:
        if node.entries is None:
            self._no_mapping(node)
            return None
        shape = _shape(kind)
        return {name: self._build(value, shape) for name, (_, value) in node.entries.items()}

    def _no_mapping(self, node: Node) -> None:
        hint = "write 'KEY: VALUE', with a blank behind the colon"
        if node.items is not None:
            hint = "write 'KEY: …' in place of '- …'"
        elif node.value is None:
            hint = _OF_NOTHING
        self.wrong(node, f"a mapping is expected here, not {node.kind}", hint)

    def _list(self, node: Node, kind: Any) -> Any:
        if node.items is None:
            self.wrong(node, f"a list is expected here, not {node.kind}", "write '- ' before it")
            return None
        shape = _shape(kind)
        return tuple([self._build(each, shape) for each in node.items])

    def _scalar(self, node: Node, kind: Any, *, listed: bool = False) -> Any:
        if node.entries is not None or node.items is not None:
            self.wrong(node, f"{_word(kind)} is expected here, not {node.kind}")
            return None
        try:
            return msgspec.convert(node.value, kind)
        except msgspec.ValidationError as error:
            self._no_scalar(node, kind, str(error), listed=listed)
            return None

    def _no_scalar(self, node: Node, kind: Any, said: str, *, listed: bool) -> None:
        """Tell what a scalar is not; with ``listed`` a list would do as well."""
        choices = _choices(kind)
        if choices and isinstance(node.value, str):
            known = did_you_mean(node.value, choices)
            self.wrong(node, f"{node.value[:60]!r} is none of the words for this", known)
            return
        found = _EXPECTED.match(said)
        if found is None:
            self.wrong(node, said)
            return
        wanted = ("a list or " if listed else "") + " or ".join(
            _WORDS.get(each, each) for each in found["kind"].split(" | ")
        )
        limit = f" {found['limit']}" if found["limit"] else ""
        got = "" if limit else f", not {node.kind}"
        hint = ""
        if node.value is None:
            hint = _OF_NOTHING
        elif found["kind"] == "str" and not listed:
            hint = "put it into quotes"
        elif isinstance(node.value, str):
            hint = next((_AS_TEXT[each] for each in _AS_TEXT if each in found["kind"]), "")
        self.wrong(node, f"{wanted}{limit} is expected here{got}", hint)


@lru_cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, tuple[str, _Shape]]:
    """Return the attributes of a part, and what they have to be, by the names that files have."""
    return {
        field.encode_name: (field.name, _shape(field.type))
        for field in msgspec.structs.fields(kind)
    }


@lru_cache
def _required(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(x.encode_name for x in msgspec.structs.fields(kind) if x.required)


_shapes: Final[dict[int, tuple[Any, _Shape]]] = {}
"""By the identity of a kind, which is kept so that no other one gets it."""


def _shape(kind: Any) -> _Shape:
    found = _shapes.get(id(kind))
    if found is None:
        found = _shapes[id(kind)] = (kind, _shape_of(kind))
    return found[1]


def _shape_of(kind: Any) -> _Shape:
    if typing.get_origin(kind) is typing.Annotated:
        inner = typing.get_args(kind)[0]
        if inner not in _SCALARS or not any(map(_limits, typing.get_args(kind)[1:])):
            return _shape_of(inner)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return _Shape("any", kind)
    if origin in {typing.Union, types.UnionType}:
        mapping = next(filter(_is_mapping, arguments), None)
        items = next(filter(_is_list, arguments), None)
        scalars = tuple(filter(_is_scalar, arguments))
        scalar = typing.Union[scalars] if scalars else None  # noqa: UP007 - made at run time
        return _Shape("union", kind, (mapping, items, scalar), _plain(scalars))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _Shape("struct", kind)
    if origin is dict:
        return _Shape("mapping", kind, arguments)
    if origin is tuple:
        return _Shape("list", kind, arguments)
    return _Shape("scalar", kind, as_they_are=_plain((kind,)))


def _limits(meta: Any) -> bool:
    """Tell whether what stands beside a type says more than what it is for."""
    return any(getattr(meta, each, None) is not None for each in _LIMITS)


def _plain(kinds: Sequence[Any]) -> frozenset[type]:
    """Return those of some kinds that every value of theirs fits: no limits, no words."""
    return frozenset(each for each in _SCALARS if any(each is x for x in kinds))


def _is_mapping(kind: Any) -> bool:
    return typing.get_origin(kind) is dict or (
        isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    )


def _is_list(kind: Any) -> bool:
    return typing.get_origin(kind) is tuple


def _is_scalar(kind: Any) -> bool:
    return not _is_mapping(kind) and not _is_list(kind)


def _word(kind: Any) -> str:
    """Return what a kind of value is called."""
    if typing.get_origin(kind) is typing.Annotated:
        return _word(typing.get_args(kind)[0])
    if _is_mapping(kind):
        return "a mapping"
    if _is_list(kind):
        return "a list"
    if kind is type(None):
        return "nothing"
    if _choices(kind):
        return "a text"
    return _WORDS.get(getattr(kind, "__name__", ""), "a value")


def _choices(kind: Any) -> list[str]:
    """Return the words of a Literal, also inside a union."""
    if typing.get_origin(kind) is typing.Literal:
        return [each for each in typing.get_args(kind) if isinstance(each, str)]
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        return [word for each in typing.get_args(kind) for word in _choices(each)]
    return []


def _located(top: Node, finding: Finding) -> Located:
    """Return a finding at the node that its place leads to, or as near as the file goes."""
    node, key = top, top
    for step in finding.place:
        if node.entries is not None and isinstance(step, str) and step in node.entries:
            key, node = node.entries[step]
        elif node.items is not None and isinstance(step, int) and step < len(node.items):
            key = node = node.items[step]
    scalar = node.entries is None and node.items is None
    at = node if scalar and not finding.of_key else key
    column, width = at.column, at.width
    exact = at is node and not isinstance(node, Rewritten)
    if finding.offset and exact and isinstance(node.value, str):
        quotes, odd = divmod(node.width - len(node.value), 2)
        if quotes in {0, 1} and not odd:  # on one line, and without escapes
            column, width = column + quotes + finding.offset - 1, finding.width
    return Located(at.line, column, finding.message, finding.hint, finding.severity, width)
