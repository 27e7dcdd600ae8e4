"""The connector kind ``mail``: letters over SMTP, each with the message id of its step.

SMTP cannot be asked whether a letter was taken. What fails before the letter's end was sent has
no effect; when the answer to that end is missing, the outcome is unknown. A second attempt has
the same Message-ID, by which mail programs and most servers show one letter and not two.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import html
import re
import smtplib
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid, parseaddr
from functools import partial
from typing import Any, Final

from protocols.connectors.mail import Attachment, Letter, MailConnector, MailTemplate, Sent
from protocols.error_kinds import COMPLIANCE, NETWORK, OVER_LIMIT, PERMISSION, SYSTEM, TIMED_OUT
from protocols.failure import REFUSED, TIMEOUT, VALIDATION
from protocols.service import Call, Failed, Refused, Service, Unknown
from runtime.connectors.frame import Opened
from runtime.connectors.hands import hands
from runtime.connectors.secrets import Secrets

_PLACE: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\}\}")
_YES, _INTERMEDIATE, _TRANSIENT, _PERMANENT = 200, 300, 400, 500
_AUTH: Final = frozenset({454, 530, 534, 535, 538})
_FULL: Final = frozenset({452, 552})
_GONE: Final = 421


@asynccontextmanager
async def opened(name: str, settings: MailConnector, secrets: Secrets) -> AsyncIterator[Opened]:
    """Offer to send letters."""
    service = Service(name, version="1.0.0", description=settings.description)
    make = partial(Post, settings, secrets)
    async with hands(settings.connections, make, Post.close) as threads:

        async def send(request: Letter, call: Call) -> Sent:
            """Send a letter."""
            return await threads.answer(call, lambda post, left: post.send(request, left))

        service.operation("send")(send)
        yield Opened(service, partial(threads.check, "login", Post.probe))


def compose(settings: MailConnector, letter: Letter, key: str) -> tuple[EmailMessage, list[str]]:
    """Return the message and whom it goes to.

    Raises Refused, and what the library raises for a line break in a header and such.
    """
    to = [letter.to] if isinstance(letter.to, str) else list(letter.to)
    recipients = list(dict.fromkeys(_address(each) for each in (*to, *letter.cc, *letter.bcc)))
    _check_recipients(settings, recipients)
    template = _template(settings, letter)
    message = EmailMessage(policy=SMTP)
    message["Subject"] = filled(template.subject, letter.values)
    message["From"] = settings.sender
    message["To"] = ", ".join(to)
    if letter.cc:
        message["Cc"] = ", ".join(letter.cc)
    if letter.reply_to:
        message["Reply-To"] = _address(letter.reply_to)
    message["Message-ID"] = message_id(key, parseaddr(settings.sender)[1].rpartition("@")[2])
    message["Date"] = formatdate()
    message["Auto-Submitted"] = "auto-generated"
    text, markup = filled(template.text, letter.values), template.html
    if text or not markup:
        message.set_content(text)
    if markup:
        markup = filled(markup, letter.values, escape=True)
        if text:
            message.add_alternative(markup, subtype="html")
        else:
            message.set_content(markup, subtype="html")
    _attach(message, letter.attachments, settings.attachments_bytes_max)
    return message, recipients


def filled(text: str, values: Mapping[str, Any], *, escape: bool = False) -> str:
    """Return a text with its values. Raises Refused when one is missing."""

    def value(found: re.Match[str]) -> str:
        at: Any = values
        for part in found[1].split("."):
            if not isinstance(at, Mapping) or part not in at:
                raise Refused(VALIDATION, f"the template's value {found[1]!r} is missing")
            at = at[part]
        if isinstance(at, bool):
            at = "true" if at else "false"
        return html.escape(str(at)) if escape else str(at)

    return _PLACE.sub(value, text)


def message_id(key: str, domain: str) -> str:
    """Return the id of a step's letter: the same for every attempt."""
    if not key:
        return make_msgid(domain=domain)
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{domain}>"


