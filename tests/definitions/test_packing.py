"""Packing: what is in a definition, and what its hash depends on."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from actors.definitions.bundle import Manifest, unpack, write
from actors.definitions.imports import closure
from actors.definitions.packing import open_pack, pack
from protocols.errors import BadValueError, ConfigurationError, NotFoundError, OversizedError
from protocols.mail import KERNEL
from tests.definitions.conftest import FLOW, WriteProject

WITH_HELPER = "import helper\n" + FLOW


def test_the_closure_of_project_local_imports_is_packed(project: WriteProject) -> None:
    """Imports are followed through modules, packages, functions and conditions."""
    root = project(
        {
            "flow.py": "import helper\nfrom shop import tax\n" + FLOW,
            "helper.py": "def f():\n    import lazy\n",
            "lazy.py": "",
            "shop/__init__.py": "if False:\n    from . import prices\n",
            "shop/prices.py": "",
            "shop/tax.py": "from .deep import *\n",
            "shop/deep/__init__.py": "__all__ = ['leaf']\n",
            "shop/deep/leaf.py": "",
            "unused.py": "",
        }
    )

    packed = pack(root / "flow.py")

    assert packed.modules == (
        "flow",
        "helper",
        "lazy",
        "shop",
        "shop.deep",
        "shop.deep.leaf",
        "shop.prices",
        "shop.tax",
    )
    assert packed.workflows == ("greet",)


def test_a_changed_helper_changes_the_hash(project: WriteProject) -> None:
    """The identity of a definition covers everything local that it runs."""
    root = project({"flow.py": WITH_HELPER, "helper.py": "RATE = 1\n"})
    before = pack(root / "flow.py")
    (root / "helper.py").write_text("RATE = 2\n")

    after = pack(root / "flow.py")

    assert before.hash != after.hash


def test_neither_directory_nor_time_nor_neighbours_change_the_hash(project: WriteProject) -> None:
    """The same code is the same definition wherever and whenever it is packed."""
    one = project({"flow.py": WITH_HELPER, "helper.py": "RATE = 1\n"}, "one")
    two = project({"flow.py": WITH_HELPER, "helper.py": "RATE = 1\n", "other.py": "x"}, "two/deep")
    os.utime(two / "flow.py", (1, 1))

    first, second = pack(one / "flow.py"), pack(two / "flow.py")

    assert first == second


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "  \n"),
        lambda text: text + "\n\n",
        lambda text: text.rstrip("\n"),
        lambda text: "\ufeff" + text,
    ],
    ids=["line ends", "trailing blanks", "empty lines", "no last newline", "byte order mark"],
)
def test_white_space_without_meaning_does_not_change_the_hash(
    project: WriteProject, change: object
) -> None:
    """What editors and version control rewrite is no new version."""
    assert callable(change)
    root = project({"flow.py": FLOW})
    before = pack(root / "flow.py")
    (root / "flow.py").write_bytes(change(FLOW).encode())

    after = pack(root / "flow.py")

    assert after.hash == before.hash


def test_blanks_inside_a_string_are_content(project: WriteProject) -> None:
    """A text that spans lines keeps its blanks, and they count."""
    one = project({"flow.py": FLOW + 'TEXT = """a  \nb"""\n'}, "one")
    two = project({"flow.py": FLOW + 'TEXT = """a\nb"""\n'}, "two")

    first, second = pack(one / "flow.py"), pack(two / "flow.py")

    assert first.hash != second.hash
    assert "a  \nb" in unpack(first.data).sources["flow"]


def test_a_source_in_another_encoding_is_packed_as_text(project: WriteProject) -> None:
    """The encoding is the file's business; the definition holds text."""
    root = project({})
    root.mkdir()
    (root / "flow.py").write_bytes(("# coding: latin-1\nA = 'é'\n" + FLOW).encode("latin-1"))

    packed = pack(root / "flow.py")

    assert "A = 'é'" in unpack(packed.data).sources["flow"]


