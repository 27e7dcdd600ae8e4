"""MigrateCommands: runs that go over to another definition.

switch    from where the run stands: a graph or a machine that is running
fold      as if it had begun with it: code, and whatever is blocked

A preview folds the stored mailbox, here, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec

from actors.graphs.interpreter import GraphWorkflow
from actors.motions.interpreter import MotionWorkflow
from protocols.api import runs as api
from protocols.effects import FINAL, Waiting
from protocols.errors import BadValueError, NotFoundError, RefusedError
from protocols.mail import MigrateOrder, Switch, SwitchOrder
from protocols.moving import STEPS_SHOWN, StepMove
from protocols.routes import joined, split
from runtime.api.peers import Peers, Registered
from runtime.api.queries import RunQueries
from runtime.api.runs import RunCommands
from runtime.stored import StoredRuns

if TYPE_CHECKING:
    from actors.definitions.registry import Definitions, DefinitionStore
    from actors.kernel.instance import Instance
    from protocols.definition import Workflow

DATA: Final = (GraphWorkflow, MotionWorkflow)
PREFIX_MIN: Final = 4


class MigrateCommands:
    """Moves runs between definitions."""

    def __init__(
        self,
        definitions: Definitions,
        store: DefinitionStore,
        commands: RunCommands,
        queries: RunQueries,
        peers: Peers,
    ) -> None:
        self._definitions = definitions
        self._store = store
        self._commands = commands
        self._peers = peers
        self._runs: StoredRuns = queries.runs
        self._view = queries.view

    async def migrate(self, request: api.RunMigrate) -> api.Message:
        """Let a run go over to another definition, or tell what would come of it."""
        before = await self._view(request.id)
        if before.status in FINAL:
            raise RefusedError(
                f"{request.id} has ended ({before.status})", hint=f"movant run show {request.id}"
            )
        digest = await self._definition(before, request.definition)
        workflow = await self._definitions.find(before.workflow, digest)
        how = request.how or await self._how(before, workflow)
        if how == "switch":
            return await self._switch(request, digest, workflow)
        if request.moves or request.accept:
            raise RefusedError(
                f"{request.id} would be folded from its start: names cannot change there",
                hint="only running graphs and machines go over from where they stand",
            )
        return await self._fold(request, digest, before)

    async def _definition(self, run: api.RunView, wanted: str) -> str:
        """Return the definition to go over to; one that is named keeps the run's routes."""
        if not wanted:
            return (await self._definitions.latest(run.workflow))[0]
        code, table = split(wanted)
        code = await full_hash(self._store, run.workflow, code)
        return joined(code, table or split(run.definition)[1])

    async def _how(self, run: api.RunView, workflow: Workflow[Any]) -> str:
        if run.status != "running" or not isinstance(workflow, DATA):
            return "fold"
        try:
            now = await self._definitions.find(run.workflow, run.definition)
        except NotFoundError:
            return "fold"
        return "switch" if type(now) is type(workflow) else "fold"

    # From where it stands

    async def _switch(
        self, request: api.RunMigrate, digest: str, workflow: Workflow[Any]
    ) -> api.RunMigrated:
        order = SwitchOrder(
            definition=digest, moves=request.moves, accept=request.accept, whole=True
        )
        instance = await self._runs.fold(request.id)
        if instance.definition == digest:  # also a repeat, whose first answer was lost
            problems = ("it has this definition already",) if request.preview else ()
            return api.RunMigrated(
                id=request.id,
                definition=digest,
                status=instance.status,
                how="switch",
                problems=problems,
            )
        moving = instance.moving(workflow, order)
        wrong = list(moving.problems)
        if not wrong:
            instance.fold(Switch(seq=instance.folded + 1, at=instance.now, order=order))
            wrong += _blocked(instance)
        found = api.RunMigrated(
            id=request.id,
            definition=digest,
            status=instance.status,
            how="switch",
            steps=moving.steps[:STEPS_SHOWN],
            problems=tuple(wrong),
        )
        if request.preview:
            return found
        if wrong:
            raise RefusedError(
                f"{request.id} cannot go over to {digest}: {'; '.join(wrong)}",
                hint="--dry-run shows each step; --map old=new says which step is which",
            )
        # Its owner goes on without a fold from the start when it has loaded the definition.
        await self._peers.ask_all("registered", Registered(definitions=[digest]), api.Empty)
        body = msgspec.to_builtins(order)
        seq = await self._commands.order(
            request.id, "switch", body, request.message_id, request.by
        )
        after = await self._runs.fold(request.id)
        if after.folded >= seq and after.definition != digest:
            raise RefusedError(
                f"{request.id} has gone on meanwhile, and did not go over to {digest}",
                hint=f"try again; movant run history {request.id}",
            )
        return msgspec.structs.replace(found, seq=seq, status=after.status)

    # As if it had begun with it

    async def _fold(
        self, request: api.RunMigrate, digest: str, before: api.RunView
    ) -> api.RunMigrated:
        now = await self._runs.fold(request.id)
        since = now.switched
        after = await self._runs.fold(request.id, digest, since=since)
        blocked = _blocked(after)
        moved = _moved(before.waiting, after.waiting())
        found = api.RunMigrated(
            id=request.id,
            definition=digest,
            status=after.status,
            steps=tuple(_steps(now, after)),
            problems=(*blocked, *(f"{each}: another service would be asked" for each in moved)),
        )
        if request.preview:
            return found
        if blocked and not request.force:
            raise RefusedError(
                f"the mailbox of {request.id} cannot be folded with {digest}: {blocked[0]}",
                hint="register code that takes the same steps; --force migrates all the same",
            )
        if moved and not request.force:
            raise RefusedError(
                f"{', '.join(moved)}: other services would be asked, though those that serve now"
                " may have done the work",
                hint="wait until these steps are decided; --force migrates all the same",
            )
        body: Any = digest
        if since:
            body = msgspec.to_builtins(MigrateOrder(definition=digest, since=since))
        seq = await self._commands.order(
            request.id, "migrate", body, request.message_id, request.by
        )
        return msgspec.structs.replace(found, seq=seq, problems=())


