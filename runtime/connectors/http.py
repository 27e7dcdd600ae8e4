"""HTTP: the operations of an interface, from templates in the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
import trio

from protocols.connectors.http import (
    GENERIC,
    SAFE,
    HttpConnector,
    HttpOperation,
    Method,
)
from protocols.connectors.template import MissingValueError, Values, pick, shown
from protocols.failure import VALIDATION
from protocols.graphs.input import input_type
from protocols.service import Call, Failed, Refused, Service, Unknown
from runtime.connectors import peer, wire
from runtime.connectors.frame import Check, Opened
from runtime.connectors.secrets import Secrets
from runtime.connectors.wire import Answered, Asked, Wire

_JSON: Final = {"content-type": "application/json"}
_FORM: Final = {"content-type": "application/x-www-form-urlencoded"}
_TEXT: Final = {"content-type": "text/plain; charset=utf-8"}
_DOTS: Final = frozenset({".", ".."})
_SERVER = 500


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operation ``request`` takes; its result has status, headers and body."""

    url: str
    """A path behind ``base_url``, or a whole address of an allowed host."""
    method: Method = "GET"
    query: dict[str, Any] = {}
    headers: dict[str, str] = {}
    body: Any = None


@asynccontextmanager
async def opened(name: str, settings: HttpConnector, secrets: Secrets) -> AsyncIterator[Opened]:
    """Open an HTTP interface as a service."""
    async with peer.opened(
        settings, secrets, concurrency_max=settings.concurrency_max
    ) as connection:
        service = Service(name, version="1.0.0", description=settings.description)
        desk = _Desk(connection, settings, secrets)
        for called, operation in settings.operations.items():
            service.operation(called)(_handler(desk, operation))
            service.operations[called] = msgspec.structs.replace(
                service.operations[called],
                request_type=Any if operation.fields is None else input_type(operation.fields),
                description=operation.description,
            )
        if settings.request:
            service.operation(GENERIC)(desk.request)
        yield Opened(service, desk.check)


def _handler(desk: _Desk, operation: HttpOperation) -> Any:
    async def ask(request: Any, call: Call) -> Any:
        return await desk.ask(operation, request, call)

    return ask


class _Desk:
    def __init__(self, connection: Wire, settings: HttpConnector, secrets: Secrets) -> None:
        self._wire = connection
        self._settings = settings
        self._secrets = secrets

    async def ask(self, operation: HttpOperation, request: Any, call: Call) -> Any:
        """Do one declared operation."""
        values = Values(request, call, lambda text: self._secrets.reveal(text).reveal())
        safe = operation.is_safe
        timeout_s = min(float(operation.timeout or call.timeout_s), call.timeout_s)
        try:
            content, kind = _content(operation, values)
            asked = Asked(
                operation.method,
                self._url(operation, values),
                {
                    **kind,
                    **{name: values.text(each) for name, each in operation.headers.items()},
                    **self._of_call(call, safe=safe),
                },
                content,
                safe,
                timeout_s,
            )
        except (MissingValueError, msgspec.MsgspecError) as error:
            raise Refused(VALIDATION, str(error)) from None
        answered = await self._wire.send(asked)
        expected = operation.expect
        if answered.status not in expected and (expected or not wire.is_success(answered.status)):
            raise wire.failure_of(
                answered, safe=safe, kinds=operation.errors, not_done=self._settings.not_done
            )
        return _result(answered, operation.result, safe=safe)

    async def request(self, request: HttpRequest, call: Call) -> Any:
        """Ask for anything: method, url, query, headers, body."""
        safe = request.method in SAFE
        url = self._wire.base + request.url if request.url.startswith("/") else request.url
        if request.query:
            url += ("&" if "?" in url else "?") + _query(request.query)
        has_body = request.body is not None
        headers = {
            **(_JSON if has_body else {}),
            **request.headers,
            **self._of_call(call, safe=safe),
        }
        content = msgspec.json.encode(request.body) if has_body else b""
        answered = await self._wire.send(
            Asked(request.method, url, headers, content, safe, call.timeout_s)
        )
        if not wire.is_success(answered.status):
            raise wire.failure_of(answered, safe=safe, not_done=self._settings.not_done)
        return _result(answered, "response", safe=safe)

    async def check(self) -> list[Check]:
        """Ask for the path of health."""
        began = trio.current_time()
        what = f"GET {self._wire.base}{self._settings.health}"
        tell = partial(Check, what=what)
        try:
            answered = await self._wire.send(
                Asked("GET", self._wire.base + self._settings.health, {}, b"", True, 10.0)  # noqa: FBT003
            )
        except (Refused, Failed, Unknown) as error:
            return [tell(ok=False, detail=error.message, took_s=trio.current_time() - began)]
        denied = answered.status in {401, 403}
        return [
            tell(
                ok=answered.status < _SERVER and not denied,
                detail=f"HTTP {answered.status}",
                took_s=trio.current_time() - began,
            )
        ]

    def _url(self, operation: HttpOperation, values: Values) -> str:
        url = self._wire.base + values.text(operation.path, _in_path)
        query = _query(values.value(operation.query))
        return f"{url}{'&' if '?' in url else '?'}{query}" if query else url

    def _of_call(self, call: Call, *, safe: bool) -> dict[str, str]:
        """Return the headers that tell of the step: trace context, and its key."""
        header = self._settings.idempotency_header
        keyed = {header: call.key} if header and call.key and not safe else {}
        return {**wire.from_call(call), **keyed}


def _in_path(text: str) -> str:
    """Return a value as one segment of a path: it must not lead to another one."""
    if not text or text in _DOTS:
        raise Refused(VALIDATION, f"{text!r} cannot stand in a path")
    return quote(text, safe="")


def _query(values: Mapping[str, Any]) -> str:
    pairs = [
        (key, shown(each))
        for key, value in values.items()
        if value is not None
        for each in (value if isinstance(value, list) else [value])
    ]
    return urlencode(pairs)


def _content(operation: HttpOperation, values: Values) -> tuple[bytes, dict[str, str]]:
    if operation.form is not None:
        return _query(values.value(operation.form)).encode(), _FORM
    if operation.text:
        return values.text(operation.text).encode(), _TEXT
    if operation.body is None:
        return b"", {}
    return msgspec.json.encode(values.value(operation.body)), _JSON


def _result(answered: Answered, path: str, *, safe: bool) -> Any:
    """Return the part of an answer that is the result."""
    root, _, rest = path.partition(".")
    try:
        body = answered.said() if root in {"body", "response"} else None
        headers = {name: each for name, each in answered.headers.items() if name != "set-cookie"}
        whole = {"body": body, "status": answered.status, "headers": headers}
        return pick(whole if root == "response" else whole[root], rest)
    except msgspec.DecodeError as error:
        raise wire.unusable(f"the answer is no JSON: {error}", answered, safe=safe) from None
    except LookupError as error:
        raise wire.unusable(str(error.args[0]), answered, safe=safe) from None
