"""What is wrong with a file, as compilers write it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.cli.failures import OK, RUN_FAILED, say
from runtime.cli.output import Format, write_json, write_jsonl, write_text

if TYPE_CHECKING:
    from actors.definitions.validation import Problem


def report(problems: Sequence[Problem], form: Format, *, strict: bool = False) -> int:
    """Write findings and return the exit code: with ``strict`` warnings count as errors."""
    if form == "json":
        write_json(problems)
    elif form == "jsonl":
        write_jsonl(problems)
    else:
        for each in problems:
            write_text(as_text(each))
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    say(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}")
    return RUN_FAILED if errors or (strict and problems) else OK


def refused(problems: Sequence[Problem], nothing: str = "nothing was registered") -> bool:
    """Tell findings before something is done; with an error among them ``nothing`` is."""
    for each in problems:
        say(as_text(each))
    wrong = any(each.severity == "error" for each in problems)
    if wrong:
        say(nothing)
    return wrong


def as_text(problem: Problem) -> str:
    """Return a finding with its place, the line that it is in, and what to do."""
    where = f"{_short(problem.file)}:{problem.line}:{problem.column}"
    excerpt = f"\n{problem.excerpt}" if problem.excerpt else ""
    hint = f"\n    {problem.hint}" if problem.hint else ""
    return f"{where}: {problem.severity}: {problem.message}{excerpt}{hint}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _short(file: str) -> str:
    """Return a path relative to here, where it is below."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
