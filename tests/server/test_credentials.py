"""Passwords of the embedded server's users: random, kept, and for their owner only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.server.accounts import USERS
from runtime.server.credentials import DIRECTORY, ensure, path_of, read
from runtime.server.errors import CredentialsError


def test_every_user_has_a_password_of_his_own_that_stays(tmp_path: Path) -> None:
    """A second start reads what the first one made."""
    made = ensure(tmp_path)

    assert made.keys() == set(USERS)
    assert len(set(made.values())) == len(USERS)
    assert min(map(len, made.values())) >= 32
    assert ensure(tmp_path) == made


def test_nobody_else_can_read_them(tmp_path: Path) -> None:
    """Also when the umask would let others in."""
    before = os.umask(0)
    try:
        ensure(tmp_path)
    finally:
        os.umask(before)

    modes = {each.stat().st_mode & 0o777 for each in (tmp_path / DIRECTORY).iterdir()}
    assert modes == {0o600}
    assert (tmp_path / DIRECTORY).stat().st_mode & 0o777 == 0o700


def test_a_reader_refuses_what_others_can_read_and_the_daemon_repairs_it(tmp_path: Path) -> None:
    """The error says what to do."""
    made = ensure(tmp_path)
    path = path_of(tmp_path, "client")
    path.chmod(0o644)
    (tmp_path / DIRECTORY).chmod(0o755)

    with pytest.raises(CredentialsError, match=r"read by others \(mode 644\)") as caught:
        read(tmp_path, "client")

    assert f"chmod 600 {path}" in caught.value.hint
    assert ensure(tmp_path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / DIRECTORY).stat().st_mode & 0o777 == 0o700


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Whoever could put it there would choose the password."""
    (tmp_path / DIRECTORY).mkdir(mode=0o700)
    (tmp_path / "elsewhere").write_text("known\n")
    path_of(tmp_path, "daemon").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(CredentialsError, match="is a link"):
        ensure(tmp_path)


def test_a_removed_password_is_made_anew(tmp_path: Path) -> None:
    """This is how one is changed."""
    made = ensure(tmp_path)
    path_of(tmp_path, "service").unlink()

    with pytest.raises(CredentialsError, match="no password of the user 'service'"):
        read(tmp_path, "service")

    changed = ensure(tmp_path)
    assert {user for user in USERS if changed[user] != made[user]} == {"service"}


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    """A server would take it as no password at all."""
    ensure(tmp_path)
    path_of(tmp_path, "daemon").write_text("\n")

    with pytest.raises(CredentialsError, match="is empty"):
        ensure(tmp_path)
