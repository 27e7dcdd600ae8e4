"""An order that is filled while it waits: each item is accepted or rejected, and answered."""

import msgspec

import movant


class Item(msgspec.Struct):
    """What is added."""

    name: str
    pieces: int = 1


@movant.workflow
async def basket(ctx: movant.Context, most: int) -> dict[str, int]:
    """Take items until there are enough; the sender of each is told its price."""
    prices: dict[str, int] = {}
    while len(prices) < most:
        update = await ctx.update("add", takes=Item)
        item = update.data
        if item.name in prices:
            update.reject(f"{item.name} is in the basket already")
            continue
        update.accept()
        prices[item.name] = await ctx.call("prices", "of", item, returns=int)
        update.answer({"price": prices[item.name], "items": len(prices)})
    return prices
