"""Where references stand in a value: for who checks them before anything is filled in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from protocols.findings import Place
from protocols.references import DEPTH_MAX, OPEN, Reference, WrongReference, parse, too_deep


class Found(NamedTuple):
    """A reference at its place in parameters."""

    place: Place
    reference: Reference


def found_in(value: Any) -> list[Found]:
    """Return the references in a value, in order. Raises as ``Template`` does."""
    return [
        Found(place, each)
        for place, text in _texts(value)
        for each in parse(text)
        if not isinstance(each, str)
    ]


def problems(value: Any) -> list[tuple[Place, WrongReference]]:
    """Return every text of a value whose references cannot be read, with its place."""
    found: list[tuple[Place, WrongReference]] = []
    try:
        for place, text in _texts(value):
            try:
                parse(text)
            except WrongReference as error:
                found.append((place, error))
    except WrongReference as error:  # it ends here
        found.append(((), error))
    return found


def _texts(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield the texts with references of a value, in order. Raises WrongReference."""
    if isinstance(value, str):
        if OPEN in value:
            yield place, value
        return
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    for key, each in inner:
        if len(place) >= DEPTH_MAX:
            raise too_deep()
        if isinstance(each, str):
            if OPEN in each:
                yield (*place, key), each
        elif isinstance(each, dict | list | tuple):
            yield from _texts(each, (*place, key))
