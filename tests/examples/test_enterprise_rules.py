"""The rules of the company's services, as functions of requests and of the committed files."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from examples import enterprise
from examples.enterprise.rules import audit, incidents, invoices, leads, onboarding, pipeline
from movant import Refused

INPUT = Path(enterprise.__file__).parent / "input"
MOMENT = datetime(2026, 11, 26, 18, tzinfo=UTC)


def customer(**changed: Any) -> onboarding.Customer:
    """Return a customer, with changes."""
    fields = {"name": "a", "email": "a@b", "company": "c", "tier": "enterprise"}
    return onboarding.Customer(**{**fields, "annual_value": 100_000, **changed})


def test_a_customer_is_valid_or_told_why_not() -> None:
    """An address, a company, and for enterprise 100,000 a year."""
    assert onboarding.validate(customer()) == {"valid": True}
    assert onboarding.validate(customer(tier="startup", annual_value=0)) == {"valid": True}
    for wrong, said in (
        ({"email": "nobody"}, "email"),
        ({"company": ""}, "Company"),
        ({"annual_value": 99_999.99}, "100,000"),
    ):
        with pytest.raises(Refused, match=said) as refused:
            onboarding.validate(customer(**wrong))
        assert refused.value.kind == "validation"


def test_the_plan_depends_on_the_tier() -> None:
    """Only enterprise needs an approval, between billing and portal."""
    assert onboarding.plan(customer()).steps[3] == "approval"
    assert not onboarding.plan(customer(tier="business")).approval_required
    assert "approval" not in onboarding.plan(customer(tier="startup")).steps


def test_what_is_not_done_is_left_to_people() -> None:
    """Either is enough for a partial result."""
    assert onboarding.conclude(onboarding.Reached("done", "done")).outcome == "success"
    left = onboarding.conclude(onboarding.Reached("done", "failed"))
    assert (left.outcome, left.by_hand) == ("partial", ["welcome e-mail"])


@pytest.mark.parametrize(
    ("cpu", "errors", "related", "severity"),
    [
        (95.1, 0, 0, "critical"),
        (0, 51, 0, "critical"),
        (0, 0, 6, "critical"),
        (95, 50, 5, "high"),
        (85.1, 0, 0, "high"),
        (0, 21, 0, "high"),
        (85, 20, 5, "medium"),
        (0, 6, 0, "medium"),
        (75, 5, 5, "low"),
    ],
)
def test_severity_by_the_rules(cpu: float, errors: int, related: int, severity: str) -> None:
    """Each threshold is exceeded, not reached."""
    assert incidents.severity_of(cpu, errors, related) == severity


def test_what_is_severe_is_paged_and_the_rest_mended() -> None:
    """Playbooks by pattern; urgency is data, and only critical is high."""
    high = incidents.classify(incidents.Found(incidents.Metrics(87.5, 75.2, 92.1), [], 2))
    memory = ["x OutOfMemoryError: heap"]
    medium = incidents.classify(incidents.Found(incidents.Metrics(81), memory, 0))
    blind = incidents.classify(incidents.Found(None, memory, None))
    nothing = incidents.classify(incidents.Found(incidents.Metrics(10), [], 0))

    assert (high.page, high.urgency, high.playbooks) == (True, "low", [])
    assert medium.playbooks == ["restart_service", "clear_cache"]
    assert (blind.severity, blind.missing) == ("low", ["metrics", "tickets"])
    assert blind.playbooks == ["clear_cache"]
    assert "no remediation pattern" in nothing.reason
    assert incidents.URGENCY["critical"] == "high"


def test_errors_of_the_last_hour_in_a_real_log() -> None:
    """Fifteen, and not the one of the afternoon; at most a hundred."""
    lines = (INPUT / "logs" / "prod-web-01.log").read_text().splitlines()

    found = incidents.errors_in(lines, MOMENT)

    assert len(found) == 15
    assert {each.split(":")[0] for each in found} == {"OutOfMemoryError"}
    assert len(incidents.errors_in(lines[1:2] * 2 + lines[2:3] * 300, MOMENT)) <= 100


def test_the_ticket_tells_what_was_found_also_without_a_classification() -> None:
    """Severity, cause, metrics, errors, actions, who was paged, the run."""
    classified = incidents.classify(incidents.Found(incidents.Metrics(82, 1, 2), ["e"], 0))
    mended = incidents.conclude(
        incidents.Handled("I-1", "r-1", classified, None, ["e"], "done", ["Restarted x\n"])
    )
    crashed = incidents.conclude(incidents.Handled("I-1", "r-1", assigned_to="on@call"))

    assert (mended.remediation_status, mended.auto_resolved) == ("success", True)
    for part in ("MEDIUM", "Elevated", "N/A", "1 in the last", "Restarted x", "r-1"):
        assert part in mended.comment
    assert (crashed.severity, crashed.remediation_status) == ("unknown", "escalated")
    assert "on@call" in crashed.comment


def test_rows_of_a_real_file_are_transformed_or_rejected_with_a_reason() -> None:
    """Four sales, seven rejects, each with its line."""
    rows = pipeline.rows_of((INPUT / "etl" / "orders.csv").read_text())
    shoppers = [pipeline.Shopper(f"C-{n}", f"n{n}", "NL") for n in (1, 2, 3, 4)]
    rates = {"USD": "1.0850", "GBP": "0.8560", "CHF": "0.9420"}

    found = pipeline.transform(pipeline.Sources(rows, shoppers, rates))

    assert {each.order_id: each.amount_eur for each in found.rows} == {
        "O-1": "120.00",
        "O-2": "100.00",
        "O-3": "50.00",
        "O-4": "200.00",
    }
    assert [each.line for each in found.rejects] == [6, 7, 8, 9, 10, 11, 12]
    reasons = " ".join(each.reason for each in found.rejects)
    for part in ("2026-11-31", "C-9", "minus ten", "-5.00", "JPY", "was there", "no order id"):
        assert part in reasons
    assert (found.outcome, found.missing) == ("partial", [])


def test_a_missing_source_makes_a_partial_result() -> None:
    """Without rates only euro; without customers their ids; without orders nothing."""
    rows = pipeline.rows_of((INPUT / "etl" / "orders-eur.csv").read_text())

    found = pipeline.transform(pipeline.Sources(rows))

    assert [(each.customer, each.amount_eur) for each in found.rows] == [("C-1", "10.00")]
    assert found.missing == ["customers", "rates"]
    with pytest.raises(Refused, match="orders"):
        pipeline.transform(pipeline.Sources())
    with pytest.raises(Refused, match="columns"):
        pipeline.rows_of("a,b\n1,2\n")


def test_invoices_are_read_from_real_pdfs() -> None:
    """Fields and lines; wrong sums and damaged files are refused by kind."""

    def read(name: str) -> invoices.Invoice:
        return invoices.parse(invoices.text_of((INPUT / "invoices" / name).read_bytes()))

    paper = read("paper.pdf")

    assert (paper.vendor, paper.number, paper.order) == (
        "Paper and Print Ltd",
        "PP-2211",
        "PO-1001",
    )
    assert [each.amount for each in paper.lines] == ["360.00", "120.00"]
    assert read("machine.pdf").total == "18400.00"
    for name, kind in (("damaged.pdf", "unreadable"), ("wrong-sum.pdf", "validation")):
        with pytest.raises(Refused) as refused:
            read(name)
        assert refused.value.kind == kind


def test_an_invoice_is_compared_with_its_order() -> None:
    """Differences and large amounts need a person; no order is refused."""
    order = invoices.PurchaseOrder("PO-1", "v", "EUR", "5000", "open")

    def compared(amount: str, **changed: Any) -> invoices.Compared:
        invoice = invoices.Invoice("v", "1", "2026-01-01", "PO-1", amount, "EUR", [])
        return invoices.compare(
            invoices.Comparison(invoice, msgspec.structs.replace(order, **changed))
        )

    assert not compared("5000.00").approval_required
    assert compared("5000.01", total="9000").why == "above the limit of 5000"
    assert compared("5000.01").differences == ["total: 5000.01, ordered 5000"]
    assert len(compared("10", vendor="w", currency="USD", status="invoiced").differences) == 3
    with pytest.raises(Refused, match="no purchase order"):
        invoices.compare(
            invoices.Comparison(invoices.Invoice("v", "1", "", "PO-2", "1", "EUR", []))
        )


def test_policies_hold_or_not_in_real_configuration_files() -> None:
    """Each kind of policy; a file that is not there breaks all of its own."""
    folder = INPUT / "audit"
    policies = audit.policies_of((folder / "policies.toml").read_text())

    found = {
        finding.policy
        for name in ("sshd_config", "nginx.conf", "app.ini")
        for finding in audit.check_file(name, (folder / name).read_text(), policies)
    }

    assert found == {"SSH-1", "SSH-2", "TLS-1", "TLS-2", "APP-1", "APP-2"}
    assert [each.policy for each in audit.check_file("firewall.rules", None, policies)] == ["FW-1"]
    better = "PermitRootLogin no\nPasswordAuthentication no\nMaxAuthTries 9\n"
    assert [each.what for each in audit.check_file("sshd_config", better, policies)] == [
        "MaxAuthTries is 9, above 4"
    ]


def test_a_report_never_shows_a_secret_and_begins_with_the_worst() -> None:
    """The finding names the setting, not its value."""
    folder = INPUT / "audit"
    policies = audit.policies_of((folder / "policies.toml").read_text())
    accounts = [
        audit.Account("bob", "admin", 0, 0, "2026-01-01"),
        audit.Account("ann", "admin", 1, 1, "2026-11-01"),
    ]
    of_accounts = audit.check_accounts(accounts, date(2026, 11, 26))
    of_files = audit.check_file("app.ini", (folder / "app.ini").read_text(), policies)

    told = audit.report([*of_accounts, *of_files])

    assert [each.policy for each in of_accounts] == ["ACC-1", "ACC-2", "ACC-3"]
    assert told.counts == {"critical": 2, "high": 1, "medium": 1, "low": 1}
    assert [each.severity for each in told.findings][:2] == ["critical", "critical"]
    assert not told.passed
    assert "changeme" not in audit.markdown(told)
    assert audit.report([]).passed


@pytest.mark.parametrize(
    ("lead", "company", "total", "grade", "owner"),
    [
        (("a@b.example", "B", "demo", 60_000.0), (850, "logistics", "DE"), 100, "hot", "dach"),
        (("a@b.example", "B", "demo", 10_000.0), (100, "", "FR"), 65, "warm", "france"),
        (("a@gmail.com", "B", "demo", 10_000.0), None, 40, "warm", "sales"),
        (("a@gmail.com", "B", "newsletter", 999.0), (3, "", ""), 5, "cold", "sales"),
    ],
)
def test_leads_are_scored_and_routed(
    lead: tuple[str, str, str, float],
    company: tuple[int, str, str] | None,
    total: int,
    grade: str,
    owner: str,
) -> None:
    """Size, budget, interest, industry and a mail address of the company's own."""
    found = leads.score(
        leads.Enriched(leads.Lead(*lead), leads.Company(*company) if company else None)
    )

    assert (found.score, found.grade, found.enriched) == (total, grade, company is not None)
    assert found.owner.startswith(owner)
    assert sum(found.parts.values()) == found.score
