"""The house rules, as tests: what a style page says is forgotten, what a test says is not."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import protocols.errors
from tests import hazards

ROOT: Final = Path(__file__).resolve().parents[1]
LAYERS: Final = ("protocols", "actors", "supervisors", "runtime", "movant")
"""From left to right; each imports only what stands to its left."""
LINES_MAX: Final = 450


@cache
def _files() -> tuple[str, ...]:
    """Return every file that is tracked or would be, as a path below the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        capture_output=True,
        check=True,
        cwd=ROOT,
        text=True,
    ).stdout
    return tuple(sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file()))


@cache
def _trees() -> dict[str, ast.Module]:
    return {
        name: ast.parse((ROOT / name).read_text(), name)
        for name in _files()
        if name.endswith(".py")
    }


def _packages() -> Iterator[tuple[str, ast.Module]]:
    for name, tree in _trees().items():
        if name.split("/", 1)[0] in LAYERS:
            yield name, tree


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted name of everything imported, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _texts() -> Iterator[tuple[str, str]]:
    """Yield every text file but this one, which has to name what it forbids."""
    for name in _files():
        if name == "tests/test_tidy.py":
            continue
        raw = (ROOT / name).read_bytes()
        if b"\0" not in raw:
            yield name, raw.decode(errors="replace")


def test_imports_point_to_the_left() -> None:
    """A folder imports only folders to its left; the kernel imports only protocols."""
    wrong = []
    for name, tree in _packages():
        layer = name.split("/", 1)[0]
        allowed = set(LAYERS[: LAYERS.index(layer) + 1])
        for imported in _imports(tree):
            top = imported.split(".", 1)[0]
            kernel = name.startswith("actors/kernel/") and top == "actors"
            beyond = kernel and not imported.startswith("actors.kernel")
            if (top in LAYERS and top not in allowed) or beyond:
                wrong.append(f"{name} imports {imported}")

    assert wrong == []


def test_asyncio_and_nats_live_in_the_bridge() -> None:
    """One seam to asyncio: everything else of movant is trio."""
    wrong = [
        f"{name} imports {imported}"
        for name, tree in _packages()
        if not name.startswith("runtime/bridge")
        for imported in _imports(tree)
        if imported.split(".", 1)[0] in {"asyncio", "nats", "uvloop"}
    ]

    assert wrong == []


def test_protocols_needs_only_msgspec_and_the_standard_library() -> None:
    """Whoever speaks the protocol needs nothing else of ours."""
    foreign = {"trio", "pykka", "nats", "structlog", "click", "rich", "asyncio"}
    wrong = [
        f"{name} imports {imported}"
        for name, tree in _packages()
        if name.startswith(("protocols/", "actors/kernel/"))
        for imported in _imports(tree)
        if imported.split(".", 1)[0] in foreign
    ]

    assert wrong == []


def test_nobody_sleeps_reads_the_clock_or_rolls_dice_on_the_quiet() -> None:
    """Waiting is trio's, time and randomness come through ports."""
    banned = {("time", "sleep"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}
    wrong = []
    for name, tree in _packages():
        wrong += [f"{name} imports random" for each in _imports(tree) if each == "random"]
        wrong += [f"{name} imports time.sleep" for each in _imports(tree) if each == "time.sleep"]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                owner = ast.unparse(node.value).rsplit(".", 1)[-1]
                if (owner, node.attr) in banned:
                    wrong.append(f"{name}:{node.lineno} uses {owner}.{node.attr}")

    assert wrong == []


def test_every_module_says_what_it_is() -> None:
    """The tree reads like a table of contents."""
    assert [name for name, tree in _trees().items() if not ast.get_docstring(tree)] == []


def test_every_test_states_its_claim() -> None:
    """A test function has a docstring; its name alone is only a title."""
    wrong = [
        f"{name}:{node.lineno} {node.name}"
        for name, tree in _trees().items()
        if name.startswith("tests/")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert wrong == []


def test_no_file_of_the_packages_is_too_long() -> None:
    """A file above the limit has two subjects."""
    lengths = {name: len((ROOT / name).read_text().splitlines()) for name, _ in _packages()}

    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX} == {}


def test_the_public_face_holds_no_logic() -> None:
    """``movant`` re-exports: imports, ``__all__`` and constants, no functions or classes."""
    wrong = [
        f"{name}:{node.lineno}"
        for name, tree in _packages()
        if name.startswith("movant/")
        for node in tree.body
        if not isinstance(
            node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.Expr
        )
    ]

    assert wrong == []


def _error_classes() -> set[type[protocols.errors.MovantError]]:
    for name, tree in _packages():
        if any(each.startswith("protocols.errors") for each in _imports(tree)) and any(
            isinstance(node, ast.ClassDef) and node.name.endswith("Error") for node in tree.body
        ):
            importlib.import_module(name.removesuffix(".py").replace("/", "."))
    found = {protocols.errors.MovantError}
    todo = [protocols.errors.MovantError]
    while todo:
        fresh = [each for each in todo.pop().__subclasses__() if each not in found]
        found.update(fresh)
        todo += fresh
    # Tests define errors of their own; they promise nothing to clients.
    return {each for each in found if each.__module__.split(".", 1)[0] in LAYERS}


def test_error_codes_are_unique() -> None:
    """A client that branches on ``code`` branches on one thing."""
    owners: dict[str, list[str]] = {}
    for each in _error_classes():
        if "code" in vars(each):
            owners.setdefault(each.code, []).append(each.__qualname__)

    assert {code: names for code, names in owners.items() if len(names) > 1} == {}


def test_nothing_is_left_for_later() -> None:
    """Open ends are issues, not comments."""
    left = re.compile(r"\b(TODO|FIXME|XXX)\b")
    wrong = [f"{name}: {found[0]}" for name, text in _texts() if (found := left.search(text))]

    assert wrong == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """No home directory, no work directory, no registry host: the tree works anywhere."""
    machine = re.compile(
        r"(?<![\w.])/(?:home|root|Users|work)/[\w.]|/usr/local/bin/nats-server"
        r"|pypi\.org|files\.pythonhosted|registry\.npmjs|proxy\.golang|deb\.debian\.org"
    )
    wrong = [f"{name}: {found[0]}" for name, text in _texts() if (found := machine.search(text))]

    assert wrong == []


def test_constraints_are_exact_versions_and_nothing_else() -> None:
    """Every line is ``name==version``: no address, no path, no editable install."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    exact = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.!+]*( ; .+)?\Z")

    wrong = [line for line in lines if not line.startswith("#") and not exact.match(line)]

    assert lines
    assert wrong == []


def test_every_hazard_has_a_test() -> None:
    """The inventory names each hazard, and for each a test provokes it."""
    found = hazards.tests()
    wanted = {f"F{n}" for n in range(1, 9)} | {f"S{n}" for n in range(1, 14)}
    wanted |= {f"M{n}" for n in range(1, 12)}

    assert set(hazards.HAZARDS) == wanted
    assert wanted - found.keys() == set()
    assert found.keys() - wanted == set()
