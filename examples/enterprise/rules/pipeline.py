"""The pipeline: rows of orders become sales in euro, or rejects with a reason."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from movant import Refused

CENT = Decimal("0.01")
COLUMNS = ("order_id", "day", "customer_id", "amount", "currency")


class Shopper(msgspec.Struct, frozen=True):
    """A customer, as the shop's database has him."""

    id: str
    name: str
    country: str


class Sources(msgspec.Struct, frozen=True):
    """What was extracted; None: a source could not be read."""

    orders: list[dict[str, Any]] | None = None
    customers: list[Shopper] | None = None
    per_euro: dict[str, str] | None = None


class Sale(msgspec.Struct, frozen=True):
    """A row of the warehouse."""

    order_id: str
    day: str
    customer: str
    country: str
    amount_eur: str


class Reject(msgspec.Struct, frozen=True):
    """A row that is not loaded."""

    line: int
    order_id: str
    reason: str


class Transformed(msgspec.Struct, frozen=True):
    """What is loaded, and what is not."""

    rows: list[Sale]
    rejects: list[Reject]
    missing: list[str]
    outcome: str
    """complete, or partial: a source was missing or rows were rejected."""


def rows_of(text: str) -> list[dict[str, Any]]:
    """Return the rows of a CSV file with their lines. Raises Refused when it is another file."""
    reader = csv.DictReader(io.StringIO(text))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise Refused("validation", f"the columns are {reader.fieldnames}, not {list(COLUMNS)}")
    return [{"line": number, **row} for number, row in enumerate(reader, 2)]


def transform(sources: Sources) -> Transformed:
    """Check every row and count in euro. Raises Refused when there are no orders at all."""
    if sources.orders is None:
        raise Refused("no_data", "the orders could not be read")
    shoppers = {each.id: each for each in sources.customers or ()}
    rates = {"EUR": "1", **(sources.per_euro or {})}
    rows: dict[str, Sale] = {}
    rejects = []
    for order in sources.orders:
        try:
            sale = _sale(order, shoppers, rates, lax=sources.customers is None)
            if sale.order_id in rows:
                raise _Wrong(f"order {sale.order_id} was there before")
            rows[sale.order_id] = sale
        except _Wrong as wrong:
            rejects.append(Reject(int(order["line"]), str(order["order_id"]), str(wrong)))
    named = {"customers": sources.customers, "rates": sources.per_euro}
    missing = [name for name, said in named.items() if said is None]
    outcome = "partial" if missing or rejects else "complete"
    return Transformed(list(rows.values()), rejects, missing, outcome)


class _Wrong(Exception):
    """A row that is rejected."""


def _sale(
    order: Mapping[str, Any],
    shoppers: Mapping[str, Shopper],
    rates: Mapping[str, str],
    *,
    lax: bool,
) -> Sale:
    if not order["order_id"]:
        raise _Wrong("no order id")
    try:
        day = date.fromisoformat(order["day"])
    except ValueError:
        raise _Wrong(f"no such day: {order['day']}") from None
    try:
        amount = Decimal(order["amount"])
    except InvalidOperation:
        raise _Wrong(f"no amount: {order['amount']}") from None
    if not amount.is_finite() or amount <= 0:
        raise _Wrong(f"the amount is {amount}")
    shopper = shoppers.get(order["customer_id"])
    if shopper is None and not lax:
        raise _Wrong(f"no customer {order['customer_id']}")
    if order["currency"] not in rates:
        raise _Wrong(f"no rate for {order['currency']}")
    euro = (amount / Decimal(rates[order["currency"]])).quantize(CENT)
    name, country = (shopper.name, shopper.country) if shopper else (order["customer_id"], "")
    return Sale(order["order_id"], day.isoformat(), name, country, str(euro))
