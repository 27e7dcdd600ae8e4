"""VersionCommands: which definitions a workflow has had, who runs on each, and going back."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import structlog

from actors.definitions.registry import Deployment
from protocols import events, subjects
from protocols import headers as h
from protocols.api import runs as api
from protocols.errors import NotFoundError, RefusedError
from protocols.events import Event
from protocols.ports import Outgoing
from protocols.routes import split
from runtime.api.migrate import full_hash
from runtime.api.peers import Peers, Registered

if TYPE_CHECKING:
    from actors.definitions.registry import StoredDefinition
    from actors.views.run_index import RunIndex
    from runtime.daemon import Daemon

ANSWER_S: Final = 5.0

log: Final = structlog.get_logger()


class VersionCommands:
    """Answers about versions, and lets new instances start with an earlier one."""

    def __init__(self, daemon: Daemon, index: RunIndex, peers: Peers) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._index = index
        self._peers = peers

    async def versions(self, request: api.WorkflowVersionsOf) -> api.Message:
        """List the deployments of a workflow, the newest first."""
        current, deployments, stored = await self._deployments(request.name)
        await self._index.refresh()
        active: Counter[str] = Counter()
        for (name, definition), rows in self._index.active.items():
            if name == request.name:
                active[split(definition)[0]] += len(rows)
        found: list[api.WorkflowVersion] = []
        told: set[str] = set()
        for each in reversed(deployments):
            found.append(
                api.WorkflowVersion(
                    definition=each.hash,
                    at=each.at,
                    what=each.what,
                    source=each.source,
                    by=each.by,
                    current=each.hash == current and each.hash not in told,
                    active=0 if each.hash in told else active[each.hash],
                    libraries=stored[each.hash].libraries if each.hash in stored else {},
                )
            )
            told.add(each.hash)
        return api.WorkflowVersions(name=request.name, versions=found)

    async def rollback(self, request: api.WorkflowRollback) -> api.Message:
        """Let new instances start with an earlier definition again."""
        name = request.name
        current, deployments, stored = await self._deployments(name)
        if request.to:
            wanted = await full_hash(self._parts.definition_store, name, request.to)
        else:
            earlier = [each.hash for each in deployments if each.hash != current]
            if not earlier:
                raise RefusedError(
                    f"workflow {name} has no earlier definition",
                    hint=f"movant workflow versions {name}",
                )
            wanted = earlier[-1]
        if wanted in stored and name not in stored[wanted].workflows:
            raise NotFoundError(
                f"definition {wanted} has no workflow {name!r}",
                hint=f"movant workflow versions {name}",
            )
        told = Deployment(hash=wanted, what="rolled_back", by=request.by)
        await self._parts.definitions.roll_back(name, wanted, told)
        self._parts.owner.registered([name])
        self._peers.tell_all("registered", Registered([name]))
        log.info("workflow.rolled_back", workflow=name, hash=wanted, replaced=current)
        await tell(self._daemon, events.ROLLED_BACK, name, told, current)
        return api.WorkflowRolledBack(name=name, definition=wanted, replaced=current)

    async def _deployments(
        self, name: str
    ) -> tuple[str, list[Deployment], dict[str, StoredDefinition]]:
        """Return the current definition of a workflow, its deployments, all definitions.

        What was deployed before that was kept stands first, without a time.
        """
        store = self._parts.definition_store
        subjects.check_name(name, "workflow")
        current, _ = split(await store.latest(name))
        found = await store.deployments(name)
        stored = {each.hash: each for each in await store.list()}
        known = {each.hash for each in found}
        before = [
            Deployment(hash=each.hash, at=each.latest_at.get(name, 0))
            for each in stored.values()
            if name in each.workflows and each.hash not in known
        ]
        before.sort(key=lambda each: each.hash == current)
        return current, [*before, *found], stored


async def tell(
    daemon: Daemon,
    kind: str,
    workflow: str,
    told: Deployment,
    replaced: str,
) -> None:
    """Publish that new instances of a workflow start with another definition."""
    event = Event(
        id=daemon.new_id(),
        kind=kind,
        workflow=workflow,
        instance=told.hash,
        at=daemon.clock.now_ns(),
        data={
            "definition": told.hash,
            "replaced": replaced,
            "source": told.source,
            "by": told.by,
        },
    )
    headers, payload = events.to_wire(event)
    subject = subjects.event(workflow, told.hash, kind)
    await daemon.parts.transport.request(
        Outgoing(subject, payload, h.encode(headers)), timeout_s=ANSWER_S
    )
