"""A branch's records: one SQLite file, one answer per idempotency key.

What a branch does for a key, and what it answered, is one transaction: a repeat of the request
gets the same answer, and a process that dies before the commit has done nothing. A refusal leaves
nothing behind. A key that was undone is refused from then on, also one that never came.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

import movant

BUSY_TIMEOUT_S: Final = 10.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, operation TEXT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS undone (key TEXT PRIMARY KEY) WITHOUT ROWID;
"""

Work = Callable[[sqlite3.Connection], dict[str, Any]]


class Records:
    """The records of one branch. Safe to use from several threads and processes."""

    def __init__(self, path: Path, schema: str = "") -> None:
        self._path = path
        with closing(self._open()) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_SCHEMA + schema)

    def once(self, call: movant.Call, work: Work) -> dict[str, Any]:
        """Return what was answered to the key of a call, or do the work and keep its answer.

        Raises movant.Refused for a key that was undone.
        """
        with self.transaction() as db:
            row = db.execute("SELECT body FROM answers WHERE key = ?", (call.key,)).fetchone()
            if row:
                return _decoded(row[0])
            if db.execute("SELECT 1 FROM undone WHERE key = ?", (call.key,)).fetchone():
                raise movant.Refused("undone", f"{call.key} was undone")
            body = msgspec.json.encode(work(db))
            answer = (call.key, call.operation, body)
            db.execute("INSERT INTO answers VALUES (?, ?, ?)", answer)
        return _decoded(body)

    def undo(self, key: str, work: Work) -> dict[str, Any] | None:
        """Undo what was done for a key, once; refuse the key from now on."""
        with self.transaction() as db:
            fresh = db.execute("INSERT OR IGNORE INTO undone VALUES (?)", (key,)).rowcount
            known = db.execute("DELETE FROM answers WHERE key = ?", (key,)).rowcount
            return work(db) if fresh and known else None

    def rows(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that a question finds."""
        with closing(self._open()) as db:
            return db.execute(question, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock from the first look on, or two askers could both find nothing."""
        with closing(self._open()) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def _decoded(body: bytes) -> dict[str, Any]:
    return msgspec.json.decode(body, type=dict[str, Any])
