"""The outside world of the example, on loopback: one process for each of these.

    python -m examples.estate.servers site --port 18101 --data DIR

    site      listings, markets and owners as HTML pages; public records as JSON
    scraper   an interface that reads the site for others, with a cache
    models    language models behind the protocol of OpenAI
    gateway   messages to phones and mailboxes

``POST /switch`` with ``{"off": ["imessage"]}`` lets parts of one fail with 503 until another list
comes: that is how the example shows what happens then.
"""

from __future__ import annotations

import argparse
import csv
import json
import signal
import string
import threading
from collections.abc import Callable, Mapping
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit
from urllib.request import Request, urlopen

from examples.estate import analysis, scraping

INPUT: Final = Path(__file__).parent / "input"
PER_PAGE: Final = 4
FETCH_S: Final = 5.0
CHARS_OF_TOKEN: Final = 4
NO_SUCH: Final = (404, {"error": "there is no such thing here"})
DOWN: Final = (503, {"error": "switched off"})
LOCKED: Final = (403, {"error": "the account is locked"})

Answer = tuple[int, Any]
"""Status, and a text (HTML) or a value (JSON)."""


class World:
    """One of the servers: answers requests. Its methods are called from several threads."""

    def __init__(self, data: Path, options: Mapping[str, str]) -> None:
        self.data = data
        self.options = options
        self.off: frozenset[str] = frozenset()
        self.lock = threading.Lock()

    def get(self, path: str, query: Mapping[str, str]) -> Answer:  # noqa: ARG002 - of subclasses
        """Answer a GET."""
        return NO_SUCH

    def post(self, path: str, body: Mapping[str, Any], key: str) -> Answer:  # noqa: ARG002
        """Answer a POST with an idempotency key."""
        return NO_SUCH


class Site(World):
    """A listings site, four homes a page."""

    def __init__(self, data: Path, options: Mapping[str, str]) -> None:
        super().__init__(data, options)
        self._homes = json.loads((INPUT / "listings.json").read_text())
        self._owners = json.loads((INPUT / "owners.json").read_text())
        with (INPUT / "market.csv").open(newline="") as file:
            self._months = list(csv.DictReader(file))

    def get(self, path: str, query: Mapping[str, str]) -> Answer:
        """Show a page, or a public record."""
        kind, _, name = path.strip("/").partition("/")
        if kind in self.off or "all" in self.off:
            return DOWN
        if kind == "records":
            owner, home = self._owners.get(name), self._home(name)
            return (200, {"owner": owner, **_facts(home)}) if owner and home else NO_SUCH
        if kind == "listings":
            return 200, self._list(query)
        if kind == "listing" and (home := self._home(name)):
            return 200, self._page(home)
        if kind == "market":
            return 200, self._market(query)
        return NO_SUCH

    def _home(self, parcel: str) -> dict[str, Any] | None:
        return next((each for each in self._homes if each["parcel"] == parcel), None)

    def _list(self, query: Mapping[str, str]) -> str:
        low, high = float(query.get("min") or 0), float(query.get("max") or 0)
        found = [
            each
            for each in self._homes
            if each["location"] == query.get("location")
            and query.get("type", "") in {"", each["propertyType"]}
            and (not each["price"] or low <= each["price"] <= (high or each["price"]))
        ]
        page = int(query.get("page") or 1)
        shown = found[(page - 1) * PER_PAGE : page * PER_PAGE]
        parts = [
            '<article data-item="listing"><h2>'
            f'<a data-field="address" href="/listing/{each["parcel"]}">'
            f"{escape(each['address'])}</a>"
            "</h2>"
            f'<p>Price: <b data-field="price">{_price(each)}</b></p>'
            f'<p><span data-field="bedrooms">{each["bedrooms"]} bedrooms</span>,'
            f' <span data-field="area">{each["area"]} m</span>,'
            f' built <span data-field="built">{each["built"]}</span>,'
            f' <span data-field="daysOnMarket">{each["daysOnMarket"]} days</span></p></article>'
            for each in shown
        ]
        if page * PER_PAGE < len(found):
            rest = "&".join(f"{name}={value}" for name, value in query.items() if name != "page")
            parts.append(
                f'<a rel="next" href="/listings?{escape(rest)}&amp;page={page + 1}">More</a>'
            )
        return _html("Homes", parts)

    def _page(self, home: Mapping[str, Any]) -> str:
        facts = "".join(
            f'<li><span data-field="{name}">{escape(str(value))}</span></li>'
            for name, value in _facts(home).items()
        )
        parts = [f"<p>{escape(home['text'])}</p>", f'<ul data-item="property">{facts}</ul>']
        if home["contact"] == "page":
            owner = self._owners[home["parcel"]]
            said = {
                **owner,
                **{name: "yes" if owner[name] else "no" for name in ("absentee", "optOut")},
            }
            fields = "".join(
                f'<dd data-field="{name}">{escape(str(value))}</dd>'
                for name, value in said.items()
            )
            parts.append(f'<dl data-item="owner">{fields}</dl>')
        return _html(home["address"], parts)

    def _market(self, query: Mapping[str, str]) -> str:
        rows = [each for each in self._months if each["location"] == query.get("location")]
        rows = rows[-int(query.get("months") or 12) :]
        parts = [
            f'<tr data-item="month"><td data-field="month">{each["month"]}</td>'
            f'<td data-field="price">${int(each["price"]):,}</td>'
            f'<td data-field="inventory">{each["inventory"]}</td>'
            f'<td data-field="daysOnMarket">{each["days_on_market"]}</td></tr>'
            for each in rows
        ]
        return _html("The market", ["<table>", *parts, "</table>"])


