"""Guardrails and budgets on a real server: shared rules, shared budgets, functions, kill -9."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
import trio

from actors.files.definitions import load_document
from actors.files.yaml_struct import load, parse
from protocols.errors import ConfigurationError
from protocols.guardrails.budgets import BUCKET, RELEASED, Asking, Released
from protocols.guardrails.check import RuleSet, check_set
from protocols.ports import Outgoing
from protocols.service import Service
from protocols.subjects import event
from protocols.witness import Operator
from runtime.accounts import Accounts, Settled, Wanted
from runtime.bridge import connect
from runtime.cli.service import load_attribute
from runtime.client.client import Client
from runtime.clock import SystemClock
from tests.docs.tables import DOCS
from tests.support.daemon import daemon
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

EXAMPLES = DOCS / "examples"
FILE = EXAMPLES / "outreach.yaml"
NAMED = """
name: named
input: {note: string}
steps:
  ask: {service: writer, operation: write, params: {about: "{{input.note}}"}, guardrails: quiet}
"""


def rules(text: str) -> RuleSet:
    """Return a set of rules that has to be right."""
    document = parse(text.encode(), RuleSet, check_set)
    assert document.value is not None, document.problems
    return document.value


async def test_rules_and_budgets_hold_across_runs_and_the_death_of_a_daemon(
    nats_server: NatsServer,
) -> None:
    """The second run of a customer finds what the first one used; another customer does not."""
    said: list[str] = []
    writer = Service("writer")

    def write(request: Any) -> Any:
        said.append(request["about"])
        return {"text": f"{request['about']} text", "usage": {"cost": 1.75}}

    writer.operation("write")(write)
    async with (
        daemon(nats_server.url, workflows=[FILE], services=[writer]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        given = {"customer": "acme", "topic": "lamps", "tax_number": "NL-77 1"}
        one = await movant.run("outreach", given, id="o-1")
        budgets = await client.budgets("customer", "acme")
        private = await movant.run(
            "outreach", {"customer": "b", "topic": "card 4111 1111 1111 1111"}, id="o-2"
        )
        movant.crash()
    async with (
        daemon(nats_server.url, workflows=[FILE], services=[writer]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        empty = await movant.run("outreach", {"customer": "acme", "topic": "sofas"}, id="o-3")
        other = await movant.run("outreach", {"customer": "other", "topic": "sofas"}, id="o-4")
        await client.start("outreach", {"customer": "rude", "topic": "lazy"}, id="o-5")
        with trio.fail_after(10):
            while not (gates := (await client.gates()).gates):
                await trio.sleep(0.02)
        await client.decide("o-5", "approve", role="editor", by=Operator(who="ann"))
        rude = await client.wait("o-5", timeout_s=20)
        shown = await movant("run.show", id="o-2")
        verified = [await movant("run.verify", id=each) for each in ("o-2", "o-5")]

    assert one["result"] == "lamps text"
    (row,) = budgets.budgets
    assert (row.used, row.limits, row.open) == ({"cost": 1.75}, {"cost": 2.0}, 0)
    assert private["failure"]["kind"] == "compliance"
    assert empty["failure"]["kind"] == "over_budget"
    assert other["result"] == "sofas text"
    assert gates[0].title == "write: guardrail polite (high): 1 rude words"
    assert gates[0].roles == ["editor"]
    assert rude.result == "lazy text"
    assert said == ["lamps", "sofas", "lazy"]
    assert not any(each["findings"] for each in verified)
    assert all(each["statements"] >= 2 for each in verified)
    assert shown["state"]["guardrails"] == [
        "block before /steps/write: no-personal-data (critical): card at about"
    ]


async def test_shared_rules_are_part_of_what_is_registered_from_then_on(
    nats_server: NatsServer, tmp_path: Any
) -> None:
    """What runs already keeps its rules; a name that nobody shares is refused."""
    file = tmp_path / "named.yaml"
    file.write_text(NAMED)
    writer = load_attribute(f"{EXAMPLES / 'outreach.py'}:writer")
    async with (
        daemon(nats_server.url, services=[writer]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        with pytest.raises(ConfigurationError, match="there is no guardrail 'quiet'"):
            await client.register_source(file)
        text = "guardrails: {quiet: {type: compliance, deny: 'params.about == \"%s\"'}}"
        first = await client.share_guardrails(rules(text % "a").guardrails)
        old = await client.register_source(file)
        await movant.run("named", {"note": "b"}, id="n-1")
        every = "{guardrails: {quiet: {type: security}, all: {type: data-privacy, every: true}}}"
        second = await client.share_guardrails(rules(every).guardrails)
        blocked = await movant.run("named", {"note": "a"}, id="n-2")
        new = await client.register_source(file)
        free = await movant.run("named", {"note": "a"}, id="n-3")
        private = await movant.run("named", {"note": "a@b.org"}, id="n-4")
        shown = await client.workflow("named")
        with pytest.raises(ConfigurationError, match="bounds nothing"):
            await client.share_guardrails(
                {
                    "x": rules("{guardrails: {x: {type: security}}}")
                    .guardrails["x"]
                    .__class__(type="cost")
                }
            )
        kept = await client.guardrails()
    assert kept.at > 0

    assert first.hash != second.hash == kept.hash
    assert old.hash != new.hash
    assert blocked["failure"]["kind"] == "compliance"
    assert blocked["definition"] == old.hash
    assert free["status"] == "completed"
    assert "guardrail all (critical): email at about" in private["failure"]["message"]
    assert shown.graph is not None
    assert set(shown.graph["guardrails"]) == {"quiet", "all"}


async def test_two_daemons_never_grant_more_than_there_is(nats_server: NatsServer) -> None:
    """Reserved by compare-and-set; a step that asks twice has one reservation."""
    granted: Counter[bool] = Counter()
    async with (
        daemon(nats_server.url),
        connect(nats_server.url, name="one") as first,
        connect(nats_server.url, name="two") as second,
    ):
        sides = [Accounts(each, SystemClock()) for each in (first, second)]
        wanted = Wanted(name="b", window_s=86_400.0, limits={"calls": 25.0}, wanted={"calls": 1.0})
        accounts: list[str] = []

        async def reserve(number: int) -> None:
            answers = [
                await side.reserve(wanted, f"step-{number}", at_once=False) for side in sides
            ]
            granted[answers[0]["granted"]] += 1
            assert answers[0]["granted"] == answers[1]["granted"]
            if answers[0]["granted"]:
                accounts.append(answers[0]["account"])

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(reserve, number)
        full = await sides[0].reserve(wanted, "more", at_once=True)
        for side in sides:
            await side.settle(Settled(account=accounts[0], used={"calls": 0.0}), "s")
        room = [await side.reserve(wanted, "again", at_once=True) for side in sides]
        (account,) = await sides[0].all()

    assert granted == {True: 25, False: 15}
    assert full["granted"] is False
    assert full["retry_after_s"] > 0
    assert [each["granted"] for each in room] == [True, True]
    assert account.spent("calls") == 25.0
    assert len(account.open) == 24
    assert BUCKET == "movant_budgets"


async def test_what_a_deadline_cuts_is_not_counted(nats_server: NatsServer) -> None:
    """An event of the run frees it, also when the reservation comes behind it; nobody else's."""
    wanted = Wanted(name="b", window_s=30 * 86_400.0, limits={"calls": 1.0}, wanted={"calls": 1.0})
    asked = Asking(step="r/1/b", name="b", window_s=wanted.window_s, limits=wanted.limits)
    async with daemon(nats_server.url) as movant:
        accounts = Accounts(movant.transport, SystemClock())
        await accounts.release("r", Released(asked=(asked,)))
        late = await accounts.reserve(wanted, "r/1/b", at_once=False)
        granted = await accounts.reserve(wanted, "q/1/b", at_once=False)
        await accounts.release("r", Released(accounts=(granted["account"],)))
        full = await accounts.reserve(wanted, "p/1/b", at_once=False)
        body = msgspec.json.encode(Released(accounts=(granted["account"],)))
        await movant.transport.request(Outgoing(event("cut", "q", RELEASED), body), 3.0)
        with trio.fail_after(10):
            while not (await accounts.reserve(wanted, "p/1/b", at_once=False))["granted"]:
                await trio.sleep(0.02)
        (account,) = await accounts.all()

    assert late["granted"] is True
    assert full["granted"] is False
    assert account.spent("calls") == 1.0
    assert account.limits == {"calls": 1.0}


