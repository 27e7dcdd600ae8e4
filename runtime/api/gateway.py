"""Gateway: the API as the NATS micro service ``movant``.

    movant.api.<verb> -> decode -> handler -> result | ErrorReply with error headers

Every handler answers from what stands in the streams or in the owner; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
import trio

from actors.store.direct_reader import DirectReader
from protocols import codec, subjects
from protocols import headers as h
from protocols.api import runs as api
from protocols.errors import (
    BadValueError,
    InternalError,
    MovantError,
    NoRespondersError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
)
from protocols.ports import Frame, Outgoing
from runtime.api.blobs import BlobQueries
from runtime.api.daemon import DaemonQueries
from runtime.api.fork import ForkCommands
from runtime.api.gates import GateCommands
from runtime.api.guardrails import GuardrailCommands
from runtime.api.holds import Held, HoldCommands
from runtime.api.migrate import MigrateCommands
from runtime.api.operations import OperatorQueries
from runtime.api.peers import Peers, Registered, StandingOf
from runtime.api.pipeline import PipelineQueries
from runtime.api.queries import RunQueries
from runtime.api.repairs import RepairCommands
from runtime.api.runs import RunCommands
from runtime.api.stats import StatsQueries
from runtime.api.templates import TemplateCommands
from runtime.api.triggers import TriggerCommands
from runtime.api.undo import UndoCommands
from runtime.api.updates import UpdateCommands
from runtime.api.verify import RunVerification
from runtime.api.versions import VersionCommands
from runtime.discovery import Discovery
from runtime.redacting import Redaction

if TYPE_CHECKING:
    from runtime.daemon import Daemon
    from supervisors.child import ChildStatus

VALUED: Final = frozenset(
    {
        "run.start",
        "run.start_many",
        "run.fork",
        "run.signal",
        "run.update",
        "gate.decide",
        "trigger.add",
    }
)
"""Verbs that carry a value of the caller's: there a key twice would hide one of two values."""

log = structlog.get_logger()

Handler = Callable[[Any], Awaitable[msgspec.Struct]]
PEER: Final = "peer:"
"""Prefix of the verbs that only daemons ask; no subject of a client's can contain it."""
_NO_LEADER: Final = UnavailableError(
    "nobody at the NATS server stores what this needs",
    hint="a cluster elects a new leader within seconds: try again; movant doctor looks at it",
)
_TO_ALL: Final = subjects.peer(subjects.PEERS, "")


