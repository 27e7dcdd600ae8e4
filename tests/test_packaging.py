"""The names resolve to us, and the built wheel is whole."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("protocols", "actors", "supervisors", "runtime", "movant")
INSTALL_S_MAX: Final = 240


@pytest.mark.parametrize("name", PACKAGES)
def test_the_name_resolves_inside_the_project(name: str) -> None:
    """No foreign distribution that ships such a top-level name has taken its place."""
    module = importlib.import_module(name)

    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT / name)
    assert set(packages_distributions().get(name, ())) <= {"movant"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the build backend of this environment: no network is needed."""
    target = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, ROOT],
        check=True,
        capture_output=True,
        timeout=INSTALL_S_MAX,
    )
    (built,) = target.glob("movant-*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_has_the_five_packages_with_their_types(wheel: Path) -> None:
    """Every module of ours is inside, each package says that it is typed, nothing else is."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    ours = {
        str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")
    }

    assert ours <= names
    assert {f"{name}/py.typed" for name in PACKAGES} <= names
    assert {name.split("/", 1)[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_S_MAX)
def test_the_installed_wheel_runs_its_command(wheel: Path, tmp_path: Path) -> None:
    """In an empty environment, away from the project, the command tells its version."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    clean = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    constraints = ROOT / "constraints.txt"

    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--constraint", constraints, wheel],
        check=True,
        capture_output=True,
        cwd=tmp_path,
        env=clean,
        timeout=INSTALL_S_MAX,
    )
    told = subprocess.run(
        [home / "bin" / "movant", "--version"],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        env=clean,
        text=True,
        timeout=30,
    )

    assert wheel.name.split("-")[1] in told.stdout
