"""The input of a graph as a type, so that it is checked as that of a workflow in Python."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor
from typing import Annotated, Any, Final, Literal, Optional

import msgspec

from protocols.graphs.field import Field

_PLAIN: Final[dict[str, Any]] = {
    "string": str,
    "number": int | float,
    "integer": int,
    "boolean": bool,
    "array": list[Any],
    "object": dict[str, Any],
    "any": Any,
}


def input_type(fields: Mapping[str, Field], name: str = "Input") -> Any:
    """Return a Struct with these fields; it refuses others."""
    names = {f"field{index}": each for index, each in enumerate(fields)}
    return msgspec.defstruct(
        name,
        [_member(attribute, fields[each], each) for attribute, each in names.items()],
        rename=names,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


def _member(attribute: str, field: Field, name: str) -> tuple[str, Any] | tuple[str, Any, Any]:
    kind = _kind(field, name)
    if field.optional:
        return attribute, Optional[kind], None  # noqa: UP045 - made at run time
    if field.default is msgspec.UNSET:
        return attribute, kind
    default = msgspec.convert(field.default, kind)
    if isinstance(default, list | dict):
        # Nobody changes an input, but a Struct takes no default that could be changed.
        return attribute, kind, msgspec.field(default_factory=lambda: default)
    return attribute, kind, default


def problem(field: Field, name: str) -> str:
    """Return what is wrong with a field as a type; empty when nothing is."""
    try:
        kind = _kind(field, name)
        msgspec.json.schema(kind)
        if field.default is not msgspec.UNSET:
            msgspec.convert(field.default, kind)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def _kind(field: Field, name: str) -> Any:
    kind = _PLAIN[field.type]
    if field.type == "array" and field.items is not None:
        kind = list[_kind(field.of_item, name)]  # type: ignore[misc]  # made at run time
    elif field.type == "object" and field.inner is not None:
        kind = input_type(field.inner, name.title().replace("_", ""))
    elif field.enum:
        kind = Literal[field.enum]
    elif field.min is not None or field.max is not None:
        kind = _limited(field)
    if field.min_length is not None:
        kind = Annotated[kind, msgspec.Meta(min_length=field.min_length)]
    if field.description:
        kind = Annotated[kind, msgspec.Meta(description=field.description)]
    return kind


def _limited(field: Field) -> Any:
    least = None if field.min is None else ceil(field.min)
    most = None if field.max is None else floor(field.max)
    whole = Annotated[int, msgspec.Meta(ge=least, le=most)]
    if field.type == "integer":
        return whole
    return whole | Annotated[float, msgspec.Meta(ge=field.min, le=field.max)]
