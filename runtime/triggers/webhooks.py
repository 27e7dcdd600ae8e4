"""Webhooks: who posts, whether he may, what he says, and which run comes of it.

    POST path ──> trigger ──> proof ──> rate ──> body ──> condition, input ──> run <key>-<delivery>

A signature covers the id of the delivery, its time and the body, as Standard Webhooks
(standardwebhooks.com) have it:

    webhook-id: msg_1
    webhook-timestamp: 1767225600
    webhook-signature: v1,base64(hmac-sha256(secret, id + "." + timestamp + "." + body))

The id is signed as well: else whoever saw one request could send it again under another id.
What is proven here is a pure function of headers, body, secret and time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl

import structlog
import trio

from actors.routing.limits import Bucket
from protocols import codec
from protocols.api.errors import SERVICE_CODES
from protocols.errors import (
    BadValueError,
    ConfigurationError,
    MovantError,
    RefusedError,
    UnavailableError,
    UnknownOutcomeError,
)
from protocols.triggers import Armed, Last, Webhook, digest
from runtime.connectors.secrets import Secrets
from runtime.triggers.book import TriggerBook
from runtime.triggers.firing import SECRET_HEADERS, Firing

if TYPE_CHECKING:
    from runtime.daemon import Daemon

DEFAULT_TOKEN: Final = "env:MOVANT_WEBHOOK_TOKEN"  # noqa: S105 - where it is, not what it is
DELIVERY_CHARS_MAX: Final = 256
STORED_S_MAX: Final = 30.0
"""Who posts is told after this that nobody knows; the same delivery again has the same run."""
BURST_S: Final = 2.0
"""What may come at once: as many as in so long, and at least one."""
NO_SECRET_S: Final = 60.0
"""How often it is logged that the secret of a webhook is missing."""
FIELDS_MAX: Final = 200
"""Of a form or a query."""
_STANDARD: Final = "whsec_"

log = structlog.get_logger()


class Answer(NamedTuple):
    """The answer to a request: a status, a JSON body, and headers."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


class Webhooks:
    """Answers requests to the webhooks of all workflows."""

    def __init__(self, daemon: Daemon, book: TriggerBook, firing: Firing) -> None:
        self._daemon = daemon
        self._book = book
        self._firing = firing
        self._buckets: dict[str, tuple[str, Bucket]] = {}
        self._without_secret: dict[str, tuple[float, int]] = {}
        """When it was told last of a trigger, and how many requests have met it since."""

    def find(self, path: str) -> Armed | None:
        """Return the trigger of a path."""
        return self._book.by_path.get(path)

    def admit(self, armed: Armed) -> Answer | None:
        """Return why a request is not taken now, before its body is read."""
        if self._daemon.state != "ready":
            return told(503, "not ready", f"the daemon is {self._daemon.state}", again_s=5)
        paused = self._book.state(armed.key).paused
        if paused is not None:
            return told(503, "paused", f"{armed.key} was paused {paused.text}", again_s=60)
        return None

    async def take(
        self, armed: Armed, headers: Mapping[str, str], query: str, body: bytes
    ) -> Answer:
        """Prove, read, start, and return the answer. ``headers`` have lower-case names."""
        hook = armed.trigger.hook
        assert hook is not None, "a webhook"
        at = self._daemon.clock.now_ns()
        secret = await trio.to_thread.run_sync(_secret_of, hook)
        if not secret:
            self._tell_no_secret(armed, hook)
            return self._refuse(armed, at, told(503, "no secret", "this webhook is not set up"))
        wrong = unproven(hook, headers, body, secret=secret, now_s=at / 1e9)
        if wrong:
            return self._refuse(armed, at, told(401, "not proven", wrong))
        bucket, now = self._bucket(armed, hook), self._daemon.clock.monotonic()
        wait_s = bucket.wait_s(now)
        if wait_s:
            limit = f"{hook.rate:g} requests a second are taken"
            return self._refuse(armed, at, told(429, "too many", limit, again_s=wait_s))
        bucket.take(now)
        try:
            return await self._start(armed, headers, query, body, at)
        except MovantError as error:
            answer = problem(error)
            if answer.status < 500:  # noqa: PLR2004 - what comes again may be taken
                return self._refuse(armed, at, answer)
            return answer
        except Exception as error:  # what one request does stops no other
            log.exception("trigger.failed", trigger=armed.key, reason=str(error))
            return told(500, "internal", "a defect; the same request again is safe")

    async def _start(
        self, armed: Armed, headers: Mapping[str, str], query: str, body: bytes, at: int
    ) -> Answer:
        value = read(body, headers.get("content-type", ""))
        names = self._firing.names(
            armed,
            at,
            body=value,
            query=_fields(query, "the query"),
            headers={name: text for name, text in headers.items() if name not in SECRET_HEADERS},
        )
        delivery = headers.get("webhook-id", "")
        token = digest(armed.key, delivery) if delivery else self._daemon.new_id()
        run = f"{armed.key}-{token}"
        if not self._firing.wanted(armed, names):
            self._book.note(armed.key, Last(at=at, outcome="skipped", reason="when: false"))
            return Answer(200, {"run": None, "skipped": "the condition does not hold"})
        with trio.move_on_after(STORED_S_MAX) as patience:
            fired = await self._firing.fire(armed, run, names, message_id=run, given=value)
        if patience.cancelled_caught:
            raise UnknownOutcomeError("nobody has acknowledged the start", hint="send it again")
        last = Last(at=at, outcome="fired", run=fired.run)
        self._book.note(armed.key, last)
        if fired.created:
            self._firing.tell(armed, last, run, delivery=delivery)
        return Answer(
            202,
            {"run": fired.run, "workflow": armed.workflow, "created": fired.created},
            {"Location": f"/runs/{fired.run}"},
        )

    def _tell_no_secret(self, armed: Armed, hook: Webhook) -> None:
        """Log it now and then: whoever posts must not fill a log that somebody has to read."""
        now = self._daemon.clock.monotonic()
        told_at, requests = self._without_secret.get(armed.key, (-inf, 0))
        requests += 1
        if now - told_at >= NO_SECRET_S:
            log.error(
                "webhook.no_secret", trigger=armed.key, where=_where(hook), requests=requests
            )
            told_at, requests = now, 0
        self._without_secret[armed.key] = (told_at, requests)

    def _bucket(self, armed: Armed, hook: Webhook) -> Bucket:
        known = self._buckets.get(armed.key)
        if known is None or known[0] != armed.hash:
            made = Bucket(hook.rate, hook.rate * BURST_S)
            known = self._buckets[armed.key] = (armed.hash, made)
        return known[1]

    def _refuse(self, armed: Armed, at: int, answer: Answer) -> Answer:
        last = Last(at=at, outcome="refused", reason=str(answer.body["detail"]))
        self._firing.tell(armed, last, f"{armed.key}-{at}", status=answer.status)
        if answer.status != 401:  # noqa: PLR2004 - who proves nothing changes nothing
            self._book.note(armed.key, last)
        return answer


