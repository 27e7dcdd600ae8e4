"""YAML as a tree of nodes that know their places: what people write, read without surprises.

A part of YAML 1.2: mappings, lists, text, numbers, true, false, null. What could hide something
is refused, with line and column: keys that stand twice, anchors and aliases, tags, a second
document. ``no``, ``on``, ``012`` and ``1_000`` are text, whatever older readers made of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

import yaml

BYTES_MAX: Final = 256 * 1024
NODES_MAX: Final = 50_000
DEPTH_MAX: Final = 40
"""Far above any definition; below what a recursive reader can take."""

_LOADER: Final = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_NO_TAGS: Final = (None, "!")
_NUMERIC: Final = frozenset("-+0123456789")
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z")
_FLOAT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?\Z")
_WORDS: Final[dict[str, Any]] = {
    word: value
    for name, value in (("null", None), ("true", True), ("false", False))
    for word in (name, name.capitalize(), name.upper())
} | {"": None, "~": None}


class YamlProblem(Exception):
    """What is wrong with a text, and where. ``line`` and ``column`` begin at 1."""

    def __init__(self, message: str, line: int, column: int, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.hint = hint


class Node:
    """A value with its place. One of ``entries`` (key node and value node) and ``items``."""

    __slots__ = ("column", "entries", "items", "line", "value", "width")

    def __init__(self, value: Any, line: int, column: int, width: int = 1) -> None:
        self.value = value
        """Of a scalar; of a key: its text."""
        self.line = line
        self.column = column
        self.width = width
        self.entries: dict[str, tuple[Node, Node]] | None = None
        self.items: list[Node] | None = None

    @property
    def kind(self) -> str:
        """What it is, in words."""
        if self.entries is not None:
            return "a mapping"
        if self.items is not None:
            return "a list"
        names = {bool: "true or false", int: "a number", float: "a number", str: "a text"}
        return names.get(type(self.value), "nothing")

    def plain(self) -> Any:
        """Return the value that it stands for."""
        if self.entries is not None:
            return {key: node.plain() for key, (_, node) in self.entries.items()}
        if self.items is not None:
            return [node.plain() for node in self.items]
        return self.value


class Rewritten(Node):
    """A text that is not what stands in the file: only as a whole it has a place."""

    __slots__ = ()


def read(text: bytes) -> Node:
    """Return the top node of a document. Raises YamlProblem."""
    if len(text) > BYTES_MAX:
        raise YamlProblem(f"a file of {len(text)} bytes; the limit is {BYTES_MAX}", 1, 1)
    try:
        plain = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise YamlProblem("not readable as UTF-8", line, 1, "save the file as UTF-8") from error
    try:
        loader = _LOADER(plain)
        try:
            return _Composer(loader.get_event).document()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = error.problem or str(error)
        begin = "".join(plain.split("\n")[line - 1 : line])[: column + 1]
        hint = "indent with spaces, not with tabs" if "\t" in begin else ""
        raise YamlProblem(f"no valid YAML: {said}", line, column, hint) from error
    except yaml.YAMLError as error:  # a character that YAML does not allow; it has no mark
        position = getattr(error, "position", 0)
        before = plain[:position] if isinstance(position, int) else ""
        line = before.count("\n") + 1
        raise YamlProblem(f"no valid YAML: {getattr(error, 'reason', error)}", line, 1) from error


class _Composer:
    """Makes nodes of the parser's events; bounded in depth and number."""

    def __init__(self, following: Callable[[], Any]) -> None:
        self._next = following
        self._nodes = 0

    def document(self) -> Node:
        found: Node | None = None
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                if found is not None:
                    raise _at(event, "a second document", "one file holds one definition")
                found = self._node(self._next(), 0)
        if found is None:
            raise YamlProblem("the file is empty", 1, 1)
        return found

    def _node(self, event: Any, depth: int) -> Node:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            if depth > DEPTH_MAX or self._nodes >= NODES_MAX or event.anchor or event.tag:
                self._check(event, depth)
            self._nodes += 1
            mark: Any = event.start_mark
            line, column = mark.line, mark.column
            text = event.value
            end: Any = event.end_mark
            width = end.column - column if end.line == line else 1
            value = text if event.style else _resolved(text)
            return Node(value, line + 1, column + 1, width if width > 0 else 1)
        self._check(event, depth)
        self._nodes += 1
        mark = event.start_mark
        node = Node(None, mark.line + 1, mark.column + 1)
        if kind is yaml.SequenceStartEvent:
            items = node.items = []
            while type(event := self._next()) is not yaml.SequenceEndEvent:
                items.append(self._node(event, depth + 1))
            return node
        following = self._next
        entries = node.entries = {}
        while type(event := following()) is not yaml.MappingEndEvent:
            key = self._key(event, depth, entries)
            entries[key.value] = (key, self._node(following(), depth + 1))
        return node

    def _key(self, event: Any, depth: int, entries: dict[str, tuple[Node, Node]]) -> Node:
        if type(event) is not yaml.ScalarEvent or event.anchor or event.tag:
            self._check(event, depth)
            if type(event) is not yaml.ScalarEvent:
                raise _at(event, "a key is a mapping or a list", "write keys as plain words")
        name = event.value
        before = entries.get(name)
        if before is not None:
            raise _at(
                event,
                f"the key {name[:60]!r} stands twice",
                f"it is in line {before[0].line} already: take one of the two away",
            )
        self._nodes += 1
        mark: Any = event.start_mark
        return Node(name, mark.line + 1, mark.column + 1, len(name) or 1)

    def _check(self, event: Any, depth: int) -> None:
        if event.anchor:  # also that of an alias
            raise _at(event, "anchors and aliases are not read", "write the value out")
        if type(event) is not yaml.AliasEvent and event.tag not in _NO_TAGS:
            raise _at(event, f"tags are not read: {event.tag[:60]}", "take the tag away")
        if depth > DEPTH_MAX:
            raise _at(event, f"more than {DEPTH_MAX} levels deep")
        if self._nodes >= NODES_MAX:
            raise _at(event, f"more than {NODES_MAX} values")


def _at(event: Any, message: str, hint: str = "") -> YamlProblem:
    mark = event.start_mark
    return YamlProblem(message, mark.line + 1, mark.column + 1, hint)


def _resolved(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC:
        return text
    if _INTEGER.match(text):
        return int(text)
    if _FLOAT.match(text) and isfinite(float(text)):
        return float(text)
    return text
