"""SQLite for the connector kind ``sql``: one file, one writer at a time, readers beside it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from protocols.connectors.sql_text import SqlText
from protocols.error_kinds import OVER_LIMIT, PERMISSION, SYSTEM, TIMED_OUT
from protocols.errors import ConfigurationError
from protocols.failure import REFUSED, VALIDATION
from protocols.service import Failed, Refused, Unknown
from runtime.connectors.sql_session import Rows

INSTRUCTIONS: Final = 10_000
"""Of SQLite's machine, between two looks at the clock: well below a millisecond."""

_KEYS: Final = """
create table if not exists movant_keys (
    key text primary key,
    operation text not null,
    state text not null,
    result text,
    at integer not null default (strftime('%s', 'now'))
) without rowid
"""


class Sqlite:
    """A connection to a file; see ``sql_session.Database``. Used by one thread."""

    def __init__(self, path: Path, *, setup: Sequence[str] = (), keys_kept_days: int = 90) -> None:
        """Open the file, and make it if it is not there. Raises Failed."""
        self._deadline = 0.0
        with _translated():
            self._connection = sqlite3.connect(path, isolation_level=None)
            try:
                self._set_up(setup, keys_kept_days)
            except BaseException:
                self._connection.close()
                raise

    def _set_up(self, setup: Sequence[str], keys_kept_days: int) -> None:
        run = self._connection.execute
        self._connection.row_factory = sqlite3.Row
        self._wait(5.0)
        run("pragma journal_mode = wal")
        # With less, the keys of the last moments before a power cut would be lost.
        run("pragma synchronous = full")
        run("pragma foreign_keys = on")
        run(_KEYS)
        run(
            "delete from movant_keys where at < strftime('%s', 'now') - ?",
            (keys_kept_days * 86_400,),
        )
        for statement in setup:
            run(statement)
        self._connection.set_progress_handler(self._is_late, INSTRUCTIONS)

    def begin(self, *, write: bool, seconds: float) -> None:
        """Begin a transaction that has so long. A write takes the lock at once."""
        self._deadline = time.monotonic() + seconds
        with _translated():
            self._wait(seconds)
            self._connection.execute(f"pragma query_only = {'off' if write else 'on'}")
            self._connection.execute("begin immediate" if write else "begin")

    def run(
        self, statement: str, values: Mapping[str, Any], rows_max: int
    ) -> tuple[Rows | None, int]:
        """Run one statement; at most one row more than asked for."""
        with _translated():
            cursor = self._connection.execute(statement, dict(values))
            if cursor.description is None:
                return None, cursor.rowcount
            names = [each[0] for each in cursor.description]
            _check_names(names)
            found = cursor.fetchmany(rows_max + 1)
        return [dict(zip(names, row, strict=True)) for row in found], len(found)

    def claim(self, key: str, operation: str, state: str) -> bool:
        """Write a key; False when it stands there already."""
        with _translated():
            cursor = self._connection.execute(
                "insert into movant_keys (key, operation, state) values (?, ?, ?)"
                " on conflict do nothing",
                (key, operation, state),
            )
        return cursor.rowcount == 1

    def known(self, key: str) -> tuple[str, str | None]:
        """Return state and result of a key that stands there."""
        with _translated():
            row = self._connection.execute(
                "select state, result from movant_keys where key = ?", (key,)
            ).fetchone()
        return row["state"], row["result"]

    def settle(self, key: str, state: str, result: str | None) -> None:
        """Write state and result of a key."""
        with _translated():
            self._connection.execute(
                "update movant_keys set state = ?, result = ? where key = ?", (state, result, key)
            )

    def commit(self) -> None:
        """Make it last. Raises Unknown when nobody can say whether it does."""
        self._deadline = 0.0
        try:
            self._connection.execute("commit")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self.rollback()
                raise _problem(error) from error
            raise Unknown(SYSTEM, f"the end of the transaction failed: {error}") from error

    def rollback(self) -> None:
        """Leave no trace."""
        self._deadline = 0.0
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("rollback")

    def compile(self, statement: SqlText) -> str:
        """Return a statement with ``:name``."""
        return statement.named()

    @property
    def usable(self) -> bool:
        """Whether it may be used: a file does not hang up."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _is_late(self) -> bool:
        return 0.0 < self._deadline < time.monotonic()

    def _wait(self, seconds: float) -> None:
        """Set how long it waits for others' locks."""
        self._connection.execute(f"pragma busy_timeout = {max(1, round(seconds * 1000))}")


def path_of(database: str, folder: Path) -> Path:
    """Return the file that ``sqlite:PATH`` names. Raises ConfigurationError."""
    name = database.removeprefix("sqlite:").removeprefix("//")
    if not name or name.startswith(":"):
        raise ConfigurationError(
            f"database {database!r} names no file", hint="sqlite:PATH, such as sqlite:ledger.db"
        )
    path = folder / Path(name).expanduser()
    if not path.parent.is_dir():
        raise ConfigurationError(f"there is no folder {path.parent} for the database {database!r}")
    return path


def _check_names(names: Sequence[str]) -> None:
    double = next((each for each in names if names.count(each) > 1), None)
    if double is not None:
        raise Refused(VALIDATION, f"two columns are called {double!r}: name them with 'as'")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OverflowError) as error:
        raise _problem(error) from error


def _problem(error: Exception) -> Exception:
    """Return the answer for an error; nothing is done, for the transaction is rolled back."""
    name = str(getattr(error, "sqlite_errorname", "")) or type(error).__name__
    message = f"{error}"
    if isinstance(error, sqlite3.IntegrityError):
        return Refused(REFUSED, message, details={"constraint": name})
    if isinstance(error, OverflowError) or name in {"SQLITE_MISMATCH", "SQLITE_TOOBIG"}:
        return Refused(VALIDATION, message)
    if name == "SQLITE_INTERRUPT":
        return Failed(TIMED_OUT, "it took too long and was stopped")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Failed("overloaded", "another connection holds the database")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return Refused(PERMISSION, message)
    if name.startswith(("SQLITE_FULL", "SQLITE_NOMEM")):
        return Failed(OVER_LIMIT, message)
    if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Failed(SYSTEM, message, details={"code": name})
    return Refused(SYSTEM, message, details={"code": name})
