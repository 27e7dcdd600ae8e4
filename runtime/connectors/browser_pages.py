"""A browser and its pages, on the thread that owns them."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from mimetypes import guess_type
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from playwright import sync_api

from protocols.blobs import File, Result
from protocols.connectors.browser import (
    Action,
    BrowserConnector,
    Download,
    Interact,
    Pdf,
    ScrapeField,
    Screenshot,
    Visit,
    is_allowed,
)
from protocols.connectors.connector import RESULT_BYTES_MAX
from protocols.error_kinds import (
    COMPLIANCE,
    NETWORK,
    OVER_LIMIT,
    SYSTEM,
    TIMED_OUT,
    kind_of_status,
)
from protocols.failure import TIMEOUT, VALIDATION
from protocols.service import Failed, Refused, Unknown
from runtime.connectors.secrets import Secret

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TEXT_LENGTH_MAX: Final = 20_000
"""Characters of a page's text that ``navigate`` returns."""
FIELDS_MAX: Final = 5_000
"""Matches of one selector; a page with more is no list for a history."""
_CONTENT_BYTES_MAX: Final = (RESULT_BYTES_MAX - 4_096) * 3 // 4
"""Of a picture or a document: base64 makes it longer."""
_BUSY, _CLIENT, _SERVER = 429, 400, 500


class Browser:
    """One browser; it is started when a page is wanted, and again when it has died."""

    def __init__(self, settings: BrowserConnector) -> None:
        self.settings = settings
        self._playwright: sync_api.Playwright | None = None
        self._browser: sync_api.Browser | None = None
        self._mark = f"--movant-mark={token_hex(8)}"

    def version(self) -> str:
        """Return what the browser says that it is."""
        return self._started().version

    @contextmanager
    def page(self, visit: Visit, seconds: float) -> Iterator[Page]:
        """Load a page, in a context that knows nothing of others; it is closed at the end.

        Raises Refused, Failed and Unknown; so does what is done on the page.
        """
        deadline = time.monotonic() + seconds
        browser = self._started()
        page: Page | None = None
        context = browser.new_context(
            viewport={"width": self.settings.width, "height": self.settings.height},
            user_agent=self.settings.user_agent or None,
            accept_downloads=isinstance(visit, Download),
            service_workers="block",
        )
        try:
            page = Page(context, self.settings, deadline)
            if not isinstance(visit, Download) or visit.actions:
                page.load(visit)
            yield page
        except sync_api.Error as error:
            raise _problem(error, page) from error
        finally:
            with suppress(sync_api.Error):
                context.close()

    def kill(self) -> None:
        """End the browser from another thread: whoever waits for it is released."""
        for each in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if self._mark.encode() in each.read_bytes().split(b"\0"):
                    os.kill(int(each.parent.name), signal.SIGKILL)

    def close(self) -> None:
        """End the browser."""
        browser, self._browser = self._browser, None
        playwright, self._playwright = self._playwright, None
        with suppress(sync_api.Error):
            if browser is not None:
                browser.close()
        if playwright is not None:
            playwright.stop()

    def _started(self) -> sync_api.Browser:
        if self._browser is not None and self._browser.is_connected():
            return self._browser
        if self._playwright is None:
            self._playwright = sync_api.sync_playwright().start()
        rules = ["MAP * ~NOTFOUND"]
        rules += [f"EXCLUDE {host.partition(':')[0]}" for host in self.settings.hosts]
        arguments = [
            f"--host-resolver-rules={', '.join(rules)}",
            "--no-proxy-server",  # it would look for the hosts in our place
            self._mark,
        ]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # Chromium has none for root
        try:
            self._browser = self._playwright.chromium.launch(
                executable_path=_executable(self.settings), args=arguments
            )
        except sync_api.Error as error:
            raise Failed(SYSTEM, f"the browser does not start: {_first_line(error)}") from error
        return self._browser


