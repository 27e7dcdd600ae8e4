"""Client: start, watch and steer workflows from any trio program.

    async with movant.Client.connect() as client:
        run = await client.start("civic.restaurant", application, id="harbor-grill")
        outcome = await client.wait(run.id, timeout_s=3600)

Ids are chosen here when the caller gives none, so whatever failed half-way can be asked again:
a start, a signal or a cancel that is sent twice happens once.
"""
# ruff: noqa: A002 - an id is called id and an input input, as in the API

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, Self

import msgspec
import trio

from protocols.api import runs as api
from protocols.api.blobs import ArtifactRow
from protocols.effects import FINAL, Status
from protocols.errors import AlreadyExistsError, MovantError, UnknownOutcomeError
from protocols.events import Event
from protocols.guardrails.sensitive import Redactor
from protocols.routes import RoutingTable
from protocols.subjects import check_id, check_name
from protocols.witness import Operator
from runtime.bridge import connect
from runtime.client import discovery as client_discovery
from runtime.client.batches import CHUNK_ITEMS, signals, starts
from runtime.client.blobs import LargeValues
from runtime.client.calls import ANSWER_S, PATIENCE_S, Calls, new_message_id
from runtime.client.gates import GateCalls
from runtime.client.guardrails import GuardrailCalls
from runtime.client.run_batch import RunLists
from runtime.client.stats import StatsCalls
from runtime.client.triggers import TriggerCalls
from runtime.client.undo import Undoes
from runtime.client.updates import UpdateCalls
from runtime.client.versions import VersionCalls
from runtime.client.watch import watch
from runtime.clock import SystemClock

WAIT_SLICE_S: Final = 4.0
"""One request waits this long for an end; the next one follows. A daemon that went away in
between is noticed within this time."""
_ID_BYTES: Final = 6

HoldKind = Literal["service", "workflow", "run", "all"]
Signals = list[api.SignalResult]
Inputs = Iterable[Any]
Starts = list[api.StartResult]
Artifacts = list[ArtifactRow]


