"""The connector ``browser``, with a real Chromium and pages that are served on the loopback."""

from __future__ import annotations

import base64
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec
import pytest
import trio

from actors.files.connectors import parse
from protocols.blobs import Result
from protocols.connectors.browser import (
    Download,
    Interact,
    Pdf,
    Scrape,
    Screenshot,
    Visit,
    is_allowed,
)
from protocols.service import Call, Failed, Refused, Unknown
from runtime.connectors.frame import opened
from runtime.connectors.secrets import Secrets

pytest.importorskip("playwright", reason="the extra 'browser' is not installed")

REQUESTS: Final[dict[str, Any]] = {
    "navigate": Visit,
    "scrape": Scrape,
    "interact": Interact,
    "screenshot": Screenshot,
    "pdf": Pdf,
    "download": Download,
}
LIST: Final = """<title>Houses</title><h1>Houses</h1>
<ul><li><a href="/a">One</a> <b>100</b></li><li><a href="/b">Two</a> <b>200</b></li></ul>
<img src="http://elsewhere.example/pixel.png"><p id="late"></p>
<script>setTimeout(() => document.getElementById('late').innerHTML = '<i>there</i>', 50)</script>
"""
FORM: Final = """<form action="/done" method="post"><input name="who" id="who">
<input name="password" id="password" type="password">
<select name="size" id="size"><option>S</option><option>L</option></select>
<button id="go">Go</button></form><div id="never" hidden></div>
<button id="away" onclick="location.href = '/away'">Away</button>
<a id="file" href="/file?5000">File</a>"""
BUSY: Final = "<script>addEventListener('beforeprint', () => { for (;;); })</script>"


