"""The settings of a connector to a database, and the statements that may be run in it."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from protocols.connectors import parameters as connector_parameters
from protocols.connectors.connector import Connector, Duration, Open, Part, Secret, to_seconds
from protocols.connectors.parameters import Params, bind, of_undo, params_type
from protocols.connectors.sql_text import SqlText, parse
from protocols.errors import ConfigurationError
from protocols.findings import Finding, Place

ROWS_MAX: Final = 1_000
SQLITE: Final = "sqlite:"
POSTGRES: Final = ("postgresql://", "postgres://")
KEY: Final = "movant_key"
"""A parameter that every statement may bind: the key of the step, or of the step to undo."""
_CONTROL: Final = re.compile(
    r"\s*(?:begin|start|commit|end|rollback|abort|savepoint|release|prepare|attach|detach|vacuum"
    r"|pragma|copy|set|reset|listen|lock|discard|checkpoint)\b",
    re.IGNORECASE,
)
"""Statements that would end the transaction around them, or change the connection for others."""


class SqlStatement(Part, frozen=True, kw_only=True):
    """One statement, and what has to come of it. The text alone may stand in its place."""

    sql: Annotated[
        Annotated[str, Meta(min_length=1)],
        Meta(description="The statement; `:name` binds a parameter."),
    ]
    expect: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Rows it has to change or return. Else nothing is done, and refused."),
    ] = None
    otherwise: Annotated[
        str, Meta(description="Error kind when it is another number of rows than `expect`.")
    ] = "refused"


class SqlOperation(Part, frozen=True, kw_only=True):
    """One operation: exactly one of query, execute and transaction."""

    query: Annotated[
        str | SqlStatement, Meta(description="A statement that reads; it cannot write.")
    ] = ""
    execute: Annotated[str | SqlStatement, Meta(description="A statement that writes.")] = ""
    transaction: Annotated[
        tuple[str | SqlStatement, ...],
        Meta(description="Several statements: all of them, or none."),
    ] = ()
    params: Annotated[
        Params, Meta(description="The fields of the request, as of a graph's `input`.")
    ] = {}
    one: Annotated[bool, Meta(description="The result of a query is its only row, or null.")] = (
        False
    )
    undo: Annotated[
        bool,
        Meta(description="Undoes a step, once. A step it comes before is refused from then on."),
    ] = False
    rows_max: Annotated[
        Annotated[int, Meta(ge=1, le=100_000)], Meta(description="More rows are refused.")
    ] = ROWS_MAX
    timeout: Annotated[
        Duration | None, Meta(description="Less than the connector's, for this operation.")
    ] = None
    description: Annotated[str, Meta(description="What it is for, in discovery.")] = ""

    def __post_init__(self) -> None:
        """Read the duration. Raises ValueError."""
        if self.timeout is not None:
            to_seconds(self, "timeout")

    @property
    def field(self) -> str:
        """The name of the field that has the statements; empty unless there is exactly one."""
        kinds = [each for each in ("query", "execute", "transaction") if getattr(self, each)]
        return kinds[0] if len(kinds) == 1 else ""

    @property
    def statements(self) -> tuple[SqlStatement, ...]:
        """All statements in their long form."""
        given = self.transaction or (self.query or self.execute,)
        return tuple(
            each if isinstance(each, SqlStatement) else SqlStatement(sql=each) for each in given
        )


class SqlConnector(Connector, frozen=True, kw_only=True, tag="sql"):
    """A database: SQLite or PostgreSQL."""

    database: Annotated[
        Open, Meta(description="`sqlite:PATH` or `postgresql://USER@HOST:PORT/NAME`.")
    ]
    operations: Annotated[dict[str, SqlOperation], Meta(description="By name.")]
    password: Annotated[Secret | None, Meta(description="Of the user, for PostgreSQL.")] = None
    setup: Annotated[
        tuple[str, ...],
        Meta(description="Statements that each connection runs first, harmless when repeated."),
    ] = ()
    connections: Annotated[
        Annotated[int, Meta(ge=1, le=16)],
        Meta(description="Connections of one process, each with a thread of its own."),
    ] = 4
    keys_kept: Annotated[
        Duration, Meta(description="How long it is remembered that a step was done.")
    ] = "90d"

    def __post_init__(self) -> None:
        """Read the durations. Raises ValueError."""
        super().__post_init__()
        to_seconds(self, "keys_kept")

    def findings(self) -> Iterator[Finding]:
        """Yield what no type can say."""
        if not self.database.startswith((SQLITE, *POSTGRES, "${")):
            message = f"{self.database[:60]!r} names no database that is known here"
            yield Finding(("database",), message, "sqlite:PATH, or postgresql://USER@HOST/NAME")
        if not self.operations:
            yield Finding(("operations",), "there is no operation")
        for name, operation in self.operations.items():
            yield from _findings(operation, ("operations", name))


class Prepared(msgspec.Struct, frozen=True):
    """An operation whose statements are parsed."""

    name: str
    writes: bool
    one: bool
    undo: bool
    several: bool
    params: Params
    kind: Any
    """The type of a request."""
    statements: tuple[tuple[SqlText, SqlStatement], ...]
    rows_max: int
    timeout_s: float

    def values(self, request: Any, key: str, *, undoes: bool) -> dict[str, Any]:
        """Return what the statements bind. Raises Refused of kind ``validation``.

        A list or a map is bound as its JSON.
        """
        values = bind(self.kind, of_undo(request, self.params) if undoes else request)
        return {KEY: key, **{name: _bound(each) for name, each in values.items()}}


def _bound(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value


def prepare(settings: SqlConnector) -> Mapping[str, Prepared]:
    """Return the operations of a connector that has no findings, by name."""
    return {
        name: Prepared(
            name=name,
            writes=not each.query,
            one=each.one,
            undo=each.undo,
            several=bool(each.transaction),
            params=each.params,
            kind=params_type(each.params),
            statements=tuple((parse(one.sql), one) for one in each.statements),
            rows_max=each.rows_max,
            timeout_s=min(float(each.timeout or settings.timeout_s), settings.timeout_s),
        )
        for name, each in settings.operations.items()
    }


def _findings(operation: SqlOperation, place: Place) -> Iterator[Finding]:
    yield from connector_parameters.findings(operation.params, (*place, "params"))
    field = operation.field
    if not field:
        yield Finding(place, "it has exactly one of query, execute and transaction", of_key=True)
        return
    if operation.undo and field == "query":
        yield Finding((*place, "undo"), "a query undoes nothing")
    if operation.one and field != "query":
        yield Finding((*place, "one"), "only a query has one row as its result")
    if KEY in operation.params:
        yield Finding((*place, "params", KEY), f"{KEY} is bound by itself", of_key=True)
    bound: set[str] = set()
    for index, statement in enumerate(operation.statements):
        where = (*place, field, index) if field == "transaction" else (*place, field)
        bound.update((yield from _names(statement.sql, operation, where)))
    for each in operation.params:
        if each not in bound:
            yield Finding((*place, "params", each), f"no statement binds {each!r}", of_key=True)


def _names(
    sql: str, operation: SqlOperation, place: Place
) -> Generator[Finding, None, tuple[str, ...]]:
    """Yield what is wrong with a statement, and return what it binds."""
    control = _CONTROL.match(sql)
    if control is not None:
        yield Finding(
            place,
            f"{control[0].strip().upper()} is no statement of an operation",
            "each operation is a transaction already; settings belong into 'setup'",
        )
        return ()
    try:
        names = parse(sql).names
    except ConfigurationError as error:
        yield Finding(place, error.message, error.hint)
        return ()
    for each in names:
        if each != KEY and each not in operation.params:
            hint = f"write '{each}: string' into 'params'"
            yield Finding(place, f":{each} is not in params", hint)
    return names
