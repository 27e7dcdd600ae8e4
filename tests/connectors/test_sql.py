"""The connector ``sql``, on a file of SQLite's and on a real PostgreSQL: the same claims."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import pytest
import trio
import trio.testing

from actors.files.connectors import parse
from protocols.error_kinds import classify, is_unknown_outcome
from protocols.failure import Failure
from protocols.service import Failed, Refused, Unknown
from tests.support import postgres
from tests.support.bank import Bank
from tests.support.postgres import PostgresServer

ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Start one PostgreSQL for all tests."""
    reason = postgres.missing()
    if reason:
        pytest.skip(reason)
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def bank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bank]:
    """Return a fresh database of either kind."""
    kind: Literal["sqlite", "postgres"] = request.param
    if kind == "sqlite":
        yield Bank("sqlite:bank.db", tmp_path)
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    found = Bank(server.url, tmp_path, postgres.PASSWORD)
    yield found
    import psycopg  # noqa: PLC0415 - an extra, which this test has

    with psycopg.connect(server.url, password=postgres.PASSWORD, autocommit=True) as connection:
        connection.execute("drop table if exists account, booking, movant_keys")


async def test_values_are_bound_and_come_back(bank: Bank) -> None:
    """What looks like SQL is a text like every other; rows are maps, one row is a map or null."""
    nasty = "x'); drop table account; --"
    async with bank.open() as ask:
        made = await ask("open-account", "k1", id=nasty, balance=7)
        rows = await ask("accounts", "k2")
        one = await ask("balance", "k3", id=nasty)
        none = await ask("balance", "k4", id="nobody")

    assert made == {"count": 1}
    assert rows == {"rows": [{"id": nasty, "balance": 7}], "count": 1}
    assert one == {"balance": 7}
    assert none is None


async def test_a_transaction_is_done_as_a_whole_or_not_at_all(bank: Bank) -> None:
    """Of a payment to nobody nothing stays, and its kind is the author's word."""
    async with bank.open() as ask:
        await ask("open-account", "k1", id="ann", balance=10)
        await ask("open-account", "k2", id="bob")
        paid = await ask("pay", "k3", payer="ann", payee="bob", amount=4)
        with pytest.raises(Refused) as to_nobody:
            await ask("pay", "k4", payer="ann", payee="eve", amount=4)
        with pytest.raises(Refused) as too_much:
            await ask("pay", "k5", payer="ann", payee="bob", amount=40)
        rows = await ask("accounts", "k6")

    assert paid == {"results": [{"count": 1}, {"count": 1}]}
    assert to_nobody.value.kind == "no_account"
    assert too_much.value.kind == "refused"
    assert {row["id"]: row["balance"] for row in rows["rows"]} == {"ann": 6, "bob": 4}


async def test_a_step_is_done_once_and_answered_as_often_as_asked(bank: Bank) -> None:
    """Also by another process; a refused step leaves no key, and may be done later."""
    async with bank.open() as ask:
        await ask("open-account", "k1", id="ann", balance=10)
        await ask("open-account", "k2", id="bob")
        first = await ask("pay", "k3", payer="ann", payee="bob", amount=4)
        with pytest.raises(Refused):
            await ask("pay", "k4", payer="bob", payee="ann", amount=9)
        await ask("open-account", "k5", id="cyd", balance=9)
    async with bank.open() as ask:
        again = await ask("pay", "k3", payer="ann", payee="bob", amount=4)
        await ask("pay", "k6", payer="cyd", payee="bob", amount=9)
        await ask("pay", "k4", payer="bob", payee="ann", amount=9)
        rows = await ask("accounts", "")

    assert again == first
    assert {row["id"]: row["balance"] for row in rows["rows"]} == {"ann": 15, "bob": 4, "cyd": 0}


async def test_who_finds_no_connection_in_time_has_done_nothing(tmp_path: Path) -> None:
    """It is a failure and nothing unknown; and no statement begins when nobody waits any more."""
    bank = Bank("sqlite:bank.db", tmp_path)
    bank.extra["connections"] = 1
    async with bank.open() as ask:
        await ask("accounts")  # the file is there
        async with trio.open_nursery() as nursery:

            async def hold() -> None:
                with pytest.raises(Failed):
                    await ask("endless")

            nursery.start_soon(hold)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(Failed) as raised:
                await ask("book", "k", timeout_s=0.05, seats=2)
        rows = await ask("bookings")

    assert raised.value.kind == "over_limit"
    assert rows["rows"] == []


