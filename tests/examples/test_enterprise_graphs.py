"""The paths of the company's workflows on virtual time, with the services' real rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import pytest

from actors.files.definitions import load_document
from actors.graphs.interpreter import GraphWorkflow
from examples import enterprise
from examples.enterprise.folder import prepare
from examples.enterprise.play import WORKFLOWS, cases
from examples.enterprise.services import SERVICES
from movant import Refused, Result
from protocols.effects import FINAL, Arm, Ask
from protocols.graphs.graph import Graph
from tests.kernel.mailbox import SECOND, Mailbox
from tests.kernel.test_gates import say

FOLDER: Final = Path(enterprise.__file__).parent
MAILS_MAX: Final = 200
OWN: Final = ("_local.", "movant-")
"""Targets that are no service of the company."""
ORDER: Final = {"number": "PO-1001", "vendor": "Paper and Print Ltd", "currency": "EUR"}
ANSWERS: Final[Mapping[str, Any]] = {
    "chat.post": "msg-1",
    "chat.post-rollback": "msg-2",
    "crm.create-account": "crm-1",
    "crm.delete-account": 204,
    "crm.update-lead": "L-1",
    "billing.create-account": "bill-1",
    "billing.delete-account": 204,
    "support.create-portal": "support-1",
    "post.send": {"message_id": "<1>"},
    "monitoring.query": {"current": 82.0, "avg": 60.4, "max": 84.9},
    "tickets.related": {"rows": [], "count": 0},
    "tickets.comment": {"count": 1},
    "tickets.open": {"count": 1},
    "playbooks.run": {"exit_code": 0, "output": "Cleared cache\n"},
    "pager.page": {"id": "PD-1", "assigned_to": "oncall@movant.example"},
    "rates.read": {"base": "EUR", "per_euro": {"USD": "1.0850"}},
    "shop.customers": {"rows": [{"id": "C-1", "name": "n", "country": "NL"}], "count": 1},
    "warehouse.load": {"results": [{"count": 1}, {"count": 10}]},
    "purchasing.order": {**ORDER, "total": "480.00", "status": "open"},
    "purchasing.close": {"count": 1},
    "ledger.post": {"count": 1},
    "ledger.reverse": {"undone": True},
    "people.accounts": {"rows": [], "count": 0},
    "companies.look-up": {"employees": 850, "industry": "logistics", "country": "DE"},
    "marketing.nurture": {"count": 1},
    "_local.keep": None,
    "movant-budgets.reserve": {"granted": True, "account": "a"},
    "movant-budgets.settle": {"used": {}},
}
"""What the connectors answer when nothing is wrong."""


class Broken(msgspec.Struct, frozen=True):
    """An answer that is a failure."""

    kind: str
    retryable: bool = False
    times: int = 99


class Case:
    """One run of a workflow, driven to its end: answers first, then people, then time."""

    def __init__(
        self,
        workflow: str,
        given: Any,
        folder: Path,
        *,
        decide: Callable[[str], tuple[str, str]] | None = None,
        answers: Mapping[str, Any] = MappingProxyType({}),
        **wrong: Broken,
    ) -> None:
        graph = load_document(FOLDER / "workflows" / f"{workflow}.yaml").value
        assert isinstance(graph, Graph)
        self.box = Mailbox(GraphWorkflow(graph))
        self.asked: list[str] = []
        self._folder = folder
        self._decide = decide
        self._answers = {**ANSWERS, **answers}
        self._wrong = {name.replace("__", ".").replace("_", "-"): wrong[name] for name in wrong}
        self._fired: set[tuple[int, str]] = set()
        self._open: list[Ask] = []
        self._take(self.box.start(given))
        while self.box.instance.status not in FINAL:
            assert len(self.box.mails) < MAILS_MAX, self.box.instance.waiting()
            assert not self.box.instance.blocked
            self._step()

    @property
    def status(self) -> str:
        """How it has ended."""
        return self.box.instance.status

    @property
    def kind(self) -> str:
        """Why it has failed."""
        return self.box.instance.failure.kind if self.box.instance.failure else ""

    def bodies(self, target: str) -> list[Any]:
        """Return what an operation was asked with."""
        found = [each for each in self.box.effects if isinstance(each, Ask)]
        return [
            msgspec.json.decode(each.body)
            for each in found
            if f"{each.service}.{each.operation}" == target
        ]

    def _step(self) -> None:
        if self._open:
            self._take(self._answer(self._open.pop(0)))
            return
        gates = [each.path for each in self.box.instance.waiting() if each.kind == "gate"]
        if gates and self._decide is not None:
            do, role = self._decide(gates[0])
            self._take(say(self.box, do, gate=gates[0], role=role))
            return
        armed = {each.name: each.due for each in self.box.effects if isinstance(each, Arm)}
        left = {(due, name) for name, due in armed.items()} - self._fired
        due, name = min(left)
        self._fired.add((due, name))
        self.box.pass_time(max(0, due - self.box.at) / SECOND)
        self._take(self.box.fold_fired(name))

    def _take(self, effects: list[Any]) -> None:
        self._open += (each for each in effects if isinstance(each, Ask))

    def _answer(self, ask: Ask) -> list[Any]:
        target = f"{ask.service}.{ask.operation}"
        if not target.startswith(OWN):
            self.asked.append(target)
        wrong = self._wrong.get(target)
        if wrong and ask.attempt <= wrong.times:
            return self.box.fail(
                ask.path, wrong.kind, attempt=ask.attempt, retryable=wrong.retryable
            )
        if ask.service not in SERVICES:
            answer = self._answers[target]
            if callable(answer):
                answer = answer(msgspec.json.decode(ask.body))
            return self.box.reply(ask.path, answer, attempt=ask.attempt)
        operation = SERVICES[ask.service](self._folder).operations[ask.operation]
        request = msgspec.json.decode(ask.body)
        if operation.takes_request and operation.request_type is not Any:
            request = msgspec.convert(request, operation.request_type)
        try:
            found = operation.function(*([request] if operation.takes_request else []))
        except Refused as refused:
            return self.box.fail(ask.path, refused.kind, attempt=ask.attempt, retryable=False)
        value = found.value if isinstance(found, Result) else found
        return self.box.reply(ask.path, msgspec.to_builtins(value), attempt=ask.attempt)


@pytest.fixture(name="folder", scope="module")
def its_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which the services read."""
    folder = tmp_path_factory.mktemp("enterprise")
    prepare(folder)
    return folder


