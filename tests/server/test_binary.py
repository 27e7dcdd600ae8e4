"""Finding a nats-server, refusing old ones, and picking a mirror."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runtime.server import binary, debian
from runtime.server.errors import (
    InstallError,
    ServerMissingError,
    ServerTooOldError,
    ServerUnusableError,
)


def _fake(directory: Path, says: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "nats-server"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make PATH and cache two empty directories."""
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("MOVANT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_no_server_anywhere_names_the_command_that_installs_one(place: Path) -> None:
    """An empty machine gets a next step."""
    assert place.exists()

    with pytest.raises(ServerMissingError) as caught:
        binary.find()

    assert "movant nats install" in caught.value.hint


def test_debians_old_server_is_refused_with_the_next_command(place: Path) -> None:
    """2.10 is found, named, and not used."""
    _fake(place / "path", "nats-server: v2.10.27")

    with pytest.raises(ServerTooOldError, match=r"2\.10\.27 .* too old: movant needs 2\.14") as e:
        binary.find()

    assert "movant nats install" in e.value.hint


def test_the_cache_is_used_when_path_has_an_old_one(place: Path) -> None:
    """An old system package does not hide what movant installed."""
    _fake(place / "path", "nats-server: v2.9.10")
    cached = _fake(place / "cache" / "bin", "nats-server: v2.15.1")

    found = binary.find()

    assert found == binary.Binary(str(cached), (2, 15, 1))
    assert found.version_text == "2.15.1"


@pytest.mark.parametrize("says", ["hello", "nats-server: vX"])
def test_what_is_no_nats_server_is_refused(place: Path, says: str) -> None:
    """A program of the same name that answers nonsense is not started."""
    _fake(place / "path", says)

    with pytest.raises(ServerUnusableError, match="does not answer like a nats-server"):
        binary.find()


def test_a_file_that_cannot_run_is_refused(place: Path) -> None:
    """A binary for another machine gives an error, not a traceback."""
    path = _fake(place / "path", "")
    path.write_bytes(b"\x7fELF not really")

    with pytest.raises(ServerUnusableError, match="does not run"):
        binary.find()


def test_installing_is_nothing_where_a_server_is(place: Path) -> None:
    """A repeat changes nothing and reports no stage."""
    path = _fake(place / "path", "nats-server: v2.14.5")
    stages: list[str] = []

    found = binary.install(lambda stage, _share: stages.append(stage))

    assert found.path == str(path)
    assert stages == []


def test_a_cache_that_cannot_be_written_says_which_variable_helps(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only home is a sentence with a way out."""
    (place / "file").write_text("")
    monkeypatch.setenv("MOVANT_CACHE", str(place / "file" / "cache"))

    with pytest.raises(InstallError) as caught:
        binary.install()

    assert "MOVANT_CACHE" in caught.value.hint


def test_installs_at_the_same_time_wait_for_each_other(place: Path) -> None:
    """The second install finds the work of the first done."""
    found: list[binary.Binary] = []
    with binary._locked(place / "cache"):
        second = threading.Thread(target=lambda: found.append(binary.install()))
        second.start()
        second.join(0.05)
        waited = second.is_alive()
        _fake(place / "cache" / "bin", "nats-server: v2.15.1")
    second.join(5)

    assert waited
    assert [each.version for each in found] == [(2, 15, 1)]


def test_the_command_line_prints_json(place: Path) -> None:
    """A program can read which binary it got."""
    _fake(place / "path", "nats-server: v2.14.5")

    done = subprocess.run(
        [sys.executable, "-m", "runtime.server.binary", "install", "-o", "json"],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        text=True,
    )

    assert json.loads(done.stdout)["version"] == [2, 14, 5]


MAIN = "Debian|Debian|main|bookworm|http://mirror.example/debian/"
SECURITY = "Debian|Debian-Security|main|bookworm-security|http://mirror.example/debian-security/"


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ([SECURITY, MAIN], "http://mirror.example/debian/"),
        (["Other||main|stable|http://example/apt/", MAIN], "http://mirror.example/debian/"),
        (["||main|trixie|http://mirror.example/x/debian/"], "http://mirror.example/x/debian/"),
    ],
)
def test_the_main_archive_is_picked(lines: list[str], address: str) -> None:
    """Security and foreign archives are passed over; without an index the address speaks."""
    assert debian.pick_mirror("\n".join(lines)) == address


@pytest.mark.parametrize(
    "targets", ["", SECURITY, "Ubuntu|Ubuntu|main|noble|http://mirror.example/ubuntu/", "x"]
)
def test_without_a_debian_mirror_the_person_is_told_what_to_do(targets: str) -> None:
    """Ubuntu has no Debian archive: say so instead of trusting another source."""
    with pytest.raises(InstallError, match="no mirror of Debian") as caught:
        debian.pick_mirror(targets)

    assert "PATH" in caught.value.hint


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists(), reason="not on Debian"
)
def test_a_real_install_puts_a_working_server_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is fetched and verified by apt, and the temporary work is gone afterwards."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("MOVANT_CACHE", str(tmp_path))
    stages: list[str] = []

    try:
        found = binary.install(lambda stage, _share: stages.append(stage))
    except InstallError as error:
        if "apt-get update failed" in error.message:
            pytest.skip(f"no mirror can be reached: {error.message}")
        raise

    assert found.path == str(tmp_path / "bin" / "nats-server")
    assert found.version >= binary.VERSION_MIN
    assert list(dict.fromkeys(stages)) == ["index", "package", "unpack"]
    assert not (tmp_path / "apt").exists()
