"""Versions on a real server: deploying, going back, and runs that go over in mid-flight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from actors.definitions.packing import pack
from protocols import subjects
from protocols.errors import ConfigurationError, MovantError, NotFoundError, RefusedError
from protocols.ports import Outgoing
from protocols.routes import split
from runtime.client.client import Client
from runtime.client.recording import record, replay
from tests.docs.tables import DOCS
from tests.support.daemon import Running, daemon, offered
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = pytest.mark.server

ONE = """
name: order
steps:
  buy: {service: shop, operation: buy, params: {n: 1}}
  pack: {service: shop, operation: slow, needs: buy, params: {n: 2}}
  ok: {gate: {title: "Ship?"}, needs: pack}
  ship: {service: shop, operation: buy, needs: ok, params: {n: 3}}
"""
TWO = """
name: order
steps:
  buy: {service: shop, operation: buy, params: {n: 1}}
  check: {service: shop, operation: buy, params: {n: 7}}
  box: {service: shop, operation: slow, needs: [buy, check], params: {n: 2}}
  ok: {gate: {title: "Ship?"}, needs: box}
  send: {service: shop, operation: buy, needs: ok, params: {n: "{{steps.box.result}}"}}
"""
BARE = """
name: order
steps:
  buy: {service: shop, operation: buy, params: {n: 1}}
  pack: {service: shop, operation: slow, needs: buy, params: {n: 2}}
"""
THREE = TWO.replace("  send:", "  last:")
CODE = """
import movant

@movant.workflow("orders.code")
async def order(ctx: movant.Context) -> object:
    first = await ctx.call("shop", "buy", {"n": 1}, name="first")
    await ctx.signal("go")
    return [first, "old"]
"""
NEWER = CODE.replace(
    "    return [first",
    "    await ctx.call('shop', 'buy', {'n': 9}, name='new')\n    return [first",
).replace('"old"', '"new"')
WHO = {"who": "ann", "where": "desk-3", "why": "because"}


async def deploy(movant: Running, source: Path, text: str) -> str:
    """Register a text as a person does; return its hash."""
    await trio.Path(source).write_text(text)
    packed = pack(source)
    await movant(
        "workflow.register", data=packed.data, hash=packed.hash, source=source.name, by=WHO
    )
    return packed.hash


async def at_pack(movant: Running, run: str) -> None:
    """Start an order, and return when it is being packed."""
    await movant("run.start", workflow="order", id=run)
    await movant.view_when(run, lambda view: view["state"].get("steps.pack") == "running")


def facts(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return what of a list of versions matters here."""
    return [
        (
            row["definition"],
            row.get("what", "registered"),
            row.get("current", False),
            row["active"],
        )
        for row in rows
    ]


