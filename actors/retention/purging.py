"""Purging: what the leader of a stream says of it, and the removal of its beginning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from protocols.errors import UnavailableError, UnknownOutcomeError
from protocols.ports import Outgoing, Transport

ANSWER_S: Final = 3.0
"""A request that met a leader's death is never answered: it is asked again."""
PURGED_S: Final = 10.0
"""A purge of many messages takes the server a while."""


class State(msgspec.Struct, frozen=True):
    """What a stream says about itself."""

    messages: int = 0
    first_seq: int = 0
    last_seq: int = 0
    first_ts: str = ""
    last_ts: str = ""


class _Info(msgspec.Struct):
    state: State | None = None


class _Purged(msgspec.Struct):
    success: bool = False
    purged: int = 0
    error: Any = None


class _Got(msgspec.Struct):
    """What STREAM.MSG.GET tells about the message that was asked for."""

    class Message(msgspec.Struct):
        seq: int

    class Error(msgspec.Struct):
        code: int = 0

    message: Message | None = None
    error: Error | None = None


_info_decoder: Final = msgspec.json.Decoder(_Info)
_purged_decoder: Final = msgspec.json.Decoder(_Purged)
_got_decoder: Final = msgspec.json.Decoder(_Got)


class Purging:
    """Asks the leaders of streams. Every call raises UnavailableError when none answers."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def state(self, stream: str) -> State:
        """Return the state of a stream."""
        state = _info_decoder.decode(await self._request(f"STREAM.INFO.{stream}", {})).state
        if state is None:
            raise UnavailableError(f"{stream} does not tell its state")
        return state

    async def next(self, filter_subject: str, after: int) -> int:
        """Return the sequence of MAIL's first message of a filter above ``after``; 0: none."""
        request = {"seq": after + 1, "next_by_subj": filter_subject}
        return seq_of(await self._request("STREAM.MSG.GET.MAIL", request), "MAIL")

    async def purge(self, stream: str, request: Mapping[str, Any]) -> int:
        """Remove messages; return how many."""
        found = await self._request(f"STREAM.PURGE.{stream}", request, PURGED_S)
        answer = _purged_decoder.decode(found)
        if not answer.success:
            raise UnavailableError(f"{stream} was not purged: {answer.error}")
        return answer.purged

    async def _request(
        self, verb: str, request: Mapping[str, Any], answer_s: float = ANSWER_S
    ) -> bytes:
        body = msgspec.json.encode(request) if request else b""
        try:
            answer = await self._transport.request(Outgoing(f"$JS.API.{verb}", body), answer_s)
        except UnknownOutcomeError as error:
            raise UnavailableError(f"{verb} was not answered") from error
        return answer.payload


def seq_of(answer: bytes, asked: str) -> int:
    """Return the sequence of the message that an answer of STREAM.MSG.GET has; 0: there is none.

    Raises UnavailableError when it says neither.
    """
    found = _got_decoder.decode(answer)
    if found.message is not None:
        return found.message.seq
    if found.error is None or found.error.code != 404:  # noqa: PLR2004 - nothing there
        raise UnavailableError(f"{asked} does not answer")
    return 0
