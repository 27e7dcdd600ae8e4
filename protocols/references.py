"""References: how the parameters of a step are made of the input and of other steps' results.

    amount: "{{input.amount}}"                      the value itself, of whatever type
    note: "for {{input.name}}"                      text
    urls: "{{steps.search.result[*].url}}"          a field of every item of a list
    seats: "{{input.seats ?? 50}}"                  a value in place of what is not there

    text      = { plain | "{{" reference "}}" }
    reference = choice { "??" choice }
    choice    = path | number | "text" | true | false | null
    path      = name { "." name | "[" number "]" | '["' text '"]' | "[*]" | ".map(x => x" … ")" }
    name      = letter or _, then letters, digits, _ and -

A reference is data, not code: there are no calls and no arithmetic, and reading one takes no
longer than what it reads. What is not there is an error, never an empty text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

CHARS_MAX: Final = 1_000
"""Of one reference."""
PARTS_MAX: Final = 32
DEPTH_MAX: Final = 64
"""Of the parameters that references stand in; the same as for every value."""

Names = Mapping[str, Any]
OPEN: Final = "{{"
_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<close>\}\})
    | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*)
    | (?P<sign>\?\?|=>|[.()\[\]*])
    )""",
    re.VERBOSE,
)
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_ABSENT: Final = object()


class Every:
    """Stands in a path for every item of a list."""

    def __repr__(self) -> str:
        return "[*]"


EVERY: Final = Every()
Part = str | int | Every


class AtTheEnd(dict[str, Any]):
    """Names for what is told of work that is done: of items that were given up it tells null.

    As a reference to a whole step without a result does everywhere. Params of steps that are yet
    to be asked are no such thing: with a part of what they need missing, they fail.
    """


class WrongReference(ValueError):
    """A reference cannot be read, or finds nothing. ``column`` begins at 1; 0: no place."""

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.column = column


class Path(NamedTuple):
    """Where a reference looks, and where in the text it stands: ``column`` begins at 1."""

    parts: tuple[Part, ...]
    column: int
    width: int

    def __str__(self) -> str:
        return "".join(_shown(each) for each in self.parts).removeprefix(".")

    def read(self, names: Names) -> Any:
        """Return the value. Raises WrongReference when there is none."""
        if self.parts[0] == "steps" and _is_given_up(self.parts, names):
            return None
        if type(names) is AtTheEnd and _is_of_items(self.parts, names):
            return _of_items(names["steps"][self.parts[1]], self.parts)
        return _walk(names, self.parts, 0)


class Reference(NamedTuple):
    """One path, or several of which the first that is there counts; ``last`` may be a constant."""

    paths: tuple[Path, ...]
    last: Any = _ABSENT

    def __str__(self) -> str:
        choices = [str(each) for each in self.paths]
        if self.last is not _ABSENT:
            choices.append(msgspec.json.encode(self.last).decode())
        return f"{{{{{' ?? '.join(choices)}}}}}"

    def read(self, names: Names) -> Any:
        """Return the value. Raises WrongReference when there is none."""
        if self.last is _ABSENT and len(self.paths) == 1:
            return self.paths[0].read(names)
        if type(names) is AtTheEnd:
            names = dict(names)  # it says itself what stands for what is not there
        problem: WrongReference | None = None
        for path in self.paths:
            try:
                value = path.read(names)
            except WrongReference as error:
                problem = error
            else:
                if value is not None:
                    return value
                problem = None
        if self.last is not _ABSENT:
            return self.last
        if problem is not None:
            raise problem
        return None

    @property
    def whole(self) -> Path | None:
        """The one path, when it is nothing else."""
        return self.paths[0] if len(self.paths) == 1 and self.last is _ABSENT else None


class Template:
    """A value in which references stand, read once and filled in many times."""

    __slots__ = ("_fill", "value")

    def __init__(self, value: Any) -> None:
        """Read all references. Raises WrongReference for the first that cannot be read."""
        self.value: Final = value
        self._fill: Final = _filling(value, 0)

    def fill(self, names: Names) -> Any:
        """Return the value with everything filled in. Raises WrongReference."""
        return self.value if self._fill is None else self._fill(names)


