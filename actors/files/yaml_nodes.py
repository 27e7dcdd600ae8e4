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

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1
_DIGITS_MAX: Final = 24
"""Of a number that is converted to look how large it is."""
_LOADER: Final = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_SCALAR: Final = yaml.ScalarEvent
_ITEMS: Final = yaml.SequenceStartEvent
_ITEMS_END: Final = yaml.SequenceEndEvent
_ENTRIES_END: Final = yaml.MappingEndEvent
_OF_KEYS: Final = "write keys as plain words; put text with '{{' into quotes"
_ADVICE: Final = {
    "mapping values are not allowed": "indent it as its neighbours, or put text with ': ' "
    "into quotes",
    "cannot start any token": "put the text into quotes",
    "did not find expected key": "indent it as the lines above",
    "did not find expected '-'": "indent it as the lines above",
    "could not find expected ':'": "write 'KEY: VALUE'",
}
"""By words of the parser."""
_NO_TAGS: Final = (None, "!")
_NUMERIC: Final = frozenset("-+0123456789")
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
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
    node: Node = _read(text, _Composer)
    return node


def read_plain(text: bytes) -> Any:
    """Return what a document says, at half the cost of its nodes. Raises YamlProblem.

    Not to be shown: it tells that something is wrong, and ``read`` tells what it is.
    """
    return _read(text, _Plain)


def _read(text: bytes, composer: type[_Composer]) -> Any:
    if len(text) > BYTES_MAX:
        raise YamlProblem(f"more than {BYTES_MAX} bytes", 1, 1, "make several files of it")
    try:
        plain = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise YamlProblem("not readable as UTF-8", line, 1, "save the file as UTF-8") from error
    try:
        loader = _LOADER(plain)
        try:
            return composer(loader.get_event).document()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _no_yaml(error, plain) from error
    except yaml.YAMLError as error:  # a character that YAML does not allow; it has no mark
        position = getattr(error, "position", 0)  # in bytes
        before = plain.encode()[: position if isinstance(position, int) else 0]
        above, _, begin = before.decode("utf-8", "ignore").rpartition("\n")
        line = above.count("\n") + (b"\n" in before) + 1
        message = f"no valid YAML: {getattr(error, 'reason', error)}"
        raise YamlProblem(message, line, len(begin) + 1, "take the character away") from error


def _no_yaml(error: yaml.MarkedYAMLError, plain: str) -> YamlProblem:
    """Return what the parser says, with advice where its words are no help."""
    said = " ".join(filter(None, (error.problem or str(error), error.context)))
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return YamlProblem(f"no valid YAML: {said}", 1, 1)
    hint = next((hint for words, hint in _ADVICE.items() if words in said), "")
    if error.context_mark is not None and not plain[mark.index :].strip():
        mark, hint = error.context_mark, "it begins here and does not end"
    begin = "".join(plain.split("\n")[mark.line : mark.line + 1])[: mark.column + 2]
    if "\t" in begin:
        hint = "indent with spaces, not with tabs"
    return YamlProblem(f"no valid YAML: {said}", mark.line + 1, mark.column + 1, hint)


class _Composer:
    """Makes nodes of the parser's events; bounded in depth and number."""

    def __init__(self, following: Callable[[], Any]) -> None:
        self._next = following
        self._nodes = 0

    def document(self) -> Any:
        found: list[Any] = []
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                if found:
                    raise _at(event, "a second document", "one file holds one definition")
                found.append(self._node(self._next(), 0))
        if not found:
            raise YamlProblem("the file is empty", 1, 1, "one file holds one definition")
        return found[0]

    def _node(self, event: Any, depth: int) -> Any:
        if event.anchor or depth > DEPTH_MAX or event.tag:
            self._check(event, depth)
        if type(event) is _SCALAR:
            return _scalar(event)
        mark: Any = event.start_mark
        node = Node(None, mark.line + 1, mark.column + 1)
        if type(event) is _ITEMS:
            node.items = self._items(depth + 1)
        else:
            node.entries = self._entries(depth + 1)
        self._count(event, len(node.items or ()) + 2 * len(node.entries or ()))
        return node

    def _count(self, event: Any, inner: int) -> None:
        self._nodes += inner
        if self._nodes > NODES_MAX:
            raise _at(event, f"more than {NODES_MAX} values")

    def _items(self, depth: int) -> list[Any]:
        following, items = self._next, []
        while type(event := following()) is not _ITEMS_END:
            items.append(self._node(event, depth))
        return items

    def _entries(self, depth: int) -> dict[str, Any]:
        following = self._next
        entries: dict[str, tuple[Node, Node]] = {}
        while type(event := following()) is not _ENTRIES_END:
            if type(event) is not _SCALAR or event.anchor or event.tag:
                self._check(event, depth)
                if type(event) is not _SCALAR:
                    raise _at(event, "a key is a mapping or a list", _OF_KEYS)
            name = event.value
            mark: Any = event.start_mark
            if name in entries:
                hint = f"it is in line {entries[name][0].line} already: take one of the two away"
                raise _at(event, f"the key {name[:60]!r} stands twice", hint)
            key = Node(name, mark.line + 1, mark.column + 1, len(name) or 1)
            entries[name] = (key, self._node(following(), depth))
        return entries

    def _check(self, event: Any, depth: int) -> None:
        if event.anchor:  # also that of an alias
            raise _at(event, "anchors and aliases are not read", "write the value out")
        if event.tag not in _NO_TAGS:
            raise _at(event, f"tags are not read: {event.tag[:60]}", "take the tag away")
        if depth > DEPTH_MAX:
            raise _at(event, f"more than {DEPTH_MAX} levels deep", "make it flatter")


class _Plain(_Composer):
    """Makes values, of the same texts."""

    def _node(self, event: Any, depth: int) -> Any:
        if event.anchor or depth > DEPTH_MAX or event.tag:
            self._check(event, depth)
        if type(event) is _SCALAR:
            text = event.value
            return text if event.style else _resolved(text, event)
        inner = self._items(depth + 1) if type(event) is _ITEMS else self._entries(depth + 1)
        self._count(event, len(inner) if type(inner) is list else 2 * len(inner))
        return inner

    def _entries(self, depth: int) -> dict[str, Any]:
        following = self._next
        entries: dict[str, Any] = {}
        while type(event := following()) is not _ENTRIES_END:
            if type(event) is not _SCALAR or event.anchor or event.tag or event.value in entries:
                raise _at(event, "no plain key")
            entries[event.value] = self._node(following(), depth)
        return entries


def _scalar(event: Any) -> Node:
    text = event.value
    begin, end = event.start_mark, event.end_mark
    line, column = begin.line, begin.column
    width = end.column - column if end.line == line else 1
    # In quotes, or as a block, it is text whatever it looks like.
    value = text if event.style else _resolved(text, event)
    return Node(value, line + 1, column + 1, width if width > 0 else 1)


def _resolved(text: str, event: Any) -> Any:
    """Return what a text without quotes stands for. Raises YamlProblem."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC:
        return text
    if _INTEGER.match(text):
        value = int(text) if len(text) <= _DIGITS_MAX else INTEGER_MAX + 1
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise _at(event, "a number beyond 64 bits", "put it into quotes: then it is a text")
        return value
    if _FLOAT.match(text):
        number = float(text)
        if not isfinite(number):
            raise _at(event, "a number that is too large", "put it into quotes: then it is a text")
        return number
    return text


def _at(event: Any, message: str, hint: str = "") -> YamlProblem:
    mark = event.start_mark
    return YamlProblem(message, mark.line + 1, mark.column + 1, hint)
