"""The audit: policies on configuration files and accounts; findings by severity."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final, Literal

import msgspec

Severity = Literal["critical", "high", "medium", "low"]
SEVERITIES: Final[tuple[Severity, ...]] = ("critical", "high", "medium", "low")
DORMANT_DAYS: Final = 180


class Policy(msgspec.Struct, frozen=True, rename={"is_": "is"}):
    """What a file has to say; one of ``is``, ``at_most``, ``never``, ``must``."""

    id: str
    severity: Severity
    file: str
    why: str
    where: str = ""
    is_: str | None = None
    at_most: int | None = None
    never: str = ""
    must: str = ""


class Finding(msgspec.Struct, frozen=True):
    """Where a policy does not hold."""

    policy: str
    severity: Severity
    place: str
    what: str
    why: str


class Account(msgspec.Struct, frozen=True):
    """An account of the directory."""

    login: str
    role: str
    mfa: int
    employed: int
    last_login: str


class Report(msgspec.Struct, frozen=True):
    """All findings, the worst first."""

    counts: dict[str, int]
    findings: list[Finding]
    critical: list[Finding]
    passed: bool
    """Nothing critical and nothing high."""


def policies_of(text: str) -> list[Policy]:
    """Return the policies of a TOML file."""
    return msgspec.convert(tomllib.loads(text)["policy"], list[Policy])


def check_file(name: str, text: str | None, policies: Iterable[Policy]) -> list[Finding]:
    """Return what is wrong with a file; one that is not there breaks all its policies."""
    found = []
    for policy in policies:
        if policy.file != name:
            continue
        wrong = "the file is not there" if text is None else _wrong(policy, text)
        if wrong:
            found.append(Finding(policy.id, policy.severity, name, wrong, policy.why))
    return found


def check_accounts(accounts: Iterable[Account], today: date) -> list[Finding]:
    """Return what is wrong with accounts."""
    found = []
    for each in accounts:
        if each.role == "admin" and not each.mfa:
            found.append(
                Finding("ACC-1", "critical", each.login, "admin without MFA", "a password leaks")
            )
        if not each.employed:
            found.append(
                Finding(
                    "ACC-2", "high", each.login, "left, and may log in", "access ends with work"
                )
            )
        if (today - date.fromisoformat(each.last_login)).days > DORMANT_DAYS:
            found.append(
                Finding(
                    "ACC-3", "low", each.login, "not used for half a year", "nobody would notice"
                )
            )
    return found


def report(findings: Iterable[Finding]) -> Report:
    """Return all findings, the worst first."""
    found = sorted(findings, key=lambda each: (SEVERITIES.index(each.severity), each.policy))
    counted = Counter(each.severity for each in found)
    counts: dict[str, int] = {severity: counted[severity] for severity in SEVERITIES}
    critical = [each for each in found if each.severity == "critical"]
    return Report(counts, found, critical, not (counts["critical"] or counts["high"]))


def markdown(found: Report) -> str:
    """Return the report for people."""
    lines = ["# Security audit", ""]
    lines += [f"- {severity}: {count}" for severity, count in found.counts.items()]
    for each in found.findings:
        lines += ["", f"## {each.severity.upper()} {each.policy} in {each.place}", ""]
        lines.append(f"{each.what}; {each.why}.")
    return "\n".join(lines) + "\n"


def _wrong(policy: Policy, text: str) -> str:
    """Return what is wrong, or nothing."""
    if policy.never:
        match = re.search(policy.never, text)
        return f"found: {match[0].split('=')[0].strip()}" if match else ""
    if policy.must:
        return "" if re.search(policy.must, text) else f"does not say {policy.must}"
    said = settings_of(text).get(policy.where)
    if said is None:
        return f"{policy.where} is not set"
    if policy.at_most is not None:
        fits = said.isdigit() and int(said) <= policy.at_most
        return "" if fits else f"{policy.where} is {said}, above {policy.at_most}"
    return "" if said == policy.is_ else f"{policy.where} is {said}, not {policy.is_}"


def settings_of(text: str) -> Mapping[str, Any]:
    """Return the settings of a file: ``name value``, ``name value;`` or ``name = value``."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"\s*([A-Za-z_]\w*)\s*[= ]\s*([^#;]+?)\s*;?\s*$", line)
        if match:
            found[match[1]] = match[2]
    return found
