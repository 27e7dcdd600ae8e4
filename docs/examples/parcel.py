"""The services of the parcel, and its graph in Python."""

from typing import Any

import movant

till = movant.Service("till")
depot = movant.Service("depot")


@till.operation()
def charge(order: Any) -> str:
    """Take the money."""
    return f"paid {order['amount']}"


@till.operation()
def refund(undo: Any) -> str:
    """Give it back: an undo gets the key, the input and the result of its step."""
    return f"gave back what {undo['key']} took"


@depot.operation()
def gift() -> str:
    """Choose a gift."""
    return "cup"


@depot.operation()
def pack(order: Any) -> dict[str, str]:
    """Pack one item; what is too large does not fit."""
    if order["item"] == "piano":
        raise movant.Refused("too_large", "a piano fits in no box")
    return {"box": f"{order['item']} with {order['gift'] or 'nothing'}"}


@depot.operation()
def unpack(undo: Any) -> str:
    """Put it back on the shelf."""
    return str(undo["key"])


@depot.operation()
def ship(parcel: Any) -> str:
    """Hand the boxes to the carrier."""
    return f"{len(parcel['boxes'])} boxes, {parcel['note']}"


parcel = movant.Graph(
    name="parcel",
    description="From an order to a parcel on its way.",
    timeout="1d",
    input={
        "amount": movant.Field(type="number", min=1),
        "items": movant.Field(type="array", items="string"),
        "note": movant.Field(type="string", optional=True),
    },
    steps={
        "charge": movant.GraphStep(
            service="till",
            operation="charge",
            params={"amount": "{{input.amount}}"},
            undo="refund",
        ),
        "gift": movant.GraphStep(
            service="depot", operation="gift", when="input.amount > 100", critical=False
        ),
        "pack": movant.GraphStep(
            service="depot",
            operation="pack",
            needs=("charge", "gift"),
            foreach="{{input.items}}",
            params={"item": "{{item}}", "gift": "{{steps.gift.result}}"},
            undo="unpack",
        ),
        "ship": movant.GraphStep(
            service="depot",
            operation="ship",
            needs="pack",
            params={
                "boxes": "{{steps.pack.result[*].box}}",
                "note": "{{input.note ?? 'no note'}}",
            },
            retry=3,
            on_error={"system": "halt_and_alert"},
        ),
    },
    outputs={"paid": "{{steps.charge.result}}", "tracking": "{{steps.ship.result}}"},
)