async def test_a_run_goes_over_while_its_daemon_dies(
    nats_server: NatsServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps keep their results and keys; who dies with the order half done finds it again."""
    shop, file = Shop(), tmp_path / "order.yaml"
    async with offered(nats_server.url, shop.service):
        async with daemon(nats_server.url, workflows=()) as movant:
            one = await deploy(movant, file, ONE)
            await at_pack(movant, "a")
            await at_pack(movant, "b")
            await at_pack(movant, "c")
            three = await deploy(movant, file, THREE)
            two = await deploy(movant, file, TWO)

            seen = await movant("run.migrate", id="a", moves={"pack": "box"}, preview=True)
            untouched = await movant("run.show", id="a")
            with pytest.raises(RefusedError, match="step 'pack' is open"):
                await movant("run.migrate", id="a")
            done = await movant("run.migrate", id="a", moves={"pack": "box"}, by=WHO)
            again = await movant("run.migrate", id="a")
            versions = await movant("workflow.versions", name="order")
            movant.crash()
        async with daemon(nats_server.url, workflows=()) as movant:
            await movant.ready()
            # As another daemon writes it: nobody has loaded the definition here.
            order = {"definition": three, "moves": {"pack": "box"}}
            movant.transport.publish(
                Outgoing(subjects.to_control("c", "switch"), msgspec.json.encode(order))
            )
            await movant.view_when("c", lambda view: view["definition"] == three)
            shop.hold.set()
            for run in ("a", "b", "c"):
                await movant.view_when(run, lambda view: view["state"]["steps.ok"][:5] == "waits")
                await movant("gate.decide", id=run, do="approve", by=WHO)
            moved, stayed, late = [await movant.ended(run) for run in ("a", "b", "c")]
            proof = await movant("run.verify", id="a")
            with trio.fail_after(5):
                while proof["notes"]:  # its last events are on their way
                    await trio.sleep(0.05)
                    proof = await movant("run.verify", id="a")
            history = await movant("run.history", id="a")
            async with Client.connect(nats_server.url) as client:
                replayed = replay(await record(client, "a", 0))

    assert "workflow.blocked" not in capsys.readouterr().out
    assert (seen["how"], seen.get("problems", [])) == ("switch", [])
    assert [
        (each.get("was", ""), each.get("step", ""), each["what"]) for each in seen["steps"]
    ] == [
        ("buy", "buy", "kept"),
        ("", "check", "new"),
        ("pack", "box", "open"),
        ("ok", "ok", "waiting"),
        ("", "send", "new"),
        ("ship", "", "dropped"),
    ]
    assert split(untouched["definition"])[0] == one
    assert split(done["definition"])[0] == two
    assert (again.get("seq", 0), again["definition"]) == (0, done["definition"])
    assert facts(versions["versions"]) == [
        (two, "registered", True, 1),
        (three, "registered", False, 0),
        (one, "registered", False, 2),
    ]
    assert versions["versions"][0]["by"] == WHO
    assert versions["versions"][0]["source"] == "order.yaml"
    assert [each["result"] for each in (moved, stayed, late)] == [
        {"send": 2},
        {"ship": 3},
        {"last": 2},
    ]
    assert replayed.differences == ()
    assert shop.doubled == []
    assert [each["by"] for each in history["entries"] if each["kind"] == "control.switch"] == [WHO]
    assert (proof["status"], proof["findings"], proof["notes"]) == ("completed", [], [])


async def test_a_run_that_blocks_behind_a_switch_is_repaired(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The definition of the switch is replaced; what stood before it is folded as it was."""
    shop, file = Shop(), tmp_path / "order.yaml"
    broken = BARE + 'outputs: "{{steps.pack.result.weight}}"\n'
    async with (
        offered(nats_server.url, shop.service),
        daemon(nats_server.url, workflows=()) as movant,
    ):
        await deploy(movant, file, ONE)
        await at_pack(movant, "a")
        await deploy(movant, file, broken)
        await movant("run.migrate", id="a")
        shop.hold.set()
        await movant.view_when("a", lambda view: view["status"] == "blocked")
        await deploy(movant, file, BARE)
        seen = await movant("run.migrate", id="a", preview=True)
        done = await movant("run.migrate", id="a")
        ended = await movant.view_when("a", lambda view: view["status"] == "completed")
        proof = await movant("run.verify", id="a")

    assert (seen["how"], seen.get("problems", []), seen["status"]) == ("fold", [], "completed")
    assert done["seq"]
    assert ended["result"] == {"pack": 2}
    assert (proof["findings"], proof["notes"]) == ([], [])
    assert shop.doubled == []


async def test_code_that_changes_strands_no_run(nats_server: NatsServer, tmp_path: Path) -> None:
    """Each run goes on with the source that it began with, also in a daemon made later."""
    shop, file = Shop(), tmp_path / "orders.py"
    async with offered(nats_server.url, shop.service):
        async with daemon(nats_server.url, workflows=()) as movant:
            one = await deploy(movant, file, CODE)
            await movant("run.start", workflow="orders.code", id="old")
            await movant.waits("old", "signal")
            two = await deploy(movant, file, NEWER)
            await movant("run.start", workflow="orders.code", id="new")
            await movant.waits("new", "signal")
            file.unlink()
        async with daemon(nats_server.url, workflows=()) as movant:
            await movant.ready()
            seen = await movant("run.migrate", id="old", preview=True)
            back = await movant("workflow.rollback", name="orders.code", by=WHO)
            later = await movant("run.start", workflow="orders.code", id="later")
            for run in ("old", "new", "later"):
                await movant("run.signal", id=run, name="go")
            results = [(await movant.ended(run))["result"] for run in ("old", "new", "later")]
            versions = await movant("workflow.versions", name="orders.code")
            with pytest.raises(RefusedError, match="has ended"):
                await movant("run.migrate", id="old", preview=True)

    assert (seen["how"], seen.get("problems", [])) == ("fold", [])
    assert (back["definition"], back["replaced"]) == (one, two)
    assert later["definition"] == one
    assert results == [[1, "old"], [1, "new"], [1, "old"]]
    assert [each[:3] for each in facts(versions["versions"])] == [
        (one, "rolled_back", True),
        (two, "registered", False),
        (one, "registered", False),
    ]


async def test_a_template_makes_workflows(nats_server: NatsServer) -> None:
    """It is stored once; what it makes is deployed, and can be run, like any other."""
    text = (DOCS / "examples" / "release.yaml").read_text()
    async with daemon(nats_server.url, workflows=()) as movant:
        stored = await movant("template.register", text=text)
        listed = await movant("template.ls")
        shown = await movant("template.show", name="release")
        values = {"language": "java"}
        seen = await movant("template.instantiate", template="release", parameters=values)
        with pytest.raises(NotFoundError):
            await movant("run.start", workflow="release-java", id="a", input={"repo": "r"})
        made = await movant(
            "template.instantiate",
            template=stored["hash"],
            parameters={**values, "limit": "10m"},
            register=True,
            by=WHO,
        )
        await movant("run.start", workflow="release-java", id="a", input={"repo": "r"})
        versions = await movant("workflow.versions", name="release-java")
        # Of another version of movant, say.
        await movant.daemon.parts.definition_store.put_template(
            "odd", "0" * 64, b"template: odd\nnew: 1\n"
        )
        both = await movant("template.ls")
        unusable = await movant("template.show", name="odd")
        with pytest.raises(ConfigurationError, match="template odd:1:1"):
            await movant("template.instantiate", template="odd", parameters={})
        with pytest.raises(MovantError, match="go"):
            await movant("template.instantiate", template="release", parameters={"language": "go"})

    assert [each["name"] for each in listed["templates"]] == ["release"]
    odd, release = both["templates"]
    assert (odd["name"], release) == ("odd", listed["templates"][0])
    assert "'steps' is missing" in odd["error"]
    assert (unusable["error"], unusable["hash"]) == (odd["error"], odd["hash"])
    assert unusable["text"].endswith("new: 1\n")
    assert shown["text"] == text
    assert (seen["definition"], seen["registered"]) == (made["definition"], False)
    assert versions["versions"][0]["source"] == f"template release@{stored['hash'][:8]}"
