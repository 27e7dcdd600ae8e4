"""Build and test a project with the tools of this machine.

A check has passed, failed, or was skipped because its tool is not there: a missing tool is told,
and never counted as passed. Nothing is downloaded.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

Status = Literal["passed", "failed", "skipped"]
Which = Callable[[str], str | None]
TOOL_S_MAX: Final = 60.0
OUTPUT_CHARS_MAX: Final = 2_000
SPRING: Final = "org/springframework/boot/spring-boot-starter-parent"


class Check(msgspec.Struct, frozen=True):
    """What one tool said."""

    name: str
    tool: str
    status: Status
    detail: str = ""
    seconds: float = 0.0


class Build(msgspec.Struct, frozen=True):
    """What a build has come to: ``skipped`` when no tool was there."""

    output_path: str
    status: Status
    checks: list[Check]
    summary: str


def build(
    output_path: str,
    technology: str,
    folder: Path,
    config: dict[str, Any],
    which: Which = shutil.which,
) -> Build:
    """Run every check that a technology has."""
    if technology == "java_springboot":
        checks = _java(folder, config, which)
    else:
        checks = _node(folder, which)
    statuses = {each.status for each in checks}
    status: Status = "failed" if "failed" in statuses else "skipped"
    if status != "failed" and "passed" in statuses:
        status = "passed"
    told = (
        f"{each.name} {each.status}" + (f" ({each.detail})" if each.status != "passed" else "")
        for each in checks
    )
    return Build(output_path, status, checks, "; ".join(told)[:OUTPUT_CHARS_MAX])


# Java


def _java(folder: Path, config: dict[str, Any], which: Which) -> list[Check]:
    """Compile and test what needs no framework; all of it where Maven has it offline."""
    plain = sorted(str(each) for each in folder.rglob("*.java") if "web" not in each.parts)
    plain = [each for each in plain if not each.endswith("Application.java")]
    checks = []
    with tempfile.TemporaryDirectory(prefix="forge-") as out:
        found = _run(
            which,
            "compile",
            "javac",
            *_QUICK_COMPILER,
            "-proc:none",
            "-Xlint:all",
            "-d",
            out,
            *plain,
        )
        checks.append(found)
        if found.status == "passed":
            checks.append(
                _run(which, "tests", "java", *_QUICK, "-cp", out, "forge.service.AllChecks")
            )
        else:
            checks.append(Check("tests", "java", "skipped", "what is tested was not compiled"))
    version = str(config.get("spring_boot_version", ""))
    parent = Path.home() / ".m2" / "repository" / SPRING / version
    if not (folder / "pom.xml").is_file():
        checks.append(Check("package", "gradle", "skipped", "Gradle would download plugins"))
    elif not parent.is_dir():
        why = f"Spring Boot {version} is not in the local repository of Maven"
        checks.append(Check("package", "mvn", "skipped", why))
    else:
        checks.append(_run(which, "package", "mvn", "-o", "-q", "-f", str(folder), "package"))
    return checks


_QUICK: Final = ("-XX:TieredStopAtLevel=1", "-Xshare:auto")
"""A JVM that lives for less than a second compiles nothing for later."""
_QUICK_COMPILER: Final = tuple(f"-J{each}" for each in _QUICK)


# Node


def _node(folder: Path, which: Which) -> list[Check]:
    """Check the syntax of every file and run the tests; TypeScript needs its compiler."""
    if (folder / "tsconfig.json").is_file():
        compiled = _run(which, "compile", "tsc", "-p", str(folder))
        if compiled.status != "passed":
            return [compiled, Check("tests", "node", "skipped", "what is tested was not compiled")]
        return [compiled, _tests(which, folder / "build" / "test")]
    # Tests are not looked at: they are run.
    scripts = sorted(str(each) for each in (folder / "src").rglob("*.js"))
    if not scripts:
        return [Check("syntax", "node", "failed", "there is nothing to look at")]
    syntax = [_run(which, "syntax", "node", "--check", each) for each in scripts]
    wrong = next((each for each in syntax if each.status != "passed"), None)
    seconds = round(sum(each.seconds for each in syntax), 3)
    lint = wrong or Check("syntax", "node", "passed", f"{len(scripts)} files", seconds)
    return [lint, _tests(which, folder / "test")]


def _tests(which: Which, folder: Path) -> Check:
    tests = sorted(str(each) for each in folder.glob("*.test.js"))
    if not tests:
        return Check("tests", "node", "failed", "there are no tests")
    return _run(which, "tests", "node", "--test", *tests)


def _run(which: Which, name: str, tool: str, *words: str) -> Check:
    """Run one tool; what it says is its detail when it is not content."""
    program = which(tool)
    if program is None:
        return Check(name, tool, "skipped", f"{tool} is not installed here")
    began = time.monotonic()
    try:
        ended = subprocess.run(
            (program, *words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOL_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check(name, tool, "failed", f"not done after {TOOL_S_MAX:g} s", TOOL_S_MAX)
    seconds = round(time.monotonic() - began, 3)
    said = (ended.stderr + ended.stdout).strip()
    if ended.returncode:
        return Check(name, tool, "failed", said[-OUTPUT_CHARS_MAX:], seconds)
    return Check(name, tool, "passed", said.splitlines()[-1][:200] if said else "", seconds)
