"""Pages of a listings site, read: listings, who sells, and the market. Pure but for ``fetch``.

listings(fetch, {"location": "Riverton"})   all its pages, one after the other
contacts(fetch, urls, sources)              from the pages, else from the public records
market(fetch, "Riverton", months)           one row a month
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import quote, urlencode, urljoin

Fetch = Callable[[str], str]
"""Returns the text at an address. Raises OSError when it is not to be had."""

LIMIT: Final = 100
PAGES_MAX: Final = 50
NUMBERS: Final = frozenset(
    {"price", "bedrooms", "area", "built", "daysOnMarket", "inventory", "yearsOwned"}
)
PAGE: Final = "listing-page"
RECORDS: Final = "public-records"
VOID: Final = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Item(dict[str, Any]):
    """What one element with the attribute ``data-item`` says: fields by ``data-field``."""


class _Reader(HTMLParser):
    """Collects items of pages: ``data-item`` begins one, ``data-field`` names a text in it."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[tuple[str, Item]] = []
        self.next = ""
        self._open: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an item or a field."""
        given = {name: value or "" for name, value in attrs}
        if "data-item" in given:
            self.items.append((given["data-item"], Item()))
        field = given.get("data-field", "")
        if field and self.items and "href" in given:
            self.items[-1][1]["url"] = given["href"]
        if given.get("rel") == "next":
            self.next = given.get("href", "")
        if tag not in VOID:
            self._open.append((tag, field))

    def handle_endtag(self, tag: str) -> None:
        """End elements, also those that nobody has closed."""
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Add a text to its field."""
        field = self._open[-1][1] if self._open else ""
        if field and self.items and data.strip():
            item = self.items[-1][1]
            item[field] = f"{item.get(field, '')}{data}".strip()


def read(html: str) -> tuple[list[tuple[str, dict[str, Any]]], str]:
    """Return the items of a page by their kinds, and the address of the next page."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    items = [
        (kind, {key: _value(key, each) for key, each in found.items()})
        for kind, found in reader.items
    ]
    return items, reader.next


def listings(fetch: Fetch, site: str, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the listings that a request asks for: location, propertyType, priceRange, limit."""
    low, high = request.get("priceRange") or (0, 0)
    wanted = {
        "location": request["location"],
        "type": request.get("propertyType") or "",
        "min": low,
        "max": high,
    }
    limit = int(request.get("limit") or LIMIT)
    address = f"{site}/listings?{urlencode(wanted)}"
    found: list[dict[str, Any]] = []
    for _ in range(PAGES_MAX):
        items, more = read(fetch(address))
        found += [
            {**item, "url": urljoin(address, item["url"])}
            for kind, item in items
            if kind == "listing"
        ]
        if not more or len(found) >= limit:
            break
        address = urljoin(address, more)
    return found[:limit]


def contacts(
    fetch: Fetch, site: str, urls: Sequence[str], sources: Sequence[str]
) -> list[dict[str, Any]]:
    """Return who owns what: what the page of each listing says, or the public records.

    Raises OSError when a source cannot be read.
    """
    found: list[dict[str, Any]] = []
    for url in urls:
        lead: dict[str, Any] = {"url": url, "parcel": url.rstrip("/").rpartition("/")[2]}
        if PAGE in sources:
            for kind, item in read(fetch(url))[0]:
                lead |= {"owner": item} if kind == "owner" else item if kind == "property" else {}
        if RECORDS in sources and "owner" not in lead:
            lead |= json.loads(fetch(f"{site}/records/{quote(lead['parcel'])}"))
        if "owner" in lead:
            found.append(lead)
    return found


def market(fetch: Fetch, site: str, location: str, months: int) -> list[dict[str, Any]]:
    """Return the months of a market, the oldest first."""
    query = urlencode({"location": location, "months": months})
    items, _ = read(fetch(f"{site}/market?{query}"))
    return [item for kind, item in items if kind == "month"]


def _value(field: str, text: str) -> Any:
    if field in {"absentee", "optOut"}:
        return text == "yes"
    if field not in NUMBERS:
        return text
    digits = re.sub(r"[^\d.]", "", text)
    return None if not digits else float(digits) if "." in digits else int(digits)
