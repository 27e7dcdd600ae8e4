"""Graphs in other notations: brought to one form, or refused with what to do instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actors.files.definitions import parse
from protocols.graphs.graph import Graph
from protocols.graphs.text import as_text
from tests.graphs.orders import graph_of, running
from tests.kernel.mailbox import asks, paths

LEADS = (Path(__file__).parent / "leads.yaml").read_text()
NOT_YET = ((r"guardrails: \[[^\]]*\],", ""),)
"""What no graph can do yet."""


def plain_leads() -> str:
    """Return the file without what is refused."""
    text = LEADS
    for pattern, put in NOT_YET:
        text = re.sub(pattern, put, text)
    return text


LISTED = """\
id: leads
name: Leads
description: From listings to owners.
timeout: 600000
retryPolicy: {maxAttempts: 2}
steps:
  - id: search-it
    name: Search
    type: web
    component: "scraper:8b"
    action: scrape
    parameters: {where: "in {{context.place}}", n: 7}
    dependencies: []
    timeout: 30000
    retryPolicy: {maxAttempts: 3, backoff: linear}
    fallbacks:
      - {type: component-replacement, replacementComponent: "other:1"}
      - {type: component-replacement, replacementComponent: third}
  - id: owners
    component: browser
    action: extract
    parameters: {urls: "{{steps.search-it.results.map(p => p.url)}}",
                 n: "{{steps.search-it.status}}"}
    dependencies: [search-it]
    timeout: 2m
"""
OWN = """\
name: leads
description: "Leads: From listings to owners."
timeout: 10m
defaults: {retry: {attempts: 2}}
steps:
  search-it:
    description: Search
    service: scraper-8b
    operation: scrape
    params: {where: "in {{input.place}}", n: 7}
    timeout: 30s
    retry: {attempts: 3, backoff: linear}
    fallbacks: [{service: other-1}, {service: third}]
  owners:
    service: browser
    operation: extract
    needs: search-it
    params: {urls: "{{steps.search-it.result.results[*].url}}", n: "{{steps.search-it.status}}"}
    timeout: 2m
"""
PHASES = """\
id: java
name: Java application
technology: java_springboot
config: {java_version: "17"}
phases:
  - id: api_specification
    name: API specification
    agent_type: api_spec_writer
    method: generate_spec
    dependencies: []
    approval_required: false
    timeout: 600
    max_retries: 3
  - id: code_generation
    description: Generate application code
    agent_type: code_generation
    method: generate_project
    dependencies: [api_specification]
"""
APPROVED = """\
name: java
description: Java application
steps:
  api_specification:
    description: API specification
    service: api_spec_writer
    operation: generate_spec
    timeout: 10m
    retry: 4
    params: {input: "{{input}}", technology: java_springboot, config: {java_version: "17"}}
  code_generation-approval:
    needs: api_specification
    gate:
      title: Begin code_generation?
      decisions: [approve, modify, reject, retry, skip, cancel]
      retry: api_specification
      values: {config: {java_version: "17"}}
      fields: {config: object}
  code_generation:
    description: Generate application code
    service: code_generation
    operation: generate_project
    needs: code_generation-approval
    params:
      input: "{{input}}"
      technology: java_springboot
      config: "{{steps.code_generation-approval.result.values.config}}"
      results: {api_specification: "{{steps.api_specification.result}}"}
"""
OWN_PHASES = """\
name: java
description: Java application
steps:
  api_specification:
    description: API specification
    service: api_spec_writer
    operation: generate_spec
    timeout: 10m
    retry: 4
    params: {input: "{{input}}", technology: java_springboot, config: {java_version: "17"}}
  code_generation:
    description: Generate application code
    service: code_generation
    operation: generate_project
    needs: api_specification
    params:
      input: "{{input}}"
      technology: java_springboot
      config: {java_version: "17"}
      results: {api_specification: "{{steps.api_specification.result}}"}
