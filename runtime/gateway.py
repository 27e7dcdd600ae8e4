"""Gateway: the API as the NATS micro service ``movant``.

    movant.api.<verb> -> decode -> handler -> result | ErrorReply with error headers

Every handler answers from what stands in the streams or in the owner; it decides nothing. A
query of an instance that is not in memory is a read-only fold: it dispatches nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
import trio

from actors.direct_reader import DirectReader
from actors.inbound import Letter, parse
from actors.kernel.instance import Instance
from actors.outbox import first_of
from actors.packing import open_pack
from actors.run_index import Row, RunIndex
from protocols import api, codec, subjects
from protocols import headers as h
from protocols.definition import Workflow
from protocols.effects import FINAL
from protocols.errors import (
    AlreadyExistsError,
    BadValueError,
    InternalError,
    MovantError,
    NotFoundError,
    OverloadedError,
    OversizedError,
    UnavailableError,
)
from protocols.mail import AnyMail
from protocols.ports import Frame, Outgoing
from runtime.discovery import Discovery
from runtime.history import entry

if TYPE_CHECKING:
    from runtime.daemon import Daemon
    from supervisors.child import ChildStatus
    from supervisors.incarnation import ChildView

WAIT_LOOK_S: Final = 1.0
"""A waiter looks again after this, should an event be lost."""
CURSOR_CHARS_MAX: Final = 12
READY_STATES: Final = frozenset({"ready", "starting"})

log = structlog.get_logger()

Handler = Callable[[Any], Awaitable[api.Message]]


class Gateway:
    """Answers clients. One per daemon; several daemons share a queue group."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._transport = daemon.parts.transport
        self._open = 0
        self._served: dict[str, int] = {}
        self._mail: DirectReader
        self._archive: DirectReader
        self._index: RunIndex
        self._nursery: trio.Nursery
        self._discovery: Discovery
        self._handlers: dict[str, Handler] = {
            "run.start": self._start,
            "run.start_many": self._start_many,
            "run.show": self._show,
            "run.ls": self._list,
            "run.history": self._history,
            "run.signal": self._signal,
            "run.cancel": self._cancel,
            "run.wait": self._wait,
            "run.resolve": self._resolve,
            "workflow.ls": self._workflows,
            "workflow.show": self._workflow,
            "workflow.register": self._register,
            "service.ls": self._services,
            "service.show": self._service,
            "status": self._status,
            "actor.tree": self._tree,
        }
        assert self._handlers.keys() == api.VERBS.keys()
        self._decoders = {
            verb: msgspec.json.Decoder(found.request) for verb, found in api.VERBS.items()
        }

    async def run(self, *, task_status: ChildStatus) -> None:
        """Serve until cancelled."""
        transport = self._transport
        async with (
            DirectReader(transport, "MAIL") as self._mail,
            DirectReader(transport, "ARCHIVE") as self._archive,
            trio.open_nursery() as self._nursery,
        ):
            self._index = RunIndex(self._mail, self._archive, self._parts.keys)
            self._discovery = Discovery(transport)
            subscriptions = [
                await transport.subscribe(subjects.api(">"), self._take, queue="movant"),
                *await self._discovery.serve(
                    "movant",
                    self._daemon.version,
                    self._daemon.entropy.token(10),
                    {verb: subjects.api(verb) for verb in api.VERBS},
                    {verb: found.summary for verb, found in api.VERBS.items()},
                    lambda verb: {"num_requests": self._served.get(verb, 0)},
                ),
            ]
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                for each in subscriptions:
                    each.unsubscribe()

    def _take(self, frames: Sequence[Frame]) -> None:
        limit = self._daemon.config.limits.api_requests_max
        for frame in frames:
            if not subjects.is_reply(frame.reply):
                continue
            if self._open >= limit:
                self._refuse(
                    frame, OverloadedError(f"{limit} requests are under way", hint="try again")
                )
                continue
            self._open += 1
            self._nursery.start_soon(self._serve, frame)

    async def _serve(self, frame: Frame) -> None:
        verb = frame.subject.removeprefix("movant.api.")
        try:
            handler = self._handlers.get(verb)
            if handler is None:
                raise NotFoundError(
                    f"no verb {verb[:60]!r}", hint="docs/protocol.md lists them; `nats micro info`"
                )
            self._served[verb] = self._served.get(verb, 0) + 1
            try:
                request = self._decoders[verb].decode(frame.payload or b"{}")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadValueError(f"{verb}: {error}") from error
            result = await handler(request)
            payload = msgspec.json.encode(result)
            if len(payload) > self._transport.payload_bytes_max:
                raise OverloadedError("the answer is too large", hint="ask for fewer rows")
            self._transport.publish(Outgoing(frame.reply, payload))
        except MovantError as error:
            self._refuse(frame, error)
        except Exception as error:  # noqa: BLE001  # a defect in one handler stops no other
            log.error("api.failed", verb=verb, exc_info=error)
            self._refuse(frame, InternalError(f"{type(error).__name__}: {error}"))
        finally:
            self._open -= 1

    def _refuse(self, frame: Frame, error: MovantError) -> None:
        payload = msgspec.json.encode(api.error_reply(error))
        lines = h.encode(api.error_headers(error))
        try:
            self._transport.publish(Outgoing(frame.reply, payload, lines))
        except MovantError:
            return  # nobody can be told

    # Runs

    async def _start(self, request: api.RunStart) -> api.Message:
        self._check_ready()
        subjects.check_name(request.workflow, "workflow")
        digest, workflow = await self._parts.definitions.latest(request.workflow)
        instance = self._daemon.new_id() if request.id is None else request.id
        message = self._start_message(workflow, digest, instance, request.input)
        created = True
        try:
            await self._write(message)
        except AlreadyExistsError:
            created = await self._start_behind_signals(instance, message)
        if not created and request.if_exists == "refuse":
            raise AlreadyExistsError(
                f"instance {instance!r} exists already", hint=f"movant run show {instance}"
            )
        if request.wait_s:
            outcome = await self._outcome(instance, request.wait_s)
            return api.RunStarted(
                id=instance,
                created=created,
                status=outcome.status,
                definition=digest,
                result=outcome.result,
                failure=outcome.failure,
            )
        if created:
            return api.RunStarted(id=instance, created=True, status="running", definition=digest)
        view = await self._view(instance)
        return api.RunStarted(
            id=instance,
            created=False,
            status=view.status,
            definition=view.definition,
            result=view.result,
            failure=view.failure,
        )

    async def _start_many(self, request: api.RunStartMany) -> api.Message:
        self._check_ready()
        subjects.check_name(request.workflow, "workflow")
        digest, workflow = await self._parts.definitions.latest(request.workflow)
        results: list[api.StartResult | None] = [None] * len(request.items)
        left = len(request.items)
        done = trio.Event()
        taken: list[tuple[int, str, Outgoing]] = []

        def written(number: int, instance: str, message: Outgoing) -> Any:
            def told(_: int, error: MovantError | None) -> None:
                nonlocal left
                if isinstance(error, AlreadyExistsError):
                    taken.append((number, instance, message))
                results[number] = api.StartResult(
                    id=instance,
                    created=error is None,
                    error=None if error is None else api.error_reply(error),
                )
                left -= 1
                if not left:
                    done.set()

            return told

        writer = self._parts.writers["MAIL"]
        for number, item in enumerate(request.items):
            instance = self._daemon.new_id() if item.id is None else item.id
            try:
                message = self._start_message(workflow, digest, instance, item.input)
                writer.write(message, written(number, instance, message))
            except MovantError as error:
                written(number, instance, Outgoing("", b""))(0, error)
        if request.items:
            await done.wait()
        for number, instance, message in taken:
            created = await self._start_behind_signals(instance, message)
            results[number] = api.StartResult(id=instance, created=created)
        rows = [each for each in results if each is not None]
        return api.RunStartedMany(
            ids=[each.id for each in rows if each.error is None], results=rows
        )

    def _start_message(
        self, workflow: Workflow[Any], digest: str, instance: str, value: Any
    ) -> Outgoing:
        subjects.check_id(instance)
        workflow.check_input(value)
        body = _body(value, "the input")
        lines = b"%b: %b\r\n%b: %b\r\n%b" % (
            h.DEFINITION.encode(),
            digest.encode(),
            h.MESSAGE_ID.encode(),
            self._daemon.entropy.token(8).encode(),
            first_of(instance, self._daemon.config.partitions),
        )
        return Outgoing(subjects.to_start(instance, workflow.name), body, lines)

    async def _start_behind_signals(self, instance: str, message: Outgoing) -> bool:
        """Start an instance whose mailbox is not empty; False when another start was first.

        The server decides once more, on starts alone. One that stands there with the id of
        this very message was ours: its acknowledgement was lost and it was written again.
        """
        partition = subjects.partition_of(instance, self._daemon.config.partitions)
        starts = f"movant.mail.{partition}.{instance}.start.>"
        cut = message.headers.index(h.EXPECTED_SEQUENCE.encode())
        ours = message.headers[:cut]
        lines = f"{h.EXPECTED_SEQUENCE}: 0\r\n{h.EXPECTED_SUBJECT}: {starts}\r\n".encode()
        try:
            await self._write(Outgoing(message.subject, message.payload, ours + lines))
        except AlreadyExistsError:
            stored = await self._mail.subject(starts)
            return bool(stored) and ours in stored[0].headers
        return True

    async def _show(self, request: api.RunShow) -> api.Message:
        return await self._view(request.id)

    async def _list(self, request: api.RunList) -> api.Message:
        await self._index.refresh()
        live = self._parts.owner.live
        rows = [
            (row, self._status_of(row))
            for row in self._index.newest()
            if request.workflow in {None, row.workflow}
        ]
        if request.status is not None:
            rows = [each for each in rows if each[1] == request.status]
        first = _offset(request.after)
        page = rows[first : first + request.limit]
        shown = []
        for row, status in page:
            actor = live.get(row.id)
            waiting = actor.instance.waiting() if actor is not None else []
            shown.append(
                api.RunRow(
                    id=row.id,
                    workflow=row.workflow,
                    status=status,
                    definition=row.definition,
                    started_at=row.started_at,
                    finished_at=row.finished_at,
                    waiting=f"{waiting[0].kind} {waiting[0].path}" if waiting else "",
                )
            )
        following = first + request.limit
        return api.RunPage(
            runs=shown,
            total=len(rows),
            next=str(following) if following < len(rows) else "",
        )

    def _status_of(self, row: Row) -> Any:
        if row.status:
            return row.status
        actor = self._parts.owner.live.get(row.id)
        if actor is None or actor.activating:
            return "blocked" if row.id in self._parts.owner.blocked else "running"
        return actor.instance.status

    async def _history(self, request: api.RunHistory) -> api.Message:
        subjects.check_id(request.id)
        partition = subjects.partition_of(request.id, self._daemon.config.partitions)
        stored = []
        async for batch in self._mail.follow(
            subjects.mailbox(request.id, partition), request.after
        ):
            stored += batch
            if len(stored) > request.limit:
                break
        if not stored and not request.after:
            raise NotFoundError(f"no instance {request.id!r}", hint="movant run ls")
        page = stored[: request.limit]
        entries = [entry(each, parse(each, self._parts.keys)) for each in page]
        return api.HistoryPage(
            entries=entries, next=page[-1].seq if len(stored) > request.limit else 0
        )

    async def _signal(self, request: api.RunSignal) -> api.Message:
        subjects.check_id(request.id)
        subjects.check_name(request.name, "signal")
        message_id = request.message_id or self._daemon.new_id()
        return await self._accept(
            request.id,
            Outgoing(
                subjects.to_signal(request.id, request.name),
                _body(request.data, "the signal"),
                h.encode({h.MESSAGE_ID: message_id}),
            ),
        )

    async def _cancel(self, request: api.RunCancel) -> api.Message:
        subjects.check_id(request.id)
        await self._view(request.id)
        message_id = request.message_id or self._daemon.new_id()
        return await self._accept(
            request.id,
            Outgoing(
                subjects.to_control(request.id, "cancel"),
                _body(request.reason, "the reason"),
                h.encode({h.MESSAGE_ID: message_id}),
            ),
        )

    async def _wait(self, request: api.RunWait) -> api.Message:
        subjects.check_id(request.id)
        return await self._outcome(request.id, request.timeout_s)

    async def _outcome(self, instance: str, timeout_s: float) -> api.RunOutcome:
        """Wait for the end. Subscribes first and looks then, so that nothing is missed."""
        changed = trio.Event()
        subscription = await self._transport.subscribe(
            f"movant.event.*.{instance}.>", lambda _: changed.set()
        )
        try:
            with trio.move_on_after(timeout_s):
                while True:
                    view = await self._view(instance)
                    if view.status in FINAL or view.status == "blocked":
                        break
                    with trio.move_on_after(WAIT_LOOK_S):
                        await changed.wait()
                    changed = trio.Event()
            view = await self._view(instance)
            return api.RunOutcome(
                id=instance,
                status=view.status,
                result=view.result,
                failure=view.failure,
                blocked=view.blocked,
            )
        finally:
            subscription.unsubscribe()

    async def _resolve(self, request: api.RunResolve) -> api.Message:
        await self._index.refresh()
        return api.RunResolved(id=self._index.resolve(request.prefix))

    async def _view(self, instance_id: str) -> api.RunView:
        """Return all about one instance: from memory, or by a fold that dispatches nothing."""
        subjects.check_id(instance_id)
        actor = self._parts.owner.live.get(instance_id)
        if actor is not None and not actor.activating and not actor.behind:
            instance = actor.instance
            parked = [each.ask.path for each in actor.asks.values() if each.parked]
        else:
            instance, parked = await self._fold(instance_id), []
        start = instance.start
        counters = instance.counters
        waiting = [
            msgspec.structs.replace(each, detail=f"{each.detail}: nobody serves it")
            if each.path in parked
            else each
            for each in instance.waiting()
        ]
        blocked = instance.blocked
        crash = self._parts.owner.crashes.get(instance_id)
        return api.RunView(
            id=instance_id,
            workflow=instance.workflow,
            definition=instance.definition,
            status=instance.status,
            started_at=instance.started_at,
            finished_at=instance.finished_at,
            input=_value(instance.input, start.content_type if start else ""),
            result=_value(instance.result or b"", ""),
            failure=instance.failure,
            state=instance.state,
            waiting=waiting,
            blocked=f"{blocked.reason}: {blocked.message}"
            if blocked
            else (f"daemon: {crash[2]}" if crash else ""),
            counters={
                "late": counters.late,
                "duplicates": counters.duplicates,
                "early": counters.early,
                "stray": counters.stray,
            },
        )

    async def _fold(self, instance_id: str) -> Instance:
        """Fold an instance for reading only."""
        owner = self._parts.owner
        partition = subjects.partition_of(instance_id, self._daemon.config.partitions)
        stored = await self._mail.mailbox(subjects.mailbox(instance_id, partition))
        mails: list[AnyMail] = []
        for each in stored:
            parsed = parse(each, self._parts.keys)
            if type(parsed) is Letter and not owner.is_void(partition, parsed.mail):
                mails.append(parsed.mail)
        if not mails:
            raise NotFoundError(f"no instance {instance_id!r}", hint="movant run ls")
        await owner.activation.load(mails)
        instance = Instance(instance_id, self._parts.definitions.workflow)
        instance.refolding = True
        for number, mail in enumerate(mails, 1):
            instance.fold(mail)
            if number % 200 == 0:
                await trio.lowlevel.checkpoint()
        return instance

    # Workflows and services

    async def _workflows(self, _: api.Empty) -> api.Message:
        rows = []
        listed = await self._parts.definition_store.list()
        for each in listed:
            rows += [
                api.WorkflowRow(
                    name=name,
                    definition=each.hash,
                    versions=sum(name in other.workflows for other in listed),
                )
                for name in each.latest_of
            ]
        return api.WorkflowPage(workflows=sorted(rows, key=lambda row: row.name))

    async def _workflow(self, request: api.WorkflowShow) -> api.Message:
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

    async def _register(self, request: api.WorkflowRegister) -> api.Message:
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

    async def _services(self, _: api.Empty) -> api.Message:
        return api.ServicePage(services=[_row(each) for each in await self._all_services()])

    async def _service(self, request: api.ServiceShow) -> api.Message:
        for each in await self._all_services():
            if each.name == request.name:
                return each
        raise NotFoundError(f"no service {request.name!r}", hint="movant service ls")

    async def _all_services(self) -> list[api.ServiceView]:
        return await self._discovery.services(self._parts.router.views())

    # The daemon

    async def _status(self, _: api.Empty) -> api.Message:
        daemon, parts = self._daemon, self._parts
        counters = {
            key: float(value)
            for key, value in msgspec.structs.asdict(parts.owner.statistics()).items()
        }
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

    async def _tree(self, _: api.Empty) -> api.Message:
        view = self._daemon.tree()
        if view is None:
            raise UnavailableError("the daemon is starting")
        return api.ActorTree(root=_node(view, self._parts.owner.statistics().live))

    # Helpers

    def _check_ready(self) -> None:
        if self._daemon.state not in READY_STATES:
            raise UnavailableError(f"the daemon is {self._daemon.state}", hint="try again soon")

    async def _accept(self, instance: str, message: Outgoing) -> api.Accepted:
        return api.Accepted(id=instance, seq=await self._write(message))

    async def _write(self, message: Outgoing) -> int:
        """Write into MAIL and wait until it is stored."""
        done = trio.Event()
        outcome: list[tuple[int, MovantError | None]] = []

        def written(seq: int, error: MovantError | None) -> None:
            outcome.append((seq, error))
            done.set()

        self._parts.writers["MAIL"].write(message, written)
        await done.wait()
        seq, error = outcome[0]
        if error is not None:
            raise error
        return seq


def _offset(cursor: str) -> int:
    """Return where a page begins. Raises BadValueError for a cursor that is none of ours."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= CURSOR_CHARS_MAX):
        raise BadValueError(
            f"after {cursor[:40]!r} is no cursor", hint="pass `next` of the page before"
        )
    return int(cursor)


def _body(value: Any, what: str) -> bytes:
    """Return a payload for a mailbox. Raises BadValueError, OversizedError."""
    body = codec.encode(value)
    if len(body) > codec.PAYLOAD_BYTES_MAX:
        raise OversizedError(
            f"{what} has {len(body)} bytes, the limit is {codec.PAYLOAD_BYTES_MAX}",
            hint="put large data into the object store and pass its name",
        )
    return body


def _value(body: bytes, content_type: str) -> Any:
    try:
        return codec.decode(body, content_type)
    except MovantError:
        return {"base64": base64.b64encode(body).decode()}


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
