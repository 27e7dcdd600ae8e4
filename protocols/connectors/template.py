"""Templates: texts of a connector's settings in which parts of a request are put. Pure.

    /accounts/{id}?q={query.text}      values of the request, by their names
    {call.key}                         the step's idempotency key; also call.undoes, call.attempt
    {{ and }}                          braces

A text that is nothing but one name becomes the value itself, of whatever type; elsewhere it
becomes text. What is filled in is never read as a template again, nor as a reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from protocols.connectors.connector import Reference, split
from protocols.service import Call

_PIECE: Final = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_.-]*)\}|[{}]")
CALL: Final = ("call.key", "call.undoes", "call.attempt")
_CALL: Final = "call"


class Name(NamedTuple):
    """A place in a template for a value of the request."""

    path: str


class MissingValueError(ValueError):
    """The request lacks a value that stands inside of a text."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path!r} is missing in the request")


Part = str | Name | Reference


@lru_cache(maxsize=4_096)
def parse(text: str) -> tuple[Part, ...]:
    """Return the parts of a template. Raises ValueError that says what is wrong with it."""
    parts: list[Part] = []
    for piece in split(text):
        if isinstance(piece, Reference):
            parts.append(piece)
            continue
        begin = 0
        plain = ""
        for found in _PIECE.finditer(piece):
            plain += piece[begin : found.start()]
            begin = found.end()
            if found[1]:
                if found[1].startswith(f"{_CALL}.") and found[1] not in CALL:
                    raise ValueError(f"{{{found[1]}}} is none of {', '.join(CALL)}")
                parts += [plain] * bool(plain)
                plain = ""
                parts.append(Name(found[1]))
            elif len(found[0]) == len("{{"):
                plain += found[0][0]
            else:
                raise ValueError(
                    f"a single {found[0]!r} at character {found.start() + 1}: write it twice, "
                    "or a name in braces"
                )
        plain += piece[begin:]
        parts += [plain] * bool(plain)
    return tuple(parts)


def names(template: Any) -> Iterator[str]:
    """Yield the names in a template with all that is in it. Raises ValueError."""
    if isinstance(template, str):
        yield from (part.path for part in parse(template) if isinstance(part, Name))
    elif isinstance(template, dict):
        for key, each in template.items():
            yield from names(key)
            yield from names(each)
    elif isinstance(template, list | tuple):
        for each in template:
            yield from names(each)


class Values:
    """What is filled into templates: the request and its call, and the secrets of the settings."""

    def __init__(self, request: Any, call: Call, reveal: Callable[[str], str]) -> None:
        if isinstance(request, msgspec.Struct):
            request = msgspec.to_builtins(request)
        self._request = request if isinstance(request, dict) else {}
        self._call = {"key": call.key, "undoes": call.undoes, "attempt": call.attempt}
        self._reveal = reveal

    def text(self, template: str, encode: Callable[[str], str] = str) -> str:
        """Return a text; ``encode`` is done to each value. Raises MissingValueError."""
        return "".join(self._shown(part, encode) for part in parse(template))

    def value(self, template: Any) -> Any:
        """Return a template as a value; keys and items whose value is missing are left out.

        Raises MissingValueError for what is missing inside of a text.
        """
        if isinstance(template, str):
            parts = parse(template)
            if len(parts) == 1 and isinstance(parts[0], Name):
                return self.get(parts[0].path)
            return self.text(template)
        if isinstance(template, dict):
            filled = {self.text(key): self.value(each) for key, each in template.items()}
            return {key: each for key, each in filled.items() if each is not msgspec.UNSET}
        if isinstance(template, list | tuple):
            items = [self.value(each) for each in template]
            return [each for each in items if each is not msgspec.UNSET]
        return template

    def get(self, path: str) -> Any:
        """Return a value of the request; UNSET when it is not there."""
        first, *rest = path.split(".")
        found: Any = self._call if first == _CALL and rest else self._request
        for step in rest if found is self._call else (first, *rest):
            if isinstance(found, dict) and step in found:
                found = found[step]
            elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
                found = found[int(step)]
            else:
                return msgspec.UNSET
        return found

    def _shown(self, part: Part, encode: Callable[[str], str]) -> str:
        if isinstance(part, str):
            return part
        if isinstance(part, Reference):
            return self._reveal(str(part))
        found = self.get(part.path)
        if found is msgspec.UNSET or found is None:
            raise MissingValueError(part.path)
        return encode(shown(found))


def shown(value: Any) -> str:
    """Return a value as text: JSON, but a text as it is."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def pick(value: Any, path: str) -> Any:
    """Return a part of a value: ``body.items.0.id``; an empty path is the whole.

    Raises LookupError that says how far it came.
    """
    steps = path.split(".") if path else []
    for count, step in enumerate(steps):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise LookupError(f"there is no {'.'.join(steps[: count + 1])!r} in the answer")
    return value
