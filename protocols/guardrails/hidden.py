"""Fields of an input that a definition marks as sensitive: found, and covered. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from protocols.graphs.field import Field
from protocols.guardrails.sensitive import HIDDEN

Fields = Mapping[str, Field] | None
"""The fields of an input; None: nobody can tell, so everything is covered."""


def hides(field: Field) -> bool:
    """Tell whether a field, or something in it, is sensitive."""
    inner = list((field.inner or {}).values())
    if field.items is not None:
        inner.append(field.of_item)
    return field.sensitive or any(map(hides, inner))


def covered(given: Any, fields: Fields) -> Any:
    """Return an input with its sensitive fields covered."""
    if fields is None:
        return HIDDEN
    if not isinstance(given, Mapping):
        return given
    return {
        name: _covered(each, fields[name]) if name in fields else each
        for name, each in given.items()
    }


def values_of(given: Any, fields: Fields) -> list[Any]:
    """Return the values of the sensitive fields of an input: texts and numbers."""
    if fields is None or not isinstance(given, Mapping):
        return []
    return [
        value
        for name, field in fields.items()
        if name in given
        for value in _values(given[name], field)
    ]


def _covered(value: Any, field: Field) -> Any:
    if field.sensitive:
        return None if value is None else HIDDEN
    if isinstance(value, Mapping) and field.inner is not None:
        return covered(value, field.inner)
    if isinstance(value, list) and field.items is not None:
        return [_covered(each, field.of_item) for each in value]
    return value


def _values(value: Any, field: Field) -> Iterator[Any]:
    if field.sensitive:
        yield from _scalars(value)
    elif isinstance(value, Mapping):
        yield from values_of(value, field.inner or {})
    elif isinstance(value, list) and field.items is not None:
        for each in value:
            yield from _values(each, field.of_item)


def _scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _scalars(each)
    elif isinstance(value, list):
        for each in value:
            yield from _scalars(each)
    elif value is not None and not isinstance(value, bool):
        yield value
