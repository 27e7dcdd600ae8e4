"""Duke and Earl carry out plans, each in his own books. One of them is enough.

The Duke prints notices in the gazette, a house of its own; the Earl nails them to a board of his.
A plan is carried out as a whole or not at all: what cannot be done leaves nothing behind, and the
gazette is asked last, with the key of the work, so that asking again prints nothing twice.
"""

from __future__ import annotations

import http.client
from contextlib import closing
from typing import Any, Final

import msgspec

import movant
from examples.governance.branches.request import Request
from examples.governance.records import Records
from examples.governance.text import PAY, PUBLISH, REPEAL

ACTS: Final = {3: "The Lamp Act", 7: "The Market Act", 12: "The Archive Act"}
"""Acts in force when the city was founded."""
GAZETTE_S: Final = 2.0
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS works (
    entry INTEGER PRIMARY KEY, key TEXT, motion TEXT, clause INTEGER, did TEXT);
CREATE TABLE IF NOT EXISTS repealed (act INTEGER PRIMARY KEY, key TEXT);
CREATE TABLE IF NOT EXISTS board (key TEXT PRIMARY KEY, notice TEXT);
"""


class Gazette:
    """The printing house, over HTTP. Raises movant.Failed of kind network when it is closed.

    ``host`` is its name and port.
    """

    def __init__(self, host: str) -> None:
        self._host = host

    def publish(self, _db: Any, key: str, notices: list[str]) -> str:
        """Have notices printed under a key."""
        self._ask("PUT", key, msgspec.json.encode(notices))
        return "gazette"

    def withdraw(self, _db: Any, key: str) -> None:
        """Take back what was printed under a key."""
        self._ask("DELETE", key, None)

    def _ask(self, method: str, key: str, body: bytes | None) -> None:
        name = key.replace("/", "_")
        try:
            with closing(http.client.HTTPConnection(self._host, timeout=GAZETTE_S)) as door:
                door.request(method, f"/{name}", body)
                status = door.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise movant.Failed("network", f"the gazette is closed: {error}") from error
        if status >= http.client.BAD_REQUEST:
            raise movant.Failed("system", f"the gazette answers {status}")


class Board:
    """A board for notices, in the books of its owner."""

    def publish(self, db: Any, key: str, notices: list[str]) -> str:
        """Nail notices to the board."""
        db.execute("INSERT INTO board VALUES (?, ?)", (key, "\n".join(notices)))
        return "board"

    def withdraw(self, db: Any, key: str) -> None:
        """Take them off."""
        db.execute("DELETE FROM board WHERE key = ?", (key,))


def executive(name: str, records: Records, notices: Gazette | Board) -> movant.Service:
    """Return the service of the Duke or the Earl."""
    service = movant.Service(name, description="Carries out plans")

    @service.operation()
    def execute(asked: Request, call: movant.Call) -> dict[str, Any]:
        plan = asked.data.get("PLANNING") or {"tasks": []}

        def work(db: Any) -> dict[str, Any]:
            done = [_do(db, call.key, task) for task in plan["tasks"]]
            for task, did in zip(plan["tasks"], done, strict=True):
                row = (call.key, asked.motion_id, task["clause"], did)
                db.execute("INSERT INTO works (key, motion, clause, did) VALUES (?, ?, ?, ?)", row)
            texts = [task["what"] for task in plan["tasks"] if task["verb"] == PUBLISH]
            where = notices.publish(db, call.key, texts) if texts else ""
            return {"done": done, "notices": where}

        return records.once(call, work)

    @service.operation()
    def revoke(undo: movant.UndoRequest) -> dict[str, Any] | None:
        def take_back(db: Any) -> dict[str, Any]:
            notices.withdraw(db, undo.key)
            db.execute("DELETE FROM repealed WHERE key = ?", (undo.key,))
            gone = db.execute("DELETE FROM works WHERE key = ?", (undo.key,)).rowcount
            return {"revoked": gone}

        return records.undo(undo.key, take_back)

    return service


def _do(db: Any, key: str, task: dict[str, Any]) -> str:
    """Do one task; return what was done. Raises movant.Refused for what is impossible."""
    verb, what = task["verb"], task["what"]
    if verb == PAY:
        return f"paid {task['amount']}"
    if verb != REPEAL:
        return f"{verb}: {what}"
    act = task["act"]
    gone = db.execute("SELECT 1 FROM repealed WHERE act = ?", (act,)).fetchone()
    if act not in ACTS or gone:
        raise movant.Refused(message=f"Act {act} is not in force")
    db.execute("INSERT INTO repealed VALUES (?, ?)", (act, key))
    return f"repealed Act {act}, {ACTS[act]}"
