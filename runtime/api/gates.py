"""GateCommands: which gates are open, what they show, and a person's decision.

gate.ls       from the events of gates; runs older than all events are folded, once
gate.show     the run is folded, and the gate shown as it stands there
gate.decide   folded, checked, written, folded again: whose word counts is what the fold says;
              in the place of who is away, that person's word before it
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import structlog
import trio

from actors.core.slices import WIDE, in_slices
from actors.core.together import together
from actors.graphs.interpreter import GraphWorkflow
from actors.kernel.instance import Instance
from actors.views.gate_index import GateFacts, GateIndex, Inbox
from protocols import subjects
from protocols.api import runs as api
from protocols.api.blobs import ArtifactPage, RunArtifacts
from protocols.api.gates import GateAbsence
from protocols.errors import (
    AlreadyDecidedError,
    MovantError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from protocols.gates.absences import Ahead, line
from protocols.gates.words import GateDecision, GateState, GateWord, refusal
from protocols.graphs.graph import SHOWN
from protocols.subjects import step_token
from protocols.witness import Operator
from runtime.api.absences import AbsenceCommands
from runtime.api.queries import RunQueries, offset
from runtime.api.runs import RunCommands

if TYPE_CHECKING:
    from actors.store.direct_reader import DirectReader
    from runtime.api.blobs import BlobQueries
    from runtime.daemon import Daemon

log = structlog.get_logger()

DONE_MAX: Final = 50
"""Steps that a gate shows as done: the latest."""
FOLDS_AT_ONCE: Final = 16
LEARN_S: Final = 2.0
"""How long a list waits for old runs; the next one has more of them."""
TRIES_MAX: Final = 10
TRY_S: Final = 0.05
"""A replica of MAIL may lag behind its leader, which has stored the decision."""


class GateCommands:
    """Answers about gates."""

    def __init__(
        self,
        daemon: Daemon,
        commands: RunCommands,
        queries: RunQueries,
        events: DirectReader,
        blobs: BlobQueries,
    ) -> None:
        self._daemon = daemon
        self._commands = commands
        self._queries = queries
        self._blobs = blobs
        self.absences = AbsenceCommands(daemon)
        self._index = GateIndex(events)
        self._unread: list[str] = []
        self._wake = trio.Event()
        self._learned = trio.Event()

    async def run(self) -> None:
        """Fold the runs that may have old gates, as they are asked for, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            unread, self._unread = self._unread, []
            limit = trio.CapacityLimiter(FOLDS_AT_ONCE)
            async with trio.open_nursery() as nursery:
                for run in unread:
                    await limit.acquire_on_behalf_of(run)
                    nursery.start_soon(self._fold_old, run, limit)
            self._learned.set()
            self._learned = trio.Event()

    async def _fold_old(self, run: str, limit: trio.CapacityLimiter) -> None:
        """Fold a run, and take its open gates."""
        try:
            if not self._index.is_unread(run):
                return
            instance = await self._queries.runs.fold(run)
        except UnavailableError:
            return  # it is asked for again
        except MovantError:
            self._index.learn(run, [])  # it has ended, and its history is gone
        except Exception:  # a defect in one of them stops no other
            log.exception("api.failed", verb="gate.ls", run=run)
            self._index.learn(run, [])
        else:
            self._index.learn(run, instance.gates())
            instance.close()
        finally:
            limit.release_on_behalf_of(run)

    async def list(self, request: api.GateList) -> api.Message:
        """List the open gates."""
        first = offset(request.after)
        index = self._queries.index
        await together(self._index.refresh, partial(index.refresh, blocked=False))
        unread = await self._learn()
        rows = index.rows

        def workflow_of(run: str) -> str:
            row = rows.get(run)
            return "" if row is None else row.workflow

        found = self._index.open(rows, index.ends)
        inbox = Inbox(request.who, request.role, await self.absences.now() if request.who else {})
        if request.run is not None or request.name or request.workflow is not None or request.who:
            wanted = list[tuple[str, GateFacts]]()

            def look(each: tuple[str, GateFacts]) -> None:
                run, gate = each
                if (
                    request.run in {None, run}
                    and request.name in {"", gate.name}
                    and request.workflow in {None, workflow_of(run)}
                    and inbox.has(gate)
                ):
                    wanted.append(each)

            await in_slices([*found], look, looks=WIDE)
            found = wanted
        following = first + request.limit
        return api.GatePage(
            gates=[
                api.GateRow(
                    id=run,
                    gate=each.gate,
                    name=each.name,
                    workflow=workflow_of(run),
                    title=each.title,
                    opened_at=each.opened_at,
                    due=each.due,
                    on_expiry=each.on_expiry,
                    decisions=[*each.decisions],
                    quorum=each.quorum,
                    approved=each.approved,
                    approvers=[*each.approvers],
                    roles=[*each.roles],
                    escalated=each.escalated,
                    mode=each.mode,
                    instead_of=inbox.instead_of(each),
                )
                for run, each in found[first:following]
            ],
            total=len(found),
            unread=unread,
            next=str(following) if following < len(found) else "",
            server_time=self._daemon.clock.now_ns(),
        )

    async def _learn(self) -> int:
        """Let old runs be folded; wait a moment for it, and return how many are left."""
        index = self._queries.index
        self._unread = self._index.unread(index)
        if not self._unread:
            return 0
        self._wake.set()
        with trio.move_on_after(LEARN_S):
            await self._learned.wait()
        return len(self._index.unread(index))

    async def show(self, request: api.GateShow) -> api.Message:
        """Show a gate. Raises NotFoundError."""
        async with self._folded(request.id) as instance:
            found = find(instance, request.gate)
            done = [f"/{unquote(each)}" for each in instance.done[-DONE_MAX:]]
            told: dict[str, Any] = {"status": instance.status, "workflow": instance.workflow}
            if isinstance(found, GateDecision):
                return api.GateView(
                    id=request.id,
                    gate=found.gate,
                    name=name_of(found.gate),
                    open=False,
                    done=done,
                    decision=found,
                    votes=[*found.votes],
                    **told,
                )
            facts = found.facts() | {"votes": found.votes, "delegations": found.delegations}
            facts.pop("level", None)
            around = await self._around(instance, found)
            around["away"] = await self._away(found)
            return api.GateView(id=request.id, open=True, done=done, **facts, **told, **around)

    async def _away(self, found: GateState) -> Sequence[GateAbsence]:
        """Return who may decide at a gate and is away."""
        if not (found.approvers or found.roles):
            return []
        away = await self.absences.now()
        return [
            GateAbsence(
                who=who,
                until=each.end,
                instead=line(away, who, found.excluded),
                reason=each.by.why,
            )
            for who, each in away.items()
            if each.has_a_say(found.approvers, found.roles) and found.handed(who) is not False
        ]

    async def _around(self, instance: Instance, found: GateState) -> dict[str, Any]:
        """Return what stands before and behind a gate, and what would be undone."""
        undoes = [each.path for each in instance.undo_plan()][:DONE_MAX]
        shown = {
            name.removeprefix(SHOWN): str(text)
            for name, text in instance.state.items()
            if name.startswith(SHOWN)
        }
        page = await self._blobs.artifacts(RunArtifacts(id=instance.id))
        assert isinstance(page, ArtifactPage)
        known = {
            "undoes": undoes,
            "steps": dict(list(shown.items())[-DONE_MAX:]),
            "artifacts": [each.name for each in page.artifacts[:DONE_MAX]],
        }
        definitions = self._daemon.parts.definitions
        workflow = await definitions.find(instance.workflow, instance.definition)
        if not isinstance(workflow, GraphWorkflow):
            return known
        step, order = found.path.split("/")[2].partition("#")[0], workflow.order
        behind = [each for each in order.names if order.comes_before(step, each)]
        return {**known, "next": behind[:DONE_MAX]}

    async def decide(self, request: api.GateDecide) -> api.Message:
        """Write a decision, and tell what the fold made of it.

        Raises RefusedError for a word that does not count, AlreadyDecidedError when another one
        was first, NotFoundError when there is no such gate.
        """
        async with self._folded(request.id) as instance:
            found = find(instance, request.gate)
            message_id = request.message_id or self._daemon.new_id()
            path = found.gate if isinstance(found, GateDecision) else found.path
            said = told_of(instance, path, message_id)
            if said is not None:  # asked again, because the answer was lost
                return said
            if isinstance(found, GateDecision):
                raise already(request.id, found)
            if instance.blocked is not None:
                raise RefusedError(
                    f"run {request.id} is blocked: {instance.blocked.message}",
                    hint=f"movant why {request.id}",
                )
            word = GateWord(
                gate=path,
                do=request.do,
                values=request.values,
                role=request.role,
                to=request.to,
                step=request.step,
            )
            wrong, ahead = await self._checked(found, word, request.by)
            if wrong:
                raise RefusedError(wrong, hint=f"movant gate show {request.id} {found.name}")
        seq = await self._commands.order(
            request.id,
            "gate",
            word,
            message_id,
            request.by,
            ahead=ahead and (ahead.word, f"{message_id}-ahead", ahead.by),
        )
        async with self._folded(request.id, least=seq) as instance:
            said = told_of(instance, path, message_id)
            if said is not None:
                return said
            decision = instance.gates_ended.get(step_token(path))
        if decision is not None:
            raise already(request.id, decision)
        raise RefusedError(
            f"the gate {found.name} of {request.id} was changed before this decision came",
            hint=f"movant gate show {request.id}",
        )

    async def _checked(
        self, found: GateState, word: GateWord, by: Operator | None
    ) -> tuple[str, Ahead | None]:
        """Return why a word does not count, and what has to be said before it."""
        wrong = refusal(found, word, by)
        if not wrong or by is None or not by.who:
            return wrong, None
        return await self.absences.ahead(found, word, by)

    @asynccontextmanager
    async def _folded(self, run: str, least: int = 0) -> AsyncIterator[Instance]:
        """Fold a run that contains the sequence ``least``. Raises UnavailableError."""
        subjects.check_id(run)
        for number in range(TRIES_MAX):
            if number:
                await trio.sleep(TRY_S)
            instance = await self._queries.runs.fold(run)
            try:
                if instance.folded >= least:
                    yield instance
                    return
            finally:
                instance.close()
        raise UnavailableError("a replica of MAIL lags behind its leader", hint="try again")


