"""Parameters of a connector's operation: what a request may give, by name and type.

    parameters:
      account: text
      amount: {type: integer, minimum: 1}
      note: {type: text, default: ""}

A request that gives another name, leaves one out or has another type is refused before anything
is done. Nothing is converted but an integer to a number: "7" is no 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.connectors import Part
from protocols.error_kinds import VALIDATION
from protocols.findings import Finding, Place
from protocols.service import Refused

ParameterType = Literal["text", "integer", "number", "boolean", "json"]

TEXT_LENGTH_MAX: Final = 1024 * 1024
"""Characters of a text; a request is bounded as a whole, this says so with the name."""


class Parameter(Part, frozen=True, kw_only=True):
    """One parameter of an operation. Its type alone may stand in its place."""

    type: Annotated[ParameterType, Meta(description="What it is; `json` is anything.")] = "text"
    default: Annotated[
        Any, Meta(description="What it is when it is not given; without it, it has to be.")
    ] = msgspec.UNSET
    nullable: Annotated[bool, Meta(description="Whether it may be null.")] = False
    minimum: Annotated[
        float | None, Meta(description="Least number, or fewest characters of a text.")
    ] = None
    maximum: Annotated[
        float | None, Meta(description="Greatest number, or most characters of a text.")
    ] = None
    choices: Annotated[
        tuple[Any, ...], Meta(description="The only values there are; empty: any of its type.")
    ] = ()
    description: Annotated[str, Meta(description="What it is for.")] = ""


Parameters = Mapping[str, ParameterType | Parameter]

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def declared(parameters: Parameters) -> dict[str, Parameter]:
    """Return each parameter in its long form."""
    return {
        name: each if isinstance(each, Parameter) else Parameter(type=each)
        for name, each in parameters.items()
    }


def findings(parameters: Parameters, place: Place) -> Iterator[Finding]:
    """Yield what is wrong with parameters that stand at a place."""
    for name, each in declared(parameters).items():
        if not name.isidentifier() or not name.isascii():
            yield Finding(
                (*place, name),
                f"{name[:60]!r} cannot be a parameter",
                "letters, digits and '_', no digit first",
                of_key=True,
            )
        if each.default is not msgspec.UNSET and each.default is not None:
            problem = _problem(each, each.default)
            if problem:
                yield Finding((*place, name, "default"), f"the default: {problem}")


def bind(parameters: Mapping[str, Parameter], request: Any) -> dict[str, Any]:
    """Return the value of every parameter. Raises Refused of kind ``validation``."""
    if request is None:
        request = {}
    if not isinstance(request, Mapping):
        raise Refused(VALIDATION, f"expected a map of parameters, got {_name(request)}")
    unknown = sorted(set(request) - set(parameters))
    if unknown:
        takes = ", ".join(parameters) or "none"
        raise Refused(VALIDATION, f"there is no parameter {unknown[0]!r}; it takes: {takes}")
    values = {}
    for name, parameter in parameters.items():
        value = request.get(name, parameter.default)
        if value is msgspec.UNSET:
            raise Refused(VALIDATION, f"parameter {name!r} is missing")
        if value is not parameter.default:
            problem = _problem(parameter, value)
            if problem:
                raise Refused(VALIDATION, f"parameter {name!r}: {problem}")
        values[name] = value
    return values


def _problem(parameter: Parameter, value: Any) -> str:
    """Return what is wrong with a value; empty: nothing."""
    if value is None:
        return "" if parameter.nullable or parameter.type == "json" else "it is null"
    types = _TYPES.get(parameter.type)
    if types is not None and (
        not isinstance(value, types) or (isinstance(value, bool) and parameter.type != "boolean")
    ):
        return f"expected {parameter.type}, got {_name(value)}"
    if parameter.choices and value not in parameter.choices:
        return f"it is none of {', '.join(map(str, parameter.choices))}"
    size = len(value) if isinstance(value, str) else value
    if isinstance(value, str) and len(value) > TEXT_LENGTH_MAX:
        return f"it is longer than {TEXT_LENGTH_MAX} characters"
    if isinstance(size, int | float) and not isinstance(size, bool):
        if parameter.minimum is not None and size < parameter.minimum:
            return f"it is below {parameter.minimum:g}"
        if parameter.maximum is not None and size > parameter.maximum:
            return f"it is above {parameter.maximum:g}"
    return ""


def _name(value: Any) -> str:
    names = {str: "text", bool: "a boolean", int: "an integer", float: "a number", list: "a list"}
    return "null" if value is None else names.get(type(value), "a map")