def approve(_gate: str) -> tuple[str, str]:
    """Approve as whoever may."""
    return "approve", "manager"


def test_workflows_ask_what_services_and_connectors_offer(folder: Path) -> None:
    """No graph has a mistake; each operation is there, undo and profiles included."""
    file = msgspec.yaml.decode((FOLDER / "connectors.yaml").read_bytes())
    offered = {
        f"{name}.{operation}"
        for name, each in file["connectors"].items()
        for operation in [*each.get("operations", ()), *each.get("commands", ())]
    }
    offered |= {
        f"{name}.{each}" for name in SERVICES for each in SERVICES[name](folder).operations
    }
    offered.add("post.send")
    asked = set()
    for name in WORKFLOWS:
        document = load_document(FOLDER / "workflows" / f"{name}.yaml")
        assert document.problems == []
        assert isinstance(document.value, Graph)
        for step in document.value.steps.values():
            if step.service:
                asked.add(f"{step.service}.{step.operation}")

    assert asked <= offered
    assert {each for each in ANSWERS if not each.startswith(OWN)} <= offered


def test_an_enterprise_customer_needs_a_manager(folder: Path) -> None:
    """A gate between billing and portal; the approval stands in the result."""
    case = Case("onboarding", cases("customers")["approved"], folder, decide=approve)

    assert case.box.result["approval"] == "approve"
    assert case.box.result["outcome"] == "success"
    assert case.asked.index("support.create-portal") > case.asked.index("billing.create-account")
    case.box.refold()


