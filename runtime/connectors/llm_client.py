"""A client of the protocol of OpenAI, as Ollama and most clouds speak it: whole or in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from math import ceil
from typing import Any, Final, NamedTuple

import httpx2
import msgspec
import trio

from protocols.connectors.llm import LlmProvider, LlmRequest, Usage
from protocols.error_kinds import NETWORK, OVER_LIMIT, SYSTEM
from protocols.graphs.field import field_of
from protocols.graphs.input import input_type
from protocols.service import Failed
from runtime.connectors import wire
from runtime.connectors.llm_choice import Known
from runtime.connectors.wire import Answered, Asked, Wire

CHARS_PER_TOKEN: Final = 4
"""For an estimate, where a provider does not count."""
_DATA: Final = "data:"
_DONE: Final = "[DONE]"
_ENDLESS: Final = "\n"
"""What no line is: it stands for one that is longer than an answer may be."""
_JSON: Final = {"content-type": "application/json"}


class Reply(NamedTuple):
    """What a model said."""

    text: str
    finish_reason: str
    usage: Usage


async def ask(
    connection: Wire,
    one: Known,
    request: LlmRequest,
    body: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
    timeout_s: float,
) -> Reply:
    """Ask one model. Raises Refused, Failed: it has no effects, so nothing is ever unknown."""
    given = {**body, "model": one.name, **_format(one.provider, request), **one.model.options}
    content = msgspec.json.encode({key: each for key, each in given.items() if each is not None})
    url = f"{connection.base}/chat/completions"
    asked = Asked("POST", url, {**_JSON, **headers}, content, True, timeout_s)  # noqa: FBT003
    if not one.provider.stream:
        return _whole(await connection.send(asked), one, len(content))
    return await _in_pieces(connection, asked, one)


async def models(connection: Wire, timeout_s: float) -> list[str]:
    """Return the names of the models that a provider has. Raises Refused, Failed."""
    asked = Asked("GET", f"{connection.base}/models", {}, b"", True, timeout_s)  # noqa: FBT003
    answered = await connection.send(asked)
    if not wire.is_success(answered.status):
        raise wire.failure_of(answered, safe=True)
    listed = _decoded(answered.body).get("data") or []
    return [str(each.get("id", "")) for each in listed if isinstance(each, dict)]


def body_of(request: LlmRequest, temperature: float, max_tokens: int) -> dict[str, Any]:
    """Return what every model is asked, without its name."""
    messages: list[Any] = []
    system = request.system
    if request.output_format == "json":
        system = f"{system}\nAnswer with one JSON object and nothing else.".strip()
        if request.fields is not None:
            schema = msgspec.json.encode(schema_of(request)).decode()
            system += f" Its JSON Schema: {schema}"
    if system:
        messages.append({"role": "system", "content": system})
    messages += [{"role": each.role, "content": each.content} for each in request.messages]
    prompt = request.prompt
    if request.data is not None:
        prompt = f"{prompt}\n\n{msgspec.json.encode(request.data).decode()}".strip()
    if prompt:
        messages.append({"role": "user", "content": prompt})
    found: dict[str, Any] = {
        "messages": messages,
        "temperature": temperature if request.temperature is None else request.temperature,
        "max_tokens": max_tokens if request.max_tokens is None else request.max_tokens,
    }
    if request.stop:
        found["stop"] = list(request.stop)
    return found


def kind_of(request: LlmRequest) -> Any:
    """Return the type of the output that is asked for. Raises ValueError, TypeError."""
    fields = {name: field_of(each) for name, each in (request.fields or {}).items()}
    return input_type(fields, "Output")


def schema_of(request: LlmRequest) -> dict[str, Any]:
    """Return the JSON Schema of the output that is asked for."""
    found = msgspec.json.schema(kind_of(request))
    reference = str(found.get("$ref", "")).rpartition("/")[2]
    inner: dict[str, Any] = dict(found.get("$defs", {}))
    whole: dict[str, Any] = inner.pop(reference, found)
    return {**whole, "$defs": inner} if inner else whole


def _format(provider: LlmProvider, request: LlmRequest) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if provider.stream:
        found = {"stream": True, "stream_options": {"include_usage": True}}
    if request.output_format == "text" or provider.json_mode == "none":
        return found
    if provider.json_mode == "schema" and request.fields is not None:
        schema = {"name": "output", "strict": True, "schema": schema_of(request)}
        return {**found, "response_format": {"type": "json_schema", "json_schema": schema}}
    return {**found, "response_format": {"type": "json_object"}}


def _whole(answered: Answered, one: Known, asked_bytes: int) -> Reply:
    if not wire.is_success(answered.status):
        raise wire.failure_of(answered, safe=True)
    found = _decoded(answered.body)
    try:
        choice = found["choices"][0]
        text = choice["message"]["content"] or ""
        finish = choice.get("finish_reason") or ""
    except (LookupError, TypeError, AttributeError):
        raise Failed(SYSTEM, "an answer without choices") from None
    return Reply(str(text), str(finish), _usage(found.get("usage"), one, asked_bytes, str(text)))


async def _in_pieces(connection: Wire, asked: Asked, one: Known) -> Reply:
    """Take an answer as server-sent events; a pause that is too long ends it."""
    most = one.provider.response_bytes_max
    pieces = _Pieces(most)
    problem: Failed | None = None
    async with connection.stream(asked) as response:
        if not wire.is_success(response.status_code):
            body = await connection.body(response, safe=True)
            headers = dict(response.headers)
            raise wire.failure_of(Answered(response.status_code, headers, body), safe=True)
        # Cancelled and not left: only so do all the generators below end where they stand.
        with trio.CancelScope() as enough:
            async for event in _events(response, float(one.provider.stall), most):
                try:
                    pieces.take(event)
                except Failed as error:
                    problem = problem or error
                    enough.cancel()
    if problem is not None:
        raise problem
    if not pieces.finish:
        raise Failed(NETWORK, "the stream ended in the middle")
    said = "".join(pieces.text)
    return Reply(said, pieces.finish, _usage(pieces.usage, one, len(asked.content), said))


class _Pieces:
    """The pieces of one answer, put together."""

    def __init__(self, chars_max: int) -> None:
        self.text: list[str] = []
        self.finish = ""
        self.usage: Any = None
        self._left = chars_max

    def take(self, event: str) -> None:
        """Take the data of one event. Raises Failed."""
        if event == _ENDLESS:
            raise Failed(OVER_LIMIT, "an answer that is too long")
        if event == _DONE:
            self.finish = self.finish or "stop"
            return
        found = _decoded(event.encode())
        self.usage = found.get("usage") or self.usage
        try:
            for choice in found.get("choices") or ():
                piece = str((choice.get("delta") or {}).get("content") or "")
                self.text.append(piece)
                self._left -= len(piece)
                self.finish = str(choice.get("finish_reason") or self.finish)
        except (TypeError, AttributeError):
            raise Failed(SYSTEM, "a piece of an answer that is none") from None
        if self._left < 0:
            raise Failed(OVER_LIMIT, "an answer that is too long")


async def _events(response: httpx2.Response, stall_s: float, bytes_max: int) -> AsyncIterator[str]:
    """Yield the data of each event."""
    lines = _lines(response, bytes_max)
    while True:
        with trio.move_on_after(stall_s) as scope:
            try:
                line = await anext(lines)
            except StopAsyncIteration:
                return
        if scope.cancelled_caught:
            raise Failed(NETWORK, f"the stream stood still for {stall_s:g} s")
        if line == _ENDLESS:
            yield line
        if line.startswith(_DATA):
            yield line[len(_DATA) :].strip()


async def _lines(response: httpx2.Response, bytes_max: int) -> AsyncIterator[str]:
    """Yield the lines of a response; ``_ENDLESS`` in place of one that is too long."""
    begun = bytearray()
    async for chunk in response.aiter_bytes():
        *whole, rest = chunk.split(b"\n")
        for each in whole:
            begun += each
            yield begun.decode(errors="replace").rstrip("\r")
            begun.clear()
        begun += rest
        if len(begun) > bytes_max:
            yield _ENDLESS  # not raised: see where the generators below are ended
            begun.clear()
    if begun:
        yield begun.decode(errors="replace")


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Failed(SYSTEM, f"the answer is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Failed(SYSTEM, "the answer is no JSON object")
    return found


def _usage(found: Any, one: Known, asked_bytes: int, text: str) -> Usage:
    counts = found if isinstance(found, dict) else {}
    tokens_in, tokens_out = (counts.get(f"{each}_tokens") for each in ("prompt", "completion"))
    counted = isinstance(tokens_in, int) and isinstance(tokens_out, int)
    if not isinstance(tokens_in, int):
        tokens_in = ceil(asked_bytes / CHARS_PER_TOKEN)
    if not isinstance(tokens_out, int):
        tokens_out = ceil(len(text) / CHARS_PER_TOKEN)
    return Usage(
        tokens=tokens_in + tokens_out,
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cost=round(one.model.cost(tokens_in, tokens_out), 9),
        estimated=not counted,
    )
