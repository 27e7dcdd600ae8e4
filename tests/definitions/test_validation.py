"""Validation: problems of a workflow file, with place and hint."""

from __future__ import annotations

import pytest

from actors.definitions.loading import load, loaded
from actors.definitions.packing import pack
from actors.definitions.validation import Problem, validate
from tests.definitions.conftest import FLOW, WriteProject

HEAD = "from protocols.definition import workflow\n"


def check(project: WriteProject, text: str) -> list[Problem]:
    """Return the problems of one file with this text."""
    return validate(project({"flow.py": text}) / "flow.py")


def test_a_good_file_has_no_problems(project: WriteProject) -> None:
    """Nothing is said about code that is right."""
    assert check(project, FLOW) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("def f(:\n", 1, "invalid syntax"),
        ("x = 1\n", 1, "no workflow"),
        ("\nimport nowhere_x\n" + FLOW, 2, "No module named 'nowhere_x'"),
        ("\n1 / 0\n" + FLOW, 2, "ZeroDivisionError"),
        (HEAD + "@workflow(name='f')\ndef f(ctx, x: int): ...\n", 3, "is not async"),
        (HEAD + "@workflow(name='f')\nasync def f(): ...\n", 3, "does not take (ctx, input)"),
        (HEAD + "@workflow(name='f')\nasync def f(ctx, a, b): ...\n", 3, "does not take"),
        (HEAD + "@workflow(name='a b')\nasync def f(ctx, x: int): ...\n", 2, "is not valid"),
        (
            "from __future__ import annotations\n"
            + HEAD
            + "@workflow(name='f')\nasync def f(ctx, x: Gone): ...\n",
            3,
            "Gone",
        ),
        (
            HEAD + "import re\n@workflow(name='f')\nasync def f(ctx, x: re.Pattern): ...\n",
            3,
            "Pattern",
        ),
    ],
)
def test_an_error_is_found_where_it_is(
    project: WriteProject, text: str, line: int, message: str
) -> None:
    """What would stop a deployment is an error with file, line and hint."""
    problems = check(project, text)

    assert problems
    first = problems[0]
    assert (first.severity, first.line) == ("error", line)
    assert first.file.endswith("flow.py")
    assert message in first.message
    assert first.hint


@pytest.mark.parametrize(
    ("imports", "call", "hint"),
    [
        ("import time", "time.time()", "ctx.now()"),
        ("import time as t", "t.monotonic()", "ctx.now()"),
        ("from time import time", "time()", "ctx.now()"),
        ("from datetime import datetime", "datetime.now()", "ctx.now()"),
        ("import datetime as dt", "dt.datetime.utcnow()", "ctx.now()"),
        ("import random", "random.choice([1])", "ctx.random()"),
        ("from uuid import uuid4", "uuid4()", "ctx.random()"),
        ("import asyncio", "await asyncio.sleep(1)", "ctx.sleep"),
        ("import trio", "await trio.sleep_until(1)", "ctx.sleep"),
        ("import time", "time.sleep(1)", "ctx.sleep"),
        ("", "open('x')", "ctx.run"),
        ("from pathlib import Path", "Path('x').read_text()", "ctx.run"),
        ("import urllib.request", "urllib.request.urlopen('x')", "ctx.call"),
        ("import os", "os.getenv('HOME')", "input"),
    ],
)
def test_a_trap_is_a_warning_with_the_way_out(
    project: WriteProject, imports: str, call: str, hint: str
) -> None:
    """Calls that give another result at the next fold are found through aliases."""
    text = f"{HEAD}{imports}\n@workflow(name='f')\nasync def f(ctx, x: int):\n    {call}\n"

    problems = check(project, text)

    assert [(problem.severity, problem.line) for problem in problems] == [("warning", 5)]
    assert hint in problems[0].hint


def test_functions_that_a_workflow_calls_are_searched_too(project: WriteProject) -> None:
    """A trap is no better in a helper of the same module; unrelated functions are let alone."""
    text = (
        f"{HEAD}import time\n"
        "def stamp():\n    return time.time()\n"
        "def unrelated():\n    return time.time()\n"
        "@workflow(name='f')\nasync def f(ctx, x: int):\n    return stamp() + stamp()\n"
    )

    problems = check(project, text)

    assert [problem.line for problem in problems] == [4]


def test_what_is_handed_to_run_may_do_anything(project: WriteProject) -> None:
    """Local steps run outside of the fold: their functions are no traps."""
    text = (
        f"{HEAD}import time\n"
        "def stamp():\n    return time.time()\n"
        "@workflow(name='f')\nasync def f(ctx, x: int):\n"
        "    def inner():\n        return open('x')\n"
        "    await ctx.run(stamp)\n"
        "    await ctx.run(inner)\n"
        "    return await ctx.run(lambda: time.time())\n"
    )

    problems = check(project, text)

    assert problems == []


def test_a_missing_file_is_one_problem(project: WriteProject) -> None:
    """The tool answers in one shape, whatever is wrong."""
    root = project({"flow.py": FLOW})

    problems = validate(root / "gone.py")

    assert len(problems) == 1
    assert "does not exist" in problems[0].message


def test_errors_in_imported_modules_are_found_there(project: WriteProject) -> None:
    """A package is validated as a whole, and the place is that of the defect."""
    root = project({"flow.py": "import helper\n" + FLOW, "helper.py": "\n\nx = (\n"})

    problems = validate(root / "flow.py")

    assert [(p.file, p.severity) for p in problems] == [(str(root / "helper.py"), "error")]
    assert problems[0].line == 3


def test_unusual_but_right_code_has_no_problems(project: WriteProject) -> None:
    """Bare and stacked decorators, computed names, calls of what has no name."""
    text = (
        f"{HEAD}NAME = 'given'\n"
        "def same(flow):\n    return flow\n"
        "@same\n@workflow\nasync def bare(ctx, x: int):\n"
        "    return (lambda: 1)() + [len][0]('') + {'a': len}['a'].__call__('')\n"
        "@workflow(NAME)\nasync def computed(ctx):\n    ...\n"
    )

    assert check(project, text) == []


def test_a_definition_in_use_stays_loaded(project: WriteProject) -> None:
    """Validating what a daemon runs does not pull it from under its instances."""
    root = project({"flow.py": FLOW})
    packed = pack(root / "flow.py")
    load(packed.data, packed.hash)

    problems = validate(root / "flow.py")

    assert problems == []
    assert loaded(packed.hash)


def test_every_module_of_a_package_is_searched(project: WriteProject) -> None:
    """Problems of all modules come in one list, errors first."""
    trap = HEAD + "import time\n@workflow('b')\nasync def b(ctx):\n    time.time()\n"
    wrong = HEAD + "@workflow('c')\ndef c(ctx): ...\n"
    root = project({"shop/__init__.py": "", "shop/b.py": trap, "shop/c.py": wrong})

    problems = validate(root / "shop")

    assert [(p.severity, p.file[-4:], p.line) for p in problems] == [
        ("error", "c.py", 3),
        ("warning", "b.py", 5),
    ]