def _filling(value: Any, depth: int) -> Callable[[Names], Any] | None:
    """Return what fills a value in; None for one without references."""
    if depth > DEPTH_MAX:
        raise too_deep()
    if isinstance(value, str):
        return _filling_text(value) if OPEN in value else None
    if isinstance(value, dict):
        made = {key: _filling(each, depth + 1) for key, each in value.items()}
        if not any(made.values()):
            return None
        return lambda names: {
            key: value[key] if fill is None else fill(names) for key, fill in made.items()
        }
    if isinstance(value, list | tuple):
        items = [_filling(each, depth + 1) for each in value]
        if not any(items):
            return None
        return lambda names: [
            value[index] if fill is None else fill(names) for index, fill in enumerate(items)
        ]
    return None


def _filling_text(text: str) -> Callable[[Names], Any]:
    pieces = parse(text)
    if len(pieces) == 1 and not isinstance(pieces[0], str):
        whole = pieces[0].whole
        return pieces[0].read if whole is None else _quick(whole)
    return lambda names: "".join(
        each if isinstance(each, str) else as_text(each.read(names)) for each in pieces
    )


def _quick(path: Path) -> Callable[[Names], Any]:
    """Return what reads a path like ``Path.read``, at less cost when it leads through objects."""
    parts = path.parts
    if not all(isinstance(each, str) for each in parts):
        return path.read

    def read(names: Names) -> Any:
        value: Any = names
        try:
            for part in parts:
                value = value[part]
        except (KeyError, TypeError):  # it tells what is missing, and what that means
            return path.read(names)
        return value

    return read


def too_deep() -> WrongReference:
    """Return what is raised for a value that is nested too deep."""
    return WrongReference(f"more than {DEPTH_MAX} levels deep")


