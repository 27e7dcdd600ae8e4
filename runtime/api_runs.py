"""RunCommands: the verbs that write into a mailbox, and waiting for an end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from actors.direct_reader import DirectReader
from actors.outbox import first_of
from protocols import api, codec, subjects
from protocols import headers as h
from protocols.definition import Workflow
from protocols.errors import (
    AlreadyExistsError,
    MovantError,
    OversizedError,
    UnavailableError,
)
from protocols.ports import Outgoing
from runtime.api_queries import RunQueries
from runtime.ending import Ending

if TYPE_CHECKING:
    from runtime.daemon import Daemon

READY_STATES: Final = frozenset({"ready", "starting"})


class RunCommands:
    """Starts, signals and cancels; every write is acknowledged before the answer."""

    def __init__(self, daemon: Daemon, mail: DirectReader, queries: RunQueries) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._mail = mail
        self._view = queries.view

    async def start(self, request: api.RunStart) -> api.Message:
        """Start an instance; with ``wait_s`` wait for its end."""
        self._check_ready()
        subjects.check_name(request.workflow, "workflow")
        digest, workflow = await self._parts.definitions.latest(request.workflow)
        instance = self._daemon.new_id() if request.id is None else request.id
        message = self._start_message(workflow, digest, instance, request.input)
        if not request.wait_s:
            created = await self._begin(request, instance, message)
            if created:
                return api.RunStarted(
                    id=instance, created=True, status="running", definition=digest
                )
            view = await self._view(instance)
            return api.RunStarted(
                id=instance,
                created=False,
                status=view.status,
                definition=view.definition,
                result=view.result,
                failure=view.failure,
            )
        async with Ending(self._parts.transport, instance) as ending:
            created = await self._begin(request, instance, message)
            outcome = await ending.wait(
                partial(self._view, instance), request.wait_s, fresh=created
            )
        return api.RunStarted(
            id=instance,
            created=created,
            status=outcome.status,
            definition=digest,
            result=outcome.result,
            failure=outcome.failure,
        )

    async def _begin(self, request: api.RunStart, instance: str, message: Outgoing) -> bool:
        """Write a start; False when there is one already and the policy says return it."""
        try:
            await self._write(message)
        except AlreadyExistsError:
            if await self._start_behind_signals(instance, message):
                return True
            if request.if_exists == "refuse":
                raise AlreadyExistsError(
                    f"instance {instance!r} exists already", hint=f"movant run show {instance}"
                ) from None
            return False
        return True

    async def start_many(self, request: api.RunStartMany) -> api.Message:
        """Start many instances; each item has an outcome of its own."""
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

    async def signal(self, request: api.RunSignal) -> api.Message:
        """Write a signal into a mailbox, before the start or after it."""
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

    async def cancel(self, request: api.RunCancel) -> api.Message:
        """Ask an instance to cancel."""
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

    async def wait(self, request: api.RunWait) -> api.Message:
        """Wait for the end of an instance."""
        subjects.check_id(request.id)
        async with Ending(self._parts.transport, request.id) as ending:
            return await ending.wait(
                partial(self._view, request.id), request.timeout_s, fresh=False
            )

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


def _body(value: Any, what: str) -> bytes:
    """Return a payload for a mailbox. Raises BadValueError, OversizedError."""
    body = codec.encode(value)
    if len(body) > codec.PAYLOAD_BYTES_MAX:
        raise OversizedError(
            f"{what} has {len(body)} bytes, the limit is {codec.PAYLOAD_BYTES_MAX}",
            hint="put large data into the object store and pass its name",
        )
    return body
