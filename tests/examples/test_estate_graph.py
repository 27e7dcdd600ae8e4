"""Lead generation and market analysis as graphs: each way that they can go, on virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from actors.files.definitions import load_document
from actors.files.rules import load_rules
from examples.estate.world import HERE, components
from protocols.effects import Ask
from protocols.graphs.graph import Graph
from tests.examples.estate import Play, graph
from tests.graphs.orders import told

LEADS, MARKET = "lead-generation", "market-analysis"
FISH, WEB = "reengine-tinyfish", "reengine-web-scraping"
GPT, CLAUDE = "cloud-gpt-4", "cloud-claude-3-sonnet"
SMS, CSV = "reengine-outreach", "local-csv-backup"
LLAMA, DEEPSEEK, QWEN = "local-llama3-1-8b", "local-deepseek-r1-32b", "local-qwen2-5-32b"


def test_the_leads_are_found_judged_written_to_and_stored() -> None:
    """Five homes on two pages, four owners on their pages; two are likely to sell."""
    run = Play(LEADS, "riverton")

    assert run.result == {
        "homes": [
            "14 Alder Street",
            "3 Mill Lane",
            "27 Station Road",
            "5 Orchard Way",
            "41 Alder Street",
        ],
        "scraper": "reengine-tinyfish",
        "analysis": LLAMA,
        "sources": ["listing-page"],
        "qualified": ["R-104", "R-101"],
        "judge": DEEPSEEK,
        "channel": "mobile",
        "stored": "crm",
        "count": 2,
    }
    run.box.refold()


@pytest.mark.parametrize(
    ("fails", "step", "services", "key", "value"),
    [
        ([FISH], "search-properties", [FISH, WEB], "scraper", WEB),
        ([LLAMA], "enrich-property-data", [LLAMA, GPT], "analysis", GPT),
        ([LLAMA, GPT], "enrich-property-data", [LLAMA, GPT], "analysis", "skipped"),
        ([DEEPSEEK], "qualify-leads", [DEEPSEEK, CLAUDE], "judge", CLAUDE),
        (["mobile"], "send-outreach", ["mobile", SMS], "channel", SMS),
        (["mobile", SMS], "send-outreach", ["mobile", SMS, "mobile"], "channel", "none"),
        (["database"], "update-crm", ["database", CSV], "stored", CSV),
    ],
)
def test_each_component_has_its_fallback(
    fails: list[str], step: str, services: list[str], key: str, value: str
) -> None:
    """In the order of the document; the run completes and tells who did it."""
    run = Play(LEADS, "riverton", fails=fails)

    assert run.services(step) == services
    assert run.result[key] == value
    assert run.result["count"] == 2
    run.box.refold()


@pytest.mark.parametrize(
    ("name", "operation", "key", "value"),
    [
        (LEADS, "scrape_real_estate_listings", "limit", 25),
        (LEADS, "extract_contact_info", "sources", ["public-records"]),
        (LEADS, "qualify_lead", "threshold", 0.5),
        (LEADS, "send_imessage", "channel", "email"),
        (MARKET, "scrape_market_data", "sources", ["cached-data"]),
        (MARKET, "analyze_market_trends", "analysisType", "basic"),
        (MARKET, "generate_report", "reportFormat", "summary"),
    ],
)
def test_each_adjustment_is_tried_last(name: str, operation: str, key: str, value: Any) -> None:
    """Everybody fails unless the parameter is as the adjustment says."""

    def fails(ask: Ask, params: Mapping[str, Any]) -> bool:
        return ask.operation == operation and params.get(key) != value

    run = Play(name, "riverton" if name == LEADS else "market", fails=fails)

    assert run.result
    assert run.gates == []


def test_public_records_know_more_owners_than_pages() -> None:
    """The fifth owner stands in no page; he is not likely enough to sell."""
    run = Play(
        LEADS,
        "riverton",
        fails=lambda _, given: given.get("extractionType") == "owner" and "sources" not in given,
    )

    assert run.result["sources"] == ["public-records"]
    assert run.result["qualified"] == ["R-104", "R-101", "R-105"]


@pytest.mark.parametrize(
    ("name", "fails", "reason"),
    [
        (LEADS, ["reengine-browser-automation"], "Contact extraction failed"),
        (LEADS, ["database", "local-csv-backup"], "CRM update failed"),
        (MARKET, ["database", "local-file-backup"], "Report save failed"),
        (LEADS, ["reengine-tinyfish", "reengine-web-scraping"], "Critical workflow failure"),
        (MARKET, [QWEN, "cloud-gemini-pro"], "Market analysis failed"),
    ],
)
def test_a_person_is_asked_when_nothing_else_is_left(
    name: str, fails: list[str], reason: str
) -> None:
    """Retried it goes on as if nothing had been; rejected the run fails."""
    case = "riverton" if name == LEADS else "market"
    down = set(fails)
    mended = Play(name, case, fails=lambda ask, _: ask.service in down)
    given_up = Play(name, case, fails=fails)
    gates = list(mended.gates)
    down.clear()
    mended.decide("retry")
    given_up.decide("reject")
    while given_up.box.instance.status == "running":
        given_up.decide("reject")  # the workflow's own gate, behind that of a step

    assert len(gates) == 1
    assert reason in gates[0]
    assert mended.result
    assert given_up.box.instance.status == "failed"
    mended.box.refold()
    given_up.box.refold()


def test_a_market_is_described_without_a_report_when_no_model_writes() -> None:
    """What the analysis found is stored in place of the report."""
    run = Play(MARKET, "market", fails=[f"{LLAMA}.generate_report", "cloud-claude-3-sonnet"])

    assert (run.result["report"], run.result["trend"]) == ("failed", "rising")


@pytest.mark.parametrize(
    ("case", "more", "rule", "action"),
    [
        ("private", {}, "data-privacy", "block"),
        ("unfair", {}, "fair-housing", "block"),
        ("riverton", {"consent": False}, "compliance-check", "block"),
        ("everybody", {}, "spam-prevention", "gate"),
        ("lakeside", {}, "data-quality", "warn"),
        ("riverton", {}, "backup-required", "inform"),
    ],
)
def test_rules_act_by_their_severity(
    case: str, more: dict[str, Any], rule: str, action: str
) -> None:
    """Critical stops the step, high asks a person, medium and low are told."""
    run = Play(LEADS, case, **more)
    found = told(run.box.effects, "guardrail_violated")

    assert {(each["guardrail"], each["action"]) for each in found} == {
        (rule, action),
        *({("backup-required", "inform")} if action in {"warn", "inform"} else ()),
    }
    if action == "gate":
        run.decide("approve")
        assert run.result["count"] == 4
    elif action == "block":
        assert "Critical workflow failure" in run.gates[-1]
        run.decide("reject")
        assert run.box.instance.status == "failed"
    else:
        assert run.result
    run.box.refold()


def test_above_the_leads_of_a_day_nobody_is_written_to() -> None:
    """Each service is held to the limit; the leads are stored all the same."""
    run = Play(LEADS, "riverton", over=["daily-lead-limit"])

    assert run.services("send-outreach") == []
    assert (run.result["channel"], run.result["count"]) == ("none", 2)


def test_times_attempts_and_rules_are_those_of_the_document() -> None:
    """Of each step of both workflows."""
    leads, market = graph(LEADS), graph(MARKET)
    found = {
        name: (of.timeout_s(name), step.retry.attempts, step.guardrails)  # type: ignore[union-attr]
        for of in (leads, market)
        for name, step in of.steps.items()
    }

    assert (leads.timeout, market.timeout) == (600, 300)
    assert found == {
        "search-properties": (30, 3, ("data-privacy", "rate-limit")),
        "enrich-property-data": (60, 2, ("data-quality", "cost-control")),
        "extract-owner-info": (120, 3, ("data-privacy", "web-scraping-ethics")),
        "qualify-leads": (90, 2, ("fair-housing", "compliance")),
        "send-outreach": (180, 3, ("communication-limits", "spam-prevention")),
        "update-crm": (30, 5, ("data-integrity", "backup-required")),
        "collect-market-data": (120, 3, ("data-privacy", "rate-limit")),
        "analyze-trends": (180, 2, ("data-quality", "model-accuracy")),
        "generate-report": (90, 2, ("report-quality", "brand-compliance")),
        "save-report": (30, 5, ("data-integrity", "backup-required")),
    }


def test_what_cannot_be_done_in_time_is_told_when_the_file_is_read() -> None:
    """420 s of calls in 300 s; every name of a rule is known."""
    document = load_document(HERE / "workflows" / "market-analysis.yaml")
    named = {
        name
        for file in (LEADS, MARKET)
        for value in [load_document(HERE / "workflows" / f"{file}.yaml").value]
        if isinstance(value, Graph)
        for name in (
            *value.guardrails,
            *(each for step in value.steps.values() for each in step.guardrails),
        )
    }
    shared = load_rules(HERE / "guardrails.yaml").guardrails

    assert any("may take 7m, the whole run only 5m" in each.message for each in document.problems)
    assert len(named) == 18
    assert named <= shared.keys()
    assert len(shared.keys() - named) == 5


def test_components_start_stage_by_stage() -> None:
    """The order of the document; each fallback is a component too, and each stage is a step."""
    stages = components()
    started = graph("start").steps
    known = {each.name for stage in stages.values() for each in stage}

    assert list(stages) == [
        "core",
        "mcp",
        "models",
        "mobile",
        "web-automation",
        "guardrails",
        "channels",
    ]
    assert list(started) == [*stages, "health"]
    before = ["", *stages]
    for step, needs in zip(started.values(), before, strict=True):
        assert step.needs == ((needs,) if needs else ())
    assert {each.fallback for stage in stages.values() for each in stage if each.fallback} <= known