class Page:
    """One page of one request."""

    def __init__(
        self, context: sync_api.BrowserContext, settings: BrowserConnector, deadline: float
    ) -> None:
        self.acted = False
        """Whether something was done that may have had an effect."""
        self.led_to = ""
        """Where it wanted to go and must not."""
        self._settings = settings
        self._deadline = deadline
        self._status = 0
        context.route("**/*", self._guard)
        context.on("request", self._note)
        self._page = context.new_page()

    def load(self, visit: Visit) -> None:
        """Go to the page. Raises Refused and Failed for a status that is an error."""
        self._limit()
        response = self._page.goto(visit.url, wait_until="load")
        if response is not None:
            self._status = response.status
            self._check_status(response)
        if visit.wait_for:
            self._limit()
            self._page.locator(visit.wait_for).first.wait_for()

    def seen(self) -> dict[str, Any]:
        """Return where it is and what it shows."""
        return {
            "url": self._page.url,
            "status": self._status,
            "title": self._page.title(),
            "text": self._page.locator("body").inner_text()[:TEXT_LENGTH_MAX],
        }

    def fields(self, fields: Mapping[str, str | ScrapeField]) -> dict[str, Any]:
        """Return fields of the page. Raises Refused when one is missing."""
        return {"url": self._page.url, "fields": _read(self._page.locator(":root"), fields)}

    def interact(self, request: Interact, secrets: Mapping[str, Secret]) -> dict[str, Any]:
        """Do the actions in order, then return the fields."""
        self._do(request.actions, secrets)
        self._limit()
        self._page.wait_for_load_state()
        self._check_place()
        try:
            return self.fields(request.fields)
        except Refused as error:  # of what is there now: the actions are done
            raise Unknown(error.kind, f"it is done, but {error.message}") from error

    def _do(self, actions: Sequence[Action], secrets: Mapping[str, Secret]) -> None:
        for action in actions:
            if action.secret and action.secret not in secrets:
                raise Refused(VALIDATION, f"there is no secret {action.secret!r} to fill in")
        for index, action in enumerate(actions):
            self._limit()
            try:
                self._act(action, secrets)
            except sync_api.TimeoutError as error:
                self._check_place()
                message = f"action {index + 1}, {action.do} {action.selector!r}: not in time"
                if self.acted:
                    raise Unknown(TIMEOUT, message) from error
                raise Failed(TIMED_OUT, message) from error

    def download(self, request: Download, secrets: Mapping[str, Secret]) -> Any:
        """Return a file that the browser was given, to be kept with the run."""
        limit = self._settings.artifact_bytes_max
        files: list[sync_api.Download] = []
        too_much = False

        def look(progress: dict[str, Any]) -> None:
            nonlocal too_much
            if progress["receivedBytes"] > limit and files and not too_much:
                too_much = True
                files[0].cancel()

        self._page.on("download", lambda file: files.append(file))  # noqa: PLW0108 - it is marked
        watch = self._page.context.new_cdp_session(self._page)
        watch.on("Page.downloadProgress", look)
        watch.send("Page.enable")
        self._limit()
        with self._page.expect_download() as begun:
            if request.actions:
                self._do(request.actions, secrets)
            else:
                self._go(request.url)
        file = begun.value
        problem = file.failure()
        too_much = too_much or (not problem and file.path().stat().st_size > limit)
        if too_much:
            said = f"a file of more than {limit} bytes"
            raise (Unknown if self.acted else Refused)(OVER_LIMIT, said)
        if problem:
            raise (Unknown if self.acted else Failed)(NETWORK, f"the download ended: {problem}")
        kind = guess_type(request.artifact)[0] or "application/octet-stream"
        content = file.path().read_bytes()
        found = self._content(content, kind, request.artifact)
        found.value.update(url=file.url, suggested=file.suggested_filename)
        return found

    def _go(self, url: str) -> None:
        """Go to an address that is a file. Raises Refused and Failed for one that is none."""
        try:
            response = self._page.goto(url, wait_until="commit")
        except sync_api.Error as error:
            if "Download is starting" in error.message:
                return
            raise
        if response is not None:
            self._check_status(response)
        raise Refused(VALIDATION, f"{url[:200]!r} is a page and no file")

    def screenshot(self, request: Screenshot) -> Any:
        """Return a picture."""
        self._limit()
        quality = request.quality if request.format == "jpeg" else None
        if request.selector:
            part = self._page.locator(request.selector).first
            content = part.screenshot(type=request.format, quality=quality)
        else:
            content = self._page.screenshot(
                type=request.format, quality=quality, full_page=request.full_page
            )
        return self._content(content, f"image/{request.format}", request.artifact)

    def pdf(self, request: Pdf) -> Any:
        """Return the page as PDF."""
        self._limit()
        content = self._page.pdf(
            format=request.format, landscape=request.landscape, print_background=True
        )
        return self._content(content, "application/pdf", request.artifact)

    def _content(self, content: bytes, kind: str, artifact: str) -> Any:
        """Return a file as a result, or as an artifact. Raises Refused when it is too large."""
        limit = self._settings.artifact_bytes_max if artifact else _CONTENT_BYTES_MAX
        if len(content) > limit:
            advice = "" if artifact else ": let it be an artifact"
            raise Refused(OVER_LIMIT, f"{len(content)} bytes are more than {limit}{advice}")
        found: dict[str, Any] = {"content_type": kind, "bytes": len(content)}
        if artifact:
            return Result({**found, "artifact": artifact}, (File(artifact, content, kind),))
        return {**found, "base64": base64.b64encode(content).decode()}

    def _act(self, action: Action, secrets: Mapping[str, Secret]) -> None:
        element = self._page.locator(action.selector).first
        if action.do == "wait":
            element.wait_for()
            return
        element.wait_for()  # what is not there has no effect
        self.acted = True
        value = secrets[action.secret].reveal() if action.secret else action.value
        match action.do:
            case "fill":
                element.fill(value)
            case "select":
                element.select_option(value)
            case "press":
                element.press(value)
            case "check":
                element.check()
            case "click":
                element.click()

    def _limit(self) -> None:
        """Let the next thing take as long as there is time."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise sync_api.TimeoutError("no time is left")
        self._page.set_default_timeout(left * 1000)
        self._page.set_default_navigation_timeout(left * 1000)

    def _guard(self, route: sync_api.Route) -> None:
        if is_allowed(route.request.url, self._settings.hosts):
            route.continue_()
        else:
            route.abort("blockedbyclient")

    def _note(self, request: sync_api.Request) -> None:
        if request.is_navigation_request() and not is_allowed(request.url, self._settings.hosts):
            self.led_to = request.url

    def _check_place(self) -> None:
        """Raise Unknown when an action has led to where nothing may be loaded, or can be."""
        if self.led_to:
            raise Unknown(COMPLIANCE, f"it led to {self.led_to[:200]}, which may not be loaded")
        if self._page.url.startswith("chrome-error:"):
            raise Unknown(NETWORK, "it led to a page that cannot be loaded")

    def _check_status(self, response: sync_api.Response) -> None:
        status = response.status
        if status < _CLIENT:
            return
        kind, said = kind_of_status(status), f"{response.url[:200]}: HTTP status {status}"
        if status < _SERVER and status != _BUSY:
            raise Refused(kind, said, details={"status": status})
        raise Failed(TIMED_OUT if kind == TIMEOUT else kind, said, details={"status": status})


def _read(root: sync_api.Locator, fields: Mapping[str, str | ScrapeField]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, given in fields.items():
        field = ScrapeField(selector=given) if isinstance(given, str) else given
        matches = root.locator(field.selector)
        count = matches.count()
        if field.all:
            if count > FIELDS_MAX:
                raise Refused(OVER_LIMIT, f"field {name!r} has more than {FIELDS_MAX} matches")
            found[name] = [_value(matches.nth(index), field) for index in range(count)]
        elif count:
            found[name] = _value(matches.first, field)
        elif field.required:
            raise Refused(VALIDATION, f"field {name!r}: nothing matches {field.selector!r}")
        else:
            found[name] = None
    return found


def _value(element: sync_api.Locator, field: ScrapeField) -> Any:
    if field.fields:
        return _read(element, field.fields)
    if field.attribute:
        return element.get_attribute(field.attribute)
    return element.inner_text().strip()


def _problem(error: sync_api.Error, page: Page | None) -> Exception:
    """Return the answer for an error of the browser."""
    message = _first_line(error)
    acted = page is not None and page.acted
    if page is not None and page.led_to and not acted:
        return Refused(COMPLIANCE, f"it leads to {page.led_to[:200]}, which may not be loaded")
    late = isinstance(error, sync_api.TimeoutError)
    if acted:
        return Unknown(TIMEOUT if late else SYSTEM, message)
    if late:
        return Failed(TIMED_OUT, message)
    if "Malformed" in message or "not a valid selector" in message or "Unknown engine" in message:
        return Refused(VALIDATION, message)
    return Failed(NETWORK if "net::" in message else SYSTEM, message)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:500] or type(error).__name__


def _executable(settings: BrowserConnector) -> str | None:
    """Return the path of the browser; None: Playwright's own. Raises Failed."""
    if settings.executable:
        found = shutil.which(settings.executable)
        if found is None:
            raise Failed(SYSTEM, f"there is no browser {settings.executable!r}")
        return found
    return next((path for name in NAMES if (path := shutil.which(name))), None)
