"""A database, a program and a mail server in one workflow of a daemon: the example of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.connectors.frame import opened
from runtime.connectors.hosting import chosen
from runtime.connectors.secrets import Secrets
from tests.docs.tables import DOCS
from tests.support.daemon import daemon
from tests.support.mail import PASSWORD, mail_server
from tests.support.nats import NatsServer

STAY = DOCS / "examples" / "stay.yaml"
DESK = DOCS / "examples" / "desk.yaml"


async def test_a_booking_whose_letter_is_refused_is_undone(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ann gets her letter; Eve may not be written to, and her booking is gone again."""
    monkeypatch.setenv("MAIL_HOST", "127.0.0.1")
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    with mail_server() as post:
        text = DESK.read_text().replace("port: 587", f"port: {post.port}")
        text = text.replace("security: starttls", "security: none")
        file = tmp_path / "desk.yaml"
        file.write_text(text.replace("user: desk", "user: postman"))
        async with daemon(nats_server.url, workflows=[STAY], connectors=str(file)) as movant:
            guest = {"guest": "Ann", "address": "ann@guest.example", "nights": 3}
            ann = await movant.run("stay", guest, id="ann")
            stranger = {"guest": "Eve", "address": "eve@elsewhere.example", "nights": 1}
            eve = await movant.run("stay", stranger, id="eve")
            view = await movant("service.show", name="rooms")

    assert ann["status"] == "completed"
    assert ann["result"] == {"price": 360, "letter": str(post.letters[0]["message-id"])}
    assert post.letters[0]["subject"] == "Your stay, Ann"
    assert eve["status"] == "compensated"
    assert eve["failure"]["kind"] == "compliance"
    assert [each["fate"] for each in eve["steps"]] == ["undone", "done"]  # the price stands
    assert len(post.letters) == 1
    assert sorted(view["operations"]) == ["book", "cancel", "stays"]


async def test_a_look_at_each_system_says_how_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is made, the program is there, and nobody answers for the mail."""
    monkeypatch.setenv("MAIL_HOST", "127.0.0.1")
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    file = tmp_path / "desk.yaml"
    file.write_text(DESK.read_text().replace("port: 587", "port: 9"))
    found = {}
    for name, settings in chosen(file).items():
        async with opened(name, settings, Secrets(tmp_path)) as connector:
            for each in await connector.check():
                found[each.what] = each

    assert {what: each.ok for what, each in found.items()} == {
        "database": True,
        "expr": True,
        "login": False,
    }
    assert "no connection to the mail server" in found["login"].detail
