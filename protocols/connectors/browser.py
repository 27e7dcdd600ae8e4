"""The settings of a connector to a browser, and what it may be asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from protocols.blobs import BLOB_BYTES_MAX
from protocols.connectors.connector import Connector, Secret
from protocols.findings import Finding

BrowserOperation = Literal["navigate", "scrape", "interact", "screenshot", "pdf", "download"]
ARTIFACT_BYTES_DEFAULT: Final = 8 * 1024 * 1024
ACTIONS_MAX: Final = 100
_HOST: Final = re.compile(r"(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?\Z")


class BrowserConnector(Connector, frozen=True, kw_only=True, tag="browser"):
    """Chromium without a window, on pages of some hosts."""

    hosts: Annotated[
        tuple[str, ...],
        Meta(description="Hosts that may be loaded from: `name`, `*.name`, `name:port`."),
    ]
    operations: Annotated[
        tuple[BrowserOperation, ...], Meta(description="What may be asked for.")
    ] = get_args(BrowserOperation)
    executable: Annotated[
        str, Meta(description="The browser; empty: a Chromium on PATH, else Playwright's own.")
    ] = ""
    browsers: Annotated[
        Annotated[int, Meta(ge=1, le=8)],
        Meta(description="Browsers of one process, each with a thread of its own."),
    ] = 1
    width: Annotated[Annotated[int, Meta(ge=100)], Meta(description="Of the page, in pixels.")] = (
        1280
    )
    height: Annotated[
        Annotated[int, Meta(ge=100)], Meta(description="Of the page, in pixels.")
    ] = 800
    artifact_bytes_max: Annotated[
        Annotated[int, Meta(ge=1, le=BLOB_BYTES_MAX)],
        Meta(description="Of a picture, a document or a download that is kept with the run."),
    ] = ARTIFACT_BYTES_DEFAULT
    user_agent: Annotated[str, Meta(description="What it says that it is; empty: its own.")] = ""
    secrets: Annotated[
        dict[str, Secret], Meta(description="What an action may fill in, by name.")
    ] = {}

    def findings(self) -> Iterator[Finding]:
        """Yield what no type can say."""
        if not self.hosts:
            yield Finding(("hosts",), "no page may be loaded")
        for index, each in enumerate(self.hosts):
            if _HOST.match(each) is None:
                hint = "a name without scheme and path, such as *.example.org"
                yield Finding(("hosts", index), f"{each[:60]!r} is no host", hint)


class Visit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page, and what it has to show before it counts as there."""

    url: str
    wait_for: str = ""


class ScrapeField(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is read of a page: the text of an element, or an attribute of it.

    With ``all`` it is a list of all that match. With ``fields`` each match is a map of fields
    inside of it. One that is not there is null only where it is not ``required``.
    """

    selector: str
    attribute: str = ""
    all: bool = False
    fields: dict[str, str | ScrapeField] = {}
    required: bool = True


class Scrape(Visit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read fields of a page; a selector alone stands for its text."""

    fields: dict[str, str | ScrapeField]


class Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to do on a page. ``secret`` names what is filled in instead of ``value``."""

    do: Literal["fill", "click", "select", "check", "press", "wait"]
    selector: str
    value: str = ""
    secret: str = ""


class Interact(Visit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Do something on a page, then read fields of where it has led."""

    actions: Annotated[tuple[Action, ...], Meta(min_length=1, max_length=ACTIONS_MAX)]
    fields: dict[str, str | ScrapeField] = {}


class Download(Visit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keep a file with the run: the address itself, or what the actions on a page lead to."""

    artifact: str
    actions: Annotated[tuple[Action, ...], Meta(max_length=ACTIONS_MAX)] = ()


class Screenshot(Visit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A picture of a page, or of one element. With ``artifact`` it is kept with the run."""

    artifact: str = ""

    selector: str = ""
    full_page: bool = False
    format: Literal["png", "jpeg"] = "png"
    quality: Annotated[int, Meta(ge=1, le=100)] = 75


class Pdf(Visit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page as it is printed. With ``artifact`` it is kept with the run."""

    artifact: str = ""
    format: Literal["A3", "A4", "A5", "Letter", "Legal"] = "A4"
    landscape: bool = False


def is_allowed(url: str, hosts: tuple[str, ...]) -> bool:
    """Tell whether a page or a part of one may be loaded."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return False
    if parts.scheme in {"data", "blob", "about"}:
        return True
    return parts.scheme in {"http", "https", "ws", "wss"} and any(
        _fits(each.lower(), host, port) for each in hosts
    )


def _fits(allowed: str, host: str, port: int | None) -> bool:
    name, _, wanted = allowed.partition(":")
    if wanted and wanted != str(port):
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name
