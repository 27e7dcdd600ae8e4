"""``movant gate approve --all``: many gates at once, after asking back how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from protocols.api import runs as api
from protocols.errors import MovantError
from runtime.cli.failures import OK, RUN_FAILED, say
from runtime.cli.output import write_rows
from runtime.cli.session import ask, myself

if TYPE_CHECKING:
    from protocols.witness import Operator
    from runtime.cli.options import Target
    from runtime.client.client import Client

_PAGE = 500
_SHOWN = 10
"""Gates that are shown before it is asked back: enough to see what it is about."""
_REFUSED = "refused: "


def approve_all(
    to: Target,
    workflow: str | None,
    name: str,
    *,
    yes: bool,
    reason: str,
    role: str,
    who: str,
) -> int:
    """Approve all open gates that may be approved together; exit 1 when one was refused."""
    rows = [each for each in _listed(to, workflow, name) if _together(each)]
    if not rows:
        say("no open gate may be approved together with others")
        return OK
    if not yes:
        _ask_back(rows, workflow)
    by = myself(reason, who)

    async def question(client: Client) -> list[tuple[str, str, str]]:
        return [await _approved(client, each, role, by) for each in rows]

    told = ask(to, question)
    refused = sum(text.startswith(_REFUSED) for _, _, text in told)
    shown = [{"id": run, "gate": gate, "result": text} for run, gate, text in told]
    write_rows(to.form, shown, ("RUN", "GATE", "RESULT"), told)
    if to.form == "table":
        say(f"{len(told) - refused:,} approved, {refused:,} refused")
    return RUN_FAILED if refused else OK


def _ask_back(rows: list[api.GateRow], workflow: str | None) -> None:
    """Let the person see how many there are, and think again."""
    for each in rows[:_SHOWN]:
        say(f"  {each.id}  {each.name}  {each.title}")
    if len(rows) > _SHOWN:
        say(f"  and {len(rows) - _SHOWN:,} more")
    where = f" of {workflow}" if workflow else " of all workflows"
    click.confirm(f"approve {len(rows):,} gates{where}?", abort=True, err=True)


async def _approved(
    client: Client, row: api.GateRow, role: str, by: Operator
) -> tuple[str, str, str]:
    """Approve one; return what became of it."""
    try:
        found = await client.decide(row.id, "approve", row.gate, role=role, by=by)
    except MovantError as error:
        return row.id, row.name, f"{_REFUSED}{error.message}"
    if found.decision is not None:
        return row.id, row.name, found.decision.text
    return row.id, row.name, f"{found.approved} of {found.quorum} have approved"


def _listed(to: Target, workflow: str | None, name: str) -> list[api.GateRow]:
    async def question(client: Client) -> list[api.GateRow]:
        rows: list[api.GateRow] = []
        cursor = ""
        while True:
            page = await client.gates(workflow=workflow, name=name, limit=_PAGE, after=cursor)
            rows += page.gates
            cursor = page.next
            if not cursor:
                return rows

    return ask(to, question)


def _together(row: api.GateRow) -> bool:
    """Tell whether a gate may be approved with others: it is not to be looked at alone."""
    return row.mode != "interactive" and "approve" in row.decisions