async def test_many_askers_of_one_step_get_one_effect(bank: Bank) -> None:
    """Over several connections at once: one does it, the others wait and get its result."""
    async with bank.open() as ask, trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(partial(ask, "book", "k", seats=2))
        nursery.start_soon(partial(ask, "open-account", "other", id="ann"))
    async with bank.open() as ask:
        rows = await ask("bookings", "")

    assert rows["rows"] == [{"key": "k", "seats": 2}]


async def test_an_undo_is_done_once_and_fences_what_never_came(bank: Bank) -> None:
    """Undo before do: the key is refused from then on, also by the next process."""
    async with bank.open() as ask:
        await ask("book", "k1", seats=2)
        undone = await ask("cancel", "k1/undo", undoes="k1")
        again = await ask("cancel", "k1/undo#2", undoes="k1")
        never = await ask("cancel", "k2/undo", undoes="k2")
    async with bank.open() as ask:
        with pytest.raises(Refused) as late:
            await ask("book", "k2", seats=2)
        with pytest.raises(Refused) as repeated:
            await ask("book", "k1", seats=2)
        rows = await ask("bookings", "")

    assert undone == {"undone": True, "results": [{"count": 1}]}
    assert again == never == {"undone": False}
    assert late.value.kind == repeated.value.kind == "undone"
    assert rows["rows"] == []


async def test_what_is_wrong_has_its_kind_and_no_effect(bank: Bank) -> None:
    """Constraint, missing table, missing and wrong parameters, a query that writes, many rows."""
    kinds: dict[str, str] = {}

    async def note(claim: str, ask: Callable[..., Any], *given: Any, **values: Any) -> None:
        with pytest.raises(Refused) as refused:
            await ask(*given, **values)
        kinds[claim] = classify(Failure(kind=refused.value.kind, message=""))

    async with bank.open() as ask:
        for number in range(4):
            await ask("open-account", f"k{number}", id=f"a{number}")
        await note("twice", ask, "open-account", "k9", id="a1")
        await note("table", ask, "wrong", "")
        await note("missing", ask, "balance", "")
        await note("unknown", ask, "balance", "", id="a1", name="a1")
        await note("type", ask, "balance", "", id=7)
        await note("writes", ask, "sneak", "")
        await note("rows", ask, "accounts", "")
        rows = await ask("bookings", "")

    assert kinds == {
        "twice": "refused",
        "table": "system",
        "missing": "validation",
        "unknown": "validation",
        "type": "validation",
        "writes": "permission",
        "rows": "over_limit",
    }
    assert rows["rows"] == []


async def test_what_takes_too_long_is_stopped_and_has_no_effect(bank: Bank) -> None:
    """The connection serves the next request; a timeout that was rolled back is not unknown."""
    async with bank.open() as ask:
        began = trio.current_time()
        with pytest.raises(Failed) as late:
            await ask("endless", "k1")
        took_s = trio.current_time() - began
        await ask("book", "k2", seats=1)

    failure = Failure(kind=late.value.kind, message="")
    assert classify(failure) == "timeout"
    assert not is_unknown_outcome(failure)
    assert took_s < 10


