"""ForkCommands: runs that begin with what others have done.

    the other run, folded -> what is taken over -> control.fork in the new mailbox -> its start

The message stands before the start and names it. Whoever dies between the two leaves a mailbox
without a start, which is nothing; whoever asks again writes the same two messages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from actors.code_forking import code_fork
from actors.kernel.instance import Instance
from protocols import codec, subjects
from protocols.api import runs as api
from protocols.archive import ArchiveRecord
from protocols.blobs import BLOB_BYTES_MAX, LARGE
from protocols.effects import FINAL, AnyEffect
from protocols.errors import AlreadyExistsError, MovantError, NotFoundError, RefusedError
from protocols.forking import ForkOrder
from protocols.headers import JSON
from protocols.mail import LARGE_VALUES, AnyMail, Fork, Origin, Start, Taken, start_digest
from protocols.moving import STEPS_SHOWN
from protocols.routes import joined, split
from runtime.api.given import given
from runtime.api.migrate import full_hash
from runtime.api.undo import undo_run
from runtime.undoing import plan_of

if TYPE_CHECKING:
    from runtime.api.runs import RunCommands
    from runtime.daemon import Daemon
    from runtime.stored import StoredRuns

LATEST: Final = "latest"
_TRIAL: Final = "trial"

Handler = Callable[[Any], Awaitable[msgspec.Struct]]


class _Begin(NamedTuple):
    """How a new run begins: ``body`` is its encoded input."""

    workflow: str
    definition: str
    body: bytes
    order: Taken


class ForkCommands:
    """Forks runs. ``guarded`` lets only those start a run who may."""

    def __init__(
        self,
        daemon: Daemon,
        commands: RunCommands,
        runs: StoredRuns,
        guarded: Callable[[Handler], Handler],
    ) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._commands = commands
        self._runs = runs
        self._guarded = guarded

    async def fork(self, request: api.RunFork) -> api.Message:
        """Start a run that begins at a step of another one, or tell what it would begin with.

        Raises RefusedError for what is not possible, AlreadyExistsError for an id that is taken.
        """
        subjects.check_id(request.id)
        heard: list[tuple[AnyMail | None, list[AnyEffect]]] = []
        instance = await self._runs.folded(
            request.id, hear=lambda mail, effects: heard.append((mail, effects))
        )
        if isinstance(instance, ArchiveRecord):
            raise NotFoundError(f"the history of {request.id!r} is kept no longer")
        definition = await self._definition(instance, request.definition)
        workflow = await self._parts.definitions.find(instance.workflow, definition)
        before = _input(instance)
        value = _changed(before, request)
        workflow.check_input(value)
        order = ForkOrder(
            step=request.step,
            moves=request.moves,
            accept=request.accept,
            changed=value != before,
        )
        if instance.interprets or instance.status not in {*FINAL, "blocked"}:
            forking = instance.forking(workflow, order)
        else:
            forking = code_fork(instance, heard, order, instance.fallen())
        problems = list(forking.problems)
        if not problems and not order.accepts(""):
            problems += await self._undone(instance)
        begin = _begin(instance, request.step, definition, forking.standing, value)
        if not problems:
            problems += self._tried(instance, begin)
        found = api.RunForked(
            origin=request.id,
            step=request.step,
            workflow=instance.workflow,
            definition=definition,
            steps=forking.steps[:STEPS_SHOWN],
            problems=tuple(problems),
        )
        if request.preview:
            return found
        if problems:
            raise RefusedError(
                f"{request.id} cannot be forked at {request.step}: {'; '.join(problems)}",
                hint="--plan shows each step; --accept takes one over all the same",
            )
        run = await self._begin(instance, request, begin, value)
        return msgspec.structs.replace(found, id=run)

    async def _definition(self, instance: Instance, wanted: str) -> str:
        """Return the definition of the new run; one that is named keeps the routes."""
        if not wanted:
            return instance.definition
        if wanted == LATEST:
            return (await self._parts.definitions.latest(instance.workflow))[0]
        code, table = split(wanted)
        code = await full_hash(self._parts.definition_store, instance.workflow, code)
        return joined(code, table or split(instance.definition)[1])

    async def _undone(self, instance: Instance) -> list[str]:
        """Tell when what the run did was undone by hand, after its end."""
        plan = instance.undo_plan() if instance.status in FINAL else []
        if not plan:
            return []
        run = f"{undo_run(instance.id, await plan_of(self._runs, plan))}-1"
        if await self._runs.first_start(run) is None and not await self._runs.ended([run]):
            return []
        return [f"what {instance.id} did was undone by {run}: start another run, or accept all"]

    def _tried(self, instance: Instance, taken: _Begin) -> list[str]:
        """Fold how the new run begins, and tell when that does not come to the step."""
        trial = Instance(instance.id, self._parts.definitions.workflow)
        trial.refolding = True
        now = self._daemon.clock.now_ns()
        body = codec.encode(msgspec.to_builtins(taken.order), limit=BLOB_BYTES_MAX)
        content_type = JSON + LARGE
        start = instance.start
        mails = (
            Fork(seq=1, at=now, body=body, content_type=content_type, message_id=_TRIAL),
            Start(
                seq=2,
                at=now,
                workflow=taken.workflow,
                body=taken.body,
                content_type=content_type,
                definition=taken.definition,
                message_id=_TRIAL,
                profile="" if start is None else start.profile,
                kernel=LARGE_VALUES,  # whatever else a start may do before it begins
            ),
        )
        for mail in mails:
            self._parts.owner.guard.fold(trial, mail)
        if trial.blocked is not None:
            return [f"the new run would be blocked: {trial.blocked.message}"]
        path = "/" + taken.order.origin.step.removeprefix("/")
        waits = [each.path for each in trial.waiting()]
        if instance.interprets or path in waits:
            return []
        return [f"with what is taken over, the code comes to {', '.join(waits) or 'its end'}"]

    async def _begin(
        self, instance: Instance, request: api.RunFork, taken: _Begin, value: Any
    ) -> str:
        """Write what is taken over, and the start; return the id of the new run."""
        run = self._daemon.new_id() if request.new_id is None else request.new_id
        subjects.check_id(run)
        order = msgspec.to_builtins(taken.order)
        # What was folded of the other run may be more when the same is asked for again.
        same = [run, instance.id, request.step, order["start"], order["standing"]]
        content = codec.encode(same, limit=BLOB_BYTES_MAX)
        identity = hashlib.sha256(content).hexdigest()[:16]
        if await self._is_there(run, identity):
            return run
        blobs = self._parts.values.blobs
        start = instance.start
        assert start is not None
        by_hand = api.RunStart(
            workflow=taken.workflow,
            id=run,
            priority=start.priority,
            profile=start.profile,
            permissions=request.permissions,
            by=request.by,
            traceparent=start.traceparent,
        )
        write = partial(
            self._commands.start_behind,
            definition=taken.definition,
            value=await given(blobs, run, value, None),
            order=await given(blobs, run, order, None),
            message_id=identity,
        )
        await self._guarded(write)(by_hand)
        return run

    async def _is_there(self, run: str, identity: str) -> bool:
        """Tell whether the run was started before. Raises AlreadyExistsError for another one."""
        first = await self._runs.first_start(run)
        if (first is not None and first.message_id != identity) or await self._runs.ended([run]):
            raise AlreadyExistsError(
                f"instance {run!r} exists already", hint=f"movant run show {run}"
            )
        return first is not None


def _begin(
    instance: Instance, step: str, definition: str, standing: dict[str, Any], value: Any
) -> _Begin:
    """Return what a new run begins with."""
    body = codec.encode(value, limit=BLOB_BYTES_MAX)  # as every fold will see it
    head = instance.witness
    origin = Origin(
        run=instance.id,
        step=step,
        through=instance.folded,
        head=head.hash if head.number else "",
    )
    start = start_digest(instance.workflow, definition, body)
    order = Taken(origin=origin, start=start, standing=standing)
    return _Begin(instance.workflow, definition, body, order)


def _input(instance: Instance) -> Any:
    """Return the input of a run. Raises RefusedError when it is none that can be read."""
    start = instance.start
    try:
        return codec.decode(instance.input, start.content_type if start is not None else "")
    except MovantError as error:
        raise RefusedError(f"the input of {instance.id} cannot be read: {error}") from error


def _changed(before: Any, request: api.RunFork) -> Any:
    """Return the input of the new run."""
    value = before if request.input is msgspec.UNSET else request.input
    for name, item in request.changes.items():
        value = _put(value, name.split("."), item, name)
    return value


def _put(value: Any, keys: list[str], item: Any, name: str) -> Any:
    """Return a value with another part, and leave the value as it is."""
    if not keys:
        return item
    inner: Mapping[str, Any] = {} if value is None else value
    if not isinstance(inner, dict):
        raise RefusedError(f"the input has no {name!r}: what stands there is no object")
    first, *rest = keys
    return {**inner, first: _put(inner.get(first), rest, item, name)}
