"""``movant nats env|context|credentials`` and ``movant dead``: what they print, and what not."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from protocols.api import runs as api
from protocols.api.runs import error_reply
from protocols.errors import RefusedError
from runtime.cli.nats_logins import HIDDEN
from runtime.client.discovery import Notice, announced
from runtime.server.credentials import ensure
from tests.cli.conftest import Cli
from tests.client.responder import Responder

URL = "nats://127.0.0.1:4333"


def _made(store: Path) -> tuple[Notice, dict[str, str]]:
    store.mkdir(mode=0o700)
    secrets = ensure(store)
    return Notice(url=URL, pid=os.getpid(), started=1, own=True), secrets


def test_env_sets_a_login_in_a_shell_and_shows_no_secret(cli: Cli, tmp_path: Path) -> None:
    """``eval`` it, and a program has what it needs."""
    store = tmp_path / "a store"
    notice, secrets = _made(store)
    with announced(store, notice):
        ended = cli("nats", "env", "--user", "service", "--store", str(store))
    shown = subprocess.run(
        [
            "sh",
            "-c",
            f'{ended.out}\necho "$NATS_URL $NATS_USER $NATS_PASSWORD $MOVANT_NATS__USER"',
        ],
        capture_output=True,
        check=True,
        text=True,
    ).stdout

    assert shown.split() == [URL, "service", secrets["service"], "service"]
    assert not any(secret in ended.out + ended.err for secret in secrets.values())
    assert shlex.quote(str(store / "credentials" / "service.password")) in ended.out


def test_a_context_is_saved_for_its_owner_alone(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the nats CLI looks; printed only with the password hidden."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    notice, secrets = _made(tmp_path / "s")
    with announced(tmp_path / "s", notice):
        shown = cli("nats", "context", "--store", str(tmp_path / "s"))
        saved = cli(
            "nats", "context", "--user", "monitor", "--save", "--store", str(tmp_path / "s")
        )
        asked = cli("nats", "context", "--show-secret", "--store", str(tmp_path / "s"))

    path = tmp_path / "config" / "nats" / "context" / "movant-monitor.json"
    written = json.loads(path.read_text())
    assert shown.json["password"] == HIDDEN
    assert asked.json["password"] == secrets["client"]
    assert secrets["monitor"] not in saved.out + saved.err
    assert "nats --context movant-monitor" in saved.err
    assert (written["url"], written["user"], written["password"]) == (
        URL,
        "monitor",
        secrets["monitor"],
    )
    assert path.stat().st_mode & 0o777 == 0o600


def test_credentials_lists_users_and_files(cli: Cli, tmp_path: Path) -> None:
    """A URL with its password only when it is asked for."""
    notice, secrets = _made(tmp_path / "s")
    with announced(tmp_path / "s", notice):
        listed = cli("nats", "credentials", "-o", "json", "--store", str(tmp_path / "s"))
        one = cli(
            *("nats", "credentials", "--user", "service", "--show-secret", "-o", "json"),
            *("--store", str(tmp_path / "s")),
        )

    assert [each["user"] for each in listed.json] == list(secrets)
    assert not any(secret in listed.out for secret in secrets.values())
    assert all(Path(each["file"]).exists() for each in listed.json)
    assert [each["url"] for each in one.json] == [
        f"nats://service:{secrets['service']}@127.0.0.1:4333"
    ]


def test_without_a_server_of_its_own_there_are_no_logins(cli: Cli) -> None:
    """The error says where users of another server are described."""
    ended = cli("nats", "env")

    assert ended.code == 4
    assert "server of its own" in ended.err


ROW = {
    "seq": 17,
    "at": 1_790_000_000_000_000_000,
    "reason": "schema",
    "subject": "movant.mail.7.a.signal.go",
    "source_seq": 91,
    "detail": "schema version 2 is newer than 1",
    "size": 3,
}


@pytest.mark.server
def test_dead_letters_are_listed_and_shown(ask: Cli, responder: Responder) -> None:
    """For people as text, for programs as they are."""
    row = api.DeadRow(**ROW)  # type: ignore[arg-type] # a row as JSON has it
    responder.answers["dead.ls"] = api.DeadPage(letters=[row], reasons={"schema": 3}, next=17)
    responder.answers["dead.show"] = api.DeadView(
        **ROW,  # type: ignore[arg-type] # as above
        headers=b"NATS/1.0\r\nMovant-Schema: 2\r\n\r\n",
        payload=b"a\x1b\xff",
    )

    listed, rows = ask("dead", "ls", "--reason", "schema"), ask("dead", "ls", "-o", "jsonl")
    shown, raw = ask("dead", "show", "17"), ask("dead", "show", "17", "-o", "json")

    assert listed.out.splitlines()[1].split()[:2] == ["17", "schema"]
    assert "in all: 3 schema; more: --after 17" in listed.err
    assert json.loads(rows.out)["source_seq"] == 91
    assert "Movant-Schema: 2" in shown.out
    assert "a\\x1b\\xff" in shown.out
    assert raw.json["payload"] == "YRv/"
    assert responder.asked[0][1] == api.DeadList(reason="schema")


@pytest.mark.server
def test_a_replay_tells_what_became_of_each_letter(ask: Cli, responder: Responder) -> None:
    """Exit 3 when something was not sent; pages follow each other."""
    refused = api.DeadReplayed(seq=18, error=error_reply(RefusedError("it is a reply")))
    sent = api.DeadReplayed(seq=17, subject="movant.to.a.signal.go")
    responder.answers["dead.replay"] = lambda request: (
        api.DeadReplays(letters=[refused])
        if request.after
        else api.DeadReplays(letters=[sent], next=17)
    )

    all_of_it, wrong = ask("dead", "replay", "--reason", "schema"), ask("dead", "replay")

    assert all_of_it.code == 3
    assert [line.split()[0] for line in all_of_it.out.splitlines()[1:]] == ["17", "18"]
    assert wrong.code == 2


@pytest.mark.server
def test_a_purge_names_what_goes(ask: Cli, responder: Responder) -> None:
    """Everything only with --all."""
    responder.answers["dead.purge"] = api.DeadPurged(purged=2)

    done, wrong = ask("dead", "purge", "--reason", "stray"), ask("dead", "purge")
    ask("dead", "purge", "--all", "-o", "json")

    assert done.out == "2 removed\n"
    assert wrong.code == 2
    assert [request for _, request in responder.asked] == [
        api.DeadPurge(reason="stray"),
        api.DeadPurge(all=True),
    ]
