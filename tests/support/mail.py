"""A mail server for tests: it keeps letters, and answers as it is told to."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "postman", "stamps-and-glue"


class MailServer:
    """What came, and what is answered to what comes."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.answers: dict[str, str] = {}
        """By address: what is said to a recipient instead of yes."""
        self.at_the_end = "250 OK"
        """What is said behind a letter; empty: the line is cut when the letter is stored."""
        self.port = 0

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        """Take a recipient, or not."""
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(  # noqa: N802 - the library's name
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Take a letter, or not."""
        if not self.at_the_end or self.at_the_end.startswith("250"):
            content = envelope.content
            assert isinstance(content, bytes)
            self.letters.append(message_from_bytes(content, policy=default))
            self.recipients += envelope.rcpt_tos
        if not self.at_the_end:
            assert server.transport is not None
            server.transport.close()
        return self.at_the_end or "421 gone"


@contextmanager
def mail_server(*, tls: ssl.SSLContext | None = None) -> Iterator[MailServer]:
    """Run a mail server on a free port of the loopback."""
    found = MailServer()

    def login(_server: SMTP, _session: Session, _envelope: Envelope, _how: str, given: Any) -> Any:
        assert isinstance(given, LoginPassword)
        right = given.login == USER.encode() and given.password == PASSWORD.encode()
        return AuthResult(success=right, handled=right)

    with socket.create_server(("127.0.0.1", 0)) as free:
        found.port = free.getsockname()[1]
    controller = Controller(
        found,
        hostname="127.0.0.1",
        port=found.port,
        authenticator=login,
        auth_required=tls is not None,
        auth_require_tls=tls is not None,
        tls_context=tls,
        require_starttls=tls is not None,
    )
    controller.start()
    try:
        yield found
    finally:
        controller.stop()


@contextmanager
def silent_server() -> Iterator[MailServer]:
    """Listen on a port where connections are taken and nobody ever speaks."""
    found = MailServer()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found.port = listening.getsockname()[1]
        yield found
