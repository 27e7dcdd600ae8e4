"""Profiles and limits of a graph: where it runs, and how many of its runs may be active.

    profiles:
      dev: {services: {bank: bank-sandbox}, approval_mode: auto}
      production: {approval_mode: interactive}
    limits: {max_active: 50, per: "{{input.customer}}", priority: 5}

A profile exchanges names and nothing else: the steps are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from protocols.definition import OnLimit
from protocols.findings import Finding, Place, did_you_mean
from protocols.flow import Priority
from protocols.gates.gate import MODES
from protocols.graphs.field import Part, Seconds, durations
from protocols.subjects import is_name

if TYPE_CHECKING:
    from protocols.directives import Table
    from protocols.graphs.graph import Graph, GraphStep


class Profile(Part, frozen=True, kw_only=True):
    """What is different where runs have this profile."""

    description: Annotated[str, Meta(description="What it is for, for people.")] = ""
    services: Annotated[
        dict[str, str], Meta(description="Services that are asked in place of others.")
    ] = msgspec.field(default_factory=dict)
    approval_mode: Annotated[
        str, Meta(description="The `mode` of gates that have none; as the graph's without it.")
    ] = ""
    timeout: Annotated[
        Seconds | None, Meta(description="How long a run may take; as the graph says without it.")
    ] = None

    def __post_init__(self) -> None:
        """Read the durations."""
        durations(self, "timeout")


class Limits(Part, frozen=True, kw_only=True):
    """How many runs there may be, and who goes first."""

    max_active: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(description="Runs that have begun and not ended. 0: any number."),
    ] = 0
    on_limit: Annotated[
        OnLimit,
        Meta(description="What a start beyond it does: it waits for its turn, or is refused."),
    ] = "queue"
    per: Annotated[
        str,
        Meta(description="What they are counted by, such as `{{input.customer}}`; else all runs."),
    ] = ""
    priority: Annotated[
        Priority,
        Meta(description="Of runs whose start says none: -9 a batch, 9 an emergency."),
    ] = 0


def under(graph: Graph, profile: str) -> Graph:
    """Return a graph as it is under a profile. Raises KeyError when it has none of that name."""
    of = graph.profiles[profile]
    put = of.services

    def step(each: GraphStep) -> GraphStep:
        changed: dict[str, Any] = {}
        if each.service in put:
            changed["service"] = put[each.service]
        if each.fallbacks:
            changed["fallbacks"] = tuple(
                msgspec.structs.replace(one, service=put.get(one.service, one.service))
                for one in each.fallbacks
            )
        undo = each.undone_by
        if undo is not None and (undo.service or each.service) in put:
            # The one that did it undoes it, unless another one was named.
            named = put.get(undo.service, undo.service)
            changed["undo"] = msgspec.structs.replace(undo, service=named)
        if each.on_error:
            changed["on_error"] = _others(each.directives, put)
        return msgspec.structs.replace(each, **changed) if changed else each

    defaults = graph.defaults
    if defaults.on_error:
        on_error = _others(defaults.directives, put)
        defaults = msgspec.structs.replace(defaults, on_error=on_error)
    return msgspec.structs.replace(
        graph,
        steps={name: step(each) for name, each in graph.steps.items()},
        defaults=defaults,
        approval_mode=of.approval_mode or graph.approval_mode,
        timeout=graph.timeout if of.timeout is None else of.timeout,
    )


def _others(table: Table, put: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind, first in table.items():
        each, chain = first, []
        while each is not None:
            chain.append(each)
            each = each.then  # type: ignore[assignment]  # made long when it was read
        made = None
        for one in reversed(chain):
            services = tuple(put.get(name, name) for name in one.services)
            by = put.get(one.by, one.by)
            made = msgspec.structs.replace(one, services=services, by=by, then=made)
        found[kind] = made
    return found


def asked_by(graph: Graph) -> set[str]:
    """Return the services that a graph names."""
    found = {step.service for step in graph.steps.values()}
    for step in graph.steps.values():
        found |= {each.service for each in step.fallbacks}
        found |= {step.undone_by.service} if step.undone_by is not None else set()
    for table in (graph.defaults.directives, *(x.directives for x in graph.steps.values())):
        for each in table.values():
            found |= {*each.services, each.by}
    return found - {""}


def profiles(graph: Graph) -> Iterator[Finding]:
    """Return what is wrong with the profiles and limits of a graph."""
    limits = graph.limits
    if limits is not None and not limits.max_active:
        for key in ("per", "on_limit"):
            if getattr(limits, key) not in {"", "queue"}:
                message = "there is nothing to count by it"
                yield Finding(("limits", key), message, "write 'max_active' as well")
    known = asked_by(graph) if graph.profiles else set()
    for name, each in graph.profiles.items():
        at: Place = ("profiles", name)
        if not is_name(name):
            yield Finding(at, f"{name[:60]!r} is no name of a profile", of_key=True)
        if each.approval_mode and each.approval_mode not in MODES:
            message = f"{each.approval_mode[:60]!r} is no mode of gates"
            hint = did_you_mean(each.approval_mode, MODES)
            yield Finding((*at, "approval_mode"), message, hint)
        for service, other in each.services.items():
            place: Place = (*at, "services", service)
            if service not in known:
                message = f"no step asks a service {service[:60]!r}"
                yield Finding(place, message, did_you_mean(service, known), of_key=True)
            elif not is_name(other):
                yield Finding(place, f"{other[:60]!r} is no name of a service")
