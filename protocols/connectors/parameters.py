"""The fields of a connector's request, declared as those of a graph's input.

    params:
      account: string
      amount: {type: integer, min: 1}
      note: {type: string, default: ""}

A request that gives another name, leaves one out or has another type is refused before anything
is done. Nothing is converted: "7" is no 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

import msgspec

from protocols import codec
from protocols.errors import BadValueError
from protocols.failure import VALIDATION
from protocols.findings import Finding, Place
from protocols.graphs.field import Field, FieldType, field_of
from protocols.graphs.input import input_type, problem
from protocols.service import Refused

Params = dict[str, Field | FieldType]


def params_type(params: Params) -> Any:
    """Return the type of a request with these fields."""
    return input_type({name: field_of(each) for name, each in params.items()}, "Params")


def request_type(kind: Any) -> Any:
    """Return the type of what comes: nothing at all is a request without fields."""
    return Optional[kind]  # noqa: UP045 - made at run time


def bind(kind: Any, request: Any) -> dict[str, Any]:
    """Return all fields of a request by name. Raises Refused of kind ``validation``."""
    given = {} if request is None else msgspec.to_builtins(request)
    try:
        values: dict[str, Any] = msgspec.to_builtins(codec.convert(given, kind))
    except BadValueError as error:
        raise Refused(VALIDATION, error.message) from None
    return values


def of_undo(request: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request for an undo: from the step's input, else from its result."""
    given = msgspec.to_builtins(request)
    if not isinstance(given, dict):
        return {}
    if not given.keys() <= {"key", "input", "result"}:
        return given  # the workflow has said what the undo gets
    parts = [part for part in (given.get("result"), given.get("input")) if isinstance(part, dict)]
    return {name: part[name] for part in parts for name in names if name in part}


def findings(params: Params, place: Place) -> Iterator[Finding]:
    """Yield what is wrong with fields that stand at a place."""
    for name, each in params.items():
        if wrong := problem(field_of(each), name):
            yield Finding((*place, name), wrong)
