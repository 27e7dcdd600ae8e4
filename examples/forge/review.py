"""The review: rules over the files of a project and its specification.

Each finding has a severity; a project passes when none is high. The score is 100 less 40 for each
high finding, 10 for each medium and 2 for each low one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from examples.forge.spec import entities_of

Severity = Literal["high", "medium", "low"]
COSTS: Final[dict[Severity, int]] = {"high": 40, "medium": 10, "low": 2}
LINE_CHARS_MAX: Final = 120
LINES_MAX: Final = 300
_SECRET: Final = re.compile(
    r"(?:sk|pk)_live_\w+|AKIA[0-9A-Z]{16}|(?i:password\s*=\s*[\"'][^\"']+)"
)
_SOURCES: Final = (".java", ".js", ".ts")


class Finding(msgspec.Struct, frozen=True):
    """What a reviewer says about a place."""

    rule: str
    severity: Severity
    where: str
    message: str


class Review(msgspec.Struct, frozen=True):
    """What a review has come to."""

    output_path: str
    passed: bool
    score: int
    files: int
    findings: list[Finding]
    summary: str


def review(output_path: str, folder: Path, spec: dict[str, Any]) -> Review:
    """Read the sources of a project and look at each with every rule."""
    sources = {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.suffix in _SOURCES and "build" not in path.relative_to(folder).parts
    }
    findings = [each for path, text in sources.items() for each in _in_file(path, text)]
    findings += _untested(sources, spec)
    findings += _open(sources, spec)
    passed = all(each.severity != "high" for each in findings)
    score = max(0, 100 - sum(COSTS[each.severity] for each in findings))
    counts = {key: sum(each.severity == key for each in findings) for key in COSTS}
    told = ", ".join(f"{count} {key}" for key, count in counts.items() if count) or "no"
    summary = f"{len(sources)} files, {told} findings, score {score}"
    for each in [each for each in findings if each.severity == "high"][:3]:
        summary += f"; {each.where}: {each.message}"
    return Review(output_path, passed, score, len(sources), findings, summary)


def report(found: Review) -> str:
    """Return a review as a page."""
    lines = [f"# Review of {found.output_path}", "", f"{found.summary}.", ""]
    lines += (
        f"- **{each.severity}** {each.where}: {each.message} ({each.rule})"
        for each in found.findings
    )
    if not found.findings:
        lines.append("Nothing was found.")
    return "\n".join(lines) + "\n"


def _in_file(path: str, text: str) -> Iterator[Finding]:
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        if _SECRET.search(line):
            yield Finding("secret", "high", where, "a secret stands in the code")
        if len(line) > LINE_CHARS_MAX:
            yield Finding("long-line", "low", where, f"{len(line)} characters in a line")
    if len(lines) > LINES_MAX:
        yield Finding("long-file", "medium", path, f"{len(lines)} lines in a file")


def _untested(sources: dict[str, str], spec: dict[str, Any]) -> Iterator[Finding]:
    """Tell for which entities there is no test."""
    tests = " ".join(text for path, text in sources.items() if "test/" in path)
    for each in entities_of(spec):
        if not re.search(rf"\b{each.title}(?:Service|Store)\b", tests):
            message = f"nothing tests what keeps {each.plural}"
            yield Finding("untested", "medium", each.plural, message)


def _open(sources: dict[str, str], spec: dict[str, Any]) -> Iterator[Finding]:
    """Tell whether a token is promised that nobody asks for."""
    if spec.get("security") and not any(
        "Authorization" in x or "authorization" in x for x in sources.values()
    ):
        yield Finding("open", "high", "specification", "a token is promised, nobody asks for it")
