"""Conditions: small expressions that guards are made of. A part of CEL, without any calls out.

    result.votes_for > result.votes_against && !(input.kind in ["private", "secret"])
    has(result.plan) && size(result.plan.tasks) > 0

Values are those of JSON; names are those that the reader is given, and may have hyphens inside.
``a.b`` and ``a["b"]`` look into objects, ``a[0]`` into lists. There are ``&& || !``,
``== != < <= > >= in``, parentheses, ``has(path)`` and ``size(value)``. No arithmetic, no loops: a
condition takes no longer than its text. What is missing or cannot be compared makes the
condition fail with an error, so that a guard over data that is not there stays closed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

CHARS_MAX: Final = 1_000
DEPTH_MAX: Final = 32
"""Parentheses and brackets inside each other."""
TOKENS_MAX: Final = 200
"""Words and signs. Reading a value goes at most so deep, far from Python's own limit."""

Reader = Callable[[Mapping[str, Any]], Any]

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*)
    | (?P<sign>&&|\|\||==|!=|<=|>=|[<>!.()\[\],])
    )""",
    re.VERBOSE,
)
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}


class ConditionError(ValueError):
    """A condition cannot be read, or cannot be decided. ``column`` begins at 1; 0: no place."""

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.column = column


class Path(NamedTuple):
    """A place that a condition looks at: its name, and the fields below it that are written out.

    ``column`` begins at 1, ``width`` is that of the whole path.
    """

    parts: tuple[str, ...]
    column: int
    width: int


class Condition:
    """A condition that was read once and is decided many times."""

    __slots__ = ("_read", "names", "paths", "text")

    def __init__(self, text: str) -> None:
        """Read a condition. Raises ConditionError."""
        if len(text) > CHARS_MAX:
            raise ConditionError(f"a condition of {len(text)} characters; at most {CHARS_MAX}")
        parser = _Parser(text)
        self.text: Final = text
        self._read: Final = parser.whole()
        self.names: Final = frozenset(path.parts[0] for path in parser.paths)
        """The names that it looks at."""
        self.paths: Final = tuple(parser.paths)
        """The places that it looks at, in order."""

    def undecidable(self) -> str:
        """Return why it can never be decided, as far as its text alone tells; empty: it may."""
        if self.names:
            return ""
        try:
            self.holds({})
        except ConditionError as error:
            return error.message
        return ""

    def holds(self, names: Mapping[str, Any]) -> bool:
        """Tell whether it is true. Raises ConditionError when it cannot be decided."""
        return _truth(self._read(names))


class _Token(NamedTuple):
    kind: str
    text: str
    column: int


class _Parser:
    """Recursive descent: or, and, not, comparison, path, value."""

    def __init__(self, text: str) -> None:
        self.paths: list[Path] = []
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0

    def whole(self) -> Reader:
        found = self._or()
        if self._next.kind != "end":
            raise self._unexpected()
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> str:
        token = self._next
        if token.kind in {"sign", "name"} and token.text in texts:
            self._at += 1
            return token.text
        return ""

    def _need(self, text: str) -> None:
        if not self._take(text):
            raise self._unexpected(f"{text!r} is expected here")

    def _unexpected(self, message: str = "") -> ConditionError:
        token = self._next
        found = f"{token.text!r} is not expected here" if token.text else "something is missing"
        return ConditionError(message or found, token.column)

    def _or(self) -> Reader:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise ConditionError(f"more than {DEPTH_MAX} levels deep", self._next.column)
        left = self._and()
        while self._take("||"):
            left = _either(left, self._and())
        self._depth -= 1
        return left

    def _and(self) -> Reader:
        left = self._not()
        while self._take("&&"):
            left = _both(left, self._not())
        return left

    def _not(self) -> Reader:
        negated = False
        while self._take("!"):
            negated = not negated
        inner = self._comparison()
        return (lambda names: not _truth(inner(names))) if negated else inner

    def _comparison(self) -> Reader:
        left = self._path()
        sign = self._take("==", "!=", "<", "<=", ">", ">=", "in")
        if not sign:
            return left
        right = self._path()
        if sign in {"==", "!="}:
            wanted = sign == "=="
            return lambda names: _same(left(names), right(names)) is wanted
        if sign == "in":
            return lambda names: _is_in(left(names), right(names))
        return lambda names: _ordered(sign, left(names), right(names))

    def _path(self) -> Reader:
        begin = self._at
        found = self._value()
        path = self.paths[-1] if self._at == begin + 1 and self._named_last(begin) else None
        while True:
            if self._take("."):
                token = self._next
                if token.kind != "name":
                    raise self._unexpected("the name of a field is expected here")
                self._at += 1
                if self._next.text == "(":
                    raise _no_function(token)
                found = _field(found, token.text)
                path = self._longer(path, token.text)
            elif self._take("["):
                key, before = self._next, self._at
                found = _item(found, self._or())
                plain = key.kind == "text" and self._at == before + 1
                self._need("]")
                path = self._longer(path, _unescaped(key.text)) if plain else None
            else:
                return found

    def _named_last(self, at: int) -> bool:
        token = self._tokens[at]
        return token.kind == "name" and token.text not in _CONSTANTS

    def _longer(self, path: Path | None, part: str) -> Path | None:
        """Note that a path goes on with a part."""
        if path is None:
            return None
        last = self._tokens[self._at - 1]
        width = last.column + len(last.text) - path.column
        index = self.paths.index(path)
        self.paths[index] = Path((*path.parts, part), path.column, width)
        return self.paths[index]

    def _value(self) -> Reader:
        token = self._next
        if self._take("("):
            inner = self._or()
            self._need(")")
            return inner
        if self._take("["):
            return self._list()
        self._at += 1
        if token.kind == "number":
            number: Any = float(token.text) if re.search(r"[.eE]", token.text) else int(token.text)
            return lambda _: number
        if token.kind == "text":
            text = _unescaped(token.text)
            return lambda _: text
        if token.kind == "name":
            return self._named(token)
        self._at -= 1
        raise self._unexpected()

    def _list(self) -> Reader:
        items: list[Reader] = []
        while not self._take("]"):
            items.append(self._or())
            if not self._take(","):
                self._need("]")
                break
        return lambda names: [item(names) for item in items]

    def _named(self, token: _Token) -> Reader:
        name = token.text
        if name in _CONSTANTS:
            constant = _CONSTANTS[name]
            return lambda _: constant
        if self._take("("):
            if name not in {"has", "size"}:
                raise _no_function(token)
            inner = self._or()
            self._need(")")
            if name == "has":
                return lambda names: _is_there(inner, names)
            return lambda names: _size(inner(names))
        self.paths.append(Path((name,), token.column, len(name)))

        def look(names: Mapping[str, Any]) -> Any:
            if name not in names:
                raise ConditionError(f"{name} is not there")
            return names[name]

        return look


_CONSTANTS: Final = {"true": True, "false": False, "null": None}


def _no_function(token: _Token) -> ConditionError:
    return ConditionError(f"there is no function {token.text!r}: has and size", token.column)


def _tokens(text: str) -> list[_Token]:
    found = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            column = at + 1 + len(text[at:]) - len(text[at:].lstrip())
            why = ": there is no arithmetic" if text[column - 1] in "+-*/%" else ""
            raise ConditionError(f"{text[column - 1]!r} is not understood{why}", column)
        kind = match.lastgroup or ""
        found.append(_Token(kind, match[kind], match.start(kind) + 1))
        if len(found) > TOKENS_MAX:
            raise ConditionError(f"more than {TOKENS_MAX} words and signs", found[-1].column)
        at = match.end()
    return [*found, _Token("end", "", len(text.rstrip()) + 1)]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text[1:-1])


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ConditionError(f"{_kind(value)} is neither true nor false: compare it")


def _either(left: Reader, right: Reader) -> Reader:
    return lambda names: _truth(left(names)) or _truth(right(names))


def _both(left: Reader, right: Reader) -> Reader:
    return lambda names: _truth(left(names)) and _truth(right(names))


def _field(of: Reader, name: str) -> Reader:
    def read(names: Mapping[str, Any]) -> Any:
        value = of(names)
        if not isinstance(value, dict):
            raise ConditionError(f"{_kind(value)} has no field {name!r}")
        if name not in value:
            raise ConditionError(f"the field {name!r} is not there")
        return value[name]

    return read


def _item(of: Reader, key: Reader) -> Reader:
    def read(names: Mapping[str, Any]) -> Any:
        value, at = of(names), key(names)
        if isinstance(value, dict) and isinstance(at, str) and at in value:
            return value[at]
        if isinstance(value, list) and type(at) is int and 0 <= at < len(value):
            return value[at]
        raise ConditionError(f"{_kind(value)} has no item {str(at)[:40]!r}")

    return read


def _same(left: Any, right: Any) -> bool:
    # A bool is an int for Python, and for nobody else.
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    return bool(left == right)


def _is_in(left: Any, right: Any) -> bool:
    if isinstance(right, list):
        return any(_same(left, each) for each in right)
    if isinstance(right, dict):
        return isinstance(left, str) and left in right
    raise ConditionError(f"'in' needs a list or an object, not {_kind(right)}")


def _ordered(sign: str, left: Any, right: Any) -> bool:
    numbers = all(isinstance(each, int | float) for each in (left, right))
    texts = isinstance(left, str) and isinstance(right, str)
    if not (numbers or texts) or isinstance(left, bool) or isinstance(right, bool):
        raise ConditionError(f"{_kind(left)} and {_kind(right)} have no order")
    return _COMPARE[sign](left, right)


def _is_there(inner: Reader, names: Mapping[str, Any]) -> bool:
    try:
        return inner(names) is not None
    except ConditionError:
        return False


def _size(value: Any) -> int:
    if isinstance(value, str | list | dict):
        return len(value)
    raise ConditionError(f"{_kind(value)} has no size")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")
