"""PostgreSQL for the connector kind ``sql``; the extra ``postgres`` brings psycopg.

psycopg binds on the server's side: a value is never part of a statement's text.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from protocols.connectors.sql_text import SqlText
from protocols.error_kinds import NETWORK, OVER_LIMIT, PERMISSION, SYSTEM, TIMED_OUT
from protocols.errors import ConfigurationError
from protocols.failure import REFUSED, VALIDATION
from protocols.service import Failed, Refused, Unknown
from runtime.connectors.sql_session import Conflict, Lost, Rows

try:
    import psycopg
    from psycopg.rows import tuple_row
except ImportError as missing:
    raise ConfigurationError(
        "psycopg is not installed", hint="pip install 'movant[postgres]'"
    ) from missing

_DEAD_AFTER_MS: Final = 20_000
"""Until a peer that acknowledges no bytes is given up: a server that was cut off says nothing."""
_SETUP_LOCK: Final = 7_236_801
"""Of an advisory lock: connections are set up one after the other."""
_KEYS: Final = """
create table if not exists movant_keys (
    key text primary key,
    operation text not null,
    state text not null,
    result text,
    at timestamptz not null default now()
)
"""
_STATES: Final[dict[str, tuple[type[Refused | Failed], str]]] = {
    "0A": (Refused, SYSTEM),
    "22": (Refused, VALIDATION),
    "23": (Refused, REFUSED),
    "25": (Refused, PERMISSION),
    "28": (Refused, PERMISSION),
    "3D": (Refused, SYSTEM),
    "42": (Refused, SYSTEM),
    "44": (Refused, REFUSED),
    "08": (Failed, NETWORK),
    "53": (Failed, OVER_LIMIT),
    "55": (Failed, "overloaded"),
    "57": (Failed, NETWORK),
    "P0": (Refused, REFUSED),
    "42501": (Refused, PERMISSION),
    "57014": (Failed, TIMED_OUT),
}
"""What a SQLSTATE, or its class, means. What is raised by a database's own code is a refusal."""
_CONFLICTS: Final = frozenset({"40001", "40P01"})


