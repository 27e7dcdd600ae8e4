"""The real-estate example: its rules and servers as functions, and the whole with a kill in it."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.files.rules import load_rules
from examples.estate import analysis, scraping, targets
from examples.estate.play import LEADS, MAY, START
from examples.estate.servers import Gateway, Models, Scraper, Site
from examples.estate.services import write_leads
from examples.estate.world import HERE, LOCAL, World, components
from movant import Client
from tests.examples.estate import CASES, SITE, fetch_of
from tests.support.daemon import Process, daemon_process
from tests.support.nats import NatsServer


def test_pages_are_read_one_after_the_other() -> None:
    """Four homes a page; a limit is kept; an address is a whole one."""
    fetch = fetch_of(Site(Path(), {}))
    found = scraping.listings(fetch, SITE, CASES["riverton"])
    few = scraping.listings(fetch, SITE, {**CASES["riverton"], "limit": 2})
    asking = scraping.listings(fetch, SITE, CASES["lakeside"])

    assert len(found) == 5
    assert found[0] == {
        "url": f"{SITE}/listing/R-101",
        "address": "14 Alder Street",
        "price": 412000,
        "bedrooms": 3,
        "area": 128,
        "built": 1968,
        "daysOnMarket": 84,
    }
    assert few == found[:2]
    assert [each["price"] for each in asking] == [298000, None]


def test_owners_are_read_from_pages_or_records_and_a_part_that_is_off_is_an_error() -> None:
    """A home without an owner is left out; a page that cannot be read is no home without one."""
    site = Site(Path(), {})
    fetch = fetch_of(site)
    urls = [f"{SITE}/listing/{each}" for each in ("R-101", "R-105")]
    page = scraping.contacts(fetch, SITE, urls, [scraping.PAGE])
    both = scraping.contacts(fetch, SITE, urls, [scraping.PAGE, scraping.RECORDS])
    site.off = frozenset({"listing"})
    records = scraping.contacts(fetch, SITE, urls, [scraping.RECORDS])

    assert [each["owner"]["name"] for each in page] == ["Ada Moreau"]
    assert page[0]["owner"]["optOut"] is False
    assert [each["owner"]["name"] for each in both] == ["Ada Moreau", "Dev Ranganathan"]
    assert [each["owner"]["yearsOwned"] for each in records] == [21, 13]
    with pytest.raises(OSError, match="503"):
        scraping.contacts(fetch, SITE, urls, [scraping.PAGE])


def test_trends_are_straight_lines_and_say_how_well_they_fit() -> None:
    """A rising and a falling market; without a line there is no forecast."""
    fetch = fetch_of(Site(Path(), {}))
    told = {
        place: analysis.analyze_market_trends(
            {
                "marketData": {
                    "location": place,
                    "months": scraping.market(fetch, SITE, place, 18),
                },
                "analysisType": "comprehensive",
                "predictiveModels": True,
            }
        )["results"]
        for place in ("Riverton", "Lakeside")
    }

    assert (told["Riverton"]["trend"], told["Lakeside"]["trend"]) == ("rising", "falling")
    assert told["Riverton"]["forecast"] == sorted(told["Riverton"]["forecast"])
    assert told["Riverton"]["confidence"] > 0.9
    assert analysis.line([5.0]) == (0.0, 0.0)
    assert analysis.line([2.0, 4.0, 6.0]) == (2.0, 1.0)
    assert analysis.bars([1, 1, 2]) == "▁▁█"


def test_models_answer_a_task_that_stands_in_the_prompt(tmp_path: Path) -> None:
    """As an OpenAI interface does; another model, a forbidden task and odd data are errors."""
    models = Models(tmp_path, {"models": "a"})

    def ask(prompt: str, model: str = "a") -> tuple[int, Any]:
        message = {"role": "user", "content": prompt}
        return models.post("/v1/chat/completions", {"model": model, "messages": [message]}, "")

    status, answer = ask('Task: qualify_lead.\n\n{"leads": []}')
    content = json.loads(answer["choices"][0]["message"]["content"])
    ready = ask("Are you there?")[1]["choices"][0]["message"]["content"]
    odd = ask("Task: qualify_lead.\n\n[1]")[0]
    models.off = frozenset({"qualify_lead"})

    assert (status, content["qualifiedLeads"]) == (200, [])
    assert answer["usage"]["total_tokens"] > 0
    assert json.loads(ready) == {"ready": True}
    assert (odd, ask("Hi", "b")[0], ask("Task: qualify_lead.\n\n{}")[0]) == (400, 404, 400)


def test_the_gateway_sends_a_key_once_also_after_a_restart(tmp_path: Path) -> None:
    """A message has the name in it, and nothing else of the template is code."""
    contact = {"parcel": "R-1", "owner": {"name": "Ann", "phone": "+1", "email": "a@b.example"}}
    body = {"contacts": [contact], "messageTemplate": "Dear {name} {__class__}"}
    first = Gateway(tmp_path, {}).post("/messages/imessage", body, "k")
    again = Gateway(tmp_path, {}).post("/messages/imessage", body, "k")
    mail = Gateway(tmp_path, {}).post("/messages/imessage", {**body, "channel": "email"}, "l")
    lines = [json.loads(each) for each in (tmp_path / "messages.jsonl").read_text().splitlines()]

    assert first == again
    assert first[1]["results"][0]["message"] == "Dear Ann "
    assert mail[1]["channel"] == "email"
    assert [each["to"] for each in lines] == ["+1", "a@b.example"]


def test_the_scraper_remembers_markets_for_when_the_site_is_down(tmp_path: Path) -> None:
    """Only who asks for what is cached gets it."""
    (tmp_path / "market-cache.json").write_text(
        '{"Riverton": {"location": "Riverton", "months": []}}'
    )
    scraper = Scraper(tmp_path, {"site": "http://127.0.0.1:9"})
    request = {"location": "Riverton", "timeRange": 3}

    assert scraper.post("/v1/market", request, "")[0] == 502
    status, found = scraper.post("/v1/market", {**request, "sources": ["cached-data"]}, "")
    assert (status, found["results"]["months"]) == (200, [])


def test_a_backup_is_written_whole_and_the_same_key_is_the_same_file(tmp_path: Path) -> None:
    """A key may hold what no name of a file can."""
    lead = {"parcel": "R-1", "score": 0.9, "owner": {"name": 'Ann "A", B'}, "url": "u"}
    first = write_leads(tmp_path, "run/1/steps/x", [lead])
    again = write_leads(tmp_path, "run/1/steps/x", [lead])
    with first.open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert first == again
    written = {name: text for name, text in rows[0].items() if text}
    assert written == {"parcel": "R-1", "name": 'Ann "A", B', "score": "0.9"}
    assert len(rows) == 1
    assert [each.suffix for each in tmp_path.iterdir()] == [".csv"]


def test_every_target_is_measured_or_out_of_scope_with_its_reason() -> None:
    """All 28 rows of the document; the page has each of them, and promises nothing else."""
    page = targets.page({name: f"1 of {name}" for name in targets.MEASURED})

    assert len(targets.TARGETS) == 28
    assert all(each.how for each in targets.TARGETS)
    for each in targets.TARGETS:
        assert f"| {each.name} " in page
    committed = (HERE.parent.parent / "docs" / "estate-targets.md").read_text()
    assert all(f"| {each.name} " in committed for each in targets.TARGETS)


def test_labelled_samples_are_told_apart() -> None:
    """What is sensitive is found, what only sounds like it is not."""
    rate = targets.rates()

    assert (rate.wrong, rate.missed) == (0, 0)
    assert rate.harmless + rate.sensitive >= 40


@pytest.mark.server
async def test_components_start_and_a_killed_daemon_loses_no_lead(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """One component is replaced; each lead is stored and written to once, whatever was killed."""
    world = World(tmp_path)
    starter = Process(
        "-m", "examples.estate.starter", "--data", str(tmp_path), "--nats", nats_server.url
    )
    async with daemon_process(nats_server.url, workflows=[]) as (running, movant):
        starter.start()
        try:
            async with Client.connect(nats_server.url) as client:
                await client.share_guardrails(load_rules(HERE / "guardrails.yaml").guardrails)
                for name in ("start", "lead-generation"):
                    await client.register_source(HERE / "workflows" / f"{name}.yaml")
                given = {
                    stage: [each.name for each in there] for stage, there in components().items()
                }
                await movant.run(START, given, id="start")
                started = (await movant.ended("start"))["result"]
                for number in range(3):
                    await client.start(
                        LEADS, CASES["riverton"], id=f"leads-{number}", permissions=[MAY[LEADS]]
                    )
                await movant.view_when(
                    "leads-0", lambda view: "steps.qualify-leads" in view.get("state", {})
                )
                running.kill()
                await trio.sleep(0.1)
                running.start()
                await movant.ready()
                ended = [await movant.ended(f"leads-{number}") for number in range(3)]
        finally:
            starter.terminate()  # so that it ends what it has started
            starter.close()
    with closing(sqlite3.connect(tmp_path / "crm.db")) as crm:
        rows = crm.execute("select run, parcel from lead").fetchall()

    replaced = [each for each in started["mcp"] if each.get("replaced")]
    assert [(each["component"], each["runs"]) for each in replaced] == [
        ("reengine-vertexai", "reengine-llama")
    ]
    assert len(started["models"]) == len(LOCAL) + 3
    assert [each["status"] for each in ended] == ["completed"] * 3, ended
    assert len(rows) == len(set(rows)) == 6
    sent = [(each["key"], each["parcel"]) for each in world.messages()]
    assert len(sent) == len(set(sent)) == 6