class Gateway:
    """Answers clients. One per daemon; several daemons share a queue group."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._transport = daemon.parts.transport
        self._open = 0
        self._repeats: dict[tuple[str, bytes], list[str]] = {}
        """Who asked the same once more, by verb and payload, while it is under way."""
        self._served: dict[str, int] = {}
        self._handlers: dict[str, Handler] = {}
        self._nursery: trio.Nursery
        self._redaction: Redaction
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {
            verb: msgspec.json.Decoder(found.request) for verb, found in api.VERBS.items()
        }
        self._decoders |= {
            f"{PEER}run.show": msgspec.json.Decoder(api.RunShow),
            f"{PEER}run.standing": msgspec.json.Decoder(StandingOf),
            f"{PEER}status": msgspec.json.Decoder(api.Empty),
            f"{PEER}actor.tree": msgspec.json.Decoder(api.Empty),
            f"{PEER}registered": msgspec.json.Decoder(Registered),
            f"{PEER}held": msgspec.json.Decoder(Held),
            f"{PEER}flows": msgspec.json.Decoder(api.Empty),
            f"{PEER}pipeline": msgspec.json.Decoder(api.Pipeline),
        }

    async def run(self, *, task_status: ChildStatus) -> None:
        """Serve until cancelled."""
        transport, replicas = self._transport, self._daemon.config.replicas
        async with (
            DirectReader(transport, "MAIL", replicas=replicas) as mail,
            DirectReader(transport, "ARCHIVE", replicas=replicas) as archive,
            DirectReader(transport, "EVENTS", replicas=replicas) as events,
            DirectReader(transport, "DEAD") as dead,
            trio.open_nursery() as self._nursery,
        ):
            discovery = Discovery(transport)
            peers = Peers(self._daemon)
            queries = RunQueries(self._daemon, mail, peers)
            pipeline = PipelineQueries(self._daemon, queries, peers)
            self._nursery.start_soon(pipeline.run)
            commands = RunCommands(self._daemon, mail, queries)
            witness = RunVerification(self._daemon, mail, archive, events)
            about = DaemonQueries(self._daemon, discovery, peers)
            blobs = BlobQueries(self._daemon, queries.runs)
            gates = GateCommands(self._daemon, commands, queries, events, blobs)
            self._nursery.start_soon(gates.run)
            holds = HoldCommands(self._daemon, peers)
            self._redaction = Redaction(self._daemon, queries)
            triggers = TriggerCommands(self._daemon, queries)
            forks = ForkCommands(self._daemon, commands, queries.runs, triggers.guarded)
            self._handlers = handlers(
                commands,
                queries,
                witness,
                about,
                operator=OperatorQueries(self._daemon, mail, dead),
                undo=UndoCommands(self._daemon.parts.definitions, commands, queries.runs),
                holds=holds,
                pipeline=pipeline,
                gates=gates,
                guardrails=GuardrailCommands(self._daemon),
                blobs=blobs,
                triggers=triggers,
            )
            parts = self._daemon.parts
            store = parts.definition_store
            migrating = MigrateCommands(parts.definitions, store, commands, queries, peers)
            repairs = RepairCommands(self._daemon, commands, queries, mail)
            templates = TemplateCommands(store, about)
            versions = VersionCommands(self._daemon, queries.index, peers)
            updates = UpdateCommands(self._daemon, commands, queries)
            self._handlers |= {
                "stats": StatsQueries(queries).stats,
                "gate.away": gates.absences.away,
                "gate.back": gates.absences.back,
                "gate.absences": gates.absences.absences,
                "run.fork": forks.fork,
                "run.migrate": migrating.migrate,
                "run.update": updates.update,
                "run.answer": updates.answer,
                "run.supply": repairs.supply,
                "run.discard": repairs.discard,
                "workflow.versions": versions.versions,
                "workflow.rollback": versions.rollback,
                "template.register": templates.register,
                "template.ls": templates.list,
                "template.show": templates.show,
                "template.instantiate": templates.instantiate,
            }
            assert self._handlers.keys() == api.VERBS.keys()
            self._handlers |= {
                f"{PEER}run.show": queries.own,
                f"{PEER}run.standing": queries.standing,
                f"{PEER}status": about.own_status,
                f"{PEER}actor.tree": about.own_tree,
                f"{PEER}registered": about.registered,
                f"{PEER}held": holds.held,
                f"{PEER}flows": about.own_flows,
                f"{PEER}pipeline": pipeline.own,
            }
            subscriptions = [
                await transport.subscribe(subjects.api(">"), self._take_new, queue="movant"),
                await transport.subscribe(subjects.api_again(">"), self._take),
                await transport.subscribe(subjects.peer(self._daemon.key, ">"), self._take),
                await transport.subscribe(subjects.peer(subjects.PEERS, ">"), self._take),
                *await discovery.serve(
                    name="movant",
                    version=self._daemon.version,
                    service_id=self._daemon.entropy.token(10),
                    endpoints={verb: subjects.api(verb) for verb in api.VERBS},
                    descriptions={verb: found.summary for verb, found in api.VERBS.items()},
                    numbers=lambda verb: {"num_requests": self._served.get(verb, 0)},
                ),
            ]
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                for each in subscriptions:
                    each.unsubscribe()

    def _take_new(self, frames: Sequence[Frame]) -> None:
        """Take what one daemon has to answer; what is asked again comes to all of them."""
        self._take([each for each in frames if not each.subject.startswith(subjects.API_AGAIN)])

    def _take(self, frames: Sequence[Frame]) -> None:
        limit = self._daemon.config.limits.api_requests_max
        for frame in frames:
            told = not frame.reply and frame.subject.startswith(_TO_ALL)
            if not (told or subjects.is_reply(frame.reply)):
                continue
            repeats = self._repeats.get(_identity(frame))
            if repeats is not None and frame.subject.startswith(subjects.API_AGAIN):
                repeats.append(frame.reply)
                continue
            if self._open >= limit:
                self._refuse(
                    frame, OverloadedError(f"{limit} requests are under way", hint="try again")
                )
                continue
            self._open += 1
            self._nursery.start_soon(self._serve, frame)

    async def _serve(self, frame: Frame) -> None:
        verb = _verb(frame.subject)
        identity = _identity(frame)
        self._repeats.setdefault(identity, [])
        try:
            handler = self._handlers.get(verb)
            if handler is None:
                raise NotFoundError(
                    f"no verb {verb[:60]!r}", hint="docs/protocol.md lists them; `nats micro info`"
                )
            self._served[verb] = self._served.get(verb, 0) + 1
            try:
                request = self._decoders[verb].decode(frame.payload or b"{}")
                if verb in VALUED:
                    codec.check_unique(frame.payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadValueError(f"{verb}: {error}") from error
            result = await self._redaction.answer(verb, request, await handler(request))
            payload = msgspec.json.encode(result)
            if len(payload) > self._transport.payload_bytes_max:
                raise OverloadedError("the answer is too large", hint="ask for fewer rows")
            for reply in self._askers(frame):
                self._transport.publish(Outgoing(reply, payload))
        except NoRespondersError:  # of JetStream: to the caller it would say that we are not there
            self._refuse(frame, _NO_LEADER)
        except MovantError as error:
            self._refuse(frame, error)
        except Exception as error:  # a defect in one handler stops no other
            log.exception("api.failed", verb=verb)
            self._refuse(frame, InternalError(f"{type(error).__name__}: {error}"))
        finally:
            self._open -= 1
            self._repeats.pop(identity, None)

    def _askers(self, frame: Frame) -> list[str]:
        """Return where the answer is waited for: whoever asked again gets the same one."""
        return [frame.reply, *self._repeats.pop(_identity(frame), ())] if frame.reply else []

    def _refuse(self, frame: Frame, error: MovantError) -> None:
        payload = msgspec.json.encode(api.error_reply(error))
        lines = h.encode(api.error_headers(error))
        for reply in self._askers(frame):
            try:
                self._transport.publish(Outgoing(reply, payload, lines))
            except MovantError:
                return  # nobody can be told


async def serve_api(daemon: Daemon, *, task_status: ChildStatus) -> None:
    """Answer the clients of a daemon until cancelled."""
    await Gateway(daemon).run(task_status=task_status)


def _identity(frame: Frame) -> tuple[str, bytes]:
    """Return what a request and its repeats have in common: verb and payload."""
    return (_verb(frame.subject), frame.payload)


def _verb(subject: str) -> str:
    """Return the verb that a request asks for."""
    if subject.startswith("movant.peer."):
        return PEER + subject.split(".", 3)[3]
    return subject.removeprefix(subjects.API_AGAIN).removeprefix("movant.api.")


def handlers(
    commands: RunCommands,
    queries: RunQueries,
    witness: RunVerification,
    daemon: DaemonQueries,
    *,
    operator: OperatorQueries,
    undo: UndoCommands,
    holds: HoldCommands,
    pipeline: PipelineQueries,
    gates: GateCommands,
    guardrails: GuardrailCommands,
    blobs: BlobQueries,
    triggers: TriggerCommands,
) -> dict[str, Handler]:
    """Return the handler of each verb."""
    return {
        "run.start": triggers.guarded(commands.start),
        "run.start_many": triggers.guarded(commands.start_many),
        "run.signal": commands.signal,
        "run.signal_many": commands.signal_many,
        "run.cancel": commands.cancel,
        "run.undo": undo.undo,
        "run.review": undo.review,
        "run.wait": commands.wait,
        "run.show": queries.show,
        "run.ls": queries.list,
        "run.history": queries.history,
        "run.resolve": queries.resolve,
        "run.verify": witness.verify,
        "run.artifacts": blobs.artifacts,
        "run.blob": blobs.chunk,
        "run.mend": blobs.mend,
        "run.messages": operator.messages,
        "gate.ls": gates.list,
        "gate.show": gates.show,
        "gate.decide": gates.decide,
        "pipeline": pipeline.pipeline,
        "guardrail.ls": guardrails.list,
        "guardrail.register": guardrails.register,
        "budget.ls": guardrails.budgets,
        "workflow.ls": daemon.workflows,
        "workflow.show": daemon.workflow,
        "workflow.register": daemon.register,
        "workflow.fetch": operator.fetch,
        "workflow.route": daemon.route,
        "service.ls": daemon.services,
        "service.show": daemon.service,
        "service.force": holds.force,
        "pause": holds.pause,
        "resume": holds.resume,
        "status": daemon.status,
        "actor.tree": daemon.tree,
        "check": operator.check,
        "dead.ls": operator.dead_list,
        "dead.show": operator.dead_show,
        "dead.replay": operator.dead_replay,
        "dead.purge": operator.dead_purge,
        **triggers.handlers,
    }
