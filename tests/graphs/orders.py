"""A graph for the tests: an order on its way through six services."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from actors.files.definitions import parse
from actors.graphs.interpreter import GraphWorkflow
from protocols.directives import Directive
from protocols.effects import AnyEffect, Emit
from protocols.graphs.graph import Defaults, Field, Graph, GraphStep, GraphUndo
from protocols.policy import Retry
from tests.kernel.mailbox import Mailbox

ORDER_FILE: Final = Path(__file__).parent / "order.yaml"
ITEMS: Final = [{"sku": "a", "count": 1}, {"sku": "b", "count": 2}, {"sku": "c", "count": 3}]
INPUT: Final = {"amount": 120, "items": ITEMS}

ORDER: Final = Graph(
    name="order",
    description="From an order to a parcel.",
    timeout="2d",
    kinds=("card_expired",),
    input={
        "amount": Field(type="number", min=1, description="In euro."),
        "items": Field(
            type="array",
            items=Field(type="object", fields={"sku": "string", "count": "integer"}),
            min_length=1,
        ),
        "note": Field(type="string", optional=True),
        "country": Field(type="string", enum=("NL", "DE"), default="NL"),
    },
    defaults=Defaults(timeout="30s", retry=Retry(attempts=2, delay_s=5, jitter=0)),
    steps={
        "check": GraphStep(
            service="stock", operation="check", params={"items": "{{input.items}}"}
        ),
        "charge": GraphStep(
            service="bank",
            operation="charge",
            needs="check",
            params={
                "amount": "{{input.amount}}",
                "text": "order {{run.id}} of {{input.items[0].sku}}",
            },
            on_error={
                "card_expired": "compensate",
                "network": Directive(
                    do="retry",
                    policy=Retry(attempts=2, delays=(1,), jitter=0),
                    then=Directive(do="fallback", services=("other-bank",)),
                ),
                "system": "halt_and_alert",
            },
            undo="refund",
        ),
        "gift": GraphStep(
            service="shop",
            operation="gift",
            needs="check",
            when="input.amount > 1000 && steps.check.result.gifts > 0",
            critical=False,
        ),
        "pack": GraphStep(
            service="depot",
            operation="pack",
            needs=("charge", "gift"),
            foreach="{{input.items}}",
            concurrency=2,
            params={
                "sku": "{{item.sku}}",
                "number": "{{index}}",
                "gift": "{{steps.gift.result.name}}",
            },
            undo=GraphUndo(
                operation="unpack", params={"sku": "{{item.sku}}"}, timeout="10s", settle="5s"
            ),
        ),
        "ship": GraphStep(
            service="carrier",
            operation="ship",
            needs="pack",
            deadline="1h",
            timeout="10m",
            params={
                "parcels": "{{steps.pack.result[*].parcel}}",
                "note": "{{input.note ?? 'none'}}",
            },
            pivot=True,
        ),
        "tell": GraphStep(service="mail", operation="tell", needs="ship", critical=False),
    },
    outputs={
        "paid": "{{steps.charge.result.id}}",
        "tracking": "{{steps.ship.result}}",
        "told": "{{steps.tell.status}}",
    },
)


def order(given: Any = None) -> Mailbox:
    """Return an order that was started."""
    box = running(ORDER)
    box.start(INPUT if given is None else given)
    return box


def running(graph: Graph) -> Mailbox:
    """Return a mailbox of a graph."""
    return Mailbox(GraphWorkflow(graph))


def graph_of(text: str) -> Graph:
    """Return the graph of a text that has to be right."""
    document = parse(text.encode())
    assert isinstance(document.value, Graph), document.problems
    assert [each for each in document.problems if each.severity == "error"] == []
    return document.value


def told(effects: list[AnyEffect], kind: str) -> list[Any]:
    """Return the data of the events of a kind."""
    return [each.data for each in effects if isinstance(each, Emit) and each.event == kind]


def steps(box: Mailbox) -> dict[str, str]:
    """Return what a run shows of its steps."""
    return {
        key.removeprefix("steps."): each
        for key, each in box.instance.state.items()
        if key.startswith("steps.")
    }