"""


WITH_APPROVAL = PHASES + "    approval_required: true\n"


@pytest.mark.parametrize(
    ("other", "own"), [(LISTED, OWN), (PHASES, OWN_PHASES), (WITH_APPROVAL, APPROVED)]
)
def test_other_notations_are_the_same_graph(other: str, own: str) -> None:
    """Equal as data, so that hash, plan and run are those of the one form."""
    assert graph_of(other) == graph_of(own)


def test_a_whole_workflow_of_another_system_is_read_as_it_stands() -> None:
    """Its steps, times, references and replacements; it runs like every graph."""
    graph = graph_of(plain_leads())
    text = as_text(graph)
    box = running(graph)
    box.start({"location": "Delft", "propertyType": "flat", "priceRange": [1, 2]})
    search = "/steps/search-properties/reengine-tinyfish.scrape_real_estate_listings"
    box.fail(search, "refused", retryable=False)
    other = "/steps/search-properties/reengine-web-scraping.scrape_real_estate_listings"
    effects = box.reply(other, {"results": [{"url": "a"}, {"url": "b"}]})

    assert list(graph.steps) == [
        "search-properties",
        "enrich-property-data",
        "extract-owner-info",
        "qualify-leads",
        "send-outreach",
        "update-crm",
    ]
    assert graph.timeout == 600
    assert graph.timeout_s("send-outreach") == 180
    assert "qualify-leads  local-deepseek-r1-32b.qualify_lead\n    Qualify Leads\n" in text
    assert (
        "    a call within 3m, at most 3 of them\n"
        "    else: reengine-outreach, then with other channel\n" in text
    )
    assert '"leads":"{{steps.extract-owner-info.result.results}}"' in text
    assert [path.split("/")[2] for path in paths(effects)] == [
        "enrich-property-data",
        "extract-owner-info",
    ]
    assert asks(effects)[1].body == b'{"extractionType":"owner","propertyUrls":["a","b"]}'
    box.refold()


def test_a_file_as_its_document_has_it_has_no_mistakes() -> None:
    """Its guardrails are shared ones: who registers it has to share them."""
    problems = parse(LEADS.encode()).problems

    assert {each.severity for each in problems} <= {"warning"}
    assert all("there is no guardrail" in each.message for each in problems)


@pytest.mark.parametrize(
    ("change", "line", "column", "message"),
    [
        (("  - id: owners\n    component", "  - component"), 19, 5, "'id' is missing"),
        (("id: owners", "id: search-it"), 19, 9, "the id 'search-it' stands twice"),
        (("type: web", "type: wbe"), 9, 11, "this is no type of a step"),
        (("backoff: linear", "backof: linear"), 15, 35, "'backof' is not known here"),
        (("[]", "[serach]"), 13, 20, "there is no step 'serach'"),
        (("context.place", "contxt.place"), 12, 31, "nothing here is called 'contxt'"),
        (("steps.search-it.results", "steps.serch.results"), 22, 24, "there is no step 'serch'"),
        (("dependencies: [", "needs: []\n    dependencies: ["), 14, 5, "'dependencies' is the sa"),
        (("    timeout: 2m", "    deadline: 2000"), 25, 15, "a time in a list of steps may be"),
        (("timeout: 30000", "timeout: 1\n    timeoutMs: 5"), 15, 5, "'timeoutMs' is the same as"),
        (("other:1", "other:1', x: '"), 17, 9, "a fallback of this type says 'replacement"),
        (("component-replacement, replacementComponent: third", "magic"), 18, 16, "'magic' is no"),
        (("timeout: 600000", "defaults: {}"), 5, 1, "'retryPolicy' stands beside 'defaults'"),
    ],
)
def test_mistakes_in_a_list_keep_their_places(
    change: tuple[str, str], line: int, column: int, message: str
) -> None:
    """As in the one form; a reference that was rewritten is told as a whole."""
    text = LISTED.replace(*change).replace("\"other:1', x: '\"", "'other:1', x: ''")
    first = parse(text.encode()).problems[0]

    assert (first.line, first.column) == (line, column), first
    assert first.message.startswith(message)


def test_a_number_whose_unit_nobody_knows_is_refused() -> None:
    """A list of steps in our own words: seconds as ours or milliseconds as theirs."""
    text = "name: x\nsteps:\n  - {id: a, service: s, operation: o, timeout: 30}\n"
    (problem,) = parse(text.encode()).problems

    assert (problem.line, problem.column) == (3, 48)
    assert problem.hint == "write the unit, such as '30s' or '30ms'"
    graph = parse(text.replace("30", "30s").encode()).value
    assert isinstance(graph, Graph)
    assert graph.timeout_s("a") == 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("approval_required: false", "approval_required: maybe"), "true, false, or the keys"),
        (("max_retries: 3", "max_retries: -1"), "a whole number >= 0 is expected here"),
        (("max_retries: 3", "max_retries: 3\n    retry: 2"), "'max_retries' stands beside"),
        (("id: code_generation", "id: api_specification"), "the id 'api_specification' stands"),
        (("agent_type: code", "agent: code"), "'agent' is not known here"),
        (("[api_specification]", "[api]"), "there is no step 'api'"),
    ],
)
def test_mistakes_in_phases_are_told(change: tuple[str, str], message: str) -> None:
    """An approval that is neither wanted nor not is refused, too."""
    problems = parse(PHASES.replace(*change).encode()).problems

    assert any(each.message.startswith(message) for each in problems), problems


def test_a_phase_may_be_a_step_of_every_kind() -> None:
    """A gate stands where an approval is wanted; it gets nothing that is for services."""
    text = PHASES.replace("[api_specification]", "[approved]") + (
        "  - {id: approved, gate: {}, dependencies: [api_specification]}\n"
    )
    graph = graph_of(text)

    assert graph.steps["approved"].kind == "gate"
    assert graph.steps["code_generation"].needed == ("approved",)