def test_guardrails_stop_a_run_before_anybody_is_asked(folder: Path) -> None:
    """A card's number in a name is for nobody; a customer like that is not even validated."""
    case = Case("onboarding", cases("customers")["with-card"], folder)

    assert (case.status, case.kind, case.asked) == ("failed", "compliance", [])


def test_a_campaign_without_money_is_scored_without_enrichment(folder: Path) -> None:
    """Only what costs is too much; the step that asks for it is not critical."""

    def reserve(request: Any) -> Any:
        return {"granted": "cost" not in request["wanted"], "why": "it is spent", "account": "a"}

    case = Case(
        *("lead", cases("leads")["hot"], folder), answers={"movant-budgets.reserve": reserve}
    )

    assert case.box.result["enriched"] is False
    assert "companies.look-up" not in case.asked


@pytest.mark.parametrize("word", ["reject", ""])
def test_a_denied_or_forgotten_approval_undoes_all_and_tells_sales(
    folder: Path, word: str
) -> None:
    """Billing, then CRM, then the word to the sales team; nobody for an hour is a no."""
    decide = (lambda _gate: (word, "manager")) if word else None
    case = Case("onboarding", cases("customers")["denied"], folder, decide=decide)

    assert (case.status, case.kind) == ("compensated", "rejected")
    assert case.asked[-3:] == [
        "billing.delete-account",
        "crm.delete-account",
        "chat.post-rollback",
    ]
    assert case.bodies("chat.post-rollback")[0]["channel"] == "#sales"


def test_a_failing_billing_gives_a_partial_result(folder: Path) -> None:
    """Three attempts; what was done and undone is told by step."""
    given = cases("customers")["failing-billing"]
    case = Case(
        "onboarding", given, folder, billing__create_account=Broken("network", retryable=True)
    )

    assert (case.status, case.kind) == ("compensated", "network")
    assert case.asked.count("billing.create-account") == 3
    assert "billing.delete-account" not in case.asked  # its contract: no effect
    assert case.asked[-2:] == ["crm.delete-account", "chat.post-rollback"]


def test_transient_failures_are_tried_again_and_wrong_input_is_not(folder: Path) -> None:
    """The kind of the root cause decides."""
    slow = Broken("timeout", retryable=True, times=2)
    business = cases("customers")["business"]
    again = Case("onboarding", business, folder, crm__create_account=slow)
    wrong = Case("onboarding", cases("customers")["no-mail"], folder)

    assert again.status == "completed"
    assert again.asked.count("crm.create-account") == 3
    assert (wrong.status, wrong.kind) == ("failed", "validation")
    assert wrong.asked == ["desk.validate"]


def test_portal_and_letter_may_fail(folder: Path) -> None:
    """The customer is onboarded, and people have something left to do."""
    given = cases("customers")["business"]
    case = Case(
        *("onboarding", given, folder),
        support__create_portal=Broken("system"),
        post__send=Broken("refused"),
    )

    assert case.box.result["by_hand"] == ["support portal", "welcome e-mail"]
    assert case.box.result["outcome"] == "partial"
    assert case.bodies("post.send")[0]["values"]["support_portal"] == "will follow"


def test_an_incident_is_looked_into_whatever_fails(folder: Path) -> None:
    """Without any source, triage, playbooks or pager the ticket still gets its comment."""
    alert = cases("alerts")["mended"]
    blind = Case(
        *("incident", alert, folder),
        monitoring__query=Broken("system"),
        triage__search=Broken("system"),
        tickets__related=Broken("system"),
    )
    crashed = Case(
        *("incident", alert, folder),
        triage__classify=Broken("system"),
        triage__conclude=Broken("system"),
        pager__page=Broken("network"),
    )

    assert blind.box.result["missing"] == ["metrics", "logs", "tickets"]
    assert blind.box.result["escalated"]
    assert crashed.box.result["severity"] == "unknown"
    assert crashed.bodies("pager.page")[0]["urgency"] == "high"
    assert crashed.bodies("tickets.comment")[0]["text"] == "no luck"