def test_the_hash_is_the_same_in_every_process(project: WriteProject) -> None:
    """Neither the seed of Python's hashes nor the process changes hash or bytes."""
    root = project({"flow.py": WITH_HELPER + "import msgspec, trio\n", "helper.py": ""})
    code = (
        "import sys, hashlib; from pathlib import Path;"
        " from actors.definitions.packing import pack;"
        " p = pack(Path(sys.argv[1])); print(p.hash, hashlib.sha256(p.data).hexdigest())"
    )

    seen = {
        subprocess.run(
            [sys.executable, "-c", code, str(root / "flow.py")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(seen) == 1
    assert seen.pop().split()[0] == pack(root / "flow.py").hash


def test_the_hash_of_a_known_content_never_changes() -> None:
    """Hashes stand in mailboxes: a new way to compute them would strand every instance."""
    manifest = Manifest(entries=("flow",), modules=())

    assert manifest.hash == "acc2983fa535f16888a72f581a693c66"


def test_how_the_code_is_run_is_part_of_the_hash() -> None:
    """A file that is registered anew runs by new rules, and runs that have begun by theirs."""
    before = Manifest(entries=("flow",), modules=())
    after = Manifest(entries=("flow",), modules=(), kernel=KERNEL)

    assert after.hash != before.hash


def test_third_party_versions_are_recorded_and_do_not_count(project: WriteProject) -> None:
    """A patched library is the same definition (hazard M3)."""
    root = project({"flow.py": "import msgspec\nimport json, os.path\n" + FLOW})

    packed = pack(root / "flow.py")

    content = unpack(packed.data)
    other = Manifest(
        entries=content.manifest.entries, modules=content.manifest.modules, kernel=KERNEL
    )
    assert set(packed.libraries) == {"msgspec"}
    assert packed.libraries["msgspec"][0].isdigit()
    assert other.hash == packed.hash


def test_movants_own_packages_are_never_packed(project: WriteProject) -> None:
    """They are the kernel: versioned as such, not with the workflow."""
    root = project({"flow.py": FLOW + "import actors.definitions.registry\n"})

    packed = pack(root / "flow.py", [Path(__file__).parents[2]])

    assert packed.modules == ("flow",)


def test_a_package_offers_the_workflows_of_all_its_modules(project: WriteProject) -> None:
    """A directory with an __init__.py is one definition."""
    root = project(
        {
            "shop/__init__.py": "",
            "shop/a.py": FLOW,
            "shop/inner/__init__.py": "",
            "shop/inner/b.py": FLOW.replace("greet", "leave"),
            "shop/notes.txt": "",
        }
    )

    packed = pack(root / "shop")

    assert packed.workflows == ("greet", "leave")
    assert packed.modules == ("shop", "shop.a", "shop.inner", "shop.inner.b")


def test_a_dotted_name_is_found_below_the_roots(project: WriteProject) -> None:
    """A module name is packed under that name, also in directories without __init__.py."""
    root = project({"flows/greeting.py": "from flows import words\n" + FLOW, "flows/words.py": ""})

    packed = pack("flows.greeting", [root])

    assert packed.modules == ("flows.greeting", "flows.words")


def test_a_file_in_a_package_is_named_with_its_package(project: WriteProject) -> None:
    """Relative imports of a file in a package mean what they mean in the project."""
    root = project(
        {"shop/__init__.py": "", "shop/flow.py": "from . import rate\n" + FLOW, "shop/rate.py": ""}
    )

    packed = pack(root / "shop/flow.py")

    assert packed.modules == ("shop", "shop.flow", "shop.rate")


def test_imports_are_also_found_below_given_roots(project: WriteProject) -> None:
    """A file may import what lies at the root of the project, not beside it."""
    root = project({"flows/flow.py": WITH_HELPER, "helper.py": ""})

    packed = pack(root / "flows/flow.py", [root])

    assert packed.modules == ("flow", "helper")


@pytest.mark.parametrize(
    ("files", "source", "error", "message"),
    [
        ({"flow.py": "def f(:\n"}, "flow.py", ConfigurationError, r"flow\.py:1:7: "),
        ({"flow.py": "x = 1\n\x00"}, "flow.py", ConfigurationError, r"flow\.py:\d"),
        ({"flow.py": "# coding: wat\n"}, "flow.py", ConfigurationError, r"flow\.py:1: not read"),
        ({"flow.py": "\nfrom . import a\n"}, "flow.py", ConfigurationError, r"flow\.py:2: relat"),
        ({"flow.py": "x = 1\n"}, "flow.py", ConfigurationError, "no workflow"),
        ({"flow.py": "\n1 / 0\n"}, "flow.py", ConfigurationError, r"flow\.py:2: ZeroDivision"),
        ({"my-flow.py": FLOW}, "my-flow.py", ConfigurationError, "no module name"),
        ({"flow.txt": FLOW}, "flow.txt", ConfigurationError, "no Python file"),
        ({"a/flow.py": FLOW}, "a", NotFoundError, "does not exist"),
        ({"a/flow.py": FLOW}, "missing.py", NotFoundError, "does not exist"),
        ({"flow.py": "import nowhere_x\n"}, "flow.py", NotFoundError, r"flow\.py:1: No module"),
        (
            {"flow.py": "import importlib\nimportlib.import_module('helper')\n", "helper.py": ""},
            "flow.py",
            ConfigurationError,
            r"flow\.py:2: import_module\('helper'\)",
        ),
        (
            {"flow.py": "import runtime\n", "runtime.py": ""},
            "flow.py",
            ConfigurationError,
            r"flow\.py:1: 'runtime' is a package of movant",
        ),
    ],
)
def test_what_cannot_be_packed_is_refused_with_its_place(
    project: WriteProject,
    files: dict[str, str],
    source: str,
    error: type[ConfigurationError | NotFoundError],
    message: str,
) -> None:
    """The error names the author's file and line, and a hint says what to do."""
    root = project(files)

    with pytest.raises(error, match=message) as caught:
        pack(root / source)

    assert caught.value.hint


def test_an_unknown_module_name_is_refused(project: WriteProject) -> None:
    """A dotted name that no root has is not found."""
    root = project({"flow.py": FLOW})

    with pytest.raises(NotFoundError, match=r"no module 'flows\.nothing'"):
        pack("flows.nothing", [root])


def test_a_definition_over_its_limit_is_refused(
    project: WriteProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules, sources and the packed bytes are bounded, and the error says by how much."""
    noise = "".join(f"X{n} = '{os.urandom(32).hex()}'\n" for n in range(8000))
    big = project({"flow.py": FLOW + noise}, "big")
    huge = project({"flow.py": FLOW + "#" * 4_000_001}, "huge")
    many = project({"flow.py": WITH_HELPER, "helper.py": ""}, "many")

    with pytest.raises(OversizedError, match="limit is 180000"):
        pack(big / "flow.py")
    with pytest.raises(OversizedError, match="limit is 4000000"):
        pack(huge / "flow.py")
    monkeypatch.setattr("actors.definitions.packing.MODULES_MAX", 1)
    with pytest.raises(OversizedError, match="2 modules"):
        pack(many / "flow.py")


def test_a_pack_from_the_wire_is_the_same_pack(project: WriteProject) -> None:
    """Everything that Packed tells can be learned from its bytes."""
    packed = pack(project({"flow.py": FLOW}) / "flow.py")

    assert open_pack(packed.data) == packed


def _rewritten(data: bytes, changes: dict[str, bytes | None]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        files = {name: old.read(name) for name in old.namelist()} | changes
        for name, body in files.items():
            if body is not None:
                new.writestr(name, body)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"src/flow.py": b"evil = 1"}, "source of flow was changed"),
        ({"src/flow.py": None}, "missing"),
        ({"src/more.py": b""}, "not in the manifest"),
        ({"manifest.json": None}, "missing"),
        ({"manifest.json": b"{"}, "truncated"),
        ({"manifest.json": b'{"entries":["x"],"modules":[]}'}, "not in the manifest"),
        (
            {"manifest.json": b'{"entries":["x"],"modules":[]}', "src/flow.py": None},
            "has the hash",
        ),
    ],
)
def test_a_tampered_pack_is_refused(
    project: WriteProject, changes: dict[str, bytes | None], message: str
) -> None:
    """Nothing of a pack runs unless all of it is what the hash says."""
    packed = pack(project({"flow.py": FLOW}) / "flow.py")
    tampered = _rewritten(packed.data, changes)

    with pytest.raises(BadValueError, match=message):
        unpack(tampered, packed.hash)


def test_an_unknown_format_is_refused() -> None:
    """A newer way of packing is not guessed at."""
    data = write(Manifest(format=2, entries=(), modules=()), {})

    with pytest.raises(BadValueError, match="format 2"):
        unpack(data)


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x05\x06" + b"\0" * 18, b"PK\x03\x04" * 9])
def test_bytes_that_are_no_pack_are_refused(data: bytes) -> None:
    """Whatever comes over the wire is a clear refusal, never another error."""
    with pytest.raises(BadValueError):
        unpack(data)


def test_a_zip_that_unpacks_to_far_too_much_is_refused(project: WriteProject) -> None:
    """The size is judged before anything is unpacked."""
    packed = pack(project({"flow.py": FLOW}) / "flow.py")
    buffer = io.BytesIO(packed.data)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("src/bomb.py", b"\0" * 16_000_000)

    with pytest.raises(OversizedError, match="above the limit"):
        unpack(buffer.getvalue())
    with pytest.raises(OversizedError, match="limit 180000"):
        unpack(b"\0" * 180_001)


def test_a_closure_needs_its_entries(project: WriteProject) -> None:
    """A name that no root has is an error, not an empty definition."""
    root = project({"flow.py": FLOW})

    with pytest.raises(NotFoundError, match="no module 'gone'"):
        closure(["gone"], [root])


def test_imports_that_only_look_dynamic_are_let_alone(project: WriteProject) -> None:
    """Installed modules, computed names and methods of that name may be imported so."""
    text = (
        "import importlib\nimportlib.import_module('json')\n__import__('helper')\n"
        "def f(name):\n    importlib.import_module(name)\n    importlib.import_module()\n"
    )
    root = project({"flow.py": text + FLOW, "helper.py": ""})

    packed = pack(root / "flow.py")

    assert packed.modules == ("flow", "helper")


def test_star_imports_take_the_submodules_of_a_package(project: WriteProject) -> None:
    """A star from a plain module, and from a package with more than modules in it."""
    root = project(
        {
            "flow.py": "from helper import *\nfrom shop import *\n" + FLOW,
            "helper.py": "A = 1\n",
            "shop/__init__.py": "",
            "shop/data.txt": "",
            "shop/leaf.py": "",
        }
    )

    packed = pack(root / "flow.py")

    assert packed.modules == ("flow", "helper", "shop", "shop.leaf")
