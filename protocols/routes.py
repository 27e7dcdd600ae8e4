"""Routing tables: which services may serve what a step asks for, as data.

    services:                                 routes:
      card-eu: {cost: 2, locality: eu}          cards: {to: [card-eu, card-us], rank: measured,
      card-us: {}                                       fallback: manual}
      clerks:  {capabilities: [manual]}         manual: {to: [clerks], needs: [manual]}

A step that asks the service ``cards`` is served by one of the candidates; a name without a route
is served by the service of that name. ``order``: attempt n goes to candidate n, a function of
the table. ``measured``: the owner chooses by what it has measured, and says so in a message.

A table is checked when it is read and named by the hash of its content, so that an instance can
be pinned to it like to its code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.errors import BadValueError, ConfigurationError, InvalidIdError
from protocols.findings import Finding, Place, did_you_mean
from protocols.subjects import check_name

HASH_CHARS: Final = 24
SEPARATOR: Final = "_"
"""Between the hash of a definition and that of its table: ``<definition>_<table>``."""
TABLE_BYTES_MAX: Final = 64 * 1024
CANDIDATES_MAX: Final = 64

Rank = Literal["order", "measured"]


class ServiceFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a table says about a service. ``weight`` is for, ``cost`` against it."""

    capabilities: Annotated[
        tuple[str, ...], Meta(description="What it can do; a route may need it.")
    ] = ()
    weight: Annotated[float, Meta(gt=0, le=1e6, description="Speaks for it.")] = 1.0
    cost: Annotated[float, Meta(ge=0, le=1e6, description="Speaks against it.")] = 0.0
    locality: Annotated[
        str, Meta(description="Where it is; a daemon prefers its own locality.")
    ] = ""


class RouteSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may serve a name: the candidates, best first, then those of the ``fallback`` route.

    Every candidate has to have the capabilities that the route ``needs``.
    """

    to: Annotated[tuple[str, ...], Meta(description="Services that may serve it, best first.")]
    rank: Annotated[
        Rank, Meta(description="order: attempt n to candidate n; measured: the best by figures.")
    ] = "order"
    needs: Annotated[
        tuple[str, ...], Meta(description="Capabilities that every candidate has to have.")
    ] = ()
    fallback: Annotated[
        str, Meta(description="Another route, whose candidates come behind these.")
    ] = ""


class RoutingTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole table, as it is written."""

    services: Annotated[
        dict[str, ServiceFacts], Meta(description="Every service that the routes name.")
    ]
    routes: Annotated[
        dict[str, RouteSpec], Meta(description="Who serves a name that steps ask for.")
    ]


class Candidate(msgspec.Struct, frozen=True):
    """A service that may serve a name. ``factor`` is what the table says for and against it."""

    service: str
    factor: float
    locality: str = ""


class Choices(msgspec.Struct, frozen=True, eq=False):
    """The candidates of one route, best first; compared by identity."""

    name: str
    candidates: tuple[Candidate, ...]
    ranked: bool

    def index(self, service: str) -> int:
        """Return the place of a candidate; -1: it is none."""
        for number, each in enumerate(self.candidates):
            if each.service == service:
                return number
        return -1


Routes = Mapping[str, Choices]
"""A table that was checked: the choices by the name that steps ask for."""


class Scored(msgspec.Struct, frozen=True, omit_defaults=True):
    """A candidate in a decision. ``state`` says why it could not be chosen; empty: it could."""

    service: str
    score: float = 0.0
    state: str = ""


