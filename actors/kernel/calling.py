"""Calling: names and options of calls, checked once for each that occurs."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec

from protocols.policy import Retry, StepOptions
from protocols.subjects import check_name, check_step_name

Absent = Literal["wait", "fail"]


@lru_cache(maxsize=4_096)
def call_name(service: str, operation: str) -> str:
    """Return the name of a step that was given none."""
    return check_step_name(f"{check_name(service)}.{operation}")


@lru_cache(maxsize=4_096)
def call_options(
    base: StepOptions,
    retry: Retry | None,
    timeout_s: float | None,
    absent: Absent | None,
    idempotent: bool | None,  # noqa: FBT001 - None means: as in base
) -> StepOptions:
    """Return the options with what the call overrides, checked against their limits."""
    given = {"retry": retry, "timeout_s": timeout_s, "absent": absent, "idempotent": idempotent}
    merged = msgspec.structs.replace(
        base, **{key: value for key, value in given.items() if value is not None}
    )
    return msgspec.convert(msgspec.to_builtins(merged), StepOptions)