def as_text(value: Any) -> str:
    """Return a value as it stands inside of a text: text as it is, all else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


@lru_cache(maxsize=4_096)
def parse(text: str) -> tuple[str | Reference, ...]:
    """Return a text as plain pieces and references. Raises WrongReference with the column."""
    pieces: list[str | Reference] = []
    at = 0
    while (begin := text.find(OPEN, at)) >= 0:
        if begin > at:
            pieces.append(text[at:begin])
        parser = _Parser(text, begin + len(OPEN))
        pieces.append(parser.reference())
        at = parser.at
    if at < len(text):
        pieces.append(text[at:])
    return tuple(pieces)


class _Parser:
    """Reads one reference, behind its ``{{``."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self._begin = at
        self.at = at
        """Where the next word begins."""
        self._column = 0
        """Of the word that was taken last."""

    def reference(self) -> Reference:
        paths: list[Path] = []
        last = _ABSENT
        while last is _ABSENT:
            kind, word = self._next()
            if kind == "name" and word not in _CONSTANTS:
                paths.append(self._path(word))
            else:
                last = self._constant(kind, word)
            kind, word = self._next()
            if kind == "close":
                return Reference(tuple(paths), last)
            if word != "??":
                raise self._odd(word, "'}}' or '??' is expected here")
        raise self._odd("??", "nothing comes behind a constant")

    def _path(self, name: str) -> Path:
        column = self._column
        parts: list[Part] = [name]
        end = self.at
        while True:
            kind, word = self._peek()
            if word == ".":
                self._next()
                kind, word = self._next()
                if kind != "name":
                    raise self._odd(word, "the name of a field is expected here")
                if word == "map" and self._peek()[1] == "(":
                    parts += self._map()
                else:
                    parts.append(word)
            elif word == "[":
                self._next()
                parts.append(self._item())
            else:
                break
            end = self.at
            if len(parts) > PARTS_MAX:
                raise WrongReference(f"a path of more than {PARTS_MAX} parts", column)
        return Path(tuple(parts), column, end - column + 1)

    def _map(self) -> list[Part]:
        """Read ``(x => x.field)``, as JavaScript has it."""
        self._need("(")
        kind, each = self._next()
        if kind != "name":
            raise self._odd(each, "a name is expected here")
        self._need("=>")
        self._need(each)
        inner = self._path(each)
        self._need(")")
        return [EVERY, *inner.parts[1:]]

    def _item(self) -> Part:
        kind, word = self._next()
        part: Part
        if word == "*":
            part = EVERY
        elif kind == "number" and word.isdigit():
            part = int(word)
        elif kind == "text":
            part = _unquoted(word)
        else:
            raise self._odd(word, "a number, a text in quotes or * is expected here")
        self._need("]")
        return part

    def _constant(self, kind: str, word: str) -> Any:
        if kind == "text":
            return _unquoted(word)
        if kind == "number":
            return float(word) if re.search(r"[.eE]", word) else int(word)
        if kind == "name":
            return _CONSTANTS[word]
        raise self._odd(word, "a path or a constant is expected here")

    def _need(self, wanted: str) -> None:
        _, word = self._next()
        if word != wanted:
            raise self._odd(word, f"{wanted!r} is expected here")

    def _peek(self) -> tuple[str, str]:
        at, column = self.at, self._column
        found = self._next()
        self.at, self._column = at, column
        return found

    def _next(self) -> tuple[str, str]:
        match = _TOKEN.match(self._text, self.at)
        if match is None:
            rest = self._text[self.at :]
            column = self.at + 1 + len(rest) - len(rest.lstrip())
            if "}}" not in rest:
                raise WrongReference("'}}' is missing", self._begin - 1)
            raise WrongReference(f"{rest.lstrip()[:1]!r} is not understood", column)
        if match.end() - self._begin > CHARS_MAX:
            raise WrongReference(f"a reference of more than {CHARS_MAX} characters", self._begin)
        kind = match.lastgroup or ""
        self.at = match.end()
        self._column = match.start(kind) + 1
        return kind, match[kind]

    def _odd(self, word: str, message: str) -> WrongReference:
        return WrongReference(f"{message}, not {word!r}", self._column)


def _walk(value: Any, parts: Sequence[Part], at: int) -> Any:
    while at < len(parts):
        part = parts[at]
        at += 1
        if isinstance(part, str):
            if not isinstance(value, dict) or part not in value:
                raise WrongReference(_missing(value, parts[: at - 1], f"field {part!r}"))
            value = value[part]
        elif isinstance(value, list):
            if isinstance(part, Every):
                found = [_walk(each, parts, at) for each in value]
                # A list of lists is one list: every unit of every building.
                if EVERY in parts[at:]:
                    return [inner for each in found for inner in each]
                return found
            if part >= len(value):
                raise WrongReference(_missing(value, parts[: at - 1], f"item {part}"))
            value = value[part]
        else:
            what = "items" if isinstance(part, Every) else f"item {part}"
            raise WrongReference(_missing(value, parts[: at - 1], what))
    return value


def _is_given_up(parts: Sequence[Part], names: Names) -> bool:
    """Tell whether a path leads into the result of a step that has none: that is null."""
    if len(parts) < 3 or parts[2] != "result":  # noqa: PLR2004 - steps.NAME.result
        return False
    step = names["steps"].get(parts[1])
    return step is not None and step["result"] is None and step["status"] != "done"


def _is_of_items(parts: Sequence[Part], names: Names) -> bool:
    """Tell whether a path leads into what items of a step have given: steps.NAME.result[…]…."""
    if len(parts) < 5 or parts[2] != "result" or isinstance(parts[3], str):  # noqa: PLR2004
        return False
    step = names["steps"].get(parts[1])
    return step is not None and bool(step.get("items")) and isinstance(step["result"], list)


def _of_items(step: Mapping[str, Any], parts: Sequence[Part]) -> Any:
    """Return what a path finds there; null for an item that has no result."""
    results: list[Any] = step["result"]
    lost = {
        index
        for index, (value, item) in enumerate(zip(results, step["items"], strict=False))
        if value is None and item["status"] != "done"
    }
    if parts[3] in lost:
        return None
    if not isinstance(parts[3], Every) or not lost:
        return _walk(results, parts, 3)
    found = [None if at in lost else _walk(each, parts, 4) for at, each in enumerate(results)]
    if EVERY in parts[4:]:
        return [inner for each in found for inner in each or ()]
    return found


def _missing(value: Any, before: Sequence[Part], what: str) -> str:
    where = "".join(_shown(each) for each in before).removeprefix(".")
    if not where:
        return f"there is no {what}"
    kinds = {dict: "", list: ", a list,", str: ", a text,", bool: ", true or false,"}
    kind = "" if value is None else kinds.get(type(value), ", a number,")
    return f"{where}{' is null and' if value is None else kind} has no {what}"


def _shown(part: Part) -> str:
    if isinstance(part, str):
        plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*", part)
        return f".{part}" if plain else f"[{as_text(part)!r}]"
    return "[*]" if isinstance(part, Every) else f"[{part}]"


def _unquoted(text: str) -> str:
    escapes = {"n": "\n", "t": "\t", "r": "\r"}
    return re.sub(r"\\(.)", lambda found: escapes.get(found[1], found[1]), text[1:-1])