def table_of(data: bytes) -> RoutingTable:
    """Return the table in some JSON. Raises BadValueError, with the place of what is wrong."""
    if len(data) > TABLE_BYTES_MAX:
        raise BadValueError(f"a routing table has at most {TABLE_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(data, type=RoutingTable)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadValueError(f"this is no routing table: {error}") from error


def encoded(table: RoutingTable) -> bytes:
    """Return the canonical bytes of a table: the same for the same content."""
    return msgspec.json.encode(table, order="deterministic")


def table_hash(table: RoutingTable) -> str:
    """Return the identity of a table's content."""
    return hashlib.sha256(encoded(table)).hexdigest()[:HASH_CHARS]


def split(definition: str) -> tuple[str, str]:
    """Return the hash of the code, and that of the table or nothing."""
    code, _, table = definition.partition(SEPARATOR)
    return code, table


def joined(code: str, table: str) -> str:
    """Return what an instance is pinned to: code alone, or code and table."""
    return f"{code}{SEPARATOR}{table}" if table else code


def check(table: RoutingTable, owned: Mapping[str, str] | None = None) -> list[Finding]:
    """Return everything that is wrong with a table, in reading order.

    ``owned`` are names that need somebody to serve them, such as those of a machine's states,
    each with who asks. What is found: an unknown service or fallback, a route without
    candidates, a missing capability, a cycle of fallbacks, a name without an owner.
    """
    found = [*_names(table)]
    if len(encoded(table)) > TABLE_BYTES_MAX:
        found.append(Finding((), f"a routing table has at most {TABLE_BYTES_MAX} bytes"))
    for name, spec in table.routes.items():
        found += _problems(table, name, spec)
    known = {*table.routes, *table.services}
    found += [
        Finding(
            ("routes",),
            f"{name} has no owner: there is no route and no service of that name"
            + (f" ({asked_by})" if asked_by else ""),
            did_you_mean(name, known),
        )
        for name, asked_by in (owned or {}).items()
        if name not in known
    ]
    return found or [*_cycles(table)]


def checked(table: RoutingTable, owned: Mapping[str, str] | None = None) -> dict[str, Choices]:
    """Return the choices of a table, by route.

    Raises ConfigurationError that names everything that ``check`` finds.
    """
    problems = check(table, owned)
    if problems:
        hints = dict.fromkeys(each.hint for each in problems if each.hint)
        raise ConfigurationError(
            f"the routing table cannot be used: {'; '.join(each.message for each in problems)}",
            hint="; ".join(hints),
        )
    return {name: _choices(table, name) for name in table.routes}


def _names(table: RoutingTable) -> Iterator[Finding]:
    for section, names in (("services", table.services), ("routes", table.routes)):
        for name in names:
            try:
                check_name(name, "service")
            except InvalidIdError as error:
                yield Finding((section, name), error.message, error.hint, of_key=True)


def _problems(table: RoutingTable, name: str, spec: RouteSpec) -> Iterator[Finding]:
    at: Place = ("routes", name)
    if not spec.to and not spec.fallback:
        yield Finding(
            at,
            f"route {name} has no owner: `to` is empty and there is no fallback",
            "name the services that may serve it, best first",
            of_key=True,
        )
    if len(spec.to) > CANDIDATES_MAX:
        yield Finding((*at, "to"), f"route {name} names more than {CANDIDATES_MAX} services")
    for index, service in enumerate(spec.to):
        place = (*at, "to", index)
        facts = table.services.get(service)
        if service in spec.to[:index]:
            yield Finding(place, f"route {name} names {service} twice", "take one of them away")
        elif facts is None:
            yield Finding(
                place,
                f"route {name}: unknown service {service!r}",
                did_you_mean(service, table.services) or "list it under `services`",
            )
        elif missing := [each for each in spec.needs if each not in facts.capabilities]:
            yield Finding(
                place,
                f"route {name}: {service} is not capable of {', '.join(missing)}",
                f"add it to the `capabilities` of {service}, or take {service} out",
            )
    if spec.fallback and spec.fallback not in table.routes:
        yield Finding(
            (*at, "fallback"),
            f"route {name}: its fallback {spec.fallback!r} is no route",
            did_you_mean(spec.fallback, table.routes),
        )


def _cycles(table: RoutingTable) -> Iterator[Finding]:
    """Find the chains of fallbacks that come back to where they began, each once."""
    told: set[str] = set()
    for name in table.routes:
        chain = [name]
        while (following := table.routes[chain[-1]].fallback) and following not in chain:
            chain.append(following)
        if following == name and not told.intersection(chain):
            told.update(chain)
            yield Finding(
                ("routes", name, "fallback"),
                f"the fallbacks {' -> '.join([*chain, name])} go in a circle",
                "let one of them have no fallback",
            )


def _choices(table: RoutingTable, name: str) -> Choices:
    """Return the candidates of a route and of all its fallbacks, each once."""
    found: dict[str, Candidate] = {}
    spec, rank = table.routes[name], table.routes[name].rank
    while True:
        for service in spec.to:
            facts = table.services[service]
            factor = facts.weight / (1.0 + facts.cost)
            found.setdefault(service, Candidate(service, factor, facts.locality))
        if not spec.fallback:
            # Where there is no choice nobody has to choose.
            ranked = rank == "measured" and len(found) > 1
            return Choices(name, tuple(found.values()), ranked)
        spec = table.routes[spec.fallback]


def to_builtins(table: RoutingTable) -> dict[str, Any]:
    """Return a table as plain values, for people and programs."""
    found: dict[str, Any] = msgspec.to_builtins(table)
    return found


def brief(table: RoutingTable) -> dict[str, Any]:
    """Return a table as plain values, as a person would write them: without defaults.

    The Structs must not leave them out themselves: their bytes are the identity of a table.
    """
    return {
        "services": {name: _said(each) for name, each in table.services.items()},
        "routes": {name: _said(each) for name, each in table.routes.items()},
    }


def _said(part: ServiceFacts | RouteSpec) -> dict[str, Any]:
    found = {}
    for field in msgspec.structs.fields(part):
        value = getattr(part, field.name)
        if field.required or value != field.default:
            found[field.name] = list(value) if isinstance(value, tuple) else value
    return found
