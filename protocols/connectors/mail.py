"""The settings of a connector to a mail server, and the letters that may be sent through it."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parseaddr
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.connectors.connector import Connector, Open, Part, Secret
from protocols.findings import Finding

RECIPIENTS_MAX: Final = 50
ATTACHMENTS_BYTES_MAX: Final = 10 * 1024 * 1024


class MailTemplate(Part, frozen=True, kw_only=True):
    """A letter with places for values, as `{{ name }}`; at least one of text and html."""

    subject: Annotated[str, Meta(description="The subject.")]
    text: Annotated[str, Meta(description="The letter as plain text.")] = ""
    html: Annotated[
        str, Meta(description="The letter as HTML; values are text in it, never markup.")
    ] = ""


class MailConnector(Connector, frozen=True, kw_only=True, tag="mail"):
    """A mail server that takes letters over SMTP."""

    host: Annotated[Open, Meta(description="The server.")]
    sender: Annotated[str, Meta(description="Who writes: an address, or `Name <address>`.")]
    port: Annotated[
        Annotated[int, Meta(ge=0, le=65_535)],
        Meta(description="Its port; 0: 465 with `tls`, 25 with `none`, else 587."),
    ] = 0
    security: Annotated[
        Literal["starttls", "tls", "none"],
        Meta(description="Encryption; with `starttls` and `tls` the certificate is checked."),
    ] = "starttls"
    tls_ca: Annotated[
        str, Meta(description="File of the certificates to trust; empty: those of the system.")
    ] = ""
    user: Annotated[Open, Meta(description="Whom to log in as; empty: no login.")] = ""
    password: Annotated[Secret | None, Meta(description="Of the user.")] = None
    templates: Annotated[dict[str, MailTemplate], Meta(description="By name.")] = {}
    free: Annotated[
        bool, Meta(description="Whether a request may bring its own subject and text.")
    ] = False
    recipients: Annotated[
        tuple[str, ...],
        Meta(description="To whom it may write: addresses, or domains as `@example.org`."),
    ] = ()
    recipients_max: Annotated[
        Annotated[int, Meta(ge=1, le=1_000)], Meta(description="Recipients of one letter.")
    ] = RECIPIENTS_MAX
    attachments_bytes_max: Annotated[
        Annotated[int, Meta(ge=0)], Meta(description="Bytes of all attachments of a letter.")
    ] = ATTACHMENTS_BYTES_MAX
    connections: Annotated[
        Annotated[int, Meta(ge=1, le=16)],
        Meta(description="Connections of one process, each with a thread of its own."),
    ] = 2

    @property
    def port_number(self) -> int:
        """The port that is meant."""
        return self.port or {"tls": 465, "none": 25}.get(self.security, 587)

    def findings(self) -> Iterator[Finding]:
        """Yield what no type can say."""
        if "@" not in parseaddr(self.sender)[1]:
            yield Finding(("sender",), f"{self.sender[:60]!r} is no address")
        if not self.templates and not self.free:
            hint = "name templates, or allow every letter with 'free: true'"
            yield Finding((), "no letter can be sent", hint, of_key=True)
        for name, template in self.templates.items():
            if not template.text and not template.html:
                yield Finding(("templates", name), "it has neither text nor html", of_key=True)
        for index, each in enumerate(self.recipients):
            if "@" not in each:
                hint = "a whole domain is written @example.org"
                yield Finding(("recipients", index), f"{each[:60]!r} is no address", hint)
        if self.user and self.password is None:
            yield Finding(("user",), "it has no password", "write 'password: ${env:NAME}'")


class Attachment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of a letter; ``text``, or ``base64`` for what is none."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    type: str = "application/octet-stream"
    text: str | None = None
    base64: str = ""


class Letter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``send`` takes: a template and its values, or subject and text."""

    to: str | tuple[str, ...]
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    reply_to: str = ""
    template: str = ""
    values: dict[str, Any] = {}
    subject: str = ""
    text: str = ""
    html: str = ""
    attachments: tuple[Attachment, ...] = ()


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a letter; ``refused`` has what the server said of each address."""

    message_id: str
    accepted: tuple[str, ...]
    refused: dict[str, str] = {}
