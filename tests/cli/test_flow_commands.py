"""Pause, resume, force and route against canned answers: what is asked, and what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocols import api
from tests.cli.conftest import Cli
from tests.client.responder import Responder

pytestmark = pytest.mark.server

TABLE: dict[str, Any] = {
    "services": {"card-eu": {}, "card-us": {"cost": 1}},
    "routes": {"cards": {"to": ["card-eu", "card-us"], "rank": "measured"}},
}


def told(request: Any, *, paused: bool) -> api.HoldTold:
    """Answer a pause or a resume."""
    hold = api.HoldView(kind=request.kind, name=request.name, paused=paused, by=request.by)
    return api.HoldTold(hold=hold, unaware=["south"])


def test_a_pause_says_who_and_from_where(ask: Cli, responder: Responder) -> None:
    """Nobody has to type it; who may not know of it yet is named."""
    responder.answers["pause"] = lambda request: told(request, paused=True)

    ended = ask("pause", "service", "billing", "--reason", "upgrade")

    request = responder.asked[0][1]
    assert (request.kind, request.name, request.reason) == ("service", "billing", "upgrade")
    assert request.by
    assert request.origin
    assert ended.code == 0
    assert ended.out == "service billing: paused\n"
    assert "south has not confirmed it" in ended.err


def test_a_run_may_be_named_by_its_first_characters(ask: Cli, responder: Responder) -> None:
    """As everywhere."""
    responder.answers["run.resolve"] = api.RunResolved(id="order-17")
    responder.answers["resume"] = lambda request: told(request, paused=False)

    ended = ask("resume", "run", "ord")

    assert responder.asked[1][1].name == "order-17"
    assert ended.out == "run order-17: resumed\n"


@pytest.mark.parametrize(
    "words",
    [
        ("pause", "all", "x"),
        ("pause", "service"),
        ("pause", "planet", "x"),
        ("service", "force", "x", "shut"),
        ("workflow", "route", "routes.json"),
        ("workflow", "route", "--none"),
    ],
)
def test_half_a_command_is_refused_before_anybody_is_asked(
    ask: Cli, responder: Responder, words: tuple[str, ...]
) -> None:
    """A pause of everything must not be a typo."""
    ended = ask(*words)

    assert ended.code == 2
    assert responder.asked == []


def test_a_breaker_is_forced_and_set_free(ask: Cli, responder: Responder) -> None:
    """Three states by name."""
    responder.answers["service.force"] = lambda request: api.HoldTold(
        hold=api.HoldView(
            kind="breaker",
            name=request.name,
            forced="" if request.state == "auto" else request.state,
        )
    )

    forced, free = ask("service", "force", "b", "open"), ask("service", "force", "b", "auto")

    assert (forced.out, free.out) == ("breaker b: forced open\n", "breaker b: by itself again\n")


def test_status_and_show_say_what_is_held(ask: Cli, responder: Responder) -> None:
    """Who, from where, when and why."""
    hold = api.HoldView(
        kind="service",
        name="billing",
        paused=True,
        by="ann",
        origin="desk",
        reason="upgrade",
        at=1_700_000_000_000_000_000,
    )
    responder.answers["status"] = api.StatusView(
        version="0.1.0",
        daemon="d",
        state="ready",
        durability="fsync",
        uptime_s=1.0,
        holds=[hold],
    )
    responder.answers["service.show"] = api.ServiceView(
        name="billing", state="paused", parked=7, breaker="closed", paused="by ann: upgrade"
    )

    status, service = ask("status"), ask("service", "show", "billing")

    assert "billing paused by ann from desk at " in status.out
    assert status.out.rstrip().endswith("upgrade")
    assert "by ann: upgrade" in service.out
    assert "7" in service.out


def test_a_table_is_read_checked_and_sent(ask: Cli, responder: Responder, tmp_path: Path) -> None:
    """JSON or TOML; the daemon gets the content."""
    responder.answers["workflow.route"] = lambda _: api.WorkflowRouted(
        table="7b1e", definitions={"orders": "9f2c_7b1e"}
    )
    as_json, as_toml = tmp_path / "r.json", tmp_path / "r.toml"
    as_json.write_text(json.dumps(TABLE))
    as_toml.write_text(
        "[services]\ncard-eu = {}\ncard-us = {cost = 1}\n"
        '[routes.cards]\nto = ["card-eu", "card-us"]\nrank = "measured"\n'
    )

    checked = ask("workflow", "route", str(as_json), "--check")
    sent = [ask("workflow", "route", str(each), "orders") for each in (as_json, as_toml)]
    taken = ask("workflow", "route", "--none", "orders")

    assert checked.code == 0
    assert "can be used: cards" in checked.err
    first, second, third = (request for _, request in responder.asked)
    assert first == second
    assert third.table.routes == {}
    assert "9f2c_7b1e" in sent[0].out
    assert taken.code == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"services": {}, "routes": {"a": {"to": ["b"]}}}', "unknown service 'b'"),
        ('{"services": {}}', "routes"),
        ('{"services": {}, "routes": {}, "rules": {}}', "rules"),
        ("nonsense", "r.json"),
    ],
)
def test_a_wrong_table_is_never_sent(
    ask: Cli, responder: Responder, tmp_path: Path, text: str, problem: str
) -> None:
    """What is wrong is said here."""
    path = tmp_path / "r.json"
    path.write_text(text)

    ended = ask("workflow", "route", str(path), "orders")

    assert ended.code in {2, 6}
    assert problem in ended.err
    assert responder.asked == []
