"""Loading: versions side by side, imports inside the pack, readable errors."""

from __future__ import annotations

import inspect
import subprocess
import sys
import traceback
import typing
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from actors.definitions.loading import PREFIX, load, loaded, unload
from actors.definitions.packing import pack
from protocols.definition import Workflow
from protocols.errors import BadValueError, ConfigurationError, NotFoundError
from tests.definitions.conftest import FLOW, WriteProject

CALLS_HELPER = """
from protocols.definition import workflow
{imports}

@workflow(name="flow")
async def flow(ctx, value: int) -> object:
    {lazy}
    return {result}
"""


def run(flow: Workflow[Any], value: object = None) -> Any:
    """Drive a workflow function that awaits nothing, and return its result."""
    coroutine = cast("Coroutine[Any, Any, Any]", flow.function(None, value))
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


def load_file(file: Path) -> dict[str, Workflow[Any]]:
    """Pack a file and load the pack."""
    packed = pack(file)
    return load(packed.data, packed.hash)


def test_two_versions_run_side_by_side(project: WriteProject) -> None:
    """Each version keeps its own helper, also for imports that happen later."""
    text = CALLS_HELPER.format(imports="", lazy="import helper", result="helper.RATE")
    root = project({"flow.py": text, "helper.py": "RATE = 1\n"})
    old = load_file(root / "flow.py")["flow"]
    (root / "helper.py").write_text("RATE = 2\n")
    new = load_file(root / "flow.py")["flow"]
    (root / "helper.py").unlink()

    rates = [run(old), run(new), run(old)]

    assert rates == [1, 2, 1]


def test_nothing_stands_in_sys_modules_under_its_plain_name(project: WriteProject) -> None:
    """A definition cannot shadow or reuse a module of the daemon."""
    text = CALLS_HELPER.format(imports="import shelf.leaf", lazy="pass", result="shelf.leaf.X")
    root = project({"flow.py": text, "shelf/__init__.py": "", "shelf/leaf.py": "X = 1\n"})
    before = set(sys.modules)

    load_file(root / "flow.py")

    new = set(sys.modules) - before
    assert new
    assert all(name.startswith(PREFIX) for name in new)


@pytest.mark.parametrize(
    ("imports", "lazy", "result"),
    [
        ("import shop.tax", "pass", "shop.tax.rate()"),
        ("import shop.tax as tax", "pass", "tax.rate()"),
        ("from shop import tax", "pass", "tax.rate()"),
        ("from shop.tax import rate", "pass", "rate()"),
        ("from shop.tax import *", "pass", "rate()"),
        ("from shop import *", "pass", "tax.rate()"),
        ("import shop", "import shop.tax", "shop.tax.rate()"),
        ("", "import shop.tax as t", "t.rate()"),
        ("", "from shop import tax", "tax.rate()"),
        ("", "tax = __import__('shop.tax').tax", "tax.rate()"),
        ("import bare.leaf", "pass", "bare.leaf.rate()"),
        ("from bare import leaf", "pass", "leaf.rate()"),
        ("from ring_a import rate", "pass", "rate()"),
    ],
)
def test_every_form_of_import_resolves_inside_the_pack(
    project: WriteProject, imports: str, lazy: str, result: str
) -> None:
    """Plain, aliased, relative, star and lazy imports; packages, bare directories, circles."""
    root = project(
        {
            "flow.py": CALLS_HELPER.format(imports=imports, lazy=lazy, result=result),
            "shop/__init__.py": "__all__ = ['tax']\n",
            "shop/tax.py": "from .prices import price\nfrom . import prices\nfrom .. import shop"
            "\ndef rate():\n    return price() + prices.price()\n".replace(
                "from .. import shop", ""
            ),
            "shop/prices.py": "def price():\n    return 21\n",
            "bare/leaf.py": "from bare.twig import N\ndef rate():\n    return N\n",
            "bare/twig.py": "N = 42\n",
            "ring_a.py": "import ring_b\ndef rate():\n    return ring_b.rate()\n",
            "ring_b.py": "import ring_a\ndef rate():\n    return 42\n",
        }
    )

    flow = load_file(root / "flow.py")["flow"]

    assert run(flow) == 42


def test_other_imports_go_the_normal_way(project: WriteProject) -> None:
    """Third-party and standard modules are the daemon's own, and movant's too."""
    text = CALLS_HELPER.format(
        imports="import msgspec, os.path as p\nfrom protocols import errors",
        lazy="import json.decoder",
        result="(msgspec, p, errors, json.decoder)",
    )
    flow = load_file(project({"flow.py": text}) / "flow.py")["flow"]

    found = run(flow)

    names = ["msgspec", "os.path", "protocols.errors", "json.decoder"]
    assert all(module is sys.modules[name] for module, name in zip(found, names, strict=True))


def test_string_annotations_resolve(project: WriteProject) -> None:
    """Structs and dataclasses of a pack work under postponed annotations."""
    text = """
from __future__ import annotations
import dataclasses
import msgspec
from protocols.definition import workflow
from parts import Line

@dataclasses.dataclass
class Address:
    city: str

class Order(msgspec.Struct, frozen=True):
    lines: list[Line]
    to: Address

@workflow(name="order")
async def order(ctx, value: Order) -> str:
    return value.to.city
"""
    root = project(
        {
            "flow.py": text,
            "parts.py": "from __future__ import annotations\nimport msgspec\n"
            "class Line(msgspec.Struct):\n    sku: str\n    next: Line | None = None\n",
        }
    )

    flow = load_file(root / "flow.py")["order"]

    kind = typing.get_type_hints(flow.function)["value"]
    order = msgspec.convert(
        {"lines": [{"sku": "a", "next": {"sku": "b"}}], "to": {"city": "Bern"}}, kind
    )
    assert order.lines[0].next.sku == "b"
    assert run(flow, order) == "Bern"
    assert "Line" in flow.input_schema()["$defs"]


