"""Invoices: text of a PDF, its fields, and whether it is what was ordered."""

from __future__ import annotations

import io
import re
from decimal import Decimal
from typing import Final

import msgspec
from pypdf import PdfReader
from pypdf.errors import PyPdfError

from movant import Refused

LIMIT: Final = Decimal(5000)
"""Above this a person approves, also where everything matches."""
UNREADABLE: Final = "unreadable"

_FIELD: Final = {
    "number": re.compile(r"^Invoice: *(\S+)", re.MULTILINE),
    "day": re.compile(r"^Date: *(\d{4}-\d\d-\d\d)", re.MULTILINE),
    "order": re.compile(r"^Purchase order: *(\S+)", re.MULTILINE),
}
_TOTAL: Final = re.compile(r"^Total: *([\d.]+) ([A-Z]{3})", re.MULTILINE)
_LINE: Final = re.compile(r"^(\d+) x (.+) @ ([\d.]+) = ([\d.]+)$", re.MULTILINE)


class Line(msgspec.Struct, frozen=True):
    """One line of an invoice; amounts are exact, as text."""

    count: int
    what: str
    each: str
    amount: str


class Invoice(msgspec.Struct, frozen=True):
    """What an invoice says."""

    vendor: str
    number: str
    day: str
    order: str
    total: str
    currency: str
    lines: list[Line]


class PurchaseOrder(msgspec.Struct, frozen=True):
    """What was ordered."""

    number: str
    vendor: str
    currency: str
    total: str
    status: str


class Comparison(msgspec.Struct, frozen=True):
    """An invoice, and the order that it names, if there is one."""

    invoice: Invoice
    order: PurchaseOrder | None = None


class Compared(msgspec.Struct, frozen=True):
    """Whether an invoice may be posted without a person."""

    differences: list[str]
    approval_required: bool
    why: str


def text_of(content: bytes) -> str:
    """Return the text of a PDF. Raises Refused when it cannot be read, or has none."""
    try:
        text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)
    except (PyPdfError, ValueError, KeyError) as error:
        raise Refused(UNREADABLE, f"the file is no whole PDF: {error}") from error
    if not text.strip():
        raise Refused(UNREADABLE, "the file has no text; is it a picture?")
    return text


def parse(text: str) -> Invoice:
    """Return the invoice of a text. Raises Refused when a field is missing or sums are wrong."""
    found = {name: pattern.search(text) for name, pattern in _FIELD.items()}
    total = _TOTAL.search(text)
    absent = [name for name, each in [*found.items(), ("total", total)] if each is None]
    if absent or total is None:
        raise Refused("validation", f"the invoice does not say: {', '.join(absent)}")
    lines = [
        Line(int(count), what, each, amount) for count, what, each, amount in _LINE.findall(text)
    ]
    for line in lines:
        if line.count * Decimal(line.each) != Decimal(line.amount):
            raise Refused("validation", f"{line.count} x {line.each} is not {line.amount}")
    added = sum((Decimal(line.amount) for line in lines), Decimal(0))
    if added != Decimal(total[1]):
        raise Refused("validation", f"the lines add up to {added}, not {total[1]}")
    fields = {name: each[1] for name, each in found.items() if each is not None}
    vendor = text.strip().splitlines()[0].strip()
    return Invoice(vendor=vendor, total=total[1], currency=total[2], lines=lines, **fields)


def compare(asked: Comparison) -> Compared:
    """Compare an invoice with its order. Raises Refused when there is no such order."""
    invoice, order = asked.invoice, asked.order
    if order is None:
        raise Refused("no_order", f"there is no purchase order {invoice.order}")
    pairs = {
        "vendor": (invoice.vendor, order.vendor),
        "currency": (invoice.currency, order.currency),
        "status": ("open", order.status),
    }
    differences = [f"{name}: {a}, not {b}" for name, (a, b) in pairs.items() if a != b]
    if Decimal(invoice.total) > Decimal(order.total):
        differences.append(f"total: {invoice.total}, ordered {order.total}")
    large = Decimal(invoice.total) > LIMIT
    why = [*differences, *([f"above the limit of {LIMIT}"] if large else [])]
    return Compared(differences, bool(why), "; ".join(why))
