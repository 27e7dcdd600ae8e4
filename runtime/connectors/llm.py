"""LLM: language models of several providers as one service; a model is chosen for each request.

    request -> ranked models -> the first that is available and answers -> output, usage, choice
                                   fails: the next one

Asking a model has no effect but its cost, so that the next one may always be asked. When all
have failed, the engine's retries go on from there.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import msgspec
import structlog
import trio

from protocols.codec import convert
from protocols.connectors.llm import (
    BAD_OUTPUT,
    NO_MODEL,
    Candidate,
    LlmConnector,
    LlmRequest,
    LlmResult,
    LlmTask,
    Selection,
    Usage,
)
from protocols.error_kinds import ILL, NETWORK, PERMISSION
from protocols.errors import BadValueError
from protocols.failure import REFUSED, VALIDATION
from protocols.service import Call, Failed, Refused, Service, Unknown
from runtime.connectors import llm_client, peer, wire
from runtime.connectors.frame import Check, Opened
from runtime.connectors.llm_choice import Experience, Known, known, ranked, told
from runtime.connectors.llm_client import Reply
from runtime.connectors.secrets import Secrets
from runtime.connectors.wire import Wire

LEFT_S_MIN: Final = 0.05
"""With less time than this no further model is asked."""
SHARE: Final = 2 / 3
"""Of the time that is left, for one model while there are others."""
_ABSENT: Final = 404
_OF_REQUEST: Final = frozenset(LlmRequest.__struct_fields__)
_CAPITAL: Final = re.compile(r"(?<=[a-z])([A-Z])")
_FENCED: Final = re.compile(r"\s*```\w*\s*\n(?P<inner>.*?)\n?```\s*\Z", re.DOTALL)

log = structlog.get_logger()


@asynccontextmanager
async def opened(name: str, settings: LlmConnector, secrets: Secrets) -> AsyncIterator[Opened]:
    """Open language models as a service."""
    async with AsyncExitStack() as stack:
        wires = {
            each: await stack.enter_async_context(
                peer.opened(provider, secrets, concurrency_max=settings.concurrency_max)
            )
            for each, provider in settings.providers.items()
        }
        service = Service(name, version="1.0.0", description=settings.description)
        desk = _Desk(settings, wires, service)

        @service.operation()
        async def chat(request: dict[str, Any], call: Call) -> LlmResult:
            """Go on with a conversation."""
            return await desk.ask(request, "messages", call)

        @service.operation()
        async def complete(request: dict[str, Any], call: Call) -> LlmResult:
            """Answer a prompt."""
            return await desk.ask(request, "prompt", call)

        for called, task in settings.operations.items():
            service.operation(called)(_asking(desk, task))
            service.operations[called] = msgspec.structs.replace(
                service.operations[called], request_type=Any, description=task.description
            )

        yield Opened(service, desk.check)


def _asking(desk: _Desk, task: LlmTask) -> Any:
    """Return the handler of an operation with a prompt of its own."""
    said = {name: getattr(task, name) for name in task.__struct_fields__ if name in _OF_REQUEST}

    async def ask(request: Any, call: Call) -> dict[str, Any]:
        result = await desk.ask({**said, "data": request}, "prompt", call)
        told: dict[str, Any] = msgspec.to_builtins(result)
        output = told.pop("output")
        # Fields of the output stand where a workflow looks for them; what was used stays beside.
        return {**output, **told} if isinstance(output, dict) else {"output": output, **told}

    return ask


class _Desk:
    """Chooses models, and remembers how they did."""

    def __init__(
        self, settings: LlmConnector, wires: Mapping[str, Wire], service: Service
    ) -> None:
        self._service = service
        self._settings = settings
        self._wires = wires
        self._models = known(settings.providers)
        self._experience = {
            each.id: Experience(float(each.model.latency)) for each in self._models
        }

    async def ask(self, given: Mapping[str, Any], needed: str, call: Call) -> LlmResult:
        """Answer a request with the first model that can."""
        request = _request(given, needed)
        order = ranked(self._allowed(request), self._experience, request, self._settings.prefer)
        body = llm_client.body_of(request, self._settings.temperature, self._settings.max_tokens)
        until = trio.current_time() + call.timeout_s
        states: dict[str, tuple[str, str]] = {}
        spent = Usage()
        errors: list[Refused | Failed | Unknown] = []
        for number, (one, _) in enumerate(order, 1):
            now = trio.current_time()
            seen = self._experience[one.id]
            wait_s = seen.wait_s(now)
            if wait_s > 0:
                states[one.id] = ("unavailable", f"not for another {wait_s:.1f} s")
                errors.append(Failed(NETWORK, NO_MODEL, retry_after_s=wait_s))
                continue
            left_s = until - now
            if left_s < LEFT_S_MIN:
                errors.append(Failed(NETWORK, "no time is left"))
                break
            if number < len(order):
                left_s *= SHARE  # so that one who hangs leaves time for the next
            try:
                reply = await self._try(one, request, body, call, left_s)
                spent = spent.plus(reply.usage)
                output = _output(request, reply)
            except (Refused, Failed, Unknown) as error:
                self._failed(one, error, now)
                states[one.id] = ("failed", f"{error.kind}: {error.message}"[:300])
                errors.append(error)
                if error.kind == BAD_OUTPUT:
                    break  # it was asked and has cost: whether to ask again is the engine's
                continue
            seen.succeeded(now, trio.current_time())
            states[one.id] = ("chosen", "")
            selection = _selection([each for _, each in order], states, one.id)
            self._count(one, spent, call)
            return LlmResult(
                output=output,
                model=one.name,
                provider=one.provider_name,
                finish_reason=reply.finish_reason,
                usage=spent,
                selection=selection,
            )
        if spent.tokens:
            self._count(order[len(states) - 1][0], spent, call)
        raise _none(errors, _selection([each for _, each in order], states, ""), spent)

    async def check(self) -> list[Check]:
        """Ask each provider for its models."""
        found: list[Check] = []
        for name, connection in self._wires.items():
            began = trio.current_time()
            what = f"{name}: GET {connection.base}/models"
            try:
                there = await llm_client.models(connection, 10.0)
            except (Refused, Failed, Unknown) as error:
                took_s = trio.current_time() - began
                found.append(Check(what=what, ok=False, detail=error.message, took_s=took_s))
                continue
            wanted = [each.name for each in self._models if each.provider_name == name]
            missing = [
                each for each in wanted if each not in there and f"{each}:latest" not in there
            ]
            detail = f"it has no {', '.join(missing)}" if missing else f"{len(there)} models"
            took_s = trio.current_time() - began
            found.append(Check(what=what, ok=not missing, detail=detail, took_s=took_s))
        return found

    async def _try(
        self, one: Known, request: LlmRequest, body: Mapping[str, Any], call: Call, left_s: float
    ) -> Reply:
        timeout_s = min(float(self._settings.try_timeout), left_s)
        headers = wire.from_call(call)
        return await llm_client.ask(
            self._wires[one.provider_name],
            one,
            request,
            body,
            headers=headers,
            timeout_s=timeout_s,
        )

    def _failed(self, one: Known, error: Refused | Failed | Unknown, began: float) -> None:
        status = error.details.get("status") if isinstance(error.details, dict) else None
        ill = error.kind in ILL or error.kind == PERMISSION or status == _ABSENT
        after_s = getattr(error, "retry_after_s", None)
        now = trio.current_time()
        self._experience[one.id].failed(began, now, ill=ill, after_s=after_s)

    def _count(self, one: Known, spent: Usage, call: Call) -> None:
        counted = {
            "input_tokens": spent.input_tokens,
            "output_tokens": spent.output_tokens,
            "cost": spent.cost,
        }
        for name, value in counted.items():
            self._service.count(call.operation, name, value)
        facts = {"connector": call.service, "key": call.key, "traceparent": call.traceparent}
        log.info("llm.used", model=one.id, **counted, **facts)

    def _allowed(self, request: LlmRequest) -> list[Known]:
        """Return the models among which is chosen. Raises Refused when the named one is none."""
        if not request.model:
            return self._models
        found = [
            each
            for each in self._models
            if request.model in {each.id, each.name, f"{each.provider_name}-{each.name}"}
        ]
        if not found:
            known_ones = ", ".join(each.id for each in self._models)
            raise Refused(VALIDATION, f"there is no model {request.model!r}: {known_ones}")
        return found[:1]


def _request(given: Mapping[str, Any], needed: str) -> LlmRequest:
    """Return a request whose names may be written in either way. Raises Refused."""
    plain = {
        _CAPITAL.sub(lambda found: f"_{found[1].lower()}", key): value
        for key, value in given.items()
    }
    try:
        request = convert(plain, LlmRequest)
        if request.fields is not None:
            llm_client.kind_of(request)
    except (BadValueError, TypeError, ValueError) as error:
        raise Refused(VALIDATION, str(error)) from None
    if not getattr(request, needed):
        raise Refused(VALIDATION, f"{needed!r} is missing in the request")
    return request


def _output(request: LlmRequest, reply: Reply) -> Any:
    """Return what was asked for. Raises Failed for what is not of its form."""
    if request.output_format == "text":
        return reply.text
    fenced = _FENCED.match(reply.text)
    text = fenced["inner"] if fenced else reply.text
    try:
        value = msgspec.json.decode(text)
        return (
            value
            if request.fields is None
            else msgspec.to_builtins(msgspec.convert(value, llm_client.kind_of(request)))
        )
    except msgspec.MsgspecError as error:
        cut = " (it was cut at max_tokens)" if reply.finish_reason == "length" else ""
        details = {"text": reply.text[:2_000]}
        raise Failed(
            BAD_OUTPUT, f"not the output that was asked for: {error}{cut}", details=details
        ) from None


def _selection(
    candidates: list[Candidate], states: Mapping[str, tuple[str, str]], winner: str
) -> Selection:
    tried = sum(state in {"failed", "unavailable"} for state, _ in states.values())
    if not winner:
        reason = NO_MODEL
    elif tried:
        reason = f"the best of those that were left after {tried}"
    else:
        reason = "the highest in order"
    return Selection(winner=winner, reason=reason, candidates=told(candidates, states))


def _none(
    errors: list[Refused | Failed | Unknown], selection: Selection, spent: Usage
) -> Refused | Failed:
    """Return the error when no model has answered: of the one that may help when asked again."""
    last = errors[-1] if errors else None
    details = {"selection": msgspec.to_builtins(selection), "usage": msgspec.to_builtins(spent)}
    if isinstance(last, Failed) and last.kind == BAD_OUTPUT:
        return Failed(BAD_OUTPUT, last.message, details={**details, **(last.details or {})})
    again = [each for each in errors if not isinstance(each, Refused)]
    if not again:
        kind = last.kind if last is not None else REFUSED
        said = f"{NO_MODEL}: {last.message}" if last is not None else NO_MODEL
        return Refused(kind, said, details=details)
    waits = [each.retry_after_s for each in again if each.retry_after_s is not None]
    return Failed(
        again[-1].kind,
        f"{NO_MODEL}: {again[-1].message}" if again[-1].message != NO_MODEL else NO_MODEL,
        details=details,
        retry_after_s=min(waits) if len(waits) == len(errors) else None,
    )