class Scraper(World):
    """Reads the site for whoever asks, and remembers the last market data of each place."""

    def post(self, path: str, body: Mapping[str, Any], key: str) -> Answer:  # noqa: ARG002
        """Answer for a site that does not answer with 502."""
        if "all" in self.off:
            return DOWN
        site = self.options["site"]
        try:
            if path == "/v1/listings":
                found = scraping.listings(fetch, site, body)
                return 200, {"results": found, "source": "tinyfish"}
            if path == "/v1/market":
                return 200, self._market(site, body)
        except OSError as error:
            return 502, {"error": f"the site: {error}"}
        return NO_SUCH

    def _market(self, site: str, body: Mapping[str, Any]) -> dict[str, Any]:
        location, months = body["location"], int(body.get("timeRange") or 12)
        kept = self.data / "market-cache.json"
        with self.lock:
            cache: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
            if "cached-data" in (body.get("sources") or ()) and location in cache:
                return {"results": cache[location], "source": "tinyfish, from its cache"}
            rows = scraping.market(fetch, site, location, months)
            cache[location] = {"location": location, "months": rows}
            kept.write_text(json.dumps(cache))
        return {"results": cache[location], "source": "tinyfish"}


class Models(World):
    """Language models; each answers a task by the rules of ``analysis``."""

    def get(self, path: str, query: Mapping[str, str]) -> Answer:  # noqa: ARG002
        """List the models."""
        if "all" in self.off:
            return DOWN
        names = self.options["models"].split(",")
        return 200, {"object": "list", "data": [{"id": each, "object": "model"} for each in names]}

    def post(self, path: str, body: Mapping[str, Any], key: str) -> Answer:  # noqa: ARG002
        """Complete a conversation."""
        if "all" in self.off or body.get("model") in self.off:
            return DOWN
        if path != "/v1/chat/completions" or body.get("model") not in self.options["models"].split(
            ","
        ):
            return NO_SUCH
        prompt = body["messages"][-1]["content"]
        words, _, data = prompt.partition("\n\n")
        if any(task in self.off and task in words for task in analysis.TASKS):
            return 400, {"error": {"message": "the policy of this house forbids it"}}
        try:
            text = json.dumps(analysis.answer(words, json.loads(data or "{}")))
        except LookupError:
            text = json.dumps({"ready": True})
        except (ValueError, TypeError, AttributeError) as error:
            return 400, {"error": {"message": f"the data make no sense: {type(error).__name__}"}}
        read, written = len(prompt) // CHARS_OF_TOKEN, len(text) // CHARS_OF_TOKEN
        message = {"role": "assistant", "content": text}
        return 200, {
            "id": "c-1",
            "object": "chat.completion",
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": read,
                "completion_tokens": written,
                "total_tokens": read + written,
            },
        }


