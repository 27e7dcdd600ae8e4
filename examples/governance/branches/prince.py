"""The Prince judges what was done, by the rules for all and those for the motion's subject."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import yaml

import movant
from examples.governance.branches.request import Request
from examples.governance.records import Records

SCHEMA: Final = "CREATE TABLE IF NOT EXISTS verdicts (motion TEXT, verdict TEXT, rules INTEGER);"
_SUBJECT: Final = re.compile(r"[a-z]+\Z")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule: what may not stand in a motion, unless something else stands there too."""

    rule: str
    forbid: str
    severity: Literal["minor", "grave"]
    unless: str = ""

    def is_broken(self, text: str) -> bool:
        """Tell whether a text breaks the rule."""
        hit = re.search(self.forbid, text, re.IGNORECASE)
        spared = self.unless and re.search(self.unless, text, re.IGNORECASE)
        return bool(hit) and not spared


def rules_for(folder: Path, subject: str) -> list[Rule]:
    """Return the rules for a subject. Raises what is wrong with a rule book: nobody guesses."""
    names = ["general", *([subject] if _SUBJECT.match(subject) else [])]
    found: list[Rule] = []
    for name in names:
        path = folder / f"{name}.yaml"
        if path.exists():
            found += msgspec.convert(yaml.safe_load(path.read_text()), list[Rule])
    return found


def breaches(rules: list[Rule], texts: list[str]) -> list[dict[str, str]]:
    """Return every rule that a text breaks, with the text."""
    return [
        {"rule": each.rule, "severity": each.severity, "text": text}
        for text in texts
        for each in rules
        if each.is_broken(text)
    ]


def prince(records: Records, rules: Path) -> movant.Service:
    """Return the service."""
    service = movant.Service("prince_service", description="Judges what was done")

    @service.operation()
    def judge(asked: Request, call: movant.Call) -> dict[str, Any]:
        book = rules_for(rules, asked.motion.subject)
        broken = breaches(book, [each.text for each in asked.clauses])
        if broken:
            said = "; ".join(f"{each['rule']} ({each['severity']})" for each in broken)
            raise movant.Refused("compliance", said, details={"breaches": broken})

        def enter(db: Any) -> dict[str, Any]:
            row = (asked.motion_id, "compliant", len(book))
            db.execute("INSERT INTO verdicts VALUES (?, ?, ?)", row)
            return {"verdict": "compliant", "rules": len(book)}

        return records.once(call, enter)

    return service
