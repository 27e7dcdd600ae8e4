"""How a client finds the daemon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from protocols.errors import ConfigurationError
from runtime.client.discovery import (
    NOTICE,
    NoDaemonError,
    Notice,
    announced,
    find,
    own_server,
    read_notice,
)
from runtime.server.credentials import ensure, path_of


def _notice(pid: int) -> Notice:
    return Notice(url="nats://127.0.0.1:1", pid=pid, started=1)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MOVANT_NATS", "MOVANT_NATS__URL", "MOVANT_NATS__USER", "MOVANT_SERVER__STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_a_daemon_is_found_by_its_notice_while_it_serves(tmp_path: Path) -> None:
    """The notice goes with the daemon."""
    with announced(tmp_path / "movant", _notice(os.getpid())):
        found = find()

    assert found.url == "nats://127.0.0.1:1"
    with pytest.raises(NoDaemonError, match="no daemon found"):
        find()


def test_the_notice_is_for_its_owner_only(tmp_path: Path) -> None:
    """It may hold a login."""
    with announced(tmp_path, _notice(os.getpid())):
        mode = (tmp_path / NOTICE).stat().st_mode & 0o777

    assert mode == 0o600


def test_the_notice_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    """A daemon that ends late must not hide the one that took over."""
    with announced(tmp_path, _notice(os.getpid())), announced(tmp_path, _notice(1)):
        (tmp_path / NOTICE).write_bytes(b'{"url":"nats://new","pid":2,"started":1}')

    left = read_notice(tmp_path)
    assert left is not None
    assert left.url == "nats://new"


def test_what_is_given_comes_before_the_environment_and_the_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A named store comes before the environment: it was named later."""
    monkeypatch.setenv("MOVANT_NATS__URL", "nats://environment")

    with announced(tmp_path / "movant", _notice(os.getpid())):
        assert find("nats://given").url == "nats://given"
        assert find().url == "nats://environment"
        assert find(store=tmp_path / "movant").url == "nats://127.0.0.1:1"


def test_a_notice_of_a_dead_daemon_is_told_as_that(tmp_path: Path) -> None:
    """A client does not wait for a port where nobody listens."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with announced(tmp_path, _notice(child)):
        pass
    (tmp_path / NOTICE).write_bytes(b'{"url":"nats://x","pid":%d,"started":1}' % child)

    with pytest.raises(NoDaemonError, match="has ended") as caught:
        find(store=tmp_path)

    assert f"movant serve --store {tmp_path}" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"{", b'{"url": 3}', b"[]"])
def test_a_damaged_notice_is_none(tmp_path: Path, content: bytes) -> None:
    """A half-written file of another program is no daemon."""
    (tmp_path / NOTICE).write_bytes(content)

    assert read_notice(tmp_path) is None


def _own(store: Path, url: str = "nats://127.0.0.1:4333") -> Notice:
    """Return the notice of a daemon with a server of its own, whose passwords are made."""
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    ensure(store)
    return Notice(url=url, pid=os.getpid(), started=1, own=True)


def test_the_login_of_a_daemons_own_server_is_found_by_itself(tmp_path: Path) -> None:
    """By the notice, by a URL that names the same server, and as who one is."""
    store = tmp_path / "movant"
    with announced(store, _own(store)):
        client = find()
        service = find("nats://localhost:4333", user="service")
        named = find("nats://127.0.0.1:4333", store)

    secret = path_of(store, "client").read_text().strip()
    assert (client.user, client.password) == ("client", secret)
    assert (service.user, service.url) == ("service", "nats://localhost:4333")
    assert service.password not in {"", secret}
    assert named.password == secret


def test_a_store_in_the_environment_is_where_the_login_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same variable that names the daemon's store."""
    monkeypatch.setenv("MOVANT_SERVER__STORE", str(tmp_path / "elsewhere"))
    with announced(tmp_path / "elsewhere", _own(tmp_path / "elsewhere")):
        found = find("nats://127.0.0.1:4333")

    assert found.user == "client"


@pytest.mark.parametrize(
    ("url", "user"),
    [
        ("nats://127.0.0.1:4334", ""),  # another port is another server
        ("nats://elsewhere:4333", ""),
        ("nats://ann:pw@127.0.0.1:4333", ""),  # somebody is named in the URL
        ("nats://127.0.0.1:4333", "ann"),
    ],
)
def test_no_password_goes_to_another_server_or_for_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, user: str
) -> None:
    """What is configured stands."""
    if user:
        monkeypatch.setenv("MOVANT_NATS__USER", user)
    with announced(tmp_path / "movant", _own(tmp_path / "movant")):
        found = find(url)

    assert (found.user, found.password) == (user, "")


def test_a_daemon_on_a_foreign_server_gives_no_login(tmp_path: Path) -> None:
    """Its store may hold the passwords of a server that it once had."""
    store = tmp_path / "movant"
    _own(store)
    with announced(store, _notice(os.getpid())):
        found = find()
        with pytest.raises(NoDaemonError, match="server of its own"):
            own_server()

    assert (found.user, found.password) == ("", "")


def test_a_password_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    """Said with the way to mend it."""
    store = tmp_path / "movant"
    with announced(store, _own(store)):
        path_of(store, "client").chmod(0o640)
        with pytest.raises(ConfigurationError, match="read by others"):
            find()
