"""The real-estate graphs, folded without NATS: the real rules answer over the real pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from actors.files.definitions import load_document
from actors.files.rules import load_rules
from actors.graphs.interpreter import GraphWorkflow
from examples.estate import analysis, scraping
from examples.estate.servers import Site
from examples.estate.world import HERE
from protocols.effects import Ask
from protocols.failure import Failure
from protocols.gates.gate import Choice
from protocols.gates.words import GateWord
from protocols.graphs.graph import Graph
from protocols.guardrails.check import resolved
from protocols.mail import Decided, Reply
from protocols.witness import Operator
from tests.kernel.mailbox import Mailbox, asks

SITE: Final = "http://127.0.0.1:9"
CASES: Final[dict[str, Any]] = json.loads((HERE / "input" / "cases.json").read_text())
ROUNDS_MAX: Final = 60

Fails = Callable[[Ask, Mapping[str, Any]], bool]


def graph(name: str) -> Graph:
    """Return a workflow of the example, with the rules that it names."""
    document = load_document(HERE / "workflows" / f"{name}.yaml")
    assert isinstance(document.value, Graph), document.problems
    return resolved(document.value, load_rules(HERE / "guardrails.yaml").guardrails)


def fetch_of(site: Site) -> scraping.Fetch:
    """Return what reads pages of a site that has no address."""

    def fetch(url: str) -> str:
        parts = urlsplit(url)
        status, content = site.get(parts.path, dict(parse_qsl(parts.query)))
        if status != 200:
            raise OSError(f"HTTP {status}")
        return content if isinstance(content, str) else json.dumps(content)

    return fetch


class Play:
    """One run: each request is answered at once, or fails where ``fails`` says so."""

    def __init__(
        self,
        name: str,
        case: str,
        *,
        fails: Fails | Collection[str] = (),
        over: Collection[str] = (),
        **more: Any,
    ) -> None:
        self.site = Site(Path(), {})
        self.fetch = fetch_of(self.site)
        self.asked: list[tuple[str, Any]] = []
        self.box = Mailbox(GraphWorkflow(graph(name)))
        self._answered = 0
        self._over = over
        self._fails: Fails = (
            fails
            if callable(fails)
            else lambda ask, _: f"{ask.service}.{ask.operation}" in fails or ask.service in fails
        )
        self.box.start({**CASES[case], **more})
        self.go()

    @property
    def result(self) -> Any:
        """What the run has given."""
        instance = self.box.instance
        assert instance.status == "completed", instance.failure or instance.blocked or self.gates
        assert instance.result is not None
        return json.loads(instance.result)

    @property
    def gates(self) -> list[str]:
        """Titles of the gates that were opened."""
        opened = [each for each in self.box.effects if getattr(each, "event", "") == "gate_opened"]
        return [each.data["title"] for each in opened]  # type: ignore[union-attr]

    def services(self, step: str) -> list[str]:
        """Return who was asked for a step, one after the other."""
        return [each for path, each in self.asked if f"/steps/{step}/" in path]

    def decide(self, do: Choice, who: str = "ann", **values: Any) -> None:
        """Say something at the gate that was opened last."""
        opened = [each for each in self.box.effects if getattr(each, "event", "") == "gate_opened"]
        path = opened[-1].data["gate"]  # type: ignore[union-attr]
        word = GateWord(gate=path, do=do, values=values or None, role="manager")
        self.box.fold(Decided(**self.box._stamp(), word=word, by=Operator(who=who)))
        self.go()

    def go(self) -> None:
        """Answer until nobody is asked any more."""
        for _ in range(ROUNDS_MAX):
            open_ones = asks(self.box.effects)[self._answered :]
            if not open_ones:
                return
            for ask in open_ones:
                self._answered += 1
                self._answer(ask)
        raise AssertionError("it asks and asks")

    def _answer(self, ask: Ask) -> None:
        if not ask.body:  # an artifact is kept by the daemon
            self.box.reply(ask.path)
            return
        params = json.loads(ask.body)
        if ask.service == "movant-budgets":
            rule = params["name"].removeprefix("guardrail.")
            said = {"granted": rule not in self._over, "why": "no more today", "account": "a"}
            self.box.reply(ask.path, said)
            return
        self.asked.append((ask.path, ask.service))
        if self._fails(ask, params):
            failure = Failure(kind="refused", message="down", retryable=False)
            self.box.fold(
                Reply(**self.box._stamp(), step=ask.step, attempt=ask.attempt, failure=failure)
            )
            return
        body = json.dumps(self._do(ask, params)).encode()
        self.box.fold(Reply(**self.box._stamp(), step=ask.step, attempt=ask.attempt, body=body))

    def _do(self, ask: Ask, params: dict[str, Any]) -> Any:
        if ask.operation in analysis.TASKS:
            return {**analysis.TASKS[ask.operation](params), "model": ask.service, "usage": {}}
        match ask.operation:
            case "scrape_real_estate_listings":
                found = scraping.listings(self.fetch, SITE, params)
                return {"results": found, "source": ask.service}
            case "scrape_market_data":
                rows = scraping.market(self.fetch, SITE, params["location"], params["timeRange"])
                source = "cache" if params.get("sources") else ask.service
                months = {"location": params["location"], "months": rows}
                return {"results": months, "source": source}
            case "extract_contact_info":
                sources = params.get("sources") or [scraping.PAGE]
                found = scraping.contacts(self.fetch, SITE, params["propertyUrls"], sources)
                return {"results": found, "sources": sources}
            case "send_imessage":
                channel = params.get("channel") or ask.service
                results = [{**each, "outreach": channel} for each in params["contacts"]]
                return {"results": results, "channel": channel}
            case "insert_leads":
                stored = {} if ask.service == "database" else {"stored": ask.service}
                return {"count": len(params["leads"]), **stored}
            case _:
                assert ask.operation == "save_report"
                return (
                    {"count": 1} if ask.service == "database" else {"count": 1, "stored": "file"}
                )