class Gateway(World):
    """Sends messages: a line in a file for each. A key that it knows sends nothing again."""

    def __init__(self, data: Path, options: Mapping[str, str]) -> None:
        super().__init__(data, options)
        self._file = data / "messages.jsonl"
        self._sent: dict[str, list[dict[str, Any]]] = {}
        if self._file.exists():
            for line in self._file.read_text().splitlines():
                message = json.loads(line)
                self._sent.setdefault(message["key"], []).append(message)

    def post(self, path: str, body: Mapping[str, Any], key: str) -> Answer:
        """Send to all contacts over one channel."""
        channel = str(body.get("channel") or path.rpartition("/")[2])
        if "account" in self.off:
            return LOCKED
        if channel in self.off:
            return DOWN
        if channel not in {"imessage", "sms", "email", "call"}:
            return NO_SUCH
        with self.lock:
            if key not in self._sent:
                text = str(body.get("messageTemplate") or "Hello {name}")
                self._sent[key] = [_message(each, channel, text, key) for each in body["contacts"]]
                with self._file.open("a") as file:
                    file.writelines(json.dumps(each) + "\n" for each in self._sent[key])
            sent = {each["parcel"]: each for each in self._sent[key]}
        results = [
            {**each, "outreach": channel, "message": sent[each["parcel"]]["text"]}
            for each in body["contacts"]
        ]
        return 200, {
            "results": results,
            "channel": channel,
            "when": body.get("scheduling") or "now",
        }


ROLES: Final[dict[str, Callable[[Path, Mapping[str, str]], World]]] = {
    "site": Site,
    "scraper": Scraper,
    "models": Models,
    "gateway": Gateway,
}


def fetch(url: str) -> str:
    """Return the text at an address. Raises OSError."""
    with urlopen(Request(url, headers={"User-Agent": "estate"}), timeout=FETCH_S) as answer:  # noqa: S310 - of our own site
        text: str = answer.read().decode()
        return text


def handler(world: World) -> type[BaseHTTPRequestHandler]:
    """Return what answers the requests of one server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/":
                self._send((200, {"off": sorted(world.off)}))
            else:
                self._send(world.get(parts.path, dict(parse_qsl(parts.query))))

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            try:
                body = json.loads(self.rfile.read(length) or b"{}")
                if self.path == "/switch":
                    world.off = frozenset(body["off"])
                    self._send((200, {"off": sorted(world.off)}))
                    return
                found = world.post(self.path, body, self.headers.get("Idempotency-Key") or "")
            except (ValueError, KeyError, TypeError) as error:
                found = (400, {"error": f"{type(error).__name__}: {error}"})
            self._send(found)

        def log_message(self, *_: Any) -> None:
            pass

        def _send(self, answer: Answer) -> None:
            status, content = answer
            page = isinstance(content, str)
            data = content.encode() if page else json.dumps(content).encode()
            self.send_response(status)
            self.send_header(
                "Content-Type", "text/html; charset=utf-8" if page else "application/json"
            )
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def _facts(home: Mapping[str, Any]) -> dict[str, Any]:
    names = ("address", "price", "area", "built", "daysOnMarket")
    return {name: home[name] for name in names}


def _price(home: Mapping[str, Any]) -> str:
    return f"${home['price']:,}" if home["price"] else "on request"


def _html(title: str, parts: list[str]) -> str:
    return f"<!doctype html><title>{escape(title)}</title><h1>{escape(title)}</h1>{''.join(parts)}"


def _message(contact: Mapping[str, Any], channel: str, template: str, key: str) -> dict[str, Any]:
    owner = contact["owner"]
    words = {"name": owner["name"], "address": contact.get("address") or contact["parcel"]}
    text = "".join(
        before + str(words.get(name, "") if name else "")
        for before, name, _, _ in string.Formatter().parse(template)
    )
    to = owner["email"] if channel == "email" else owner["phone"]
    return {"key": key, "parcel": contact["parcel"], "to": to, "channel": channel, "text": text}


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="A part of the outside world of the example.")
    parser.add_argument("role", choices=sorted(ROLES))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of what it remembers")
    parser.add_argument("--site", default="", help="address of the site, for the scraper")
    parser.add_argument("--models", default="", help="names of the models, with commas")
    given = parser.parse_args(arguments)
    given.data.mkdir(parents=True, exist_ok=True)
    world = ROLES[given.role](given.data, {"site": given.site, "models": given.models})
    server = ThreadingHTTPServer(("127.0.0.1", given.port), handler(world))
    server.daemon_threads = True
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
