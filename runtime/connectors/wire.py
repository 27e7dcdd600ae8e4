"""Wire: HTTP as connectors speak it, on httpx2. What it answers is a response or a declared error.

    nothing was sent (no connection, no such host)      Failed, network
    sent, and no whole answer                           Unknown; Failed when it changes nothing
    408, 5xx                                            Unknown; Failed when it changes nothing
    425, 429, 503 with Retry-After                      Failed
    301, 302, 303 to what may change something          Unknown: it was heard, and maybe done
    other 4xx, another redirect                         Refused

Credentials go to the origin of ``base_url`` alone, and so does all that the settings of an
operation say, for a secret may be in it: whoever is redirected elsewhere brings nothing along.
A proxy, a ``.netrc`` or certificates of the environment are not looked at: what a connector
does stands in its file.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio

from protocols.connectors.http import HttpPeer, is_header
from protocols.error_kinds import COMPLIANCE, NETWORK, OVER_LIMIT, SYSTEM, kind_of_status
from protocols.failure import REFUSED, TIMEOUT, VALIDATION
from protocols.headers import TRACEPARENT, is_traceparent
from protocols.service import Call, Failed, Refused, Unknown
from runtime.clock import SystemClock
from runtime.connectors.secrets import Secrets
from runtime.version import VERSION

CONNECT_S_MAX: Final = 10.0
REDIRECTS_MAX: Final = 5
RETRY_AFTER_S_MAX: Final = 86_400.0
SAID_CHARS_MAX: Final = 2_000
"""Of an answer, in the details of a failure."""
NOT_DONE: Final = frozenset({425, 429})
"""Statuses that say that nothing was done, and that it may be asked again."""
TURNED_AWAY: Final = 503
"""With a time at which to come again it says that too; without one a proxy may have passed the
request on, and lost the answer."""
WAITS: Final = "movant.waits"
"""Extension of a request that has not been sent, for it waits for a token."""
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEARD: Final = frozenset({301, 302, 303})
"""Redirects behind which a form is mostly done already; 307 and 308 say that it was not."""
_TRAVELS: Final = frozenset({"accept", TRACEPARENT})
"""Headers that go along to another origin."""
_REQUEST_ID: Final = ("x-request-id", "x-correlation-id", "x-amzn-requestid", "cf-ray")
_OK, _REDIRECTED, _CLIENT, _SERVER = 200, 300, 400, 500

Origin = tuple[str, str, int]


class Asked(NamedTuple):
    """One request. ``safe``: it changes nothing. ``timeout_s`` is for all of it, in seconds."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes
    safe: bool
    timeout_s: float


class Answered(NamedTuple):
    """A response. The names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def said(self) -> Any:
        """Return the body as a value: JSON where it is called so, else text, else base64."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not self.body:
            return None
        if kind == "application/json" or kind.endswith("+json"):
            return msgspec.json.decode(self.body)
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            return b64encode(self.body).decode()


