"""Settings by the name of a service: ``services`` and ``flow``, from files and variables.

    [flow.billing]  rate_per_s = 50            flow.billing.rate_per_s
    MOVANT_FLOW__BILLING__RATE_PER_S=50        the same key
    MOVANT_FLOW={"card-eu": {"burst": 3}}      for names that no variable can have

Each setting is a key of its own, so that a stronger place changes one and keeps the others, and
so that a mistake is told with the place of that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from protocols.errors import ConfigurationError
from protocols.findings import did_you_mean
from protocols.flow import DEFAULT, FlowSettings
from protocols.subjects import is_name

FLOW: Final = "flow"
MAPS: Final = ("services", FLOW)
FLOW_KEYS: Final = tuple(each.name for each in msgspec.structs.fields(FlowSettings))

Where = Callable[[str, str], str]
"""The place of a setting, by the name of its service and its own."""


def steps(key: str) -> tuple[str, ...]:
    """Return the parts of a dotted key; a service's name may have dots itself."""
    section, dot, rest = key.partition(".")
    if section == FLOW and dot:
        service, _, setting = rest.rpartition(".")
        return section, service, setting
    return (section, rest) if dot else (section,)


def spread(name: str, value: Any, where: Where) -> Iterator[tuple[str, tuple[Any, str]]]:
    """Yield the settings of a map by their keys. Raises ConfigurationError."""
    for service, settings in _mapping(name, value, where("", "")).items():
        if name != FLOW:
            yield f"{name}.{service}", (settings, where(service, ""))
            continue
        place = where(service, "")
        for setting, each in _mapping(f"{FLOW}.{service}", settings, place).items():
            key = f"{FLOW}.{service}.{setting}"
            check_flow(key, where(service, setting))
            yield key, (each, where(service, setting))


def from_variable(name: str, text: str, variable: str) -> dict[str, tuple[Any, str]]:
    """Return the settings in a variable that holds a whole map. Raises ConfigurationError."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            f"{variable}: {name}: this is no JSON: {error}",
            hint="""write it like {"billing": …}, or a variable for each setting""",
        ) from error
    return dict(spread(name, value, lambda *_: variable))


def flow_key(rest: str, variable: str) -> str:
    """Return the key that the end of a variable's name says: ``billing__rate_per_s``."""
    service, between, setting = rest.rpartition("__")
    if not between:
        raise ConfigurationError(
            f"{variable} names no service, or no setting",
            hint="its name is MOVANT_FLOW__SERVICE__SETTING",
        )
    return f"{FLOW}.{service}.{setting}"


def check_flow(key: str, where: str) -> None:
    """Refuse a key that names no service or no setting. Raises ConfigurationError."""
    _, service, setting = steps(key)
    if service != DEFAULT and not is_name(service):
        raise ConfigurationError(
            f"{where}: {key}: {service!r} is no name of a service",
            hint=f"letters, digits, '_', '-', '.'; {DEFAULT!r} stands for all others",
        )
    if setting not in FLOW_KEYS:
        raise ConfigurationError(
            f"{where}: {key!r} is no setting", hint=did_you_mean(setting, FLOW_KEYS)
        )


def _mapping(key: str, value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"{where}: {key}: a map is expected", hint="movant config show lists all settings"
        )
    return value
