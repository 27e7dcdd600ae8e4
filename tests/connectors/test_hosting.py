"""Connectors under a daemon, and as a process of their own: real server, real interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio

from protocols.headers import TRACEPARENT
from tests.docs.tables import DOCS
from tests.support.daemon import Process, daemon, plainly
from tests.support.nats import NatsServer
from tests.support.web import Web

SIGNUP = DOCS / "examples" / "signup.yaml"
CONNECTORS = DOCS / "examples" / "connectors.yaml"
KEY = "{}/1/steps/add/crm.add-customer"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRETS = {"CRM_TOKEN": "crm-secret-4711", "CLOUD_TOKEN": "cloud-secret-4711"}


@pytest.fixture
def environment(web: Web, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set what the example of the page refers to: nobody is at home, the cloud is there."""
    found = {
        "CRM_URL": web.url,
        "HOME_MODELS_URL": "http://127.0.0.1:9/v1",
        "CLOUD_MODELS_URL": f"{web.url}/v1",
        **SECRETS,
    }
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return iter([None])


@pytest.mark.usefixtures("environment")
async def test_the_example_of_the_page_runs_in_a_daemon(
    nats_server: NatsServer, web: Web, tmp_path: Path
) -> None:
    """Connectors are hosted beside the run; its trace goes out, and no secret is stored."""
    url = nats_server.url
    family = tmp_path / "family.yaml"
    family.write_text("name: family\nsteps: {eve: {child: signup, params: {name: Eve}}}\n")
    starts = [
        ("movant.to.ann-1.start.signup", b'{"name": "Ann"}', {TRACEPARENT: TRACE}),
        ("movant.to.family-1.start.family", b"", {TRACEPARENT: TRACE}),
    ]
    async with daemon(url, workflows=[SIGNUP, family], connectors=str(CONNECTORS)) as movant:
        await plainly(url, starts)
        await movant.ended("family-1")
        view = await movant.ended("ann-1")
        history = await movant("run.history", id="ann-1")
        refused = await movant.run("signup", {"name": "Bob", "plan": "gold"}, id="bob-1")
        undoing = await movant("run.undo", id="ann-1")
        undone = await movant.ended(undoing["run"])
        service = await movant("service.show", name="models")
        tree = await movant("actor.tree")

    result = view["result"]
    assert result["welcome"].startswith("You said: Welcome Ann, customer ")
    assert (result["model"], result["cost"]) == ("good", pytest.approx(80e-6))
    of_ann = [each for each in web.seen("/customers") if "ann-1" in str(each)]
    posted, removed = (
        next(each for each in of_ann if each["method"] == method) for method in ("POST", "DELETE")
    )
    sent = posted["headers"]
    assert (sent["traceparent"], sent["idempotency-key"]) == (TRACE, KEY.format("ann-1"))
    assert sent["authorization"] == f"Bearer {SECRETS['CRM_TOKEN']}"
    of_eve = next(each for each in web.seen("/customers") if "Eve" in each["body"])
    assert of_eve["headers"]["traceparent"] == TRACE
    stored = msgspec.json.encode((view, history, service)).decode()
    assert not any(each in stored for each in SECRETS.values())
    assert refused["failure"]["kind"] == "validation"
    assert undone["status"] == "completed"
    assert removed["query"] == [["created-by", KEY.format("ann-1")]]
    assert service["counters"]["output_tokens"] == 10.0  # Ann and Eve
    assert "crm" in msgspec.json.encode(tree).decode()


@pytest.mark.usefixtures("environment")
async def test_a_killed_connector_does_nothing_twice(
    nats_server: NatsServer, web: Web, tmp_path: Path
) -> None:
    """Killed between request and answer: the same key goes out again, and the work is one."""
    file = tmp_path / "connectors.toml"
    file.write_text(
        '[connectors.crm]\nkind = "http"\nbase_url = "${env:CRM_URL}"\n'
        '[connectors.crm.operations.add-customer]\nmethod = "POST"\npath = "/customers"\n'
        'query = {s = 2, who = "{name}"}\nresult = "body"\n'
    )
    graph = tmp_path / "add.yaml"
    graph.write_text(
        "name: add\nsteps:\n  add: {service: crm, operation: add-customer, params: {name: Cid}}\n"
        "outputs: {done: '{{steps.add.result}}'}\n"
    )
    hosted = Process("-m", "runtime", "connector", "run", str(file), "--nats", nats_server.url)

    def asked() -> list[str]:
        seen = [each for each in web.seen("/customers") if ["who", "Cid"] in each["query"]]
        return [each["headers"]["idempotency-key"] for each in seen]

    try:
        hosted.start()
        async with daemon(nats_server.url, workflows=[graph], reask_s=0.5) as movant:
            await movant("run.start", workflow="add", id="cid-1")
            with trio.move_on_after(10.0):
                while not asked():
                    await trio.sleep(0.02)
            assert asked(), hosted.log
            hosted.kill()
            hosted.start()
            view = await movant.ended("cid-1")
        code = hosted.terminate()
    finally:
        hosted.close()

    assert view["result"]["done"]["again"] is True
    assert set(asked()) == {KEY.format("cid-1")}
    assert len(asked()) == 2
    assert code == 0


async def test_a_connector_that_cannot_be_opened_waits_and_stops_nothing(
    nats_server: NatsServer, web: Web, tmp_path: Path
) -> None:
    """A secret that is not there yet: the daemon runs, the run waits, and goes on by itself."""
    file = tmp_path / "connectors.yaml"
    file.write_text(
        f"connectors:\n  crm:\n    kind: http\n    base_url: {web.url}\n    probe: 1s\n"
        "    auth: {bearer: '${file:token}'}\n"
        "    operations: {look: {path: /echo, result: body.method}}\n"
    )
    graph = tmp_path / "look.yaml"
    graph.write_text(
        "name: look\nsteps: {look: {service: crm, operation: look}}\n"
        "outputs: {done: '{{steps.look.result}}'}\n"
    )
    async with daemon(nats_server.url, workflows=[graph], connectors=str(file)) as movant:
        await movant("run.start", workflow="look", id="look-1")
        await movant.waits("look-1", "step")
        (tmp_path / "token").write_text("late-token-0815\n")
        view = await movant.ended("look-1")
        service = await movant("service.show", name="crm")

    assert view["result"] == {"done": "GET"}
    assert service["counters"]["healthy"] == 1.0
    assert web.seen("/echo")[-1]["headers"]["authorization"] == "Bearer late-token-0815"
