"""The cookbook: every recipe is a file, is short, is right, and runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

import movant
from actors.files import connectors as connector_file
from actors.files import definitions as definition_file
from tests.docs.tables import DOCS
from tests.support.daemon import Running, daemon
from tests.support.nats import NatsServer

RECIPES: Final = DOCS / "examples" / "cookbook"
PAGE: Final = (DOCS / "cookbook.md").read_text()
FILES: Final = sorted(RECIPES.glob("*.yaml"))
GRAPHS: Final = [each for each in FILES if not each.stem.endswith("-connector")]
LINES_MAX: Final = 25

bank, camera, weather, press, models, ledger, desk, tables, shop, other, crew = (
    movant.Service(name)
    for name in (
        *("bank", "camera", "weather", "press", "models", "ledger", "desk", "tables"),
        *("shop", "other-shop", "crew"),
    )
)
GIVEN_BACK: Final[list[str]] = []


@bank.operation()
def pay(order: dict[str, Any]) -> str:
    """Pay."""
    return f"paid {order['amount']} for {order['reference']}"


@bank.operation()
def refund(_undo: dict[str, Any]) -> None:
    """Take the money back."""


@camera.operation()
def shrink(order: dict[str, str]) -> str:
    """Shrink a picture, unless it is torn."""
    if order["picture"] == "torn":
        raise movant.Refused("it is torn")
    return f"small {order['picture']}"


@camera.operation()
def album(order: dict[str, Any]) -> list[str]:
    """Return what became of each."""
    return [each["status"] for each in order["all"]]


@weather.operation()
def today(_order: dict[str, str]) -> int:
    """Return degrees."""
    return -5


@press.operation()
def publish(order: dict[str, str]) -> str:
    """Publish a text."""
    return order["text"]


@models.operation()
def complete(_order: dict[str, Any]) -> dict[str, Any]:
    """Answer as the connector does."""
    return {"output": {"summary": "short"}, "usage": {"cost": 0.01, "tokens": 7}}


@ledger.operation("sum")
def total(_order: dict[str, str]) -> dict[str, int]:
    """Sum a day up."""
    return {"total": 12}


@ledger.operation()
def note(order: dict[str, str]) -> str:
    """Note where a parcel is."""
    return order["place"]


@ledger.operation("open")
def open_account(order: dict[str, str]) -> str:
    """Open an account."""
    return order["name"]


@desk.operation()
def hotel(guest: str) -> str:
    """Book a room."""
    return f"room for {guest}"


@desk.operation()
def flight(guest: str) -> str:
    """Book a seat."""
    return f"seat for {guest}"


@desk.operation()
def ticket(guest: str) -> str:
    """Print a ticket, unless the guest has no passport."""
    if guest == "eve":
        raise movant.Refused("no passport")
    return f"ticket for {guest}"


@desk.operation("give-back")
def give_back(_undo: dict[str, Any], call: movant.Call) -> None:
    """Give a room or a seat back."""
    GIVEN_BACK.append(call.key)


@tables.operation()
def clean(order: dict[str, Any]) -> dict[str, Any]:
    """Leave empty rows out."""
    return {"rows": [each for each in order["rows"] if each]}


@tables.operation()
def load(order: dict[str, Any]) -> int:
    """Count what there is."""
    return len(order["rows"])


@shop.operation()
@other.operation()
def price(_order: dict[str, str]) -> int:
    """Nobody knows the price."""
    raise movant.Refused("no such item")


@crew.operation()
def send(order: dict[str, str]) -> str:
    """Send somebody."""
    return f"on the way to {order['place']}"


def test_every_recipe_is_a_short_file_on_the_page() -> None:
    """As it stands; and no file is forgotten."""
    shown = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)

    assert sorted(shown) == sorted(each.read_text() for each in FILES)
    assert [each.name for each in FILES if len(each.read_text().splitlines()) > LINES_MAX] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_recipe_is_right(file: Path) -> None:
    """Nothing is wrong with it, and there is nothing to warn of."""
    read = definition_file.load_document if file in GRAPHS else connector_file.load_document

    assert read(file).problems == []


@pytest.mark.server
async def test_every_recipe_runs(nats_server: NatsServer, tmp_path: Path) -> None:
    """All in one daemon, with services that answer as the recipes expect."""
    connectors = tmp_path / "stock.yaml"
    shutil.copy(RECIPES / "once-connector.yaml", connectors)
    offered = [bank, camera, weather, press, models, ledger, desk, tables, shop, other, crew]
    async with daemon(
        nats_server.url, workflows=GRAPHS, services=offered, connectors=str(connectors)
    ) as running:
        results = {name: await _result(running, name, value) for name, value in INPUTS.items()}
        eve = await running.run("journey", {"guest": "eve"})
        files = await running("run.artifacts", id="turnover")
        await running("run.start", workflow="quote", input={"item": "moon"}, id="quote")
        await running.waits("quote", "gate")
        await running("gate.decide", id="quote", do="modify", values={"price": 12})
        quoted = await running.ended("quote")
        await running("run.start", workflow="payment", input=LARGE, id="large")
        await running.waits("large", "gate")
        await running("gate.decide", id="large", do="approve", by={"who": "bob"})
        paid = await running.ended("large")
        account = await running("run.show", id="account")

    assert results == EXPECTED
    assert eve["status"] == "compensated"
    assert len(GIVEN_BACK) == 2
    assert [each["name"] for each in files["artifacts"]] == ["report.json"]
    assert quoted["result"] == {"price": 12}
    assert account["input"]["tax_number"] != "DE-123-456"
    assert paid["result"] == "paid 5000 for i-9"


async def _result(running: Running, name: str, value: Any) -> Any:
    return (await running.run(name, value, id=name)).get("result")


LARGE: Final = {"invoice": "i-9", "amount": 5000}
INPUTS: Final[dict[str, Any]] = {
    "payment": {"invoice": "i-1", "amount": 50},
    "thumbnails": {"pictures": ["cat", "torn"]},
    "umbrella": {"city": "bern"},
    "summary": {"text": "a long text"},
    "turnover": {"day": "monday"},
    "parcel-news": {"parcel": "p-1", "place": "basel"},
    "journey": {"guest": "ann"},
    "import": {"rows": [*(["x" * 1000] * 400), None]},
    "take": {"item": "lamp", "pieces": 3},
    "settle": {"orders": [{"invoice": "i-2", "amount": 1}, {"invoice": "i-3", "amount": 2}]},
    "dispatch": {"place": "mill lane"},
    "account": {"name": "ann", "tax_number": "DE-123-456"},
}
EXPECTED: Final[dict[str, Any]] = {
    "payment": "paid 50 for i-1",
    "thumbnails": ["done", "failed"],
    "umbrella": {"degrees": -5, "warned": "done"},
    "summary": {"summary": "short", "cost": 0.01},
    "turnover": 12,
    "parcel-news": {"note": "basel"},
    "journey": "ticket for ann",
    "import": 400,
    "take": 7,
    "settle": ["paid 1 for i-2", "paid 2 for i-3"],
    "dispatch": "on the way to mill lane",
    "account": "ann",
}