class Post:
    """Sends letters, one at a time, over a connection of its own that it keeps for a while."""

    def __init__(self, settings: MailConnector, secrets: Secrets) -> None:
        self._settings = settings
        self._secrets = secrets
        self._server: smtplib.SMTP | None = None

    def send(self, letter: Letter, call: Call) -> Sent:
        """Send a letter. Raises Refused, Failed and Unknown."""
        try:
            message, recipients = compose(self._settings, letter, call.key)
            body = message.as_bytes()
        except (ValueError, LookupError, AttributeError) as error:  # of the library
            raise Refused(VALIDATION, f"the letter cannot be written: {error}") from error
        deadline = time.monotonic() + (call.timeout_s or self._settings.timeout_s)
        server = self._ready(deadline)
        try:
            refused = self._deliver(server, body, recipients, deadline)
        except BaseException:
            self.close()
            raise
        return Sent(
            message_id=str(message["Message-ID"]),
            accepted=tuple(each for each in recipients if each not in refused),
            refused={each: _text(*answer) for each, answer in refused.items()},
        )

    def close(self) -> None:
        """Hang up."""
        server, self._server = self._server, None
        if server is not None:
            with suppress(OSError, smtplib.SMTPException):
                server.close()

    def probe(self) -> None:
        """Connect and log in, and send nothing. Raises Refused and Failed."""
        self._ready(time.monotonic() + self._settings.timeout_s)
        self.close()

    def _ready(self, deadline: float) -> smtplib.SMTP:
        """Return a connection on which the server has just answered."""
        server = self._server
        if server is not None:
            _limit(server, deadline)
            with suppress(OSError, smtplib.SMTPException):
                if server.rset()[0] < _PERMANENT and server.sock is not None:
                    return server
            self.close()
        with _translated():
            server = self._connect(deadline)
        self._server = server
        return server

    def _connect(self, deadline: float) -> smtplib.SMTP:
        settings, secrets = self._settings, self._secrets
        host, port = secrets.plain(settings.host), settings.port_number
        left = _left(deadline)
        tls = ssl.create_default_context()
        if settings.tls_ca:
            tls.load_verify_locations(secrets.base / settings.tls_ca)
        if settings.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=left, context=tls)
        else:
            server = smtplib.SMTP(host, port, timeout=left)
        try:
            if settings.security == "starttls":
                server.starttls(context=tls)
            if settings.user:
                password = settings.password or ""
                user = secrets.plain(settings.user)
                server.login(user, secrets.reveal(password).reveal())
            else:
                server.ehlo_or_helo_if_needed()
        except BaseException:
            server.close()
            raise
        return server

    def _deliver(
        self, server: smtplib.SMTP, body: bytes, recipients: list[str], deadline: float
    ) -> dict[str, tuple[int, bytes]]:
        """Send a letter, and return what was said of each recipient that is refused."""
        sender = parseaddr(self._settings.sender)[1]
        with _translated():
            _limit(server, deadline)
            code, said = server.mail(sender, [f"size={len(body)}"] if _has_size(server) else [])
            if code != 250:  # noqa: PLR2004 - SMTP's yes
                raise smtplib.SMTPSenderRefused(code, said, sender)
            refused: dict[str, tuple[int, bytes]] = {}
            for each in recipients:
                _limit(server, deadline)
                code, said = server.rcpt(each)
                if code not in {250, 251}:
                    refused[each] = (code, said)
                    if code == _GONE:
                        raise smtplib.SMTPResponseException(code, said)
            if len(refused) == len(recipients):
                raise smtplib.SMTPRecipientsRefused(refused)
            _limit(server, deadline)
            server.putcmd("data")
            code, said = server.getreply()
            if code != 354:  # noqa: PLR2004 - go on
                raise smtplib.SMTPDataError(code, said)
        self._hand_over(server, body)
        return refused

    def _hand_over(self, server: smtplib.SMTP, body: bytes) -> None:
        """Send the letter itself. From its last line on nobody knows, until the server answers."""
        lines = re.sub(rb"(?m)^\.", b"..", body)
        try:
            server.send(lines if lines.endswith(b"\r\n") else lines + b"\r\n")
        except (OSError, smtplib.SMTPException) as error:
            raise Failed(NETWORK, f"the connection broke within the letter: {error}") from error
        try:
            server.send(b".\r\n")
            code, said = server.getreply()
        except (OSError, smtplib.SMTPException) as error:
            kind = TIMEOUT if _is_late(error) else NETWORK
            raise Unknown(kind, f"no answer behind the letter's end: {error}") from error
        if code >= _TRANSIENT:
            raise _problem(smtplib.SMTPDataError(code, said))
        if not _YES <= code < _INTERMEDIATE:
            raise Unknown(
                SYSTEM, f"no answer of SMTP behind the letter's end: {_text(code, said)}"
            )


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise Failed(TIMED_OUT, "the mail server took too long")
    return left


def _limit(server: smtplib.SMTP, deadline: float) -> None:
    left = _left(deadline)
    if server.sock is not None:
        server.sock.settimeout(left)


