"""Parts of a graph that others are made of: fields with their types, durations, short forms."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.calendars import working
from protocols.durations import seconds

FieldType = Literal["string", "number", "integer", "boolean", "array", "object", "any"]
Seconds = float | str


class Part(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Base of the parts of a graph."""


class Field(Part, frozen=True, kw_only=True):
    """One field of the input. Its type may stand alone: ``amount: number``."""

    type: Annotated[FieldType, Meta(description="What it holds.")] = "any"
    description: Annotated[str, Meta(description="What it is, for people.")] = ""
    sensitive: Annotated[
        bool, Meta(description="Whether nobody is ever shown it: not by people's tools, not raw.")
    ] = False
    optional: Annotated[bool, Meta(description="It may be absent; then it is null.")] = False
    default: Annotated[Any, Meta(description="Its value when it is absent.")] = msgspec.UNSET
    enum: Annotated[tuple[str | int, ...], Meta(description="The values that it may have.")] = ()
    min: Annotated[float | None, Meta(description="Least value of a number.")] = None
    max: Annotated[float | None, Meta(description="Greatest value of a number.")] = None
    min_length: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Least number of characters of a string, or of items of an array."),
    ] = None
    items: Annotated[Field | FieldType | None, Meta(description="Each item of an array.")] = None
    fields: Annotated[
        dict[str, Field | FieldType] | None,
        Meta(description="The fields of an object; others are refused."),
    ] = None

    def __post_init__(self) -> None:
        """Bring short forms to the long ones. Raises ValueError for what does not fit the type."""
        put(self, "items", None if self.items is None else field_of(self.items))
        if self.fields is not None:
            put(self, "fields", {name: field_of(each) for name, each in self.fields.items()})
        for name, types in _OF_TYPES.items():
            if getattr(self, name) not in (None, ()) and self.type not in types:
                raise ValueError(f"{name} belongs to {' or '.join(types)}, not to {self.type}")
        if self.optional and self.default is not msgspec.UNSET:
            raise ValueError("optional is not needed beside a default: take it away")

    @property
    def of_item(self) -> Field:
        """What each item of an array is."""
        return self.items if isinstance(self.items, Field) else ANYTHING

    @property
    def inner(self) -> dict[str, Field] | None:
        """The fields of an object; None: any."""
        return fields_of(self.fields)


_OF_TYPES: Final = {
    "min": ("number", "integer"),
    "max": ("number", "integer"),
    "min_length": ("string", "array"),
    "enum": ("string", "integer"),
    "items": ("array",),
    "fields": ("object",),
}


def field_of(given: Field | FieldType) -> Field:
    """Return the long form of a field."""
    return given if isinstance(given, Field) else Field(type=given)


def fields_of(given: dict[str, Field | FieldType] | None) -> dict[str, Field] | None:
    """Return fields that are in their long form by now; None: any."""
    if given is None:
        return None
    return {name: each for name, each in given.items() if isinstance(each, Field)}


def durations(part: msgspec.Struct, *fields: str) -> None:
    """Bring durations to seconds. Raises ValueError for 0, and for what is no duration."""
    for field in fields:
        given = getattr(part, field)
        if given is None:
            continue
        value = seconds(given, field)
        if not value:
            raise ValueError(f"{field} is 0: nothing could be done in time")
        put(part, field, value)


def spans(part: msgspec.Struct, *fields: str) -> None:
    """Do the same where working time may stand: it stays text, in its one form."""
    for field in fields:
        given = getattr(part, field)
        found = working(given) if isinstance(given, str) else None
        if found is None:
            durations(part, field)
        else:
            put(part, field, found.text)


def put(part: msgspec.Struct, field: str, value: object) -> None:
    """Bring one field of a frozen part to its long form, while it is made."""
    msgspec.structs.force_setattr(part, field, value)


ANYTHING: Final = Field()
"""A field of which nothing is said."""
