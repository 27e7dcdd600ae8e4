"""DaemonQueries: workflows, services, and how the daemon itself stands."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from actors.definitions.bundle import Packed, unpack
from actors.definitions.registry import Deployment
from actors.graphs.interpreter import GraphWorkflow
from actors.motions.interpreter import MotionWorkflow
from actors.routing.router import Presence
from actors.store.neighbours import refuse_neighbours
from protocols import events
from protocols.api import runs as api
from protocols.errors import MovantError, NotFoundError, UnavailableError
from protocols.routes import RoutingTable, split, table_of, to_builtins
from runtime.api.holds import hold_view
from runtime.api.peers import Peers, Registered
from runtime.api.versions import tell
from runtime.discovery import Discovery
from runtime.flows import FlowRows, rows_of, service_flows, with_flow, with_others
from runtime.ranges import brief
from runtime.server.accounts import foreign_subjects

if TYPE_CHECKING:
    from actors.owning.membership import Member
    from runtime.daemon import Daemon
    from supervisors.incarnation import ChildView

CRASH_CHARS_MAX: Final = 200
"""Of an error in the tree; the log has all of it."""

log = structlog.get_logger()


class DaemonQueries:
    """Answers about definitions, services and the supervision tree."""

    def __init__(self, daemon: Daemon, discovery: Discovery, peers: Peers) -> None:
        self._daemon = daemon
        self._peers = peers
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
                    table=each.tables.get(name, ""),
                )
                for name in each.latest_of
            ]
        return api.WorkflowPage(workflows=sorted(rows, key=lambda row: row.name))

    async def workflow(self, request: api.WorkflowShow) -> api.Message:
        """Show a workflow and the schema of its input."""
        listed = await self._parts.definition_store.list()
        if request.hash:
            code, _ = split(request.hash)
            matching = [each for each in listed if each.hash.startswith(code)]
        else:
            matching = [each for each in listed if request.name in each.latest_of]
        if not matching:
            if not request.hash:
                raise NotFoundError(f"no workflow {request.name!r}", hint="movant workflow ls")
            versions = f"movant workflow versions {request.name}".rstrip()
            hint = versions if request.name else "movant workflow ls"
            raise NotFoundError(f"no definition {request.hash!r}", hint=hint)
        found = matching[-1]
        name = request.name or found.workflows[0]
        workflow = await self._parts.definitions.find(name, found.hash)
        pinned = request.hash or await self._parts.definition_store.latest(name)
        _, table = split(pinned)
        return api.WorkflowView(
            name=name,
            definition=found.hash,
            workflows=list(found.workflows),
            modules=list(found.modules),
            libraries=found.libraries,
            input_schema=workflow.input_schema(),
            document=workflow.options.description,
            latest=name in found.latest_of,
            machine=msgspec.to_builtins(workflow.machine)
            if isinstance(workflow, MotionWorkflow)
            else None,
            graph=msgspec.to_builtins(workflow.graph)
            if isinstance(workflow, GraphWorkflow)
            else None,
            routes=to_builtins(table_of(await self._parts.definition_store.table(table)))
            if table
            else {},
        )

    async def register(self, request: api.WorkflowRegister) -> api.Message:
        """Store a definition; new instances of its workflows start with it."""
        # As it came: with the rules that all graphs share it has another hash.
        unpack(request.data, request.hash)
        came = Packed(hash=request.hash, data=request.data, workflows=(), modules=())
        await refuse_neighbours(
            self._parts.transport, foreign_subjects(self._daemon.config.services)
        )
        packed = await self._parts.definitions.opened(came)
        try:
            await self._parts.definition_store.get(packed.hash)
            created = False
        except NotFoundError:
            created = True
        told = Deployment(hash=packed.hash, source=request.source, by=request.by)
        before = {name: await self._current(name) for name in packed.workflows}
        await self._parts.definitions.register(packed, told)
        self._parts.owner.registered(packed.workflows)
        self._peers.tell_all("registered", Registered(list(packed.workflows)))
        log.info("workflow.registered", hash=packed.hash, workflows=list(packed.workflows))
        for name, replaced in before.items():
            if replaced != packed.hash:
                await tell(self._daemon, events.DEPLOYED, name, told, replaced)
        return api.WorkflowRegistered(
            hash=packed.hash, workflows=list(packed.workflows), created=created
        )

    async def _current(self, name: str) -> str:
        """Return the definition that new instances of a workflow start with; empty: none."""
        try:
            return split(await self._parts.definition_store.latest(name))[0]
        except NotFoundError:
            return ""

    async def route(self, request: api.WorkflowRoute) -> api.Message:
        """Store a routing table; new instances of these workflows start with it."""
        digest = await self._parts.definitions.route(request.table, request.workflows)
        found = {}
        for name in request.workflows:
            found[name], _ = await self._parts.definitions.latest(name)
        log.info("workflow.routed", table=digest, workflows=request.workflows)
        return api.WorkflowRouted(
            table=digest, definitions=found, absent=await self._absent(request.table)
        )

    async def _absent(self, table: RoutingTable) -> list[str]:
        """Return the services of a table that do not answer a roll-call.

        A foreign service is known by its operations alone, so nothing is said of one.
        """
        if not table.services:
            return []
        up = await self._discovery.names()
        up |= {
            each.service
            for each in self._parts.router.views()
            if each.presence == Presence.PRESENT.value
        }
        return sorted(table.services.keys() - up - self._daemon.config.services.keys())

    async def registered(self, told: Registered) -> api.Message:
        """Take the news that another daemon has registered workflows, or needs definitions."""
        for digest in told.definitions:
            with suppress(MovantError):  # a fold loads it, or says why not
                await self._parts.definitions.prefetch(digest)
        self._parts.owner.registered(told.workflows)
        return api.Empty()

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
        found = await self._discovery.services(self._parts.router.views())
        others = [*(await self._peers.ask_all("flows", api.Empty(), FlowRows)).values()]
        flows = dict(self._parts.router.flows)
        known = {each.name for each in found}
        asked = {name for name, flow in flows.items() if flow.guarded}
        asked |= {name for each in others for name, row in each.rows.items() if row.parked}
        found += [api.ServiceView(name=name, state="unknown") for name in asked - known]
        now = self._daemon.clock.monotonic()
        views = [with_others(with_flow(each, flows.get(each.name), now), others) for each in found]
        return sorted(views, key=lambda view: view.name)

    async def own_flows(self, _: api.Empty) -> msgspec.Struct:
        """Tell another daemon how this one stands to the services that it asks."""
        return rows_of(self._daemon.name, self._parts.router.flows)

    async def status(self, _: api.Empty) -> api.Message:
        """Show how the daemon stands, with its counters, and how the others do."""
        own = self._own_status()
        found = await self._peers.ask_all("status", api.Empty(), api.StatusView)
        views = {self._daemon.key: own, **found}
        leases = self._parts.leases
        rows = [
            self._row_of(key, member, views.get(key)) for key, member in leases.members.items()
        ]
        rows += [self._row_of(key, member, None) for key, member in leases.silent.items()]
        rows.sort(key=lambda row: row.daemon)
        owners = {each.partition: each for view in views.values() for each in view.owners}
        problems = [*own.problems]
        for key, view in found.items():
            name = leases.members[key].name if key in leases.members else key
            problems += [f"{name}: {problem}" for problem in view.problems]
        problems += [f"{row.daemon} does not answer" for row in rows if row.state == "silent"]
        return msgspec.structs.replace(
            own,
            daemons=rows,
            owners=[
                owners.get(number) or api.PartitionRow(partition=number)
                for number in range(self._daemon.config.partitions)
            ],
            problems=problems,
        )

    def _row_of(self, key: str, member: Member, view: api.StatusView | None) -> api.DaemonRow:
        """Return how one of the daemons stands, as it says, or as its claims do."""
        row = api.DaemonRow(
            daemon=member.name,
            host=member.host,
            pid=member.pid,
            version=member.version,
            state="silent",
            partitions=[
                number
                for number, owner in enumerate(self._parts.assignment.owners)
                if owner == key
            ],
        )
        if view is None:
            return row
        return msgspec.structs.replace(
            row,
            state=view.state,
            partitions=view.partitions,
            live=int(view.counters.get("live", 0)),
            lag=max((each.lag for each in view.owners), default=0),
        )

    async def own_status(self, _: api.Empty) -> api.Message:
        """Show how this daemon alone stands: another one asks."""
        return self._own_status()

    def _own_status(self) -> api.StatusView:
        daemon, parts = self._daemon, self._parts
        counters = {
            key: float(value)
            for key, value in msgspec.structs.asdict(parts.owner.statistics()).items()
        }
        if hasattr(parts, "forgetting"):  # made behind the collector
            counted = msgspec.structs.asdict(parts.collector.statistics())
            counted |= {
                f"forgotten_{key}": count for key, count in parts.forgetting.counts.items()
            }
            counters |= {f"collector_{key}": float(value) for key, value in counted.items()}
        requests = parts.requests
        counters |= {
            "requests_sent": float(requests.sent),
            "requests_reasked": float(requests.reasked),
            "requests_parked": float(requests.parked + requests.admission.parked),
            "routes_chosen": float(requests.choosing.decisions),
        }
        counters |= {"void": float(parts.intake.void), "dead": float(parts.intake.dead)}
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
            partitions=sorted(parts.owner.partitions.owned),
            counters=counters,
            problems=problems,
            holds=[hold_view(each) for each in parts.holds.holds.active()],
            owners=[
                api.PartitionRow(
                    partition=each.partition,
                    daemon=daemon.name,
                    epoch=each.epoch,
                    position=each.position,
                    lag=parts.readers.lag(each.partition),
                )
                for each in parts.owner.partitions.views()
            ],
        )

    async def tree(self, _: api.Empty) -> api.Message:
        """Show the supervision trees of all daemons."""
        found = await self._peers.ask_all("actor.tree", api.Empty(), api.ActorTree)
        own = self._own_tree()
        others = sorted(found.values(), key=lambda each: each.root.name)
        return msgspec.structs.replace(
            own,
            others=[each.root for each in others],
            services=[flow for each in (own, *others) for flow in each.services],
        )

    async def own_tree(self, _: api.Empty) -> api.Message:
        """Show this daemon's tree alone: another one asks."""
        return self._own_tree()

    def _own_tree(self) -> api.ActorTree:
        return api.ActorTree(
            root=self._tree(),
            services=service_flows(self._daemon.name, self._parts.router.flows),
            server_time=self._daemon.clock.now_ns(),
        )

    def _tree(self) -> api.ActorNode:
        view = self._daemon.tree()
        if view is None:
            raise UnavailableError("the daemon is starting")
        writers = self._parts.writers.values()
        queues = {"store": sum(each.statistics().queued for each in writers)}
        root = _node(view, self._hosted(), queues)
        return msgspec.structs.replace(root, name=f"{root.name} {self._daemon.name}")

    def _hosted(self) -> list[api.ActorNode]:
        """Return what stands below the workflows: partitions and the instances in memory."""
        owner, readers = self._parts.owner, self._parts.readers
        views = owner.partitions.views()
        nodes = []
        if views:
            epochs = sorted({each.epoch for each in views})
            numbers = brief([each.partition for each in views])
            nodes.append(
                api.ActorNode(
                    name=f"partitions {numbers}, epochs {epochs[0]}-{epochs[-1]}",
                    kind="worker",
                    state="running" if all(each.begun for each in views) else "starting",
                    queued=max(readers.lag(each.partition) for each in views),
                )
            )
        nodes.append(
            api.ActorNode(
                name=f"instances in memory: {len(owner.live)}",
                kind="worker",
                state="running",
                queued=owner.backlog,
            )
        )
        return nodes


def _row(view: api.ServiceView) -> api.ServiceRow:
    return api.ServiceRow(
        name=view.name,
        state=view.state,
        operations=view.operations,
        open_requests=view.open_requests,
        parked=view.parked,
        breaker=view.breaker,
        paused=view.paused,
    )


def _node(
    view: ChildView, hosted: list[api.ActorNode], queues: Mapping[str, int]
) -> api.ActorNode:
    children = [_node(each, hosted, queues) for each in view.children]
    if view.id == "workflows":
        children += hosted
    return api.ActorNode(
        name=view.id,
        kind=view.type,
        state=view.status,
        strategy=view.strategy,
        restarts=view.restarts,
        last_crash=view.last_error[:CRASH_CHARS_MAX],
        up_s=round(view.up_s, 1),
        queued=queues.get(view.id, 0),
        children=children,
    )