class Postgres:
    """A connection to a server; see ``sql_session.Database``. Used by one thread."""

    def __init__(
        self,
        url: str,
        *,
        password: str = "",
        setup: Sequence[str] = (),
        connect_timeout_s: float = 10.0,
        keys_kept_days: int = 90,
    ) -> None:
        """Connect and make the table of keys if it is not there. Raises Failed and Refused."""
        self._deadline = 0.0
        self._told_s = 0.0
        self._reads = False
        with _translated():
            self._connection = psycopg.connect(
                url,
                password=password or None,
                autocommit=True,
                connect_timeout=max(2, round(connect_timeout_s)),
                tcp_user_timeout=_DEAD_AFTER_MS,
                row_factory=tuple_row,
                application_name="movant",
            )
            try:
                self._set_up(setup, keys_kept_days, connect_timeout_s)
            except BaseException:
                self._connection.close()
                raise

    def _set_up(self, setup: Sequence[str], keys_kept_days: int, lock_s: float) -> None:
        run = self._connection.execute
        # Who holds the lock may have been stopped: nobody waits here for ever.
        run(f"set lock_timeout = {max(1, round(lock_s * 1000))}".encode())
        # "create … if not exists" fails when two connections do it at once.
        run("select pg_advisory_lock(%s)", (_SETUP_LOCK,))
        run(_KEYS)
        run(
            "delete from movant_keys where at < now() - make_interval(days => %s)",
            (keys_kept_days,),
        )
        for statement in setup:
            run(statement.encode())
        run("select pg_advisory_unlock(%s)", (_SETUP_LOCK,))
        run("reset lock_timeout")

    @property
    def usable(self) -> bool:
        """Whether the connection stands, as far as anybody knows."""
        return not self._connection.closed and not self._connection.broken

    def begin(self, *, write: bool, seconds: float) -> None:
        """Begin a transaction that has so long. Raises Lost when the connection is dead."""
        self._deadline = time.monotonic() + seconds
        self._told_s = seconds
        self._reads = not write
        mode = "begin" if write else "begin read only"
        try:
            self._connection.execute(
                f"{mode}; set local statement_timeout = {max(1, round(seconds * 1000))}".encode()
            )
        except psycopg.OperationalError as error:
            if not self.usable:
                raise Lost from error
            raise _problem(error) from error

    def run(
        self, statement: bytes, values: Mapping[str, Any], rows_max: int
    ) -> tuple[Rows | None, int]:
        """Run one statement; at most one row more than asked for."""
        with _translated():
            self._limit()
            with self._connection.cursor() as cursor:
                if self._reads:  # row by row: nobody knows how many there are
                    rows = cursor.stream(statement, values or None)
                    found = list(itertools.islice(rows, rows_max + 1))
                    rows.close()  # type: ignore[attr-defined]  # a generator; it cancels the rest
                else:
                    cursor.execute(statement, values or None)
                    if cursor.description is None:
                        return None, cursor.rowcount
                    found = cursor.fetchmany(rows_max + 1)
                names = [each.name for each in cursor.description or ()]
                _check_names(names)
        return [dict(zip(names, row, strict=True)) for row in found], len(found)

    def claim(self, key: str, operation: str, state: str) -> bool:
        """Write a key; False when it stands there already. Waits for who is writing it."""
        with _translated():
            self._limit()
            cursor = self._connection.execute(
                "insert into movant_keys (key, operation, state) values (%s, %s, %s)"
                " on conflict do nothing",
                (key, operation, state),
            )
        return cursor.rowcount == 1

    def known(self, key: str) -> tuple[str, str | None]:
        """Return state and result of a key that stands there, and keep others away from it."""
        with _translated():
            row = self._connection.execute(
                "select state, result from movant_keys where key = %s for update", (key,)
            ).fetchone()
        if row is None:  # it was so old that it was removed just now
            raise Conflict
        return row[0], row[1]

    def settle(self, key: str, state: str, result: str | None) -> None:
        """Write state and result of a key."""
        with _translated():
            self._connection.execute(
                "update movant_keys set state = %s, result = %s where key = %s",
                (state, result, key),
            )

    def commit(self) -> None:
        """Make it last. Raises Unknown when nobody can say whether it does."""
        try:
            with _translated():
                self._limit()
            self._connection.execute("commit")
        except psycopg.Error as error:
            if error.sqlstate is None or not self.usable:
                raise Unknown(NETWORK, f"the connection was lost at its end: {error}") from error
            self.rollback()
            raise _problem(error) from error

    def rollback(self) -> None:
        """Leave no trace."""
        with suppress(psycopg.Error):
            if self.usable:
                self._connection.execute("rollback")

    def compile(self, statement: SqlText) -> bytes:
        """Return a statement with ``%(name)s``."""
        # Bytes, for a text would have to be a literal of this program: it is the author's.
        text = statement.pyformat() if statement.names else "".join(statement.pieces)
        return text.encode()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _limit(self) -> None:
        """Let the server stop what takes longer than the transaction may.

        It is told again only when a tenth of the time is gone: each telling is a round trip.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Failed(TIMED_OUT, "it took too long and was stopped")
        if left < self._told_s * 0.9:
            self._told_s = left
            text = f"set local statement_timeout = {max(1, round(left * 1000))}"
            self._connection.execute(text.encode())


def _check_names(names: Sequence[str]) -> None:
    double = next((each for each in names if names.count(each) > 1), None)
    if double is not None:
        raise Refused(VALIDATION, f"two columns are called {double!r}: name them with 'as'")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise _problem(error) from error


def _problem(error: psycopg.Error) -> Exception:
    """Return the answer for an error; nothing is done, for the transaction cannot end well."""
    state = error.sqlstate or ""
    message = (error.diag.message_primary or str(error)).strip() or type(error).__name__
    if state in _CONFLICTS:
        return Conflict()
    if not state:
        if isinstance(error, psycopg.DataError):
            return Refused(VALIDATION, message)
        if isinstance(error, psycopg.OperationalError):
            return Failed(NETWORK, message)
        return Refused(SYSTEM, message)
    answer, kind = _STATES.get(state) or _STATES.get(state[:2]) or (Failed, SYSTEM)
    details = {"sqlstate": state}
    if error.diag.constraint_name:
        details["constraint"] = error.diag.constraint_name
    return answer(kind, message, details=details)
