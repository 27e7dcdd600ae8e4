"""DaemonQueries: workflows, services, and how the daemon itself stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from actors.packing import open_pack
from protocols import api
from protocols.errors import BadValueError, NotFoundError, UnavailableError
from runtime.discovery import Discovery

if TYPE_CHECKING:
    from runtime.daemon import Daemon
    from supervisors.incarnation import ChildView

log = structlog.get_logger()


class DaemonQueries:
    """Answers about definitions, services and the supervision tree."""

    def __init__(self, daemon: Daemon, discovery: Discovery) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._discovery = discovery

    async def workflows(self, _: api.Empty) -> api.Message:
        """List the workflows and their latest definitions."""
        rows = []
        listed = await self._parts.definition_store.list()
        for each in listed:
            rows += [
                api.WorkflowRow(
                    name=name,
                    definition=each.hash,
                    registered_at=each.latest_at.get(name, 0),
                    versions=sum(name in other.workflows for other in listed),
                )
                for name in each.latest_of
            ]
        return api.WorkflowPage(workflows=sorted(rows, key=lambda row: row.name))

    async def workflow(self, request: api.WorkflowShow) -> api.Message:
        """Show a workflow and the schema of its input."""
        listed = await self._parts.definition_store.list()
        if request.hash:
            matching = [each for each in listed if each.hash.startswith(request.hash)]
        else:
            matching = [each for each in listed if request.name in each.latest_of]
        if not matching:
            raise NotFoundError(
                f"no workflow {request.name or request.hash!r}", hint="movant workflow ls"
            )
        found = matching[-1]
        name = request.name or found.workflows[0]
        workflow = await self._parts.definitions.find(name, found.hash)
        return api.WorkflowView(
            name=name,
            definition=found.hash,
            workflows=list(found.workflows),
            modules=list(found.modules),
            libraries=found.libraries,
            input_schema=workflow.input_schema(),
            document=workflow.options.description,
            latest=name in found.latest_of,
        )

    async def register(self, request: api.WorkflowRegister) -> api.Message:
        """Store a definition; new instances of its workflows start with it."""
        packed = await trio.to_thread.run_sync(open_pack, request.data)
        if packed.hash != request.hash:
            raise BadValueError(f"the definition has the hash {packed.hash}, not {request.hash}")
        try:
            await self._parts.definition_store.get(packed.hash)
            created = False
        except NotFoundError:
            created = True
        await self._parts.definitions.register(packed)
        self._parts.owner.registered(packed.workflows)
        log.info("workflow.registered", hash=packed.hash, workflows=list(packed.workflows))
        return api.WorkflowRegistered(
            hash=packed.hash, workflows=list(packed.workflows), created=created
        )

    async def services(self, _: api.Empty) -> api.Message:
        """List the services that answer or were asked."""
        return api.ServicePage(services=[_row(each) for each in await self._all_services()])

    async def service(self, request: api.ServiceShow) -> api.Message:
        """Show one service."""
        for each in await self._all_services():
            if each.name == request.name:
                return each
        raise NotFoundError(f"no service {request.name!r}", hint="movant service ls")

    async def _all_services(self) -> list[api.ServiceView]:
        return await self._discovery.services(self._parts.router.views())

    async def status(self, _: api.Empty) -> api.Message:
        """Show how the daemon stands, with its counters."""
        daemon, parts = self._daemon, self._parts
        counters = {
            key: float(value)
            for key, value in msgspec.structs.asdict(parts.owner.statistics()).items()
        }
        if hasattr(parts, "collector"):
            counted = msgspec.structs.asdict(parts.collector.statistics())
            counters |= {f"collector_{key}": float(value) for key, value in counted.items()}
        requests = parts.requests
        counters |= {
            "requests_sent": float(requests.sent),
            "requests_reasked": float(requests.reasked),
            "requests_parked": float(requests.parked),
        }
        for name, writer in parts.writers.items():
            statistics = writer.statistics()
            counters[f"writer_{name}_messages"] = float(statistics.messages)
            counters[f"writer_{name}_commits"] = float(statistics.commits)
            counters[f"writer_{name}_queued"] = float(statistics.queued)
        problems = daemon.problems()
        return api.StatusView(
            version=daemon.version,
            daemon=daemon.name,
            state="degraded" if problems and daemon.state == "ready" else daemon.state,
            durability=daemon.durability,
            uptime_s=daemon.clock.monotonic() - daemon.started_at,
            partitions=list(range(daemon.config.partitions)),
            counters=counters,
            problems=problems,
        )

    async def tree(self, _: api.Empty) -> api.Message:
        """Show the supervision tree."""
        view = self._daemon.tree()
        if view is None:
            raise UnavailableError("the daemon is starting")
        return api.ActorTree(root=_node(view, self._parts.owner.statistics().live))


def _row(view: api.ServiceView) -> api.ServiceRow:
    return api.ServiceRow(
        name=view.name,
        state=view.state,
        operations=view.operations,
        open_requests=view.open_requests,
    )


def _node(view: ChildView, live: int) -> api.ActorNode:
    children = [_node(each, live) for each in view.children]
    if view.id == "workflows":
        children.append(
            api.ActorNode(name=f"instances in memory: {live}", kind="worker", state="running")
        )
    return api.ActorNode(
        name=view.id,
        kind=view.type,
        state=view.status,
        restarts=view.restarts,
        children=children,
    )
