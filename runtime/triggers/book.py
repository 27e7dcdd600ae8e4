"""TriggerBook: which triggers there are, and what is stored of each.

    w.<workflow> ──> the latest definition ──> the triggers in a graph ──┐
    t.<workflow> ──> the triggers of a file of their own ────────────────┴─> armed
    s.<key>      ──> the state of each: position, pause, what it did last

The triggers of a graph are part of its definition: the write that makes a definition the latest
replaces them all. Every daemon follows both buckets; a state is written against its revision.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import structlog
import trio

from actors.files.trigger_check import problem
from actors.graphs.interpreter import GraphWorkflow
from actors.store.direct_reader import DirectReader
from actors.store.kv import ANSWER_S, Kv
from actors.store.stream_writer import PubAck
from protocols.errors import (
    AlreadyExistsError,
    MovantError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
    UnknownOutcomeError,
)
from protocols.ports import Outgoing
from protocols.triggers import (
    Armed,
    Consumer,
    Last,
    TriggerFile,
    TriggerState,
    key_of,
    merged,
    named,
)

if TYPE_CHECKING:
    from runtime.parts import Parts

BUCKET: Final = "movant_triggers"
LOOK_S: Final = 2.0
"""How often a daemon looks whether something was deployed, paused or written elsewhere."""
LOOKS: Final = 3
"""Looks behind a change: a replica that is read may lag behind the leader that told of it."""
TRIES: Final = 8
ARMED_MAX: Final = 10_000
"""Triggers of all workflows: every daemon holds and looks at all of them."""
NOTED_MAX: Final = 10_000

log = structlog.get_logger()

_state_decoder: Final = msgspec.json.Decoder(TriggerState)
_ack_decoder: Final = msgspec.json.Decoder(PubAck)
_file_decoder: Final = msgspec.json.Decoder(TriggerFile)


class Stored(NamedTuple):
    """A state as it stands in the bucket; ``at`` is when the server stored it."""

    state: TriggerState = TriggerState()
    revision: int = 0
    at: int = 0


class _Noted(msgspec.Struct):
    """What a trigger did since its state was written."""

    last: Last
    fired: int = 0
    skipped: int = 0


class TriggerBook:
    """The triggers of all workflows, as one daemon knows them. ``load`` first, then ``run``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._kv = Kv(parts.transport, BUCKET)
        self._known: dict[tuple[str, str], list[Armed]] = {}
        """The triggers of graphs, by name and hash."""
        self._noted: dict[str, _Noted] = {}
        self.unread: set[str] = set()
        """How the keys of triggers begin that cannot be read here, as those of a newer version."""
        self.armed: dict[str, Armed] = {}
        self.states: dict[str, Stored] = {}
        self.by_path: dict[str, Armed] = {}
        self.by_workflow: dict[str, list[Armed]] = {}
        self._told: list[Callable[[], None]] = []

    def on_change(self, told: Callable[[], None]) -> None:
        """Call ``told`` whenever triggers or states were read anew."""
        self._told.append(told)

    def find(self, name: str) -> Armed:
        """Return a trigger by its key. Raises NotFoundError."""
        found = self.armed.get(name)
        if found is None:
            raise NotFoundError(f"no trigger {name[:120]!r}", hint="movant trigger ls")
        return found

    def is_gone(self, key: str) -> bool:
        """Tell whether there is no trigger of this key, as far as all of them can be read."""
        return key not in self.armed and not key.startswith(tuple(self.unread))

    def state(self, key: str) -> TriggerState:
        """Return what is stored of a trigger, and of one that was never written nothing."""
        return self.states.get(key, Stored()).state

    # Reading

    async def load(self) -> None:
        """Read everything. Raises UnavailableError, UnknownOutcomeError."""
        armed: dict[str, Armed] = {}
        self.unread.clear()
        for each in await self._of_graphs():
            if armed.setdefault(each.key, each) is not each:
                reason = f"{armed[each.key].workflow} has one that is called so: {each.workflow}'s"
                log.warning("trigger.unreadable", key=each.key, reason=f"{reason} does nothing")
        states: dict[str, Stored] = {}
        for entry in await self._kv.all():
            kind, _, key = entry.key.partition(".")
            try:
                if kind == "s":
                    state = _state_decoder.decode(entry.value)
                    states[key] = Stored(state, entry.revision, entry.at)
                elif kind == "t":
                    file = _file_decoder.decode(entry.value)
                    for each in named(file.workflow, file.triggers, stored=True):
                        other = armed.get(each.key)
                        armed[each.key] = each if other is None else _clash(other)
            except msgspec.MsgspecError as error:
                self.unread.add(key_of(key, "") if kind == "t" else key)
                log.error("trigger.unreadable", key=entry.key, reason=str(error))
        for key, known in self.states.items():  # what this daemon wrote itself may be newer
            if key in states and known.revision > states[key].revision:
                states[key] = known
        self._take(armed, states)

    def _take(self, armed: dict[str, Armed], states: dict[str, Stored]) -> None:
        self.by_path.clear()
        self.by_workflow.clear()
        for key, each in sorted(armed.items()):
            wrong = each.problem or problem(each.trigger)
            path = "" if each.trigger.hook is None else each.trigger.hook.path
            if path and path in self.by_path:
                wrong = wrong or f"{path} is taken by {self.by_path[path].key}"
            if wrong:
                armed[key] = msgspec.structs.replace(each, problem=wrong)
            elif path:
                self.by_path[path] = each
            self.by_workflow.setdefault(each.workflow, []).append(armed[key])
        self.armed, self.states = armed, states
        for told in self._told:
            told()

    async def _of_graphs(self) -> list[Armed]:
        """Return the triggers in the latest definitions of all graphs."""
        known: dict[tuple[str, str], list[Armed]] = {}
        for row in await self._parts.definition_store.list():
            for name in () if row.modules else row.latest_of:
                at = (name, row.hash)
                triggers = self._known[at] if at in self._known else await self._read(*at)
                if triggers is None:
                    self.unread.add(key_of(name, ""))
                else:
                    known[at] = triggers
        self._known = known
        return [each for triggers in known.values() for each in triggers]

    async def _read(self, name: str, digest: str) -> list[Armed] | None:
        """Return the triggers of a definition; None: it cannot be read here."""
        try:
            workflow = await self._parts.definitions.find(name, digest)
        except (UnavailableError, UnknownOutcomeError):
            raise
        except MovantError as error:  # its runs are blocked as well, and say why
            log.warning("trigger.unreadable", key=name, reason=str(error))
            return None
        return named(name, workflow.graph.triggers) if isinstance(workflow, GraphWorkflow) else []

    async def run(self) -> None:
        """Follow what is stored until cancelled."""
        seen, looks = (0, 0), 0
        transport = self._parts.transport
        async with (
            DirectReader(transport, "KV_movant_definitions") as definitions,
            DirectReader(transport, self._kv.stream) as triggers,
        ):
            while True:
                await trio.sleep(LOOK_S)
                try:
                    await self._write_noted()
                    last = ((await definitions.extent())[1], (await triggers.extent())[1])
                    looks = LOOKS if last != seen else looks - 1
                    seen = last
                    if looks > 0:
                        await self.load()
                except (MovantError, msgspec.MsgspecError) as error:
                    log.warning("triggers.waiting", reason=str(error))

    # Writing

    async def change(self, key: str, to: Callable[[Stored], TriggerState]) -> Stored:
        """Write a state that is made of the one that is stored; return what stands there then.

        ``to`` may be called several times, as others write the same. Raises UnavailableError.
        """
        for _ in range(TRIES):
            known = await self.fresh(key)
            state = to(known)
            if state == known.state:
                return known
            try:
                await self._kv.put(f"s.{key}", msgspec.json.encode(state), revision=known.revision)
            except AlreadyExistsError:
                continue
            return await self.fresh(key)
        raise UnavailableError(f"others change trigger {key} at this moment", hint="try again")

    async def fresh(self, key: str) -> Stored:
        """Return a state as the leader has it."""
        entry = await self._kv.leader(f"s.{key}")
        if entry is None:
            self.states.pop(key, None)
            return Stored()
        found = Stored(_state_decoder.decode(entry.value), entry.revision, entry.at)
        self.states[key] = found
        return found

    async def forget(self, key: str) -> None:
        """Remove the state of a trigger that there is no more, but for consumers it has left."""
        left = (await self.fresh(key)).state.consumers
        if left:
            await self.change(key, lambda _: TriggerState(consumers=left))
            return
        await self._kv.purge(f"s.{key}")
        self.states.pop(key, None)

    async def keep(self, key: str, consumer: Consumer) -> None:
        """Note a consumer that is made for a trigger: before it is made, so that it goes."""
        await self.change(key, partial(_consuming, {consumer}, set()))

    async def drop(self, key: str, consumer: Consumer) -> None:
        """Remove a consumer; one that is gone is none. Raises UnavailableError."""
        subject = f"$JS.API.CONSUMER.DELETE.{consumer.stream}.{consumer.name}"
        answer = await self._parts.transport.request(Outgoing(subject, b""), ANSWER_S)
        error = _ack_decoder.decode(answer.payload).error
        if error is not None and error.code != 404:  # noqa: PLR2004
            raise UnavailableError(f"consumer {consumer.name} stays: {error.description}")
        log.info("trigger.consumer_removed", trigger=key, consumer=consumer.name)
        await self.change(key, partial(_consuming, set(), {consumer}))

    async def add(self, file: TriggerFile) -> list[Armed]:
        """Store triggers of a workflow; those of the same names are replaced in the same write."""
        await self._edit(file.workflow, lambda known: merged(known, file.triggers))
        await self.load()
        return [each for each in self.by_workflow.get(file.workflow, ()) if each.stored]

    async def remove(self, name: str) -> Armed:
        """Remove a stored trigger. Raises NotFoundError, AlreadyExistsError for one of a graph."""
        found = self.find(name)
        if not found.stored:
            raise AlreadyExistsError(
                f"{name} is part of the definition of {found.workflow}",
                hint="register the workflow without it, or: movant trigger pause",
            )
        await self._edit(
            found.workflow,
            lambda known: tuple(
                each.trigger for each in named(found.workflow, known) if each.key != name
            ),
        )
        await self.forget(name)
        await self.load()
        return found

    async def _edit(self, workflow: str, to: Callable[..., tuple[object, ...]]) -> None:
        for _ in range(TRIES):
            entry = await self._kv.leader(f"t.{workflow}")
            known = () if entry is None else _file_decoder.decode(entry.value).triggers
            triggers = to(known)
            others = len(self.armed) - len(known)
            if len(triggers) > len(known) and others + len(triggers) > ARMED_MAX:
                raise OverloadedError(f"there are {ARMED_MAX} triggers, the limit")
            value = msgspec.json.encode({"workflow": workflow, "triggers": triggers})
            revision = 0 if entry is None else entry.revision
            try:
                await self._kv.put(f"t.{workflow}", value, revision=revision)
            except AlreadyExistsError:
                continue
            return
        raise UnavailableError(f"others change triggers of {workflow} at this moment")

    # What triggers did: written every few seconds, as a webhook may fire often

    def note(self, key: str, last: Last) -> None:
        """Keep what a trigger did last."""
        noted = self._noted.get(key)
        if noted is None:
            if len(self._noted) >= NOTED_MAX:
                return
            noted = self._noted[key] = _Noted(last)
        noted.last = last
        if last.outcome in {"fired", "late"}:
            noted.fired += 1
        else:
            noted.skipped += 1

    async def _write_noted(self) -> None:
        for key in [*self._noted]:  # what comes meanwhile is for the next time
            noted = self._noted.pop(key)
            try:
                await self.change(key, partial(_with, noted))
            except BaseException:
                later = self._noted.setdefault(key, noted)
                if later is not noted:  # what came meanwhile is counted in
                    later.fired += noted.fired
                    later.skipped += noted.skipped
                raise


def _consuming(added: set[Consumer], gone: set[Consumer], known: Stored) -> TriggerState:
    state = known.state
    consumers = dict.fromkeys((*state.consumers, *added))
    return msgspec.structs.replace(
        state,
        position=state.position or known.at,  # this write has another time
        consumers=tuple(each for each in consumers if each not in gone),
    )


def _with(noted: _Noted, known: Stored) -> TriggerState:
    state = known.state
    return msgspec.structs.replace(
        state,
        position=state.position or known.at,  # this write has another time
        last=noted.last,
        fired=state.fired + noted.fired,
        skipped=state.skipped + noted.skipped,
    )


def _clash(armed: Armed) -> Armed:
    return msgspec.structs.replace(armed, problem="another trigger has the same name")