class WaitTimeoutError(UnknownOutcomeError):
    """The run has not ended in time; it goes on. ``status`` is where it stands."""

    code = "unknown.wait"

    def __init__(self, message: str, *, status: Status, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status: Final = status


class Client(
    GateCalls,
    GuardrailCalls,
    RunLists,
    StatsCalls,
    TriggerCalls,
    Undoes,
    UpdateCalls,
    VersionCalls,
):
    """A connection to the API. Safe to use from many tasks at once."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.large = LargeValues(calls)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        url: str | None = None,
        *,
        store: Path | None = None,
        name: str = "movant-client",
        answer_s: float = ANSWER_S,
        patience_s: float = PATIENCE_S,
        waiting: Callable[[MovantError], None] | None = None,
    ) -> AsyncIterator[Self]:
        """Connect to the daemon at ``url``, or to the one that this machine knows of.

        ``patience_s`` bounds how long a request is tried again while nobody can answer;
        ``waiting`` is told once per request why. Raises
        NoDaemonError, DisconnectedError, and ConfigurationError for a refused login.
        """
        nats = client_discovery.find(url or "", store)
        async with connect(nats.url, name=name, **client_discovery.login(nats)) as transport:
            yield cls(Calls(transport, answer_s=answer_s, patience_s=patience_s, waiting=waiting))

    @property
    def calls(self) -> Calls:
        """The requests below this client, for what it has no method for."""
        return self._calls

    # Runs

    async def start(
        self,
        workflow: str,
        input: Any = None,
        *,
        id: str | None = None,
        if_exists: Literal["return", "refuse"] = "return",
        wait_s: float = 0.0,
        priority: int = 0,
        profile: str = "",
        permissions: Iterable[str] = (),
        by: Operator | None = None,
        traceparent: str = "",
    ) -> api.RunStarted:
        """Start an instance; wait up to ``wait_s`` seconds for its end.

        ``priority`` says who goes first where requests wait: -9 a batch, 9 an emergency;
        ``profile`` under which of its profiles it runs, ``by`` who starts it, ``traceparent`` the
        W3C trace that its requests go along with; ``permissions`` are claimed for workflows that
        need one to be started by hand.

        A taken id gives that instance (``created`` false), or AlreadyExistsError with
        ``if_exists="refuse"``; then an answer that was lost raises UnknownOutcomeError, because
        asking again could not tell whose start it was.
        """
        check_name(workflow, "workflow name")
        chosen = check_id(id) if id is not None else new_id()
        refuse = id is not None and if_exists == "refuse"
        first_s = min(wait_s, WAIT_SLICE_S)
        value, blob = await self.large.given(chosen, input)
        request = api.RunStart(
            workflow=workflow,
            input=value,
            input_blob=blob,
            id=chosen,
            if_exists="refuse" if refuse else "return",
            wait_s=first_s,
            priority=priority,
            profile=profile,
            permissions=(*permissions,),
            by=by,
            traceparent=traceparent,
        )
        began = trio.current_time()
        started = await self._calls.call(
            "run.start", request, api.RunStarted, extra_s=first_s, repeat=not refuse
        )
        left_s = wait_s - (trio.current_time() - began)
        if started.status in (*FINAL, "blocked") or left_s <= 0:
            return await self.large.told(started)
        outcome = await self._outcome(chosen, left_s)
        return api.RunStarted(
            id=started.id,
            created=started.created,
            status=outcome.status,
            definition=started.definition,
            result=outcome.result,
            failure=outcome.failure,
            steps=outcome.steps,
        )

    async def start_many(
        self,
        workflow: str,
        items: Inputs,
        *,
        chunk: int = CHUNK_ITEMS,
        permissions: Iterable[str] = (),
        by: Operator | None = None,
    ) -> Starts:
        """Start one instance per item and return what became of each, in order.

        An item is an input, or an ``api.StartItem`` with an id of its own. They go in requests
        of up to ``chunk`` items, several under way at once. An item that was refused has an
        ``error``; only a request that nobody answers raises.
        """
        made = starts(
            check_name(workflow, "workflow name"),
            items,
            new_id,
            items_max=chunk,
            bytes_max=self._calls.transport.payload_bytes_max,
            claim={"permissions": [*permissions], "by": by},
        )
        answers = await self._calls.many("run.start_many", made, api.RunStartedMany)
        return [result for answer in answers for result in answer.results]

    async def show(self, id: str, *, raw: bool = False, by: Operator | None = None) -> api.RunView:
        """Return all that is known about a run, for people: what is sensitive is masked.

        ``raw`` shows it as it is; the daemon logs who asks. Raises NotFoundError, and
        RefusedError when raw values are shown to nobody.
        """
        request = api.RunShow(id=check_id(id), raw=raw, by=by)
        view = await self._calls.call("run.show", request, api.RunView)
        told = await self.large.told(view)
        if raw or told is view:
            return told
        return msgspec.structs.replace(told, result=Redactor().value(told.result))

    async def pipeline(
        self,
        *,
        machine: str | None = None,
        state: str | None = None,
        blocked: bool = False,
        overdue: bool = False,
        limit: int = 50,
        after: str = "",
    ) -> api.PipelineStatus:
        """Return the active motions, counted, and a page: the longest in their state first.

        ``machine`` limits counts and rows, the others only rows. Pass ``next`` as ``after`` for
        more; a motion that moves between two pages may come twice.
        """
        request = api.Pipeline(
            machine=machine,
            state=state,
            blocked=blocked,
            overdue=overdue,
            limit=limit,
            after=after,
        )
        return await self._calls.call("pipeline", request, api.PipelineStatus)

    async def history(
        self,
        id: str,
        *,
        after: int = 0,
        page: int = 200,
        raw: bool = False,
        by: Operator | None = None,
    ) -> AsyncIterator[api.HistoryEntry]:
        """Yield the messages of a run's mailbox in order, from behind ``after`` to the newest.

        What is sensitive is masked, as in ``show``, unless ``raw``.
        """
        check_id(id)
        while True:
            request = api.RunHistory(id=id, after=after, limit=page, raw=raw, by=by)
            found = await self._calls.call("run.history", request, api.HistoryPage)
            for entry in found.entries:
                yield entry
            if not found.next:
                return
            after = found.next

    async def signal(
        self,
        id: str,
        name: str,
        data: Any = None,
        *,
        message_id: str = "",
        by: Operator | None = None,
    ) -> api.Accepted:
        """Send a signal; it may come before the start. A repeat by ``message_id`` does nothing.

        ``by`` tells who sends it by hand: it stands in the history, and in what is witnessed.
        """
        value, blob = await self.large.given(id, data)
        request = api.RunSignal(
            id=check_id(id),
            name=check_name(name, "signal name"),
            data=value,
            data_blob=blob,
            message_id=message_id or new_message_id(),
            by=by,
        )
        return await self._calls.call("run.signal", request, api.Accepted)

    async def signal_many(
        self, ids: Iterable[str], name: str, data: Any = None, *, chunk: int = CHUNK_ITEMS
    ) -> Signals:
        """Send a signal to many runs; return for each, in order, its place or its error.

        Every signal has a message id of its own, so that a repeated request does nothing.
        """
        made = signals(
            check_name(name, "signal name"),
            ids,
            data,
            new_message_id,
            items_max=chunk,
            bytes_max=self._calls.transport.payload_bytes_max,
        )
        answers = await self._calls.many("run.signal_many", made, api.RunSignalledMany)
        return [result for answer in answers for result in answer.results]

    async def cancel(
        self, id: str, *, reason: str = "", message_id: str = "", by: Operator | None = None
    ) -> api.Accepted:
        """Ask a run to cancel; its clean-up and compensation still run."""
        request = api.RunCancel(
            id=check_id(id), reason=reason, message_id=message_id or new_message_id(), by=by
        )
        return await self._calls.call("run.cancel", request, api.Accepted)

    async def verify(self, id: str) -> api.RunVerified:
        """Have a run folded again and compared with its statements. Raises NotFoundError."""
        return await self._calls.call(
            "run.verify", api.RunVerify(id=check_id(id)), api.RunVerified
        )

    async def wait(self, id: str, *, timeout_s: float = float("inf")) -> api.RunOutcome:
        """Wait until a run has ended or is blocked, and return how.

        Raises WaitTimeoutError when that takes longer than ``timeout_s``; the run goes on.
        """
        outcome = await self._outcome(check_id(id), timeout_s)
        if outcome.status in (*FINAL, "blocked"):
            return outcome
        raise WaitTimeoutError(
            f"run {id} is still {outcome.status} after {timeout_s:g} s",
            status=outcome.status,
            hint=f"movant run show {id}",
        )

    async def supply(
        self, id: str, content: bytes, *, message_id: str = "", by: Operator | None = None
    ) -> api.Accepted:
        """Put back the value that blocks a run, byte for byte. Raises RefusedError."""
        return await self.large.supply(id, content, message_id=message_id, by=by)

    async def artifacts(self, id: str) -> Artifacts:
        """Return the artifacts of a run, by name. Raises NotFoundError."""
        return await self.large.artifacts(id)

    async def artifact(self, id: str, name: str) -> bytes:
        """Return the content of an artifact, up to 64 MB. Raises NotFoundError."""
        return await self.large.artifact(id, name)

    def watch(self, id: str) -> AsyncIterator[Event]:
        """Yield a run's events from now on, up to and including the one that ends it.

        A run that has ended already gives that last event at once. Nothing is missed between
        the subscription and the run's state; while the connection is lost, live events are.
        """
        return watch(self._calls, check_id(id))

    async def resolve(self, prefix: str) -> str:
        """Return the one id that begins so. Raises NotFoundError, or RefusedError for several."""
        found = await self._calls.call(
            "run.resolve", api.RunResolve(prefix=prefix), api.RunResolved
        )
        return found.id

    # Workflows, services, the daemon

    async def route(self, table: RoutingTable, workflows: Iterable[str]) -> api.WorkflowRouted:
        """Let new runs of some workflows use a routing table; without routes they use none."""
        request = api.WorkflowRoute(workflows=[*workflows], table=table)
        return await self._calls.call("workflow.route", request, api.WorkflowRouted)

    async def services(self) -> api.ServicePage:
        """Return all services that the daemon knows."""
        return await self._calls.call("service.ls", api.Empty(), api.ServicePage)

    async def service(self, name: str) -> api.ServiceView:
        """Return all that is known about a service. Raises NotFoundError."""
        return await self._calls.call("service.show", api.ServiceShow(name=name), api.ServiceView)

    async def pause(
        self, kind: HoldKind, name: str = "", *, reason: str = "", by: Operator | None = None
    ) -> api.HoldTold:
        """Send no more requests to a service, or for a workflow, a run, or ``all``."""
        request = api.Pause(kind=kind, name=name, reason=reason, by=by)
        return await self._calls.call("pause", request, api.HoldTold)

    async def resume(
        self, kind: HoldKind, name: str = "", *, reason: str = "", by: Operator | None = None
    ) -> api.HoldTold:
        """Send requests again."""
        request = api.Resume(kind=kind, name=name, reason=reason, by=by)
        return await self._calls.call("resume", request, api.HoldTold)

    async def force(
        self,
        service: str,
        state: Literal["open", "closed", "auto"],
        *,
        reason: str = "",
        by: Operator | None = None,
    ) -> api.HoldTold:
        """Force the breaker of a service open or closed, or let it decide by itself."""
        request = api.ServiceForce(name=service, state=state, reason=reason, by=by)
        return await self._calls.call("service.force", request, api.HoldTold)

    async def status(self) -> api.StatusView:
        """Return how the daemon stands."""
        return await self._calls.call("status", api.Empty(), api.StatusView)

    async def actor_tree(self) -> api.ActorTree:
        """Return the daemon's supervision tree."""
        return await self._calls.call("actor.tree", api.Empty(), api.ActorTree)

    async def _outcome(self, id: str, timeout_s: float) -> api.RunOutcome:
        """Return the outcome, or how the run stands at the end of the time."""
        deadline = trio.current_time() + timeout_s
        while True:
            slice_s = max(0.0, min(WAIT_SLICE_S, deadline - trio.current_time()))
            request = api.RunWait(id=id, timeout_s=slice_s)
            outcome = await self._calls.call("run.wait", request, api.RunOutcome, extra_s=slice_s)
            if outcome.status in (*FINAL, "blocked") or trio.current_time() >= deadline:
                return await self.large.told(outcome)


def new_id() -> str:
    """Return a fresh instance id, in characters that a double click selects.

    It begins with the time in milliseconds, so that the daemon can tell that it is fresh
    without a look into the archive; 48 random bits follow.
    """
    return f"{SystemClock().now_ns() // 1_000_000:011x}{secrets.token_hex(_ID_BYTES)}"


__all__ = ["AlreadyExistsError", "Client", "WaitTimeoutError", "new_id"]