class Wire:
    """Speaks to one peer over a pool of connections, which knows its credentials."""

    def __init__(self, client: httpx2.AsyncClient, peer: HttpPeer, secrets: Secrets) -> None:
        self._client = client
        self._peer = peer
        self._secrets = secrets
        self.base = secrets.plain(peer.base_url).rstrip("/")
        self._origin = origin(self.base)
        self._hosts = {each.lower() for each in peer.hosts}

    async def send(self, asked: Asked) -> Answered:
        """Send a request and return its response, whatever its status.

        Raises Failed, Unknown, and Refused for a host that may not be asked.
        """
        until = trio.current_time() + asked.timeout_s
        for _ in range(REDIRECTS_MAX + 1):
            async with self.stream(asked) as response:
                location = response.headers.get("location", "")
                if response.status_code in REDIRECTS and location and asked.safe:
                    there = httpx2.URL(asked.url).join(location)
                    asked = _redirected(asked, str(there), until - trio.current_time())
                    continue
                body = await self.body(response, safe=asked.safe)
                return Answered(response.status_code, dict(response.headers), body)
        raise Refused(REFUSED, f"more than {REDIRECTS_MAX} redirects")

    @asynccontextmanager
    async def stream(self, asked: Asked) -> AsyncIterator[httpx2.Response]:
        """Send a request and yield its response before its body is read. Raises as ``send``."""
        headers = self._headers(asked)
        connect_s = min(CONNECT_S_MAX, asked.timeout_s * 0.9)
        request: httpx2.Request | None = None
        with trio.move_on_after(asked.timeout_s) as scope, _translated(safe=asked.safe):
            request = self._client.build_request(
                asked.method,
                asked.url,
                headers=headers,
                content=asked.content or None,
                timeout=httpx2.Timeout(None, connect=connect_s),
            )
            response = await self._client.send(request, stream=True)
            try:
                yield response
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(1.0):
                    await response.aclose()
        if scope.cancelled_caught:
            if request is not None and request.extensions.get(WAITS):
                raise Failed(NETWORK, f"no token in {asked.timeout_s:g} s")
            raise _unanswered(f"no answer in {asked.timeout_s:g} s", safe=asked.safe)

    def _headers(self, asked: Asked) -> dict[str, str]:
        """Return the headers of a request. Raises Refused for a host that may not be asked."""
        try:
            where = origin(asked.url)
        except ValueError as error:
            raise Refused(VALIDATION, str(error)) from error
        headers = {"user-agent": f"movant/{VERSION}"}
        if where == self._origin:
            headers |= {
                name.lower(): self._secrets.reveal(each).reveal()
                for name, each in self._peer.headers.items()
            }
        elif not {where[1], f"{where[1]}:{where[2]}"} & self._hosts:
            raise Refused(
                COMPLIANCE, f"{where[1]}:{where[2]} is not among the hosts of this connector"
            )
        for name, each in asked.headers.items():
            if not is_header(name):
                raise Refused(VALIDATION, f"{name[:60]!r} is no header that may be chosen")
            if not (each.isascii() and each.isprintable()):
                raise Refused(VALIDATION, f"no header can carry what {name} is to be")
            headers[name.lower()] = each
        return headers

    async def body(self, response: httpx2.Response, *, safe: bool) -> bytes:
        """Return the body of a response that has not too much of it. Raises as ``send``."""
        limit = self._peer.response_bytes_max
        body = await read(response, limit)
        if body is not None:
            return body
        said = f"an answer of more than {limit} bytes"
        if safe:
            raise Refused(OVER_LIMIT, said)
        raise Unknown(OVER_LIMIT, said, details={"status": response.status_code})


async def read(response: httpx2.Response, bytes_max: int) -> bytes | None:
    """Return the body of a response, unpacked; None when there is more of it."""
    body = bytearray()
    # Cancelled and not left: only so do all the generators below end where they stand.
    with trio.CancelScope() as enough:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > bytes_max:
                enough.cancel()
    return bytes(body) if len(body) <= bytes_max else None