def test_what_playbooks_cannot_mend_is_paged_with_the_reason(folder: Path) -> None:
    """Mended: nobody is paged. Not mended: somebody is, and told why."""
    alert = cases("alerts")["mended"]
    mended = Case("incident", alert, folder)
    failed = Case("incident", alert, folder, playbooks__run=Broken("no_such_server"))

    assert mended.box.result["auto_resolved"]
    assert [each["playbook"] for each in mended.bodies("playbooks.run")] == [
        "restart_service",
        "clear_cache",
    ]
    assert "pager.page" not in mended.asked
    assert failed.box.result["remediation_status"] == "failed"
    (page,) = failed.bodies("pager.page")
    assert "no luck" in page["description"]
    assert page["urgency"] == "low"


def test_the_pipeline_goes_on_without_rates_and_not_without_orders(folder: Path) -> None:
    """Transient failures are tried again first."""
    few = {"file": "orders-eur.csv"}
    later = Case("pipeline", few, folder, rates__read=Broken("network", retryable=True, times=2))
    never = Case("pipeline", few, folder, rates__read=Broken("not_found"), post__send=Broken("x"))
    nothing = Case("pipeline", {"file": "none.csv"}, folder)

    assert later.box.result["missing"] == []
    assert (never.box.result["missing"], never.box.result["notified"]) == (["rates"], "failed")
    assert (nothing.status, nothing.kind) == ("failed", "not_found")
    assert "warehouse.load" not in nothing.asked


def test_an_invoice_is_taken_back_when_its_order_is_not_open_any_more(folder: Path) -> None:
    """Posted, then the order is refused: the ledger is as before."""
    case = Case("invoice", {"file": "paper.pdf"}, folder, purchasing__close=Broken("not_open"))
    damaged = Case("invoice", {"file": "damaged.pdf"}, folder)

    assert (case.status, case.kind) == ("compensated", "not_open")
    assert case.asked[-1] == "ledger.reverse"
    assert (damaged.status, damaged.kind, damaged.asked) == (
        "failed",
        "unreadable",
        ["scanner.read"],
    )


def test_an_invoice_nobody_looks_at_goes_to_the_board_and_is_then_rejected(folder: Path) -> None:
    """Seven days for finance, seven more for the board."""
    case = Case("invoice", {"file": "machine.pdf"}, folder)

    assert (case.status, case.kind) == ("failed", "rejected")
    assert case.box.at - case.box.mails[0].at >= 14 * 86_400 * SECOND


def test_the_officer_may_take_risks_of_the_audit(folder: Path) -> None:
    """All rejected: no tickets, and the run completes."""
    given = {"today": "2026-11-26"}
    taken = Case("audit", given, folder, decide=lambda _gate: ("reject", "security"))
    opened = Case("audit", given, folder, decide=lambda _gate: ("approve", "security"))

    assert taken.status == "completed"
    assert "tickets.open" not in taken.asked
    assert [each["id"] for each in opened.bodies("tickets.open")] == ["SEC-APP-1", "SEC-SSH-1"]
    assert opened.box.result["counts"]["critical"] == 2


def test_a_lead_goes_where_its_score_says(folder: Path) -> None:
    """Hot to a person, warm to marketing, cold to the CRM alone; no company is no harm."""
    hot, cold = cases("leads")["hot"], cases("leads")["cold"]
    tiny = Broken("not_found")

    assert "post.send" in Case("lead", hot, folder).asked
    unknown = Case("lead", hot, folder, companies__look_up=tiny)
    assert unknown.box.result["enriched"] is False
    assert "marketing.nurture" in unknown.asked
    alone = Case("lead", cold, folder, companies__look_up=tiny)
    assert alone.asked[-1] == "crm.update-lead"
