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

import difflib
import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.errors import BadValueError, ConfigurationError, InvalidIdError
from protocols.subjects import check_name

HASH_CHARS: Final = 24
SEPARATOR: Final = "_"
"""Between the hash of a definition and that of its table: ``<definition>_<table>``."""
TABLE_BYTES_MAX: Final = 64 * 1024
CANDIDATES_MAX: Final = 64

Rank = Literal["order", "measured"]


class ServiceFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a table says about a service. ``weight`` is for, ``cost`` against it."""

    capabilities: tuple[str, ...] = ()
    weight: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    cost: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    locality: str = ""


class RouteSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may serve a name: the candidates, best first, then those of the ``fallback`` route.

    Every candidate has to have the capabilities that the route ``needs``.
    """

    to: tuple[str, ...]
    rank: Rank = "order"
    needs: tuple[str, ...] = ()
    fallback: str = ""


class RoutingTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole table, as it is written."""

    services: dict[str, ServiceFacts]
    routes: dict[str, RouteSpec]


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


def checked(table: RoutingTable, owned: Iterable[str] = ()) -> dict[str, Choices]:
    """Return the choices of a table, by route.

    ``owned`` are names that need somebody to serve them, such as those of a machine's states.
    Raises ConfigurationError that names every problem: an unknown service or fallback, a route
    without candidates, a missing capability, a cycle of fallbacks, a name without an owner.
    """
    problems = [*_names(table)]
    for name, spec in table.routes.items():
        problems += _problems(table, name, spec)
    problems += [
        f"{name} has no owner: there is no route and no service of that name"
        for name in dict.fromkeys(owned)
        if name not in table.routes and name not in table.services
    ]
    if not problems:
        problems += _cycles(table)
    if problems:
        raise ConfigurationError(
            f"the routing table cannot be used: {'; '.join(problems)}",
            hint="every candidate stands in `services`; a fallback is the name of another route",
        )
    return {name: _choices(table, name) for name in table.routes}


def _names(table: RoutingTable) -> list[str]:
    problems = []
    for name in (*table.services, *table.routes):
        try:
            check_name(name, "service")
        except InvalidIdError as error:
            problems.append(error.message)
    return problems


def _problems(table: RoutingTable, name: str, spec: RouteSpec) -> list[str]:
    problems = []
    if not spec.to and not spec.fallback:
        problems.append(f"route {name} has no owner: `to` is empty and there is no fallback")
    if len(spec.to) > CANDIDATES_MAX or len(set(spec.to)) < len(spec.to):
        problems.append(f"route {name} names a service twice, or more than {CANDIDATES_MAX}")
    for service in spec.to:
        facts = table.services.get(service)
        if facts is None:
            problems.append(f"route {name}: unknown service {service!r}{_near(service, table)}")
        elif missing := [each for each in spec.needs if each not in facts.capabilities]:
            problems.append(f"route {name}: {service} is not capable of {', '.join(missing)}")
    if spec.fallback and spec.fallback not in table.routes:
        problems.append(f"route {name}: its fallback {spec.fallback!r} is no route")
    return problems


def _near(service: str, table: RoutingTable) -> str:
    close = difflib.get_close_matches(service, table.services, 1)
    return f", did you mean {close[0]!r}?" if close else ""


def _cycles(table: RoutingTable) -> list[str]:
    """Return the chains of fallbacks that come back to where they began."""
    problems: dict[str, None] = {}
    for name in table.routes:
        chain = [name]
        while (following := table.routes[chain[-1]].fallback) and following not in chain:
            chain.append(following)
        if following == name:
            first = chain.index(min(chain))
            circle = [*chain[first:], *chain[:first]]
            problems[f"the fallbacks {' -> '.join([*circle, circle[0]])} go in a circle"] = None
    return list(problems)


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