def unproven(
    hook: Webhook, headers: Mapping[str, str], body: bytes, *, secret: bytes, now_s: float
) -> str:
    """Return what is missing to prove who has sent a request; empty: it is proven."""
    delivery = headers.get("webhook-id", "")
    if len(delivery) > DELIVERY_CHARS_MAX or not delivery.isprintable():
        return "webhook-id is no id"
    if not hook.secret:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), secret)
        return "" if scheme.lower() == "bearer" and same else "a bearer token is needed"
    sent = headers.get("webhook-timestamp", "")
    if not delivery or not (sent.isascii() and sent.isdigit() and len(sent) <= 12):  # noqa: PLR2004
        return "webhook-id, webhook-timestamp and webhook-signature are needed"
    content = b"%b.%b.%b" % (delivery.encode(), sent.encode(), body)
    wanted = b"v1," + base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest())
    given_all = headers.get("webhook-signature", "").encode().split(b" ")
    # All are looked at, in the same time: which one is right tells nothing.
    if not any([hmac.compare_digest(each, wanted) for each in given_all]):  # noqa: C419
        return "the signature is not that of this body with the secret"
    if abs(now_s - int(sent)) > float(hook.tolerance):
        return f"its time is more than {float(hook.tolerance):g} s off"
    return ""


def sign(secret: bytes, delivery: str, sent_s: int, body: bytes) -> dict[str, str]:
    """Return the headers that prove a request: what a sender does."""
    content = b"%b.%d.%b" % (delivery.encode(), sent_s, body)
    signature = base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": delivery,
        "webhook-timestamp": str(sent_s),
        "webhook-signature": f"v1,{signature}",
    }


def read(body: bytes, content_type: str) -> Any:
    """Return the value of a body. Raises BadValueError; RefusedError for a type nobody reads."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json") or not body:
        return codec.decode(body)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadValueError(f"the body cannot be read: {error}") from error
    if kind == "application/x-www-form-urlencoded":
        return _fields(text, "the body")
    if kind == "text/plain":
        return text
    raise _UnreadTypeError(f"a body of type {kind[:60] or 'none'!r} is not read")


def _fields(text: str, what: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError as error:  # too many fields
        raise BadValueError(f"{what} cannot be read: {error}") from error


class _UnreadTypeError(RefusedError):
    """Nobody reads this kind of body: 415."""


def problem(error: MovantError) -> Answer:
    """Return the answer that tells about an error."""
    if isinstance(error, _UnreadTypeError):
        return told(415, "type not read", f"{error.message}: send application/json")
    status = next(SERVICE_CODES[kind] for kind in type(error).__mro__ if kind in SERVICE_CODES)
    again_s = 5.0 if isinstance(error, UnavailableError) else 0.0
    detail = error.message if status < 500 or again_s else "the same request again is safe"  # noqa: PLR2004
    return told(status, error.code, detail, again_s=again_s)


def told(status: int, title: str, detail: str, *, again_s: float = 0.0) -> Answer:
    """Return a problem (RFC 9457), and when it may be tried again."""
    headers = {"Content-Type": "application/problem+json"}
    if again_s:
        headers["Retry-After"] = str(max(1, round(again_s + 0.5)))
    if status == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = "Bearer"
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Answer(status, body, headers)


def _where(hook: Webhook) -> str:
    where = hook.secret or hook.token or DEFAULT_TOKEN
    return where.removeprefix("${").removesuffix("}")


def _secret_of(hook: Webhook) -> bytes:
    """Return a secret by its reference; empty when there is none. Read anew for each request."""
    try:
        text = Secrets().reveal(f"${{{_where(hook)}}}").reveal().strip()
    except ConfigurationError:
        return b""
    if hook.secret and text.startswith(_STANDARD):
        try:
            return base64.b64decode(text.removeprefix(_STANDARD), validate=True)
        except (ValueError, binascii.Error):
            return b""
    return text.encode()
