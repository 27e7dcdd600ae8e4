"""An office's register: one SQLite file, one answer per idempotency key.

The promise: whatever happens to the process, a key has at most one answer, and whoever asks
with it again gets that answer. It holds because the number of the document, the entry in the
journal and the answer are written in one transaction, which is committed before anybody
hears of it. A process that dies before the commit has issued nothing.

    requests   how often each key was seen, repeats included
    answers    key -> what was answered; the key is unique
    journal    what the office did, in order; nothing here is unique, so that a key that was
               worked on twice would show
    numbers    the next document number of an operation and year
    withdrawn  keys whose document is void, also those that never came: they get no other one
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from examples.civic.ruling import Case, Refusal

BUSY_TIMEOUT_S: Final = 10.0
"""How long a writer waits for another one of the same file; a transaction takes about 1 ms."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS requests (
    key TEXT PRIMARY KEY, operation TEXT NOT NULL, seen INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, digest TEXT NOT NULL, refused INTEGER NOT NULL,
    body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (
    entry INTEGER PRIMARY KEY, key TEXT NOT NULL, operation TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS numbers (
    operation TEXT NOT NULL, year INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (operation, year)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS withdrawn (
    key TEXT PRIMARY KEY, at TEXT NOT NULL, issued INTEGER NOT NULL) WITHOUT ROWID;
"""


class Answer(msgspec.Struct, frozen=True):
    """What was answered to a key: the bytes of an answer or of a Refusal."""

    body: bytes
    refused: bool

    @property
    def refusal(self) -> Refusal | None:
        """The refusal, if this is one."""
        return msgspec.json.decode(self.body, type=Refusal) if self.refused else None


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a register can tell about its office."""

    requests: int
    """Requests that came, repeats included."""
    keys: int
    """Different idempotency keys among them."""
    done: int
    """Entries in the journal: how often the office did something."""
    done_twice: int
    """Keys that stand in the journal more than once. Anything but 0 is a defect."""
    refused: int
    withdrawn: int = 0
    """Documents that were issued and withdrawn."""


class Records:
    """The register in one file. Safe to use from several threads and processes at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._open()) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_SCHEMA)

    def count_request(self, key: str, operation: str) -> None:
        """Note that a request has come; a transaction of its own, so that lost ones count."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO requests VALUES (?, ?, 1) "
                "ON CONFLICT (key) DO UPDATE SET seen = seen + 1",
                (key, operation),
            )

    def find(self, key: str) -> Answer | None:
        """Return the answer that a key already has."""
        with closing(self._open()) as db:
            row = db.execute("SELECT body, refused FROM answers WHERE key = ?", (key,)).fetchone()
        return Answer(row[0], bool(row[1])) if row else None

    def answer(
        self,
        key: str,
        operation: str,
        request: bytes,
        now: datetime,
        decide: Callable[[Case], msgspec.Struct | Refusal],
    ) -> Answer:
        """Return the stored answer of ``key``, or decide, record and return a new one.

        A key that comes with another request than before is refused: answering it with the
        old answer would hide a mistake of the asker.
        """
        digest = hashlib.sha256(operation.encode() + b"\0" + request).hexdigest()
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM withdrawn WHERE key = ?", (key,)).fetchone():
                return _withdrawn(key)
            row = db.execute(
                "SELECT digest, body, refused FROM answers WHERE key = ?", (key,)
            ).fetchone()
            if row:
                return _other_request(key) if row[0] != digest else Answer(row[1], bool(row[2]))
            ruling = decide(Case(now, 1 + _last_number(db, operation, now.year)))
            refused = isinstance(ruling, Refusal)
            answer = Answer(msgspec.json.encode(ruling), refused)
            if not refused:
                db.execute(
                    "INSERT INTO numbers VALUES (?, ?, 1) "
                    "ON CONFLICT (operation, year) DO UPDATE SET last = last + 1",
                    (operation, now.year),
                )
            db.execute(
                "INSERT INTO journal (key, operation, at) VALUES (?, ?, ?)",
                (key, operation, now.isoformat()),
            )
            db.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?)", (key, digest, refused, answer.body)
            )
        return answer

    def withdraw(self, undoes: str, now: datetime) -> bool:
        """Withdraw what was issued under a key, and refuse the key from then on.

        A key that was never seen is refused as well: its request may still be on its way. Tell
        whether there is a document that is void now.
        """
        with self._transaction() as db:
            issued = db.execute(
                "SELECT 1 FROM answers WHERE key = ? AND refused = 0", (undoes,)
            ).fetchone()
            db.execute(
                "INSERT OR IGNORE INTO withdrawn VALUES (?, ?, ?)",
                (undoes, now.isoformat(), issued is not None),
            )
        return issued is not None

    def statistics(self) -> Statistics:
        """Count what the register holds."""
        with closing(self._open()) as db:
            requests, keys = db.execute(
                "SELECT coalesce(sum(seen), 0), count(*) FROM requests"
            ).fetchone()
            done, done_keys = db.execute(
                "SELECT count(*), count(DISTINCT key) FROM journal"
            ).fetchone()
            (refused,) = db.execute("SELECT coalesce(sum(refused), 0) FROM answers").fetchone()
            (withdrawn,) = db.execute("SELECT coalesce(sum(issued), 0) FROM withdrawn").fetchone()
        return Statistics(
            requests=requests,
            keys=keys,
            done=done,
            done_twice=done - done_keys,
            refused=refused,
            withdrawn=withdrawn,
        )

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock from the first look on, or two askers could both find nothing."""
        with closing(self._open()) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")


def _last_number(db: sqlite3.Connection, operation: str, year: int) -> int:
    row = db.execute(
        "SELECT last FROM numbers WHERE operation = ? AND year = ?", (operation, year)
    ).fetchone()
    return int(row[0]) if row else 0


def _withdrawn(key: str) -> Answer:
    refusal = Refusal(kind="undone", message="this request was withdrawn", details={"key": key})
    return Answer(msgspec.json.encode(refusal), refused=True)


def _other_request(key: str) -> Answer:
    refusal = Refusal(
        kind="key_reused",
        message="this idempotency key belongs to another request",
        details={"key": key},
    )
    return Answer(msgspec.json.encode(refusal), refused=True)