def find(instance: Instance, word: str) -> GateState | GateDecision:
    """Return the gate of that name or path: an open one before one that has ended.

    Raises NotFoundError; RefusedError when a name is missing or stands for several.
    """
    opened = instance.gates()
    ended = [*instance.gates_ended.values()]
    if not word and len(opened) > 1:
        names = ", ".join(each.path for each in opened)
        raise RefusedError(f"{instance.id} has several open gates", hint=f"name one of: {names}")
    named = [each for each in opened if not word or word in {each.name, each.path}]
    if len(named) > 1:
        names = ", ".join(each.path for each in named)
        raise RefusedError(f"{word!r} stands for several gates", hint=f"name one of: {names}")
    if named:
        return named[0]
    for each in reversed(ended):
        if not word or word in {name_of(each.gate), each.gate}:
            return each
    raise NotFoundError(
        f"{instance.id} has no gate {word!r}" if word else f"{instance.id} has no open gate",
        hint=f"movant why {instance.id}",
    )


def name_of(path: str) -> str:
    """Return the name of the gate at a path."""
    return path.rpartition("/gate.")[2].partition("#")[0]


def told_of(instance: Instance, path: str, message_id: str) -> api.GateDecided | None:
    """Return what became of a word by its message id; None: it is not there, or did not count."""
    decision = instance.gates_ended.get(step_token(path))
    if decision is not None:
        votes = decision.votes
        counted = any(each.message_id == message_id for each in votes)
        if decision.message_id != message_id and not counted:
            return None
        quorum = max(1, len(votes))
        return api.GateDecided(
            id=instance.id, gate=path, approved=len(votes), quorum=quorum, decision=decision
        )
    for each in instance.gates():
        for handed in each.delegations if each.path == path else ():
            if handed.message_id == message_id:
                return api.GateDecided(id=instance.id, gate=path, open=True, delegated=handed.to)
        if each.path == path and any(vote.message_id == message_id for vote in each.votes):
            return api.GateDecided(
                id=instance.id,
                gate=path,
                open=True,
                approved=len(each.votes),
                quorum=each.gate.quorum,
            )
    return None


def already(instance: str, decision: GateDecision) -> MovantError:
    """Return the error for whoever comes second: it says who has decided what."""
    name = name_of(decision.gate)
    return AlreadyDecidedError(
        f"the gate {name} of {instance} was {decision.text}",
        hint=f"movant gate show {instance} {name}",
    )
