"""A session with a database: one connection, on the thread that uses it.

    begin ─ key known? ──yes──> its first result
             │ no: written in this transaction
             ├─ statements, with bound values
             └─ result stored under the key ─ commit ─> answer

The key of a step stands in the table ``movant_keys``, in the transaction of its effect: so a
request that comes again is answered and not done again, whoever was killed in between. An undo
writes the key that it undoes there as well: that key is refused from then on.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from protocols.connectors.connector import RESULT_BYTES_MAX
from protocols.connectors.sql import Prepared, SqlStatement
from protocols.error_kinds import OVER_LIMIT
from protocols.failure import REFUSED, VALIDATION
from protocols.service import Call, Failed, Refused

UNDONE: Final = "undone"
CONFLICTS_MAX: Final = 4
"""How often a transaction that lost against another one is begun anew, before it is given up."""

Rows = list[dict[str, Any]]


class Conflict(Exception):
    """The database undid the transaction in favour of another one: it may be begun again."""


class Lost(Exception):
    """The connection was found dead before anything was asked of it."""


class Database(Protocol):
    """What a session needs of a kind of database. Errors come out as the answers they are."""

    def begin(self, *, write: bool, seconds: float) -> None:
        """Begin a transaction that has so long."""

    def run(
        self, statement: Any, values: Mapping[str, Any], rows_max: int
    ) -> tuple[Rows | None, int]:
        """Run one statement; return at most one row more than asked for, and how many it hit.

        The rows are None for a statement that returns none.
        """

    def claim(self, key: str, operation: str, state: str) -> bool:
        """Write a key; False when it stands there already."""

    def known(self, key: str) -> tuple[str, str | None]:
        """Return state and result of a key that stands there, and keep others away from it."""

    def settle(self, key: str, state: str, result: str | None) -> None:
        """Write state and result of a key."""

    def commit(self) -> None:
        """Make it last."""

    def rollback(self) -> None:
        """Leave no trace; never raises."""

    def compile(self, statement: Any) -> Any:
        """Return a statement in the text of this database."""


class Session:
    """Runs operations on one database, one at a time."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def perform(self, operation: Prepared, request: Any, call: Call) -> Any:
        """Do an operation and return its result. Raises Refused, Failed, Unknown and Lost."""
        seconds = operation.timeout_s
        if call.timeout_s > 0:
            seconds = min(seconds, call.timeout_s)
        deadline = time.monotonic() + seconds
        for attempt in range(CONFLICTS_MAX):
            left = deadline - time.monotonic()
            if attempt and left <= 0:
                break
            try:
                return self._transaction(operation, request, call, left)
            except Conflict:
                continue
        raise Failed("overloaded", "other transactions were in the way each time")

    def _transaction(self, operation: Prepared, request: Any, call: Call, seconds: float) -> Any:
        database = self.database
        key = call.undoes if operation.undo else call.key
        values = operation.values(request, key, undoes=operation.undo and bool(call.undoes))
        database.begin(write=operation.writes, seconds=seconds)
        try:
            if (
                operation.writes
                and call.key
                and not database.claim(call.key, operation.name, "done")
            ):
                answer = _answer_of(*database.known(call.key), call.key)
                database.rollback()
                return answer
            result = self._result(operation, values, call)
            text = _encoded(result)
            if operation.writes and call.key:
                database.settle(call.key, "done", text)
            database.commit()
        except BaseException:  # also of a commit: what stays open would last with the next one
            database.rollback()
            raise
        return msgspec.json.decode(text)

    def _result(self, operation: Prepared, values: Mapping[str, Any], call: Call) -> Any:
        if operation.undo and call.undoes and not self._fence(call.undoes, operation.name):
            return {"undone": False}
        results = [
            self._statement(operation, statement, text, values)
            for text, statement in operation.statements
        ]
        if operation.undo and call.undoes:
            return {"undone": True, "results": results}
        if operation.several:
            return {"results": results}
        if operation.one:
            rows = results[0]["rows"]
            if len(rows) > 1:
                raise Refused(OVER_LIMIT, "more than one row where one was expected")
            return rows[0] if rows else None
        return results[0]

    def _fence(self, key: str, operation: str) -> bool:
        """Refuse a key from now on; tell whether there is something to undo."""
        database = self.database
        if database.claim(key, operation, UNDONE):
            return False  # never seen: its request is refused when it comes
        state, result = database.known(key)
        if state == UNDONE:
            return False
        database.settle(key, UNDONE, result)
        return True

    def _statement(
        self, operation: Prepared, statement: SqlStatement, text: Any, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        bound = {name: values[name] for name in text.names}
        rows, count = self.database.run(self.database.compile(text), bound, operation.rows_max)
        if rows is not None and len(rows) > operation.rows_max:
            raise Refused(
                OVER_LIMIT,
                f"more than {operation.rows_max} rows",
                details={"rows_max": operation.rows_max},
            )
        hit = count if rows is None else len(rows)
        if statement.expect is not None and hit != statement.expect:
            raise Refused(
                statement.otherwise or REFUSED,
                f"{hit} rows instead of {statement.expect}",
                details={"rows": hit, "expected": statement.expect},
            )
        return {"count": hit} if rows is None else {"rows": _plain(rows), "count": hit}


def _answer_of(state: str, result: str | None, key: str) -> Any:
    if state == UNDONE:
        raise Refused(UNDONE, f"{key} was undone")
    return None if result is None else msgspec.json.decode(result)


def _encoded(result: Any) -> str:
    """Return a result as text; what is too large is refused while nothing is done."""
    body = msgspec.json.encode(result)
    if len(body) > RESULT_BYTES_MAX:
        raise Refused(OVER_LIMIT, f"the result has {len(body)} bytes: ask for less at a time")
    return body.decode()


def _plain(value: Any) -> Any:
    """Return a value of a database as a value of ours; what is exact stays exact, as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Refused(VALIDATION, f"{value} is no value")
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_plain(each) for each in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    return str(value)
