"""The connector kind ``browser``: pages in a real Chromium, through Playwright (an extra).

    request -> a hand with a browser -> a fresh context and page -> result; the page is closed

Playwright's own API blocks and belongs to one thread: each browser has one. Nothing is loaded
from a host that is not allowed, wherever a page leads: the browser finds no address for it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import trio

from protocols.blobs import check_artifact_name
from protocols.connectors.browser import (
    Action,
    BrowserConnector,
    Download,
    Interact,
    Pdf,
    Scrape,
    Screenshot,
    Visit,
    is_allowed,
)
from protocols.error_kinds import COMPLIANCE, TIMED_OUT
from protocols.errors import BadValueError
from protocols.failure import TIMEOUT, VALIDATION
from protocols.service import Call, Failed, Refused, Service, Unknown
from runtime.connectors.browser_pages import Browser, Page
from runtime.connectors.frame import Opened
from runtime.connectors.hands import Hands, hands
from runtime.connectors.secrets import Secret, Secrets

T = TypeVar("T")

GRACE_S: Final = 0.5
"""How much longer than its time a page may take, before its browser is killed."""


@asynccontextmanager
async def opened(name: str, settings: BrowserConnector, secrets: Secrets) -> AsyncIterator[Opened]:
    """Offer a browser."""
    service = Service(name, version="1.0.0", description=settings.description)
    async with hands(settings.browsers, partial(Browser, settings), Browser.close) as threads:
        desk = _Desk(threads, settings, secrets)
        for operation in settings.operations:
            service.operation(operation)(getattr(desk, operation))
        yield Opened(service, partial(threads.check, "browser", Browser.version))


class _Desk:
    """The operations, by their names."""

    def __init__(
        self, threads: Hands[Browser], settings: BrowserConnector, secrets: Secrets
    ) -> None:
        self._threads = threads
        self._settings = settings
        self._secrets = secrets

    async def navigate(self, request: Visit, call: Call) -> Any:
        """Load a page; return its address, status, title and text."""
        return await self._on_page(request, call, Page.seen)

    async def scrape(self, request: Scrape, call: Call) -> Any:
        """Load a page, and return fields of it."""
        return await self._on_page(request, call, lambda page: page.fields(request.fields))

    async def interact(self, request: Interact, call: Call) -> Any:
        """Load a page, do something on it, and return fields of where that led."""
        secrets = self._named(request.actions)
        return await self._on_page(request, call, lambda page: page.interact(request, secrets))

    async def download(self, request: Download, call: Call) -> Any:
        """Keep a file with the run: that of the address, or that to which actions lead."""
        secrets = self._named(request.actions)
        return await self._on_page(request, call, lambda page: page.download(request, secrets))

    async def screenshot(self, request: Screenshot, call: Call) -> Any:
        """Load a page, and return a picture of it."""
        return await self._on_page(request, call, lambda page: page.screenshot(request))

    async def pdf(self, request: Pdf, call: Call) -> Any:
        """Load a page, and return it as PDF."""
        return await self._on_page(request, call, lambda page: page.pdf(request))

    def _named(self, actions: Sequence[Action]) -> dict[str, Secret]:
        """Return the secrets that actions fill in."""
        known = self._settings.secrets
        named = {each.secret for each in actions} & known.keys()
        return {name: self._secrets.reveal(known[name]) for name in named}

    async def _on_page(self, visit: Visit, call: Call, work: Callable[[Page], T]) -> T:
        if not visit.url.startswith(("http://", "https://")) or not is_allowed(
            visit.url, self._settings.hosts
        ):
            raise Refused(COMPLIANCE, f"{visit.url[:200]!r} is no page that may be loaded")
        if artifact := getattr(visit, "artifact", None):
            try:
                check_artifact_name(artifact)
            except BadValueError as error:
                raise Refused(VALIDATION, error.message) from None
        seconds = call.timeout_s or self._settings.timeout_s
        at_work: list[Browser] = []

        def do(browser: Browser) -> T:
            at_work.append(browser)
            with browser.page(visit, seconds) as page:
                return work(page)

        done = False
        try:
            with trio.move_on_after(seconds + GRACE_S):
                result = await self._threads.do(do)
                done = True
                return result
        finally:
            if not done and sys.exc_info()[0] in {None, trio.Cancelled}:
                for browser in at_work:  # its thread waits for it, however long
                    browser.kill()
        if getattr(visit, "actions", ()):
            raise Unknown(TIMEOUT, "the page does not come to rest")
        raise Failed(TIMED_OUT, "the page does not come to rest")