def test_the_examples_have_no_mistakes() -> None:
    """The graph, and the set that has every name of the documents' workflows."""
    graph = load_document(EXAMPLES / "outreach.yaml")
    shared = load(EXAMPLES / "guardrails.yaml", lambda text: parse(text, RuleSet, check_set))

    assert graph.problems == []
    assert shared.problems == []


CODE = """
import movant


@movant.workflow
async def coded(ctx: movant.Context, note: str) -> str:
    return await ctx.call("writer", "write", {"about": note}, guardrails=["quiet"])
"""
MACHINE = """
name: stated
initial: WRITING
states:
  WRITING: {owner: writer, operation: write, guardrails: quiet, next: DONE}
  DONE: {terminal: true}
"""


async def test_code_and_machines_are_held_to_shared_rules_across_the_death_of_a_daemon(
    nats_server: NatsServer, tmp_path: Any
) -> None:
    """A person is asked once, by a gate that outlives the daemon; the chain states all of it."""
    said: list[Any] = []
    writer = Service("writer")
    writer.operation("write")(said.append)
    code, machine = tmp_path / "coded.py", tmp_path / "stated.yaml"
    code.write_text(CODE)
    machine.write_text(MACHINE)
    quiet = rules("guardrails: {quiet: {type: data-privacy, find: card, severity: high}}")
    card = "card 4111 1111 1111 1111"
    async with (
        daemon(nats_server.url, services=[writer]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        for file in (code, machine):
            with pytest.raises(ConfigurationError, match="there is no guardrail 'quiet'"):
                await client.register_source(file)
        await client.share_guardrails(quiet.guardrails)
        for file in (code, machine):
            await client.register_source(file)
        await client.start("coded", card, id="c-1")
        await client.start("stated", card, id="m-1")
        with trio.fail_after(10):
            while len(gates := (await client.gates()).gates) < 2:
                await trio.sleep(0.02)
        movant.crash()
    async with (
        daemon(nats_server.url, services=[writer]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        await client.decide("c-1", "approve", by=Operator(who="ann"))
        await client.decide("m-1", "approve", by=Operator(who="ann"))
        ended = [await client.wait(each, timeout_s=20) for each in ("c-1", "m-1")]
        shown = [await movant("run.show", id=each) for each in ("c-1", "m-1")]
        verified = [await movant("run.verify", id=each) for each in ("c-1", "m-1")]

    assert sorted(each.title for each in gates) == [
        "WRITING: guardrail quiet (high): card at input",
        "writer.write: guardrail quiet (high): card at about",
    ]
    assert [each.status for each in ended] == ["completed"] * 2
    assert len(said) == len(ended)
    assert [each["state"]["guardrails"] for each in shown] == [
        ["gate before /writer.write: quiet (high): card at about"],
        ["gate before /states/WRITING: quiet (high): card at input"],
    ]
    assert not any(each["findings"] for each in verified)
