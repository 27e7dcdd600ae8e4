"""The King introduces motions: he reads a text, and gives it a number in his roll."""

from __future__ import annotations

from typing import Any

import msgspec

import movant
from examples.governance.records import Records
from examples.governance.text import MalformedError, parse

SCHEMA = "CREATE TABLE IF NOT EXISTS roll (number INTEGER PRIMARY KEY, title TEXT, by TEXT);"


class Petition(msgspec.Struct, frozen=True):
    """The text of a motion to be."""

    text: str


def king(records: Records) -> movant.Service:
    """Return the service."""
    service = movant.Service("king_service", description="Introduces motions")

    @service.operation()
    def introduce(petition: Petition, call: movant.Call) -> dict[str, Any]:
        try:
            motion = parse(petition.text)
        except MalformedError as error:
            raise movant.Refused("validation", str(error)) from error

        def enter(db: Any) -> dict[str, Any]:
            row = (motion.title, motion.by)
            number = db.execute("INSERT INTO roll (title, by) VALUES (?, ?)", row).lastrowid
            return {"number": number, **msgspec.to_builtins(motion)}

        return records.once(call, enter)

    return service
