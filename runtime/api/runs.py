"""RunCommands: the verbs that write into a mailbox, and waiting for an end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from actors.owning.outbox import first_of
from actors.store.direct_reader import DirectReader
from protocols import codec, subjects
from protocols import headers as h
from protocols.api import runs as api
from protocols.definition import Workflow
from protocols.errors import (
    AlreadyExistsError,
    MovantError,
    OverloadedError,
    RefusedError,
    UnavailableError,
)
from protocols.events import percent_encode
from protocols.findings import did_you_mean
from protocols.mail import KERNEL
from protocols.ports import Outgoing
from protocols.witness import Operator
from runtime.api.ending import Ending
from runtime.api.given import Given, given, small
from runtime.api.queries import RunQueries
from runtime.stored import StoredRuns

if TYPE_CHECKING:
    from runtime.daemon import Daemon

BY_CHARS_MAX: Final = 400
"""Of each part of who has done something: percent-encoded, all three fit a header block."""
SLICE: Final = 200
"""Messages made between two checkpoints, in some 10 ms."""
READY_STATES: Final = frozenset({"ready", "starting"})


class RunCommands:
    """Starts, signals and cancels; every write is acknowledged before the answer."""

    def __init__(self, daemon: Daemon, mail: DirectReader, queries: RunQueries) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._stored = StoredRuns(daemon, mail)
        self._queries = queries
        self._view = queries.view

    async def start(self, request: api.RunStart) -> api.Message:
        """Start an instance; with ``wait_s`` wait for its end."""
        self._check_ready()
        subjects.check_name(request.workflow, "workflow")
        digest, workflow = await self._parts.definitions.latest(request.workflow)
        instance = self._daemon.new_id() if request.id is None else request.id
        blobs = self._parts.values.blobs
        value = await given(blobs, instance, request.input, request.input_blob, begins=True)
        message = self._start_message(workflow, digest, instance, request, value)
        beyond = await self._is_beyond(workflow, {instance: value.value})
        if not request.wait_s:
            created = await self._begin(request, instance, message)
            if created:
                return api.RunStarted(
                    id=instance,
                    created=True,
                    status="queued" if beyond else "running",
                    definition=digest,
                )
            view = await self._view(instance)
            return api.RunStarted(
                id=instance,
                created=False,
                status=view.status,
                definition=view.definition,
                result=view.result,
                failure=view.failure,
                steps=view.steps,
                result_blob=view.result_blob,
            )
        async with Ending(self._parts.transport, instance) as ending:
            created = await self._begin(request, instance, message)
            outcome = await ending.wait(
                partial(self._queries.outcome, instance), request.wait_s, fresh=created
            )
        return api.RunStarted(
            id=instance,
            created=created,
            status=outcome.status,
            definition=digest,
            result=outcome.result,
            failure=outcome.failure,
            steps=outcome.steps,
            result_blob=outcome.result_blob,
        )

    async def _begin(self, request: api.RunStart, instance: str, message: Outgoing) -> bool:
        """Write a start; False when there is one already and the policy says return it."""
        if request.id is None or not await self._stored.ended([instance]):
            try:
                await self._write(message)
            except AlreadyExistsError:
                if await self._start_behind_signals(instance, message):
                    return True
            else:
                return True
        if request.if_exists == "refuse":
            raise AlreadyExistsError(
                f"instance {instance!r} exists already", hint=f"movant run show {instance}"
            )
        return False

    async def start_behind(
        self,
        request: api.RunStart,
        *,
        definition: str,
        value: Given,
        order: Given,
        message_id: str,
    ) -> api.Accepted:
        """Start a run of a definition behind ``control.fork`` in its mailbox, once for an id.

        Raises AlreadyExistsError when another start was first.
        """
        self._check_ready()
        assert request.id is not None
        workflow = await self._parts.definitions.find(request.workflow, definition)
        start = self._start_message(
            workflow, definition, request.id, request, value, message_id=message_id
        )
        await self._is_beyond(workflow, {request.id: value.value})
        lines = order.lines + self._lines(message_id, request.by)
        seq = await self._write(
            Outgoing(subjects.to_control(request.id, "fork"), order.body, lines)
        )
        if not await self._start_behind_signals(request.id, start):
            raise AlreadyExistsError(
                f"instance {request.id!r} exists already", hint=f"movant run show {request.id}"
            )
        return api.Accepted(id=request.id, seq=seq)

    async def start_many(self, request: api.RunStartMany) -> api.Message:
        """Start many instances; each item has an outcome of its own."""
        self._check_ready()
        subjects.check_name(request.workflow, "workflow")
        digest, workflow = await self._parts.definitions.latest(request.workflow)
        ids = [self._daemon.new_id() if item.id is None else item.id for item in request.items]

        await self._is_beyond(
            workflow, {of: item.input for of, item in zip(ids, request.items, strict=True)}
        )
        ended = await self._stored.ended(item.id for item in request.items if item.id is not None)

        def message(number: int) -> Outgoing:
            if ids[number] in ended:
                raise AlreadyExistsError(f"instance {ids[number]!r} exists already")
            item = request.items[number]
            return self._start_message(workflow, digest, ids[number], item, small(item.input))

        written = await self._write_many(len(ids), message)
        behind: dict[int, bool] = {}

        async def start_behind_signals(number: int) -> None:
            try:
                behind[number] = ids[number] not in ended and await self._start_behind_signals(
                    ids[number], message(number)
                )
            except MovantError as error:
                written[number].error = error

        # At once: a request that is repeated has to be answered before it is repeated again.
        async with trio.open_nursery() as nursery:
            for number, outcome in enumerate(written):
                if isinstance(outcome.error, AlreadyExistsError):
                    nursery.start_soon(start_behind_signals, number)
        results = []
        for number, outcome in enumerate(written):
            created = behind.get(number, True)
            error = None if number in behind else outcome.error
            results.append(
                api.StartResult(
                    id=ids[number],
                    created=created and error is None,
                    error=None if error is None else api.error_reply(error),
                )
            )
        return api.RunStartedMany(
            ids=[each.id for each in results if each.error is None], results=results
        )

    def _start_message(
        self,
        workflow: Workflow[Any],
        digest: str,
        instance: str,
        request: api.RunStart | api.StartItem,
        value: Given,
        *,
        message_id: str = "",
    ) -> Outgoing:
        subjects.check_id(instance)
        workflow.check_input(value.value)
        alone = request if isinstance(request, api.RunStart) else None
        told = {
            h.DEFINITION: digest,
            h.KERNEL: str(KERNEL),
            h.MESSAGE_ID: message_id or self._daemon.entropy.token(8),
            h.PRIORITY: str(request.priority or workflow.options.priority or ""),
            h.GROUP: percent_encode(workflow.group_of(value.value)[: h.GROUP_CHARS_MAX]),
            h.PROFILE: self._profile(workflow, alone.profile if alone else ""),
            h.TRACEPARENT: _trace(alone.traceparent if alone else ""),
            **_who(alone.by if alone else None),
        }
        lines = h.encode({name: text for name, text in told.items() if text})
        first = first_of(instance, self._daemon.config.partitions)
        subject = subjects.to_start(instance, workflow.name)
        return Outgoing(subject, value.body, value.lines + lines + first)

    def _profile(self, workflow: Workflow[Any], asked: str) -> str:
        """Return under which profile a run works. Raises RefusedError for an unknown one."""
        known = workflow.options.profiles
        if asked and asked not in known:
            raise RefusedError(
                f"workflow {workflow.name} has no profile {asked[:60]!r}",
                hint=did_you_mean(asked, known) or "leave it out: the workflow has none",
            )
        default = self._daemon.config.profile
        return asked or (default if default in known else "")

    async def _is_beyond(self, workflow: Workflow[Any], inputs: Mapping[str, Any]) -> bool:
        """Tell whether more runs would be active than a workflow allows.

        ``inputs`` are those of the runs to start, by id; one that is there is not started again.
        Raises OverloadedError where such a start does not wait.
        """
        limit = workflow.options.active_max
        if not limit:
            return False
        index = self._queries.index
        await index.refresh(blocked=False)
        queues = index.queues
        new = [value for run, value in inputs.items() if run not in index.rows]
        for group, more in Counter(
            workflow.group_of(value)[: h.GROUP_CHARS_MAX] for value in new
        ).items():
            key = (workflow.name, group)
            active = queues.active[key] + len(queues.line(key))
            if active + more > limit:
                if not workflow.options.refuses:
                    return True
                of = f" with {group!r}" if group else ""
                raise OverloadedError(
                    f"{active} runs of {workflow.name}{of} are active, and max_active is {limit}",
                    hint=f"start it when one has ended: movant run ls --workflow {workflow.name}",
                )
        return False

    async def _start_behind_signals(self, instance: str, message: Outgoing) -> bool:
        """Start an instance whose mailbox is not empty; False when another start was first.

        The server decides once more, on starts alone. One that stands there with the id of
        this very message was ours: its acknowledgement was lost and it was written again.
        """
        partition = subjects.partition_of(instance, self._daemon.config.partitions)
        starts = f"movant.mail.{partition}.{instance}.start.>"
        # Looked at first: a start that stands in a pack is none to the server.
        first = await self._stored.first_start(instance)
        cut = message.headers.index(h.EXPECTED_SEQUENCE.encode())
        ours = message.headers[:cut]
        if first is None:
            lines = f"{h.EXPECTED_SEQUENCE}: 0\r\n{h.EXPECTED_SUBJECT}: {starts}\r\n".encode()
            try:
                await self._write(Outgoing(message.subject, message.payload, ours + lines))
            except AlreadyExistsError:
                first = await self._stored.first_start(instance)
            else:
                return True
        identity = (h.decode(h.block(ours)) or {}).get(h.MESSAGE_ID)
        return first is not None and first.message_id == identity

    async def signal(self, request: api.RunSignal) -> api.Message:
        """Write a signal into a mailbox, before the start or after it."""
        self._check_ready()
        value = await given(self._parts.values.blobs, request.id, request.data, request.data_blob)
        return await self._accept(request.id, self._signal_message(request, value))

    async def ask(self, request: api.RunSignal) -> int:
        """Write a signal whose sender waits to be told what becomes of it."""
        self._check_ready()
        value = await given(self._parts.values.blobs, request.id, request.data, request.data_blob)
        return await self._write(self._signal_message(request, value, h.encode({h.ASKS: "1"})))

    def _signal_message(self, request: api.RunSignal, value: Given, more: bytes = b"") -> Outgoing:
        subjects.check_id(request.id)
        subjects.check_name(request.name, "signal")
        return Outgoing(
            subjects.to_signal(request.id, request.name),
            value.body,
            value.lines + self._lines(request.message_id, request.by) + more,
        )

    async def signal_many(self, request: api.RunSignalMany) -> api.Message:
        """Write many signals; each item has an outcome of its own."""
        self._check_ready()
        subjects.check_name(request.name, "signal")
        items = request.items

        def message(number: int) -> Outgoing:
            item = items[number]
            return self._signal_message(
                api.RunSignal(id=item.id, name=request.name, message_id=item.message_id),
                small(item.data),
            )

        outcomes = await self._write_many(len(items), message)
        return api.RunSignalledMany(
            results=[
                api.SignalResult(
                    id=item.id,
                    seq=each.seq,
                    error=None if each.error is None else api.error_reply(each.error),
                )
                for item, each in zip(items, outcomes, strict=True)
            ]
        )

    async def cancel(self, request: api.RunCancel) -> api.Message:
        """Ask an instance to cancel."""
        subjects.check_id(request.id)
        await self._view(request.id)
        message_id, by = request.message_id, request.by
        seq = await self.order(request.id, "cancel", request.reason, message_id, by)
        return api.Accepted(id=request.id, seq=seq)

    async def order(
        self,
        instance: str,
        verb: str,
        value: Any,
        message_id: str,
        by: Operator | None,
        *,
        behind: int = 0,
        ahead: tuple[Any, str, Operator] | None = None,
    ) -> int:
        """Write an operator's verb into a mailbox; return its sequence.

        With ``behind`` only right behind that sequence: raises AlreadyExistsError when something
        has come meanwhile. ``ahead`` is another value, with its message id and who says it, that
        is written before, in the same go.
        """
        lines = self._lines(message_id, by)
        if behind:
            partition = subjects.partition_of(instance, self._daemon.config.partitions)
            address = subjects.mailbox(instance, partition)
            lines += h.encode({h.EXPECTED_SEQUENCE: str(behind), h.EXPECTED_SUBJECT: address})
        subject = subjects.to_control(instance, verb)
        order = Outgoing(subject, codec.encode(value), lines)
        if ahead is None:
            return await self._write(order)
        first = Outgoing(subject, codec.encode(ahead[0]), self._lines(ahead[1], ahead[2]))
        return await self._write(first, order)

    async def wait(self, request: api.RunWait) -> api.Message:
        """Wait for the end of an instance."""
        subjects.check_id(request.id)
        async with Ending(self._parts.transport, request.id) as ending:
            return await ending.wait(
                partial(self._queries.outcome, request.id), request.timeout_s, fresh=False
            )

    def _lines(self, message_id: str, by: Operator | None) -> bytes:
        """Return the headers of what is done by hand; a message id is made when there is none."""
        return h.encode({h.MESSAGE_ID: message_id or self._daemon.new_id(), **_who(by)})

    def _check_ready(self) -> None:
        if self._daemon.state not in READY_STATES:
            raise UnavailableError(f"the daemon is {self._daemon.state}", hint="try again soon")

    async def _accept(self, instance: str, message: Outgoing) -> api.Accepted:
        return api.Accepted(id=instance, seq=await self._write(message))

    async def _write(self, *messages: Outgoing) -> int:
        """Write into MAIL and wait until it is stored; return the last sequence."""
        written = await self._write_many(len(messages), messages.__getitem__)
        for each in written:
            if each.error is not None:
                raise each.error
        return written[-1].seq

    async def _write_many(self, count: int, message: Callable[[int], Outgoing]) -> list[_Written]:
        """Write messages into MAIL in one go and wait until each is stored or refused.

        ``message`` makes one by its number; what it raises is the outcome of that one.
        """
        written = [_Written() for _ in range(count)]
        left = count
        done = trio.Event()

        def told(number: int, seq: int, error: MovantError | None) -> None:
            nonlocal left
            written[number].seq, written[number].error = seq, error
            left -= 1
            if not left:
                done.set()

        made: list[tuple[int, Outgoing]] = []
        for number in range(count):
            try:
                made.append((number, message(number)))
            except MovantError as error:
                told(number, 0, error)
            if number % SLICE == SLICE - 1:
                await trio.lowlevel.checkpoint()
        for number, each in made:  # at once, so that one commit has them
            try:
                self._parts.writers["MAIL"].write(each, partial(told, number))
            except MovantError as error:
                told(number, 0, error)
        if count:
            await done.wait()
        return written


def _who(by: Operator | None) -> dict[str, str]:
    """Return the headers that tell who does something by hand."""
    told = {} if by is None else {h.WHO: by.who, h.WHERE: by.where, h.WHY: by.why}
    return {name: percent_encode(text[:BY_CHARS_MAX]) for name, text in told.items() if text}


def _trace(given: str) -> str:
    """Return a trace that may be passed on. Raises RefusedError for anything else."""
    if given and not h.is_traceparent(given):
        raise RefusedError(f"{given[:60]!r} is no W3C traceparent")
    return given


class _Written(msgspec.Struct):
    """What became of one write."""

    seq: int = 0
    error: MovantError | None = None
