"""``movant budget ls|show``: what is used of the budgets that all runs share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from runtime.cli.failures import OK, say
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import Target, command, target
from runtime.cli.output import clock_time, duration, write_rows
from runtime.cli.session import ask

if TYPE_CHECKING:
    from protocols.api import runs as api
    from runtime.client.client import Client

budget = LazyGroup(
    "budget",
    help="Budgets: how much money, tokens, calls and time may be used.",
    tree={
        "Commands": {
            "ls": Leaf("runtime.cli.budget:ls", "List the shared budgets of this window."),
            "show": Leaf("runtime.cli.budget:show", "Show one budget in all windows."),
        }
    },
    examples=(
        ("movant budget ls", "what is used now"),
        ("movant budget show customer acme", "what acme has used, by day"),
    ),
)


@command(
    "ls",
    examples=(
        ("movant budget ls", "what is used now"),
        ("movant budget ls -o jsonl | jq .used.cost", "for programs"),
    ),
)
@target
def ls(to: Target) -> int:
    """List the budgets with a window that is not over. A run's own are shown by ``run show``."""

    async def question(client: Client) -> api.BudgetPage:
        return await client.budgets()

    page = ask(to, question)
    now = page.server_time
    rows = [each for each in page.budgets if each.begins_at + int(each.window_s * 1e9) > now]
    _write(to, rows)
    return OK


@command(
    "show",
    examples=(
        ("movant budget show customer", "everybody's, the newest window first"),
        ("movant budget show customer acme -o json", "that of one customer, for programs"),
    ),
)
@click.argument("name")
@click.argument("key", required=False)
@target
def show(name: str, key: str | None, to: Target) -> int:
    """Show what is used of the budget NAME, or of that which KEY has of it, window by window."""

    async def question(client: Client) -> api.BudgetPage:
        return await client.budgets(name, key)

    _write(to, ask(to, question).budgets)
    return OK


def _write(to: Target, rows: list[api.BudgetRow]) -> None:
    write_rows(
        to.form,
        rows,
        ("BUDGET", "KEY", "SINCE", "WINDOW", "USED", "RESERVED", "OPEN"),
        [
            (
                row.name,
                row.key or "-",
                clock_time(row.begins_at, "seconds"),
                duration(row.window_s),
                ", ".join(
                    f"{row.used.get(unit, 0.0):g} of {limit:g} {unit}"
                    for unit, limit in row.limits.items()
                ),
                ", ".join(f"{each:g} {unit}" for unit, each in row.reserved.items() if each)
                or "-",
                str(row.open),
            )
            for row in rows
        ],
    )
    if to.form == "table" and not rows:
        say("nothing is used of any shared budget")