@pytest.mark.parametrize("bank", ["postgres"], indirect=True)
async def test_what_came_too_late_for_its_commit_is_not_committed_later(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time ends just before the commit: the next one takes nothing along."""
    from runtime.connectors.postgres import Postgres  # noqa: PLC0415 - an extra

    bank.extra["connections"] = 1
    settle = Postgres.settle

    def late(self: Postgres, key: str, state: str, result: str | None) -> None:
        settle(self, key, state, result)
        if key == "k1":
            monkeypatch.setattr(self, "_deadline", 0.0)

    monkeypatch.setattr(Postgres, "settle", late)
    async with bank.open() as ask:
        with pytest.raises(Failed) as raised:
            await ask("book", "k1", seats=1)
        await ask("book", "k2", seats=2)
    async with bank.open() as ask:
        rows = await ask("bookings", "")

    assert raised.value.kind == "timeout_error"
    assert rows["rows"] == [{"key": "k2", "seats": 2}]


async def test_nothing_is_done_twice_when_it_dies_between_commit_and_answer(bank: Bank) -> None:
    """Kill -9 at that very place; the request that comes again is answered."""
    async with bank.open() as ask:
        await ask("open-account", "k1", id="ann", balance=100)
        await ask("open-account", "k2", id="bob")
    died = await trio.to_thread.run_sync(_pay_and_die, bank, "pay")
    async with bank.open() as ask:
        paid = await ask("balance", "", id="ann")
        answer = await ask("pay", "pay", payer="ann", payee="bob", amount=1)
        left = await ask("balance", "", id="ann")

    assert died == -signal.SIGKILL
    assert answer == {"results": [{"count": 1}, {"count": 1}]}
    assert paid == left == {"balance": 99}


def _pay_and_die(bank: Bank, key: str) -> int:
    """Pay in a process of its own that dies as soon as the database has committed."""
    given = msgspec.json.encode([bank.database, str(bank.base), bank.environment["PASSWORD"], key])
    return subprocess.run(
        [sys.executable, "-m", "tests.support.bank", given.decode()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=30,
    ).returncode


async def test_a_connection_that_is_lost_in_the_commit_leaves_it_unknown(
    postgres_server: PostgresServer,
) -> None:
    """Before the commit it is a failure: then nothing was done."""
    psycopg = pytest.importorskip("psycopg")
    dying = "perform pg_terminate_backend(pg_backend_pid()); return null;"
    bank = Bank(postgres_server.url, Path(), postgres.PASSWORD)

    def run(*statements: str) -> None:
        with psycopg.connect(
            postgres_server.url, password=postgres.PASSWORD, autocommit=True
        ) as connection:
            for each in statements:
                connection.execute(each)

    run(
        "create table doom (id serial)",
        f"create function die() returns trigger language plpgsql as $$begin {dying} end$$",
        "create constraint trigger late after insert on doom deferrable initially deferred"
        " for each row execute function die()",
    )
    async with bank.open() as ask:
        with pytest.raises(Unknown) as late:
            await ask("doom", "k1")
        run("drop trigger late on doom")
        run("create trigger early before insert on doom for each row execute function die()")
        with pytest.raises(Failed) as early:
            await ask("doom", "k1")
        run("drop table doom", "drop function die")

    assert late.value.kind == "network"
    assert early.value.kind == "network"


@pytest.mark.parametrize("bank", ["postgres"], indirect=True)
async def test_a_connection_that_cannot_be_set_up_is_a_failure(
    bank: Bank, postgres_server: PostgresServer
) -> None:
    """Another process holds the lock of the set-up and goes no further: nothing was begun."""
    psycopg = pytest.importorskip("psycopg")
    bank.extra["timeout"] = 0.3
    async with bank.open() as ask:
        with psycopg.connect(postgres_server.url, password=postgres.PASSWORD) as holder:
            holder.execute("select pg_advisory_lock(7236801)")
            with pytest.raises(Failed) as raised:
                await ask("accounts")
        assert await ask("accounts", timeout_s=5.0) == {"rows": [], "count": 0}

    assert raised.value.kind == "overloaded"


async def test_a_connection_that_was_lost_is_made_anew(postgres_server: PostgresServer) -> None:
    """While the server is away it fails as network; then the next request works."""
    bank = Bank(postgres_server.url, Path(), postgres.PASSWORD)
    async with bank.open() as ask:
        await ask("book", "k1", seats=1)
        postgres_server.crash()
        with pytest.raises(Failed) as away:
            await ask("book", "k2", seats=1)
        postgres_server.spawn()
        await ask("book", "k2", seats=1)
        rows = await ask("bookings", "")

    assert away.value.kind == "network"
    assert sorted(row["key"] for row in rows["rows"]) == ["k1", "k2"]


def test_mistakes_are_found_when_the_file_is_read() -> None:
    """Each at its place: parameters, statements, and what an operation cannot be."""
    operations: Mapping[str, Any] = {
        "both": {"query": "select 1", "execute": "delete from t"},
        "undeclared": {"query": "select :a"},
        "unused": {"query": "select 1", "params": {"a": "string"}},
        "control": {"transaction": ["update t set a = 1", "commit"]},
        "two": {"execute": "delete from t; delete from u"},
        "undoing": {"query": "select 1", "undo": True},
        "default": {
            "query": "select :a",
            "params": {"a": {"type": "integer", "default": "7"}},
        },
    }
    given = {"kind": "sql", "database": "oracle:x", "operations": operations}
    text = msgspec.json.format(msgspec.json.encode({"connectors": {"bank": given}}))

    read = parse(text)

    assert [(each.line, each.message) for each in read.problems] == snapshot(text)


def snapshot(text: bytes) -> list[tuple[int, str]]:
    """Return the mistakes of the file above, each with the line that it stands in."""
    lines = text.decode().splitlines()

    def line(part: str) -> int:
        return next(at for at, each in enumerate(lines, 1) if part in each)

    return [
        (line("oracle:x"), "'oracle:x' names no database that is known here"),
        (line('"both"'), "it has exactly one of query, execute and transaction"),
        (line('"undeclared"') + 1, ":a is not in params"),
        (line('"unused"') + 3, "no statement binds 'a'"),
        (line('"commit"'), "COMMIT is no statement of an operation"),
        (line("delete from u"), "more than one statement, at '; delete from u'"),
        (line('"undo"'), "a query undoes nothing"),
        (line('"default"') + 3, "Expected `int`, got `str`"),
    ]
