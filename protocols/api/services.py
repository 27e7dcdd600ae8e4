"""What the API says about services."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from protocols.api.base import Message


class ServiceRow(Message, frozen=True, kw_only=True):
    """One line of a list of services."""

    name: Annotated[str, Meta(description="Name of the service.")]
    state: Annotated[str, Meta(description="For instance: up, absent, open (breaker), paused.")]
    operations: Annotated[list[str], Meta(description="What it can do.")] = []
    open_requests: Annotated[int, Meta(description="Requests without an answer yet.")] = 0
    parked: Annotated[int, Meta(description="Requests that may not go yet.")] = 0
    breaker: Annotated[str, Meta(description="closed, open, half_open, or forced.")] = "closed"
    paused: Annotated[str, Meta(description="Who paused it and why; empty: it is not.")] = ""


class ServicePage(Message, frozen=True, kw_only=True):
    """All services."""

    services: Annotated[list[ServiceRow], Meta(description="The rows, by name.")]


class ServiceShow(Message, frozen=True, kw_only=True):
    """Show one service."""

    name: Annotated[str, Meta(description="Name of the service.")]


class ServiceView(ServiceRow, frozen=True, kw_only=True):
    """All that is known about one service."""

    counters: Annotated[
        dict[str, float], Meta(description="Requests, failures, times, by name.")
    ] = {}
    settings: Annotated[dict[str, Any], Meta(description="Its limits and declarations.")] = {}