def _has_size(server: smtplib.SMTP) -> bool:
    return bool(server.has_extn("size"))


def _address(text: str) -> str:
    """Return the bare address. Raises Refused."""
    bare = parseaddr(text)[1]
    try:
        Address(addr_spec=bare)
    except (ValueError, IndexError) as error:
        raise Refused(VALIDATION, f"{text!r} is no address") from error
    if "@" not in bare or "\n" in text or "\r" in text or not bare.isascii():
        raise Refused(VALIDATION, f"{text!r} is no address")
    return bare


def _check_recipients(settings: MailConnector, recipients: list[str]) -> None:
    if not recipients:
        raise Refused(VALIDATION, "the letter goes to nobody")
    if len(recipients) > settings.recipients_max:
        raise Refused(OVER_LIMIT, f"more than {settings.recipients_max} recipients")
    allowed = {each.lower() for each in settings.recipients}
    for each in recipients:
        domain = "@" + each.rpartition("@")[2]
        if allowed and not {each.lower(), domain.lower()} & allowed:
            raise Refused(COMPLIANCE, f"{each} is none of those it may write to")


def _template(settings: MailConnector, letter: Letter) -> MailTemplate:
    if letter.template:
        if letter.subject or letter.text or letter.html:
            raise Refused(VALIDATION, "a template, or a text of its own: not both")
        template = settings.templates.get(letter.template)
        if template is None:
            known = ", ".join(settings.templates) or "none"
            raise Refused(VALIDATION, f"no template {letter.template!r}; there are: {known}")
        return template
    if not settings.free:
        raise Refused(COMPLIANCE, "only letters of a template are sent")
    if not letter.subject or not (letter.text or letter.html):
        raise Refused(VALIDATION, "a letter has a subject and text or html")
    return MailTemplate(subject=letter.subject, text=letter.text, html=letter.html)


def _attach(message: EmailMessage, attachments: tuple[Attachment, ...], bytes_max: int) -> None:
    size = 0
    for each in attachments:
        try:
            content = (
                base64.b64decode(each.base64, validate=True)
                if each.text is None
                else each.text.encode()
            )
        except (binascii.Error, ValueError) as error:
            raise Refused(VALIDATION, f"attachment {each.name!r} is no base64") from error
        size += len(content)
        if size > bytes_max:
            raise Refused(OVER_LIMIT, f"the attachments have more than {bytes_max} bytes")
        kind, slash, subtype = each.type.partition("/")
        if not slash or not re.fullmatch(r"[\w.+-]+/[\w.+-]+", each.type):
            raise Refused(VALIDATION, f"{each.type!r} is no media type")
        message.add_attachment(content, maintype=kind, subtype=subtype, filename=each.name)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn an error into its answer; nothing was sent so far."""
    try:
        yield
    except smtplib.SMTPNotSupportedError as error:
        raise Refused(SYSTEM, f"the mail server cannot do it: {error}") from error
    except ssl.SSLCertVerificationError as error:
        raise Refused(PERMISSION, f"the mail server's certificate: {error}") from error
    except (OSError, smtplib.SMTPException) as error:
        if _is_late(error):
            raise Failed(TIMED_OUT, "the mail server took too long") from error
        raise _problem(error) from error


def _is_late(error: Exception) -> bool:
    """Tell whether time was over; smtplib calls that a lost connection."""
    return isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)


def _problem(error: Exception) -> Exception:
    """Return the answer for an error: 4xx may be tried again, 5xx is a no."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        details = {each: _text(*answer) for each, answer in error.recipients.items()}
        message = f"no recipient is accepted: {next(iter(details.values()))}"
        if min(codes) < _PERMANENT:
            return Failed(REFUSED, message, details=details)
        return Refused(REFUSED, message, details=details)
    if not isinstance(error, smtplib.SMTPResponseException):
        return Failed(NETWORK, f"no connection to the mail server: {error}")
    code = error.smtp_code
    message = _text(code, error.smtp_error)
    kind = PERMISSION if code in _AUTH else OVER_LIMIT if code in _FULL else REFUSED
    if code >= _PERMANENT:
        return Refused(kind, message, details={"code": code})
    if code == _GONE or code < 0:
        kind = NETWORK
    return Failed(kind if kind != REFUSED else NETWORK, message, details={"code": code})


def _text(code: int, said: bytes | str) -> str:
    return f"{code} {said.decode(errors='replace') if isinstance(said, bytes) else said}"
