"""The President makes a plan of what was ratified: tasks in order, money set aside."""

from __future__ import annotations

from typing import Any, Final

import movant
from examples.governance.branches.request import Request
from examples.governance.records import Records
from examples.governance.text import Clause

AUTHORITY: Final = 1_000
"""What the President may spend on one motion without asking."""
TREASURY: Final = 20_000
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS mandates (motion TEXT, clauses INTEGER);
CREATE TABLE IF NOT EXISTS reserved (key TEXT PRIMARY KEY, motion TEXT, amount INTEGER);
"""


def unworkable(clauses: list[Clause]) -> dict[int, str]:
    """Return the clauses that nobody can carry out, and why."""
    numbers = {each.number for each in clauses}
    found = {each.number: "a wish, no task" for each in clauses if not each.verb}
    for each in clauses:
        if missing := [str(one) for one in each.after if one not in numbers]:
            found[each.number] = f"waits for clause {', '.join(missing)}, which is not there"
    left = [each for each in clauses if each.number not in found]
    circle = {each.number for each in left} - {each["clause"] for each in order(left)}
    return found | dict.fromkeys(sorted(circle), "waits for itself")


def order(clauses: list[Clause]) -> list[dict[str, Any]]:
    """Return the tasks of clauses, none before those it waits for; circles are left out."""
    numbers = {each.number for each in clauses}
    waiting, placed = list(clauses), set[int]()
    tasks: list[dict[str, Any]] = []
    while ready := [each for each in waiting if not (set(each.after) & numbers) - placed]:
        for each in ready:
            waiting.remove(each)
            placed.add(each.number)
            tasks.append(
                {
                    "clause": each.number,
                    "verb": each.verb,
                    "what": each.what,
                    "amount": each.amount,
                    "act": each.act,
                }
            )
    return tasks


def president(records: Records) -> movant.Service:
    """Return the service."""
    service = movant.Service("president_service", description="Plans what was ratified")

    @service.operation()
    def accept(asked: Request, call: movant.Call) -> dict[str, Any]:
        if wrong := unworkable(asked.clauses):
            said = "; ".join(f"clause {number}: {why}" for number, why in wrong.items())
            raise movant.Refused("validation", said, details={"clauses": list(wrong)})

        def enter(db: Any) -> dict[str, Any]:
            row = (asked.motion_id, len(asked.clauses))
            number = db.execute("INSERT INTO mandates VALUES (?, ?)", row).lastrowid
            return {"mandate": number, "clauses": len(asked.clauses)}

        return records.once(call, enter)

    @service.operation()
    def plan(asked: Request, call: movant.Call) -> dict[str, Any]:
        tasks = order(asked.clauses)
        cost = sum(each["amount"] for each in tasks)
        made = {"tasks": tasks, "cost": cost}
        if cost > AUTHORITY:
            raise movant.Refused(
                "permission",
                f"{cost} is more than the {AUTHORITY} that the President may spend",
                details={"plan": made},
            )

        def reserve(db: Any) -> dict[str, Any]:
            (spent,) = db.execute("SELECT coalesce(sum(amount), 0) FROM reserved").fetchone()
            if spent + cost > TREASURY:
                raise movant.Refused(message=f"the treasury has {TREASURY - spent} left")
            db.execute("INSERT INTO reserved VALUES (?, ?, ?)", (call.key, asked.motion_id, cost))
            return {**made, "reserved": cost}

        return records.once(call, reserve)

    @service.operation()
    def release(undo: movant.UndoRequest) -> dict[str, Any] | None:
        def give_back(db: Any) -> dict[str, Any]:
            db.execute("DELETE FROM reserved WHERE key = ?", (undo.key,))
            return {"released": True}

        return records.undo(undo.key, give_back)

    return service