class Site:
    """Pages, what was sent to them, and who was asked for."""

    def __init__(self) -> None:
        self.sent: list[dict[str, list[str]]] = []
        self.written = 0
        self.port = 0
        self.url = ""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Serve pages on a free port of the loopback."""
    found = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/file"):
                self._file(int(self.path.partition("?")[2] or 0))
                return
            if self.path == "/away":
                self.send_response(302)
                self.send_header("location", f"http://localhost:{found.port}/list")
                self.end_headers()
                return
            page = {"/list": LIST, "/form": FORM, "/busy": BUSY}
            status = 200 if self.path in page else 404
            self._page(page.get(self.path, "nothing"), status)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            found.sent.append(parse_qs(body))
            self._page(f"<h1>Thank you, {found.sent[-1]['who'][0]}</h1>", 200)

        def _file(self, size: int) -> None:
            self.send_response(200)
            self.send_header("content-disposition", 'attachment; filename="list.csv"')
            self.end_headers()  # without a length: nobody knows how much it will be
            with suppress(OSError):
                for _ in range(size // 1000):
                    self.wfile.write(b"x" * 1000)
                    found.written += 1000

        def _page(self, text: str, status: int) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    found.url = f"http://127.0.0.1:{found.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@asynccontextmanager
async def browser(site: Site, **changes: Any) -> AsyncIterator[Any]:
    """Open the connector; call what it yields with operation, path and the rest of the request."""
    if not any(shutil.which(each) for each in ("chromium", "chromium-browser", "google-chrome")):
        pytest.skip("there is no Chromium on PATH")
    given = {
        "kind": "browser",
        "hosts": [f"127.0.0.1:{site.port}"],
        "secrets": {"password": "${env:PASSWORD}"},
        "timeout": "20s",
        **changes,
    }
    read = parse(msgspec.json.encode({"connectors": {"web": given}}))
    assert read.problems == []
    assert read.value is not None
    secrets = Secrets(Path(), {"PASSWORD": "open-sesame"})
    async with opened("web", read.value.connectors["web"], secrets) as found:

        async def ask(operation: str, path: str, /, within_s: float = 0.0, **rest: Any) -> Any:
            url = path if "://" in path else site.url + path
            request = msgspec.convert({"url": url, **rest}, REQUESTS[operation])
            call = Call("web", operation, timeout_s=within_s)
            return await found.service.operations[operation].function(request, call)

        yield ask


async def test_pages_are_read_filled_in_and_printed(site: Site) -> None:
    """A page that hangs holds nobody for long, and a new browser serves the next ones."""
    async with browser(site, artifact_bytes_max=1_000_000) as ask:
        seen = await ask("navigate", "/list", wait_for="#late i")
        with pytest.raises(Failed) as given_up:
            await ask("pdf", "/busy", within_s=3.0)
        scraped = await ask(
            "scrape",
            "/list",
            fields={
                "title": "h1",
                "houses": {
                    "selector": "li",
                    "all": True,
                    "fields": {
                        "name": "a",
                        "price": "b",
                        "link": {"selector": "a", "attribute": "href"},
                    },
                },
                "agent": {"selector": "#agent", "required": False},
            },
        )
        filled = await ask(
            "interact",
            "/form",
            actions=[
                {"do": "fill", "selector": "#who", "value": "Ann"},
                {"do": "fill", "selector": "#password", "secret": "password"},
                {"do": "select", "selector": "#size", "value": "L"},
                {"do": "click", "selector": "#go"},
                {"do": "wait", "selector": "h1"},
            ],
            fields={"said": "h1"},
        )
        picture = await ask("screenshot", "/list", format="jpeg", selector="ul")
        printed = await ask("pdf", "/list")
        wrong = await _what_goes_wrong(ask)
        kept = [
            await ask("screenshot", "/list", artifact="list.png"),
            await ask("download", "/file?5000", artifact="list.csv"),
            await ask(
                "download",
                "/form",
                artifact="by-click.csv",
                actions=[{"do": "click", "selector": "#file"}],
            ),
        ]

    assert all(isinstance(each, Result) for each in kept)
    assert [each.value["artifact"] for each in kept] == ["list.png", "list.csv", "by-click.csv"]
    png, direct, clicked = (each.artifacts[0] for each in kept)
    assert png.content.startswith(b"\x89PNG")
    assert (png.content_type, direct.content_type) == ("image/png", "text/csv")
    assert direct.content == clicked.content == b"x" * 5000
    assert kept[1].value["suggested"] == "list.csv"
    assert site.written < 100_000_000
    assert given_up.value.kind == "timeout_error"
    assert seen["title"] == "Houses"
    assert "there" in seen["text"]
    assert seen["status"] == 200
    assert scraped["fields"] == {
        "title": "Houses",
        "houses": [
            {"name": "One", "price": "100", "link": "/a"},
            {"name": "Two", "price": "200", "link": "/b"},
        ],
        "agent": None,
    }
    assert filled["fields"] == {"said": "Thank you, Ann"}
    assert site.sent == [{"who": ["Ann"], "password": ["open-sesame"], "size": ["L"]}]
    assert base64.b64decode(picture["base64"]).startswith(b"\xff\xd8")
    assert base64.b64decode(printed["base64"]).startswith(b"%PDF")
    assert wrong == {
        "elsewhere": (Refused, "compliance"),
        "file": (Refused, "compliance"),
        "redirect": (Refused, "compliance"),
        "no field": (Refused, "validation"),
        "led away": (Unknown, "compliance"),
        "no name": (Refused, "validation"),
        "no file": (Refused, "validation"),
        "absent": (Refused, "refused"),
        "endless": (Refused, "over_limit"),
    }
    with trio.fail_after(5):  # none is left
        while _browsers():
            await trio.sleep(0.05)


async def _what_goes_wrong(ask: Any) -> dict[str, tuple[type[Exception], str]]:
    found: dict[str, tuple[type[Exception], str]] = {}

    async def note(claim: str, *given: Any, **rest: Any) -> None:
        with pytest.raises((Refused, Failed, Unknown)) as raised:
            await ask(*given, **rest)
        error: Any = raised.value
        found[claim] = (type(error), error.kind)

    await note("elsewhere", "navigate", "http://elsewhere.example/")
    await note("file", "navigate", "file:///etc/hostname")
    await note("redirect", "navigate", "/away")
    await note("no field", "scrape", "/list", fields={"agent": "#agent"})
    await note(
        "led away",
        "interact",
        "/form",
        actions=[{"do": "click", "selector": "#away"}, {"do": "wait", "selector": "ul"}],
    )
    await note("no name", "screenshot", "/list", artifact="../list.png")
    await note("no file", "download", "/list", artifact="list.csv")
    await note("absent", "download", "/nothing", artifact="list.csv")
    await note("endless", "download", "/file?100000000", artifact="list.csv")
    return found


def _browsers() -> list[int]:
    """Return the processes of browsers of this process's connectors that are left."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            marked = b"--movant-mark=" in each.read_bytes()
        except OSError:
            continue
        if marked:
            found.append(int(each.parent.name))
    return found


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.org/a", True),
        ("https://EXAMPLE.org:8443/a", True),
        ("https://www.example.org/", False),
        ("https://a.shop.example/", True),
        ("https://shop.example/", False),
        ("https://evilshop.example/", False),
        ("http://127.0.0.1:80/", True),
        ("http://127.0.0.1:81/", False),
        ("https://example.org@evil.example/", False),
        ("file:///etc/passwd", False),
        ("http://[::1", False),
        ("data:text/plain,x", True),
    ],
)
def test_a_host_is_allowed_by_its_whole_name(url: str, *, allowed: bool) -> None:
    """By name, by port where one is named, and below a domain; never by a part of a name."""
    hosts = ("example.org", "*.shop.example", "127.0.0.1:80")

    assert is_allowed(url, hosts) is allowed
