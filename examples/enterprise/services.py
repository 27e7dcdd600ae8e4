"""The company's own services, served with movant; several may share a process.

    python -m examples.enterprise.services triage auditor --data DIR [--nats URL]

They read files of the folder and decide by rules; what they answer is the same for the same
request, so they need no memory of keys. Whatever is written is written by the systems and
databases behind the connectors.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

import movant
from examples.enterprise.folder import prepare
from examples.enterprise.rules import audit, incidents, invoices, leads, onboarding, pipeline


class Named(msgspec.Struct, frozen=True):
    """A file of the folder."""

    file: str


class Search(msgspec.Struct, frozen=True):
    """What is looked for in logs."""

    server: str
    until: datetime


class Accounts(msgspec.Struct, frozen=True):
    """Accounts, and the day on which they are looked at."""

    rows: list[audit.Account]
    today: date


class Findings(msgspec.Struct, frozen=True):
    """Findings by source; null: it could not be looked at."""

    files: list[list[audit.Finding] | None]
    accounts: list[audit.Finding] | None = None


def desk(_folder: Path) -> movant.Service:
    """Validate customers, plan and conclude onboardings."""
    service = movant.Service("desk", description="Onboarding desk")

    @service.operation()
    def validate(customer: onboarding.Customer) -> dict[str, bool]:
        return onboarding.validate(customer)

    @service.operation()
    def plan(customer: onboarding.Customer) -> onboarding.Plan:
        return onboarding.plan(customer)

    @service.operation()
    def conclude(reached: onboarding.Reached) -> onboarding.Conclusion:
        return onboarding.conclude(reached)

    return service


def triage(folder: Path) -> movant.Service:
    """Search logs and classify incidents."""
    service = movant.Service("triage", description="Incident triage")

    @service.operation()
    def search(asked: Search) -> list[str]:
        lines = _read(folder / "input" / "logs", f"{asked.server}.log").decode().splitlines()
        return incidents.errors_in(lines, asked.until)

    @service.operation()
    def classify(found: incidents.Found) -> incidents.Classified:
        return incidents.classify(found)

    @service.operation()
    def conclude(handled: incidents.Handled) -> incidents.Concluded:
        return incidents.conclude(handled)

    return service


def etl(folder: Path) -> movant.Service:
    """Read orders and transform them."""
    service = movant.Service("etl", description="Data pipeline")

    @service.operation()
    def read(named: Named) -> list[dict[str, Any]]:
        return pipeline.rows_of(_read(folder / "input" / "etl", named.file).decode())

    @service.operation()
    def transform(sources: pipeline.Sources) -> pipeline.Transformed:
        return pipeline.transform(sources)

    return service


def scanner(folder: Path) -> movant.Service:
    """Read invoices and compare them with orders."""
    service = movant.Service("scanner", description="Invoices")

    @service.operation()
    def read(named: Named) -> movant.Result:
        content = _read(folder / "input" / "invoices", named.file)
        text = invoices.text_of(content)
        files = (
            movant.File(named.file, content, "application/pdf"),
            movant.File("text.txt", text.encode(), "text/plain"),
        )
        return movant.Result(invoices.parse(text), files)

    @service.operation()
    def compare(asked: invoices.Comparison) -> invoices.Compared:
        return invoices.compare(asked)

    return service


def auditor(folder: Path) -> movant.Service:
    """Check configuration files and accounts, and report."""
    service = movant.Service("auditor", description="Security audit")
    files = folder / "input" / "audit"

    @service.operation()
    def list_files() -> list[str]:
        policies = audit.policies_of((files / "policies.toml").read_text())
        return sorted({each.file for each in policies})

    @service.operation()
    def check_file(named: Named) -> list[audit.Finding]:
        policies = audit.policies_of((files / "policies.toml").read_text())
        try:
            text = _read(files, named.file).decode()
        except movant.Refused:
            text = None
        return audit.check_file(named.file, text, policies)

    @service.operation()
    def check_accounts(accounts: Accounts) -> list[audit.Finding]:
        return audit.check_accounts(accounts.rows, accounts.today)

    @service.operation()
    def report(found: Findings) -> movant.Result:
        listed = [each for findings in found.files for each in findings or ()]
        told = audit.report([*listed, *(found.accounts or ())])
        text = audit.markdown(told).encode()
        return movant.Result(told, (movant.File("report.md", text, "text/markdown"),))

    return service


def sales(_folder: Path) -> movant.Service:
    """Score leads."""
    service = movant.Service("sales", description="Lead qualification")

    @service.operation()
    def score(asked: leads.Enriched) -> leads.Score:
        return leads.score(asked)

    return service


SERVICES: Final[dict[str, Callable[[Path], movant.Service]]] = {
    "desk": desk,
    "triage": triage,
    "etl": etl,
    "scanner": scanner,
    "auditor": auditor,
    "sales": sales,
}


def _read(folder: Path, name: str) -> bytes:
    """Return a file of a folder. Raises Refused for one that is not there, or elsewhere."""
    path = folder / name
    if path.parent != folder or not path.is_file():
        raise movant.Refused("not_found", f"there is no file {name}")
    return path.read_bytes()


def main(arguments: list[str] | None = None) -> None:
    """Run services as a process."""
    parser = argparse.ArgumentParser(description="Services of the company.")
    parser.add_argument("names", nargs="+", choices=sorted(SERVICES), metavar="NAME")
    parser.add_argument("--data", type=Path, required=True, help="the folder of the example")
    parser.add_argument("--nats", default="", help="URL of the server")
    given = parser.parse_args(arguments)
    prepare(given.data)
    movant.run_service(*(SERVICES[name](given.data) for name in given.names), nats=given.nats)


if __name__ == "__main__":
    main()
