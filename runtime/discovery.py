"""Discovery: NATS micro's ``$SRV`` subjects, answered for us and asked of others (ADR-32)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import trio

from actors.routing.router import RouteView
from protocols.api import runs as api
from protocols.errors import MovantError
from protocols.events import to_time
from protocols.ports import Frame, Outgoing, Subscription, Transport
from protocols.subjects import is_reply
from runtime.clock import SystemClock

ANSWERS_S: Final = 0.25
"""How long services have to answer a roll-call."""
QUEUE_GROUP: Final = "q"

Numbers = Callable[[str], Mapping[str, Any]]


class Discovery:
    """Takes part in service discovery."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def serve(
        self,
        *,
        name: str,
        version: str,
        service_id: str,
        endpoints: Mapping[str, str],
        descriptions: Mapping[str, str],
        numbers: Numbers,
        description: str = "",
        queue: str = "movant",
    ) -> list[Subscription]:
        """Answer PING, INFO and STATS for a service; returns the subscriptions.

        ``endpoints`` maps a name to its subject; ``numbers`` gives the statistics of one.
        """
        identity = {"name": name, "id": service_id, "version": version, "metadata": {}}
        started = to_time(SystemClock().now_ns())

        def ping() -> dict[str, Any]:
            return {"type": "io.nats.micro.v1.ping_response", **identity}

        def info() -> dict[str, Any]:
            return {
                "type": "io.nats.micro.v1.info_response",
                **identity,
                "description": description,
                "endpoints": [
                    {
                        "name": each.replace(".", "-"),
                        "subject": subject,
                        "queue_group": queue,
                        "metadata": {"description": descriptions.get(each, "")},
                    }
                    for each, subject in endpoints.items()
                ],
            }

        def stats() -> dict[str, Any]:
            return {
                "type": "io.nats.micro.v1.stats_response",
                **identity,
                "started": started,
                "endpoints": [
                    {
                        "name": each.replace(".", "-"),
                        "subject": subject,
                        "queue_group": queue,
                        "num_requests": 0,
                        "num_errors": 0,
                        "last_error": "",
                        "processing_time": 0,
                        "average_processing_time": 0,
                        **numbers(each),
                    }
                    for each, subject in endpoints.items()
                ],
            }

        subscriptions = []
        for verb, answer in (("PING", ping), ("INFO", info), ("STATS", stats)):
            for subject in (
                f"$SRV.{verb}",
                f"$SRV.{verb}.{name}",
                f"$SRV.{verb}.{name}.{service_id}",
            ):
                subscription = await self._transport.subscribe(subject, self._answerer(answer))
                subscriptions.append(subscription)
        return subscriptions

    async def services(self, routes: Sequence[RouteView]) -> list[api.ServiceView]:
        """Return all services: those that answer a roll-call and those that steps asked for."""
        info = await self._collect("INFO")
        stats = {each.get("id"): each for each in await self._collect("STATS")}
        found: dict[str, api.ServiceView] = {}
        for each in info:
            name = str(each.get("name", ""))
            if name == api.SERVICE:
                continue  # the daemon itself
            endpoints = each.get("endpoints") or []
            numbers = (stats.get(each.get("id")) or {}).get("endpoints") or []
            before = found.get(name)
            counters = dict(before.counters) if before else {"processes": 0.0}
            counters["processes"] += 1
            for one in numbers:
                of = {key: one.get(key, 0) for key in ("num_requests", "num_errors")}
                own = one.get("data")
                for key, value in {**(own if isinstance(own, dict) else {}), **of}.items():
                    if isinstance(value, int | float):
                        counters[key] = counters.get(key, 0.0) + float(value)
            found[name] = api.ServiceView(
                name=name,
                state="up",
                operations=sorted({str(one.get("name", "")) for one in endpoints}),
                counters=counters,
                settings={"version": str(each.get("version", ""))},
            )
        for route in routes:
            view = found.get(route.service) or api.ServiceView(
                name=route.service,
                state={"present": "up"}.get(route.presence, route.presence),
            )
            found[route.service] = msgspec.structs.replace(
                view,
                operations=sorted({*view.operations, route.operation}),
                open_requests=view.open_requests + route.open,
                state="up" if view.state == "up" or route.presence == "present" else view.state,
            )
        return sorted(found.values(), key=lambda view: view.name)

    async def names(self) -> set[str]:
        """Return the names of the services that answer a roll-call."""
        return {str(each.get("name", "")) for each in await self._collect("PING")}

    async def _collect(self, verb: str) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []

        def take(frames: Sequence[Frame]) -> None:
            for frame in frames:
                try:
                    value = msgspec.json.decode(frame.payload)
                except msgspec.DecodeError:
                    continue
                if isinstance(value, dict):
                    answers.append(value)

        inbox = self._transport.new_inbox()
        subscription = await self._transport.subscribe(inbox, take)
        try:
            self._transport.publish(Outgoing(f"$SRV.{verb}", b"", reply=inbox))
            await trio.sleep(ANSWERS_S)
        except MovantError:
            return answers
        finally:
            subscription.unsubscribe()
        return answers

    def _answerer(self, answer: Callable[[], dict[str, Any]]) -> Callable[[Sequence[Frame]], None]:
        def take(frames: Sequence[Frame]) -> None:
            for frame in frames:
                if is_reply(frame.reply):
                    try:
                        self._transport.publish(
                            Outgoing(frame.reply, msgspec.json.encode(answer()))
                        )
                    except MovantError:
                        continue  # who asked cannot be told; the next one can

        return take
