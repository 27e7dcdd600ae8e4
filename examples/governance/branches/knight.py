"""The Knight witnesses each transition before it takes effect, in a chain of statements."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any, Final

import msgspec

import movant
from examples.governance.branches.request import Request
from examples.governance.records import Records

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS statements (
    number INTEGER PRIMARY KEY, motion TEXT, text TEXT, previous TEXT, hash TEXT);
"""


class Transition(msgspec.Struct, frozen=True, rename={"origin": "from"}):
    """What the Knight is asked to witness."""

    motion_id: str
    number: int
    origin: str
    to: str
    cause: str
    owner: str
    work_done: bool = False
    signal: str = ""
    by: str = ""
    why: str = ""
    output: str = ""


def statement(seen: Transition) -> str:
    """Return what the Knight says about a transition."""
    way = f"from {seen.origin} to {seen.to}" if seen.origin else f"into {seen.to}"
    text = f"I saw motion {seen.motion_id} go {way}: {seen.cause}"
    if seen.work_done:
        text += f"; it was told, not shown, that the work of {seen.to} was done before"
    if seen.owner and seen.cause == "completed":
        text += f" by {seen.owner}"
    if seen.by:
        text += f", at the word of {seen.by}"
    return f"{text} ({seen.why})" if seen.why else text


def digest(number: int, motion: str, text: str, previous: str) -> str:
    """Return the hash of a statement."""
    return hashlib.sha256(f"{number}\n{motion}\n{text}\n{previous}".encode()).hexdigest()


def unbroken(records: Records) -> bool:
    """Tell whether every statement still is what it was, in its place."""
    previous = ""
    rows = records.rows("SELECT number, motion, text, previous, hash FROM statements ORDER BY 1")
    for place, (number, motion, text, before, stated) in enumerate(rows, 1):
        if (number, before) != (place, previous):
            return False
        if stated != digest(number, motion, text, before):
            return False
        previous = stated
    return True


def knight(records: Records) -> movant.Service:
    """Return the service."""
    service = movant.Service("knight_witness_service", description="Witnesses transitions")

    @service.operation()
    def witness(seen: Transition, call: movant.Call) -> dict[str, Any]:
        def state(db: sqlite3.Connection) -> dict[str, Any]:
            last = db.execute(
                "SELECT number, hash FROM statements ORDER BY number DESC LIMIT 1"
            ).fetchone()
            number, previous = (last[0] + 1, last[1]) if last else (1, "")
            text = statement(seen)
            stated = digest(number, seen.motion_id, text, previous)
            row = (number, seen.motion_id, text, previous, stated)
            db.execute("INSERT INTO statements VALUES (?, ?, ?, ?, ?)", row)
            return {"number": number, "text": text, "hash": stated}

        return records.once(call, state)

    @service.operation()
    def record(asked: Request, call: movant.Call) -> dict[str, Any]:
        if not unbroken(records):
            raise movant.Failed("system", "the chain of statements is broken")
        rows = records.rows(
            "SELECT hash FROM statements WHERE motion = ? ORDER BY number", asked.motion_id
        )
        head = rows[-1][0] if rows else ""
        return records.once(call, lambda _db: {"statements": len(rows), "head": head})

    return service
