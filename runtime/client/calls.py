"""One API request: encode, send, decode, map errors back, and try again within a budget.

Every verb can be repeated: starts and signals carry ids that the client chose, reads change
nothing. So a request that nobody answered is sent again, also when its outcome is unknown.

    one daemon of several -- no answer for 2 s --> all of them, and the first answer counts

A request goes to one daemon of a queue group. When that one is frozen the server does not know
it for minutes, and would give it the repeat as well; so a repeat goes to all.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import msgspec
import trio

from protocols import headers
from protocols.api import runs as api
from protocols.codec import encode
from protocols.errors import (
    BadValueError,
    InternalError,
    MovantError,
    NoRespondersError,
    OversizedError,
    UnavailableError,
    UnknownOutcomeError,
)
from protocols.ports import Frame, Outgoing, Transport
from protocols.subjects import api as api_subject
from protocols.subjects import api_again

MESSAGE_ID_BYTES: Final = 12
ANSWER_S: Final = 5.0
"""How long one request waits for its answer, beyond what it asks the daemon to wait."""
ALONE_S: Final = 2.0
"""For so long only one daemon is asked; the answer of a slow one counts also after that."""
PATIENCE_S: Final = 16.0
"""How long a client keeps asking when nobody can answer: a restart of the daemon."""
TELL_S: Final = 0.7
"""After this time a person is told what is waited for."""
AGAIN: Final = 1.5
"""Who got no answer asks once more: a cluster that elects a leader answers nobody for 4 to 9 s,
and when the meta leader is gone as well for longer than one request waits."""
LATE_S: Final = 3.0
"""The same for an answer that does not come."""
WINDOW: Final = 4
"""Requests of one batch under way at once."""
_PAUSE_S_MIN: Final = 0.05
_PAUSE_S_MAX: Final = 1.0
_JITTER_STEPS: Final = 1_000
_HEADERS_JSON: Final = headers.encode({headers.CONTENT_TYPE: headers.JSON})

Result = TypeVar("Result", bound=api.Message)

_error_decoder: Final = msgspec.json.Decoder(api.ErrorReply)


class Calls:
    """The API of one daemon (or several) behind one connection."""

    def __init__(
        self,
        transport: Transport,
        *,
        answer_s: float = ANSWER_S,
        patience_s: float = PATIENCE_S,
        waiting: Callable[[MovantError], None] | None = None,
    ) -> None:
        self.transport: Final = transport
        self._waiting = waiting
        self._answer_s = answer_s
        self._patience_s = patience_s
        self._decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}

    async def call(
        self,
        verb: str,
        request: api.Message,
        result: type[Result],
        *,
        extra_s: float = 0.0,
        repeat: bool = True,
    ) -> Result:
        """Ask and return the result.

        ``extra_s`` is what the daemon was asked to wait. ``repeat`` false: not asked again when
        the outcome is unknown. Raises what the daemon answered, or why nobody did.
        """
        return await self.raw(verb, encode(request), result, extra_s=extra_s, repeat=repeat)

    async def raw(
        self,
        verb: str,
        payload: bytes,
        result: type[Result],
        *,
        extra_s: float = 0.0,
        repeat: bool = True,
    ) -> Result:
        """Do the same with a payload that is encoded already."""
        if len(payload) > self.transport.payload_bytes_max:
            raise OversizedError(
                f"the request {verb} has {len(payload)} bytes; the server takes"
                f" {self.transport.payload_bytes_max}",
                hint="pass a reference to large data instead of the data",
            )
        message = Outgoing(subject=api_subject(verb), payload=payload, headers=_HEADERS_JSON)
        began = trio.current_time()
        pause_s = _PAUSE_S_MIN
        told = False

        def tell(error: MovantError) -> None:
            nonlocal told
            if not told and self._waiting is not None:
                told = True
                self._waiting(error)

        while True:
            try:
                again = repeat and msgspec.structs.replace(message, subject=api_again(verb))
                frame = await self._asked(message, again or None, extra_s, tell)
                return self._decoded(verb, frame, result)
            except (UnavailableError, UnknownOutcomeError) as error:
                unknown = isinstance(error, UnknownOutcomeError)
                spent_s = trio.current_time() - began
                limit_s = max(self._patience_s, AGAIN * self._answer_s * unknown)
                if (unknown and not repeat) or spent_s + pause_s > limit_s:
                    raise _explained(verb, error) from error
                if spent_s > TELL_S:
                    tell(error)
            await trio.sleep(pause_s * (1 + secrets.randbelow(_JITTER_STEPS) / _JITTER_STEPS))
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)

    async def many(
        self, verb: str, payloads: Iterable[bytes], result: type[Result]
    ) -> list[Result]:
        """Send requests, several under way at once; return their answers in order.

        A payload that cannot be made, or a request that nobody answers, raises; what was sent
        before is waited for.
        """
        answers: dict[int, Result] = {}
        failed: list[MovantError] = []
        limit = trio.CapacityLimiter(WINDOW)

        async def send(number: int, payload: bytes) -> None:
            try:
                answers[number] = await self.raw(verb, payload, result)
            except MovantError as error:
                failed.append(error)
                nursery.cancel_scope.cancel()
            finally:
                limit.release_on_behalf_of(number)

        async with trio.open_nursery() as nursery:
            try:
                for number, payload in enumerate(payloads):
                    await limit.acquire_on_behalf_of(number)
                    nursery.start_soon(send, number, payload)
            except MovantError as error:
                failed.append(error)
        if failed:
            raise failed[0]
        return [answers[number] for number in sorted(answers)]

    async def _asked(
        self,
        message: Outgoing,
        again: Outgoing | None,
        extra_s: float,
        tell: Callable[[MovantError], None],
    ) -> Frame:
        """Send one request; who wants to know is told when its answer takes long."""
        if self._waiting is None or extra_s:
            return await self._answer(message, again, extra_s)
        found: Frame | MovantError
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_tell_late, tell)
            try:
                found = await self._answer(message, again, extra_s)
            except MovantError as error:
                found = error  # raised below: outside of the nursery's group
            nursery.cancel_scope.cancel()
        if isinstance(found, MovantError):
            raise found
        return found

    async def _answer(self, message: Outgoing, again: Outgoing | None, extra_s: float) -> Frame:
        """Return the first answer of whoever is asked. Raises why there is none."""
        alone_s = min(ALONE_S, self._answer_s) + extra_s
        answers = _Answers()
        answers.open += 1
        self.transport.request_soon(message, self._answer_s + extra_s, answers.told)
        if again is not None:
            with trio.move_on_after(alone_s):
                return await answers.first()
            answers.open += 1
            self.transport.request_soon(again, self._answer_s + extra_s, answers.told)
        return await answers.first()

    def _decoded(self, verb: str, frame: Frame, result: type[Result]) -> Result:
        if frame.headers:
            found = headers.decode(frame.headers) or {}
            if headers.SERVICE_ERROR in found or headers.SERVICE_ERROR_CODE in found:
                raise _refusal(found, frame.payload)
        decoder = self._decoders.get(result)
        if decoder is None:
            decoder = self._decoders[result] = msgspec.json.Decoder(result)
        try:
            decoded: Result = decoder.decode(frame.payload)
        except msgspec.DecodeError as error:
            raise BadValueError(
                f"the answer to {verb} cannot be read: {error}",
                hint="client and daemon may be too far apart: compare movant version and status",
            ) from error
        return decoded


async def _tell_late(tell: Callable[[MovantError], None]) -> None:
    await trio.sleep(LATE_S)
    tell(UnknownOutcomeError("the daemon has not answered yet"))


class _Answers:
    """The answers to one request that may be sent twice."""

    __slots__ = ("_event", "_found", "open")

    def __init__(self) -> None:
        self.open = 0
        self._event = trio.Event()
        self._found: Frame | MovantError | None = None

    def told(self, answer: Frame | MovantError) -> None:
        self.open -= 1
        if isinstance(self._found, Frame):
            return
        self._found = answer
        if isinstance(answer, Frame) or not self.open:
            self._event.set()

    async def first(self) -> Frame:
        """Return the first answer; raise the last error when there is none."""
        await self._event.wait()
        assert self._found is not None
        if isinstance(self._found, Frame):
            return self._found
        raise self._found


def _refusal(found: dict[str, str], payload: bytes) -> MovantError:
    """Return the error of an error reply; one without our payload is read by its headers."""
    try:
        return api.to_error(_error_decoder.decode(payload))
    except msgspec.DecodeError:
        text = found.get(headers.SERVICE_ERROR, "the API refused the request")
        return InternalError(f"{text} (code {found.get(headers.SERVICE_ERROR_CODE, 'none')})")


def _explained(verb: str, error: MovantError) -> MovantError:
    """Say what a transport's error means to the caller of the API."""
    if isinstance(error, NoRespondersError):
        return NoRespondersError(
            "the NATS server answers, but no daemon serves it",
            hint="movant serve --nats URL starts a daemon on this server",
        )
    if type(error) is UnknownOutcomeError:
        return UnknownOutcomeError(
            f"no answer to {verb}: {error.message}",
            hint="the daemon hangs or is cut off: look at its process and its log"
            if verb == "status"
            else "ask again with the same id; movant status shows whether the daemon serves",
        )
    return error


def new_message_id() -> str:
    """Return an id for a message: the same for every time that it is sent."""
    return secrets.token_hex(MESSAGE_ID_BYTES)
