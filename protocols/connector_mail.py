"""Settings of the connector kind ``mail``: an SMTP server, and the letters that may be sent."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

RECIPIENTS_MAX: Final = 50
ATTACHMENTS_BYTES_MAX: Final = 10 * 1024 * 1024


class MailTemplate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A letter with places for values, as ``{{ name }}``; at least one of text and html.

    In ``html`` a value is escaped, so that it is text there and never markup.
    """

    subject: str
    text: str = ""
    html: str = ""


class MailSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An SMTP server, who writes, and to whom it may be written.

    ``recipients`` are addresses, or domains as ``@example.org``; empty: anybody. Letters that are
    written in the request itself, and not by a template, need ``free`` to be true.
    """

    host: str
    sender: str
    port: Annotated[int, Meta(ge=1, le=65_535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    templates: dict[str, MailTemplate] = {}
    free: bool = False
    recipients: tuple[str, ...] = ()
    recipients_max: Annotated[int, Meta(ge=1)] = RECIPIENTS_MAX
    attachments_bytes_max: Annotated[int, Meta(ge=0)] = ATTACHMENTS_BYTES_MAX
    connections: Annotated[int, Meta(ge=1, le=16)] = 4
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 30.0


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