def origin(url: str) -> Origin:
    """Return scheme, host and port. Raises ValueError for what is no address of HTTP."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise ValueError(f"{url[:60]!r} is no address of HTTP")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _redirected(asked: Asked, url: str, left_s: float) -> Asked:
    """Return a request that changes nothing, to where its answer has sent it.

    Another origin gets neither the headers that the settings name nor a body. Raises Refused
    for what needs its body.
    """
    asked = asked._replace(timeout_s=max(left_s, 0.001))
    if _origin_or_none(url) == origin(asked.url):
        return asked._replace(url=url)
    if asked.content:
        raise Refused(COMPLIANCE, "what is sent must not follow a redirect to another origin")
    headers = {name: each for name, each in asked.headers.items() if name.lower() in _TRAVELS}
    return asked._replace(url=url, headers=headers)


def _origin_or_none(url: str) -> Origin | None:
    try:
        return origin(url)
    except ValueError:
        return None  # told when it is asked


def from_call(call: Call) -> dict[str, str]:
    """Return the headers that tell of the step: its trace context."""
    return {TRACEPARENT: call.traceparent} if is_traceparent(call.traceparent) else {}


def failure_of(
    answered: Answered,
    *,
    safe: bool,
    kinds: Mapping[str, str] | None = None,
    not_done: Collection[int] = (),
) -> Refused | Failed | Unknown:
    """Return what a status that was not expected means.

    ``kinds`` are a service's own words for some, ``not_done`` those of which it says that nothing
    was done.
    """
    status = answered.status
    own = (kinds or {}).get(str(status), "")
    kind = own or kind_of_status(status) or REFUSED
    if safe and kind == TIMEOUT:
        kind = NETWORK  # a timeout means that nobody knows; here nothing was to be done
    message = f"HTTP {status}"
    details = {"status": status, "said": _said(answered)}
    request_id = next((answered.headers[x] for x in _REQUEST_ID if x in answered.headers), "")
    if request_id:
        details["request_id"] = request_id
    after_s = retry_after_s(answered.headers.get("retry-after", ""))
    turned_away = status == TURNED_AWAY and after_s is not None
    if (
        turned_away
        or status in NOT_DONE
        or status in not_done
        or (safe and (status >= _SERVER or status == 408))  # noqa: PLR2004
    ):
        return Failed(kind, message, details=details, retry_after_s=after_s)
    if status >= _SERVER or status == 408:  # noqa: PLR2004 - it did not hear the whole, or did it
        return Unknown(kind, message, details=details, retry_after_s=after_s)
    if _REDIRECTED <= status < _CLIENT:
        message += f", to {answered.headers.get('location', 'nowhere')[:200]}"
        if status in _HEARD and not safe:
            return Unknown(own or SYSTEM, message, details=details)
    return Refused(kind, message, details=details)


def is_success(status: int) -> bool:
    """Tell whether a status is one of success."""
    return _OK <= status < _REDIRECTED


def retry_after_s(text: str) -> float | None:
    """Return what ``Retry-After`` asks for, in seconds: a number or a date; None: nothing."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        try:
            then = parsedate_to_datetime(text).timestamp()
        except (ValueError, OverflowError):
            return None
        value = then - SystemClock().now_ns() / 1e9
    return min(max(value, 0.0), RETRY_AFTER_S_MAX) if isfinite(value) else None


def unusable(message: str, answered: Answered, *, safe: bool) -> Failed | Unknown:
    """Return the error of an answer that is a success, but makes no sense."""
    details = {"status": answered.status, "said": _said(answered)}
    return (Failed if safe else Unknown)(SYSTEM, message, details=details)


def _said(answered: Answered) -> Any:
    """Return the body of a failure for its details, cut when it is long."""
    try:
        said = answered.said()
    except msgspec.DecodeError:
        said = answered.body.decode(errors="replace")
    if len(answered.body) > SAID_CHARS_MAX:
        return answered.body.decode(errors="replace")[:SAID_CHARS_MAX]
    return said


def _unanswered(message: str, *, safe: bool, kind: str = TIMEOUT) -> Failed | Unknown:
    if safe:
        return Failed(NETWORK, message)
    return Unknown(kind, message)


class _translated:  # noqa: N801 - used as a function
    """Turns what httpx2 raises into what a service answers."""

    def __init__(self, *, safe: bool) -> None:
        self._safe = safe

    def __enter__(self) -> None:
        return

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        match error:
            case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.PoolTimeout():
                raise Failed(NETWORK, _told(error, "no connection")) from None
            case httpx2.ProxyError() | httpx2.UnsupportedProtocol() | httpx2.LocalProtocolError():
                raise Failed(SYSTEM, _told(error, "not sent")) from None
            case httpx2.InvalidURL():
                raise Refused(VALIDATION, f"no address: {error}") from None
            case httpx2.DecodingError():
                raise _unanswered(
                    _told(error, "an answer that cannot be unpacked"), safe=self._safe, kind=SYSTEM
                ) from None
            case httpx2.RequestError():
                raise _unanswered(
                    _told(error, "the connection broke"), safe=self._safe, kind=NETWORK
                ) from None
            case _:
                return


def _told(error: Exception, what: str) -> str:
    return f"{what}: {str(error) or type(error).__name__}"
