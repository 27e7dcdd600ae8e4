"""Pause, resume, force and route against canned answers: what is asked, and what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.files.routes import parse
from protocols.api import runs as api
from protocols.errors import NotFoundError
from protocols.routes import table_of, to_builtins
from protocols.witness import Operator
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
    """Nobody has to type it; who may not know of it yet is named, and that it may be a typo."""
    responder.answers["pause"] = lambda request: told(request, paused=True)
    responder.answers["service.show"] = api.ServiceView(name="billing", state="paused")

    ended = ask("pause", "service", "billing", "--reason", "upgrade")

    request = responder.asked[0][1]
    assert (request.kind, request.name, request.reason) == ("service", "billing", "upgrade")
    assert request.by.who
    assert request.by.where
    assert ended.code == 0
    assert ended.out == "service billing: paused\n"
    assert "south has not confirmed it" in ended.err
    assert "no service 'billing' is known" in ended.err


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
        ("route", "register", "routes.yaml"),
        ("route", "remove"),
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
    """Three states by name; one that nobody knows is forced as well, and may be a typo."""
    responder.answers["service.show"] = NotFoundError("no service 'b'")
    responder.answers["service.force"] = lambda request: api.HoldTold(
        hold=api.HoldView(
            kind="breaker",
            name=request.name,
            forced="" if request.state == "auto" else request.state,
        )
    )

    forced, free = ask("service", "force", "b", "open"), ask("service", "force", "b", "auto")

    assert (forced.out, free.out) == ("breaker b: forced open\n", "breaker b: by itself again\n")
    assert "no service 'b' is known" in forced.err
    assert free.err == ""


def test_status_and_show_say_what_is_held(ask: Cli, responder: Responder) -> None:
    """Who, from where, when and why."""
    hold = api.HoldView(
        kind="service",
        name="billing",
        paused=True,
        by=Operator(who="ann", where="desk"),
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


YAML = """\
services:
  card-eu: {}
  card-us: {cost: 1}
routes:
  cards: {to: [card-eu, card-us], rank: measured}
"""


def test_a_table_is_read_and_sent(ask: Cli, responder: Responder, tmp_path: Path) -> None:
    """YAML or JSON; the daemon gets the content. Who does not answer now is named."""
    responder.answers["workflow.route"] = lambda _: api.WorkflowRouted(
        table="7b1e", definitions={"orders": "9f2c_7b1e"}, absent=["card-us"]
    )
    as_json, as_yaml = tmp_path / "r.json", tmp_path / "r.yaml"
    as_json.write_text(json.dumps(TABLE, indent="\t"))
    as_yaml.write_text(YAML)

    sent = [ask("route", "register", str(each), "orders") for each in (as_json, as_yaml)]
    taken = ask("route", "remove", "orders")

    first, second, third = (request for _, request in responder.asked)
    assert first == second
    assert third.table.routes == {}
    assert "9f2c_7b1e" in sent[0].out
    assert "card-us does not answer now" in sent[0].err
    assert taken.code == 0


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        (YAML.replace("card-us]", "card-uss]"), "5:25", "did you mean 'card-us'?"),
        (YAML.replace("measured", "mesured"), "5:41", "did you mean 'measured'?"),
        (YAML.replace("cost", "costs"), "3:13", "did you mean 'cost'?"),
        (YAML.replace("{cost: 1}", "{cost: -1}"), "3:19", "a number >= 0.0 is expected here"),
        (YAML + "rules: {}\n", "6:1", "'rules' is not known here"),
        (YAML.partition("routes:")[0], "1:1", "'routes' is missing"),
        (YAML + "  cards: {to: [card-eu]}\n", "6:3", "the key 'cards' stands twice"),
        ("nonsense", "1:1", "a mapping is expected here"),
    ],
)
def test_a_wrong_table_is_told_with_its_place(
    cli: Cli, tmp_path: Path, text: str, place: str, problem: str
) -> None:
    """As a machine's file: line, column, what is meant; without a daemon, and before one."""
    path = tmp_path / "r.yaml"
    path.write_text(text)

    checked = cli("route", "validate", str(path))
    sent = cli("route", "register", str(path), "orders", "--nats", "nats://127.0.0.1:1")

    assert (checked.code, sent.code) == (1, 2)
    for told in (checked.out, sent.err):
        assert f"r.yaml:{place}: error: " in told
        assert problem in told
        assert "^" in told


def test_a_table_that_can_be_used_validates(cli: Cli, tmp_path: Path) -> None:
    """YAML and JSON alike, and its schema is printed for editors."""
    as_json, as_yaml = tmp_path / "r.json", tmp_path / "r.yaml"
    as_json.write_text(json.dumps(TABLE, indent="\t"))
    as_yaml.write_text(YAML)

    ended = cli("route", "validate", str(as_json), str(as_yaml))

    assert (ended.code, ended.err) == (0, "0 errors, 0 warnings\n")
    assert cli("schema", "routes").json["$ref"] == "#/$defs/RoutingTable"


def test_tables_are_listed_and_shown_as_files(ask: Cli, responder: Responder) -> None:
    """What is shown can be edited and registered again."""
    responder.answers["workflow.ls"] = api.WorkflowPage(
        workflows=[
            api.WorkflowRow(name="orders", definition="9f2c", table="7b1e"),
            api.WorkflowRow(name="plain", definition="9f2c"),
        ]
    )
    full = to_builtins(table_of(json.dumps(TABLE).encode()))
    responder.answers["workflow.show"] = lambda request: api.WorkflowView(
        name="orders",
        definition="9f2c",
        workflows=["orders"],
        input_schema={},
        routes={} if request.name == "plain" else full,
    )

    listed, shown, none = (
        ask("route", "ls"),
        ask("route", "show", "orders"),
        ask("route", "show", "plain"),
    )
    ask("route", "show", "9f2c_7b1e")

    assert listed.out == "WORKFLOW  TABLE\norders    7b1e\n"
    assert parse(shown.out.encode()).value == table_of(json.dumps(TABLE).encode())
    assert "weight" not in shown.out
    assert "capabilities" not in shown.out
    assert none.code == 5
    assert "uses no routing table" in none.err
    assert responder.asked[-1][1].hash == "9f2c_7b1e"