async def full_hash(store: DefinitionStore, workflow: str, prefix: str) -> str:
    """Return the one definition of a workflow whose hash begins so.

    Raises BadValueError for what is too short, NotFoundError, RefusedError for several.
    """
    if len(prefix) < PREFIX_MIN:
        raise BadValueError(f"{prefix!r} is no hash", hint=f"at least {PREFIX_MIN} characters")
    found = [each for each in await store.list() if each.hash.startswith(prefix)]
    if len(found) > 1:
        found = [each for each in found if workflow in each.workflows] or found
    if not found:
        raise NotFoundError(
            f"no definition {prefix!r}", hint=f"movant workflow versions {workflow}"
        )
    if len(found) > 1:
        raise RefusedError(
            f"{prefix!r} is the beginning of several hashes", hint="type more of it"
        )
    return found[0].hash


def _blocked(instance: Instance) -> list[str]:
    blocked = instance.blocked
    return [] if blocked is None else [f"{blocked.reason}: {blocked.message}"]


def _steps(before: Instance, after: Instance) -> list[StepMove]:
    """Return what a fold with other code makes of the steps."""
    done = set(after.done)
    found = [
        StepMove(step=path, was=path, status="done", what="kept")
        if token in done
        else StepMove(was=path, status="done", what="dropped", note="never asked for")
        for token in before.done
        for path in [f"/{unquote(token)}"]
    ]
    waited = {each.path for each in before.waiting()}
    waits = {each.path for each in after.waiting()}
    found += [
        StepMove(step=path, was=path, status="running", what="open")
        if path in waited
        else StepMove(step=path, status="running", what="new")
        for path in sorted(waits)
    ]
    found += [
        StepMove(was=path, status="running", what="dropped") for path in sorted(waited - waits)
    ]
    return found[:STEPS_SHOWN]


def _moved(before: Iterable[Waiting], after: Iterable[Waiting]) -> list[str]:
    """Return the open steps that another service would serve."""
    now = {(each.path, each.attempt): each.detail for each in before if each.kind == "step"}
    return [
        f"{each.path} at {each.detail}"
        for each in after
        if not now.get((each.path, each.attempt), each.detail).startswith(each.detail)
    ]