def test_tracebacks_show_names_and_source_lines(project: WriteProject) -> None:
    """Who debugs an instance of an old version sees that version's source."""
    text = CALLS_HELPER.format(imports="", lazy="import helper", result="helper.fail()")
    root = project({"flow.py": text, "helper.py": "def fail():\n    return 1 / 0  # ouch\n"})
    flow = load_file(root / "flow.py")["flow"]
    (root / "helper.py").unlink()

    with pytest.raises(ZeroDivisionError) as caught:
        run(flow)

    shown = "".join(traceback.format_exception(caught.value))
    assert "helper.py" in shown
    assert "return 1 / 0  # ouch" in shown
    assert "async def flow(ctx" in inspect.getsource(flow.function)


def test_a_definition_is_run_once_per_process(project: WriteProject) -> None:
    """Loading again gives the same workflows, so that types of one version stay one type."""
    packed = pack(project({"flow.py": FLOW}) / "flow.py")

    first = load(packed.data, packed.hash)
    second = load(packed.data, packed.hash)

    assert first["greet"] is second["greet"]


def test_packing_leaves_nothing_loaded_and_unloading_neither(project: WriteProject) -> None:
    """A daemon that watches a file does not keep each of its versions."""
    packed = pack(project({"flow.py": FLOW}) / "flow.py")
    after_pack = loaded(packed.hash)
    load(packed.data, packed.hash)
    after_load = loaded(packed.hash)

    unload(packed.hash)

    assert (after_pack, after_load, loaded(packed.hash)) == (False, True, False)
    assert not [name for name in sys.modules if name.startswith(PREFIX + packed.hash)]


def test_a_wrong_hash_is_refused_and_nothing_runs(
    project: WriteProject, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an instance is pinned to is what runs, or nothing runs."""
    packed = pack(project({"flow.py": FLOW + "print('ran')\n"}) / "flow.py")
    capsys.readouterr()

    with pytest.raises(BadValueError, match="not 0000"):
        load(packed.data, "0000")

    assert capsys.readouterr().out == ""
    assert not loaded("0000")


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        (
            {"flow.py": "import helper\n", "helper.py": "\n1 / 0\n"},
            ConfigurationError,
            r"helper.py:2: Zero",
        ),
        ({"flow.py": "\nreturn 1\n"}, ConfigurationError, r"flow.py:2: 'return' outside function"),
        (
            {"flow.py": "\nimport nowhere_x\n"},
            NotFoundError,
            r"flow.py:2: No module named 'nowhere_x'",
        ),
        ({"flow.py": "\nimport json.nowhere\n"}, NotFoundError, r"flow.py:2: No module named"),
        (
            {"flow.py": "from helper import x\n", "helper.py": ""},
            NotFoundError,
            r"flow.py:1: cannot import",
        ),
        (
            {"flow.py": "import shop.gone\n", "shop/__init__.py": ""},
            NotFoundError,
            r"flow.py:1: No module named 'shop.gone'",
        ),
        (
            {"flow.py": "exec('from . import helper')\n"},
            NotFoundError,
            r"flow.py:1: attempted relative import",
        ),
        (
            {"flow.py": FLOW + "@workflow(name='greet')\nasync def other(ctx, x: int): ...\n"},
            ConfigurationError,
            r"flow.py: workflow 'greet' is defined twice",
        ),
        (
            {"flow.py": "from protocols.errors import RefusedError\n\nraise RefusedError('no')\n"},
            ConfigurationError,
            r"flow.py:3: no",
        ),
    ],
)
def test_code_that_fails_to_load_is_located(
    project: WriteProject,
    files: dict[str, str],
    error: type[ConfigurationError | NotFoundError],
    message: str,
) -> None:
    """The error names file and line of the author's code, with a hint, and leaves no rest."""
    root = project(files)
    before = set(sys.modules)

    with pytest.raises(error, match=message) as caught:
        pack(root / "flow.py")

    assert str(root) in str(caught.value)
    assert caught.value.hint
    assert not [name for name in set(sys.modules) - before if name.startswith(PREFIX)]


def test_running_out_of_stack_is_the_daemons_failure(project: WriteProject) -> None:
    """It is not held against the definition, which may load at the next try (hazard M3)."""
    root = project({"flow.py": "def f():\n    f()\nf()\n"})

    with pytest.raises(RecursionError):
        pack(root / "flow.py")


def test_a_bare_directory_may_share_its_name_with_an_installed_package(
    project: WriteProject,
) -> None:
    """Only what the pack contains is the pack's; the rest of the name is the installed one."""
    text = CALLS_HELPER.format(
        imports="import hypothesis.strategies\nfrom jsonschema import mine",
        lazy="import jsonschema.validators as v",
        result="(mine.X, v.__name__)",
    )
    root = project({"flow.py": text, "jsonschema/mine.py": "X = 1\n"})

    flow = load_file(root / "flow.py")["flow"]

    assert run(flow) == (1, "jsonschema.validators")


def test_names_under_the_prefix_that_nobody_loaded_are_not_found() -> None:
    """The finder answers for loaded definitions only."""
    code = f"import {PREFIX}0000.flow"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert "ModuleNotFoundError" in done.stderr
    with pytest.raises(ModuleNotFoundError):
        exec(code)  # noqa: S102 -- the statement is the subject
