"""Bank: a database behind the connector ``sql``, for tests and for processes that they kill.

``python -m tests.support.bank`` pays, and is killed between the commit and the answer.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from actors.files.connectors import parse
from protocols.connectors.sql import SqlConnector
from protocols.service import Call
from runtime.connectors import sqlite
from runtime.connectors.frame import Opened, opened
from runtime.connectors.secrets import Secrets

SETUP: Final = (
    "create table if not exists account (id text primary key, balance int check (balance >= 0))",
    "create table if not exists booking (key text primary key, seats integer not null)",
)
OPERATIONS: Final[dict[str, Any]] = {
    "open-account": {
        "execute": "insert into account (id, balance) values (:id, :balance)",
        "params": {"id": "string", "balance": {"type": "integer", "default": 0}},
    },
    "accounts": {"query": "select id, balance from account order by id", "rows_max": 3},
    "balance": {
        "query": "select balance from account where id = :id",
        "params": {"id": "string"},
        "one": True,
    },
    "pay": {
        "transaction": [
            {
                "sql": "update account set balance = balance - :amount where id = :payer",
                "expect": 1,
                "otherwise": "no_account",
            },
            {
                "sql": "update account set balance = balance + :amount where id = :payee",
                "expect": 1,
                "otherwise": "no_account",
            },
        ],
        "params": {"payer": "string", "payee": "string", "amount": "integer"},
    },
    "book": {
        "execute": "insert into booking (key, seats) values (:movant_key, :seats)",
        "params": {"seats": "integer"},
    },
    "cancel": {"execute": "delete from booking where key = :movant_key", "undo": True},
    "bookings": {"query": "select key, seats from booking"},
    "sneak": {"query": {"sql": "insert into booking (key, seats) values ('x', 1) returning key"}},
    "endless": {
        "query": "with recursive n(i) as (select 1 union all select i + 1 from n)"
        " select count(*) as count from n",
        "timeout": "200ms",
    },
    "doom": {"execute": "insert into doom default values"},
    "wrong": {"query": "select nothing from nowhere"},
}


class Bank:
    """A database, and how connectors reach it."""

    def __init__(self, database: str, base: Path, password: str = "") -> None:
        self.database = database
        self.base = base
        self.environment = {"PASSWORD": password}
        self.extra: dict[str, Any] = {"password": "${env:PASSWORD}"} if password else {}

    def settings(self) -> SqlConnector:
        """Return the connector, read as a file would be."""
        given = {
            "kind": "sql",
            "database": self.database,
            "setup": SETUP,
            "operations": OPERATIONS,
            **self.extra,
        }
        read = parse(msgspec.json.encode({"connectors": {"bank": given}}))
        assert read.problems == []
        assert read.value is not None
        found = read.value.connectors["bank"]
        assert isinstance(found, SqlConnector)
        return found

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Callable[..., Any]]:
        """Open the connector; call what it yields with operation, key and parameters."""
        secrets = Secrets(self.base, self.environment)
        async with opened("bank", self.settings(), secrets) as found:
            yield partial(_ask, found)


async def _ask(
    found: Opened,
    operation: str,
    key: str = "",
    /,
    undoes: str = "",
    timeout_s: float = 0.0,
    **values: Any,
) -> Any:
    call = Call("bank", operation, key=key, undoes=undoes, timeout_s=timeout_s)
    return await found.service.operations[operation].function(values, call)


async def pay_and_die(database: str, base: str, password: str, key: str) -> None:
    """Pay; the commit is the last thing that happens."""
    kind: type = sqlite.Sqlite
    if password:
        from runtime.connectors import postgres  # noqa: PLC0415 - an extra

        kind = postgres.Postgres
    commit = kind.commit  # type: ignore[attr-defined]  # of both kinds

    def commit_and_die(self: object) -> None:
        commit(self)
        os.kill(os.getpid(), signal.SIGKILL)

    async with Bank(database, Path(base), password).open() as ask:
        kind.commit = commit_and_die  # type: ignore[attr-defined]
        await ask("pay", key, payer="ann", payee="bob", amount=1)


if __name__ == "__main__":
    trio.run(pay_and_die, *msgspec.json.decode(sys.argv[1]))
