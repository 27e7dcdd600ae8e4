"""The connector kind ``sql``: named statements on SQLite or PostgreSQL as a service.

Each connection belongs to one thread. A connection that was lost is made anew by the next
request; what was under way on it has no effect, unless it was lost at its very end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from typing import Any, Protocol

import msgspec

from protocols.connectors.parameters import request_type
from protocols.connectors.sql import SQLITE, Prepared, SqlConnector, prepare
from protocols.service import Call, Failed, Service
from runtime.connectors import sqlite
from runtime.connectors.frame import Opened
from runtime.connectors.hands import Hands, hands
from runtime.connectors.secrets import Secrets
from runtime.connectors.sql_session import Database, Lost, Session


class _Connection(Database, Protocol):
    @property
    def usable(self) -> bool: ...

    def close(self) -> None: ...


@asynccontextmanager
async def opened(name: str, settings: SqlConnector, secrets: Secrets) -> AsyncIterator[Opened]:
    """Offer the operations of a database."""
    service = Service(name, version="1.0.0", description=settings.description)
    connect = _connector(settings, secrets)
    async with hands(settings.connections, partial(Access, connect), Access.close) as threads:
        for operation, prepared in prepare(settings).items():
            service.operation(operation)(_operation(threads, prepared))
            service.operations[operation] = msgspec.structs.replace(
                service.operations[operation],
                request_type=Any if prepared.undo else request_type(prepared.kind),
                description=settings.operations[operation].description,
            )
        yield Opened(service, partial(threads.check, "database", Access.probe))


class Access:
    """What one thread has of a database: a connection, for as long as it stands."""

    def __init__(self, connect: Callable[[], _Connection]) -> None:
        self._connect = connect
        self._connection: _Connection | None = None

    def perform(self, operation: Prepared, request: Any, call: Call) -> Any:
        """Do an operation. Raises Refused, Failed and Unknown."""
        fresh = self._connection is None
        try:
            return self._perform(operation, request, call)
        except Lost:
            if fresh:
                raise Failed("network", "the database hung up at once") from None
            return self._perform(operation, request, call)  # nothing was asked of the dead one

    def _perform(self, operation: Prepared, request: Any, call: Call) -> Any:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect()
        try:
            return Session(connection).perform(operation, request, call)
        finally:
            if not connection.usable:
                self.close()

    def probe(self) -> None:
        """Connect, if there is no connection, and ask nothing. Raises Refused and Failed."""
        if self._connection is None:
            self._connection = self._connect()
        try:
            self._connection.begin(write=False, seconds=5.0)
        except Lost:
            self.close()
            self._connection = self._connect()
        else:
            self._connection.rollback()

    def close(self) -> None:
        """Let the connection go."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _connector(settings: SqlConnector, secrets: Secrets) -> Callable[[], _Connection]:
    """Return what makes a connection; secrets are read anew for each.

    Raises ConfigurationError for a database that cannot be, or a library that is missing.
    """
    days = max(1, round(float(settings.keys_kept) / 86_400))
    if settings.database.startswith(SQLITE):
        path = sqlite.path_of(secrets.plain(settings.database), secrets.base)
        return partial(sqlite.Sqlite, path, setup=settings.setup, keys_kept_days=days)
    postgres = import_module("runtime.connectors.postgres")

    def connect() -> _Connection:
        password = settings.password
        made: _Connection = postgres.Postgres(
            secrets.reveal(settings.database).reveal(),
            password=secrets.reveal(password).reveal() if password else "",
            setup=settings.setup,
            connect_timeout_s=min(settings.timeout_s, 10.0),
            keys_kept_days=days,
        )
        return made

    return connect


def _operation(threads: Hands[Access], prepared: Prepared) -> Callable[..., Any]:
    async def operation(request: Any, call: Call) -> Any:
        return await threads.answer(
            call, lambda access, left: access.perform(prepared, request, left)
        )

    return operation
