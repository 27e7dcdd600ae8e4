"""The connector ``mail``, against a real SMTP server."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from actors.files.connectors import parse
from protocols.connectors.mail import Letter
from protocols.service import Call, Failed, Refused, Unknown
from runtime.connectors.frame import opened
from runtime.connectors.secrets import Secrets
from tests.support.mail import PASSWORD, USER, MailServer, mail_server, silent_server

SETTINGS: Final[dict[str, Any]] = {
    "kind": "mail",
    "host": "127.0.0.1",
    "security": "none",
    "sender": "Front Desk <desk@hotel.example>",
    "user": USER,
    "password": "${env:STAMPS}",
    "templates": {
        "welcome": {
            "subject": "Welcome, {{ name }}",
            "text": "Room {{ room.number }} is yours, {{name}}.",
            "html": "<p>Room <b>{{ room.number }}</b> is yours, {{name}}.</p>",
        }
    },
    "recipients": ["@guest.example", "boss@hotel.example"],
}
VALUES: Final = {"name": "Ann <b>", "room": {"number": 7}}


@asynccontextmanager
async def mail(server: MailServer, base: Path = Path(), **changes: Any) -> AsyncIterator[Any]:
    """Open the connector; call what it yields with a key and a letter."""
    given = {**SETTINGS, "port": server.port, **changes}
    read = parse(msgspec.json.encode({"connectors": {"mail": given}}))
    assert read.problems == []
    assert read.value is not None
    secrets = Secrets(base, {"STAMPS": PASSWORD})
    async with opened("mail", read.value.connectors["mail"], secrets) as found:

        async def send(key: str, /, timeout_s: float = 0.0, **letter: Any) -> Any:
            call = Call("mail", "send", key=key, timeout_s=timeout_s)
            request = msgspec.convert(letter, Letter)
            return await found.service.operations["send"].function(request, call)

        yield send


async def test_a_template_becomes_a_letter_with_the_id_of_its_step() -> None:
    """Text, markup with escaped values, an attachment; each attempt has the same Message-ID."""
    with mail_server() as server:
        async with mail(server) as send:
            letter = {
                "to": "ann@guest.example",
                "bcc": ["boss@hotel.example"],
                "template": "welcome",
                "values": VALUES,
                "attachments": [{"name": "note.txt", "type": "text/plain", "text": "grüezi\n"}],
            }
            await send("run/1/hello", **letter)
            sent = await send("run/1/hello", **letter)

    first, second = server.letters
    text, markup = first.get_body(("plain",)), first.get_body(("html",))
    assert text is not None
    assert markup is not None
    assert first["subject"] == "Welcome, Ann <b>"
    assert first["from"] == "Front Desk <desk@hotel.example>"
    assert first["bcc"] is None
    assert text.get_content() == "Room 7 is yours, Ann <b>.\r\n"
    assert markup.get_content() == "<p>Room <b>7</b> is yours, Ann &lt;b&gt;.</p>\r\n"
    assert [each.get_filename() for each in first.iter_attachments()] == ["note.txt"]
    assert first["message-id"] == second["message-id"] == sent["message_id"]
    assert sent["accepted"] == ["ann@guest.example", "boss@hotel.example"]
    assert server.recipients == sent["accepted"] * 2


async def test_what_must_not_be_sent_is_refused_before_anybody_is_asked() -> None:
    """Other recipients, line breaks in headers, missing values, free text, large attachments."""
    kinds = []
    with mail_server() as server:
        async with mail(server, attachments_bytes_max=10) as send:
            for letter in (
                {"to": "eve@elsewhere.example", "template": "welcome", "values": VALUES},
                {"to": "ann@guest.example", "subject": "x", "text": "y"},
                {"to": "a@guest.example", "template": "welcome", "values": {"name": "Ann"}},
                {"to": "a@guest.example", "template": "bye"},
                {"to": "no address", "template": "welcome", "values": VALUES},
                {
                    "to": "a@guest.example",
                    "template": "welcome",
                    "values": VALUES,
                    "attachments": [{"name": "a\r\nBcc: x", "text": "b"}],
                },
                {
                    "to": "a@guest.example",
                    "template": "welcome",
                    "values": {**VALUES, "name": "x\r\nBcc: eve@elsewhere.example"},
                },
                {
                    "to": "a@guest.example",
                    "template": "welcome",
                    "values": VALUES,
                    "attachments": [{"name": "a", "text": "more than ten"}],
                },
            ):
                with pytest.raises(Refused) as refused:
                    await send("k", **letter)
                kinds.append(refused.value.kind)

    assert kinds == ["compliance", "compliance", *["validation"] * 5, "over_limit"]
    assert server.letters == []


async def test_4xx_may_be_tried_again_and_5xx_is_a_no() -> None:
    """For a recipient and for the letter; a recipient among others is only reported."""
    letter = {"template": "welcome", "values": VALUES}
    with mail_server() as server:
        server.answers = {"full@guest.example": "452 full", "gone@guest.example": "550 gone"}
        async with mail(server) as send:
            with pytest.raises(Failed) as full:
                await send("k1", to="full@guest.example", **letter)
            with pytest.raises(Refused) as gone:
                await send("k2", to="gone@guest.example", **letter)
            sent = await send("k3", to=["gone@guest.example", "ann@guest.example"], **letter)
            server.at_the_end = "451 try later"
            with pytest.raises(Failed):
                await send("k4", to="ann@guest.example", **letter)
            server.at_the_end = "554 looks like spam"
            with pytest.raises(Refused) as spam:
                await send("k5", to="ann@guest.example", **letter)

    assert full.value.details == {"full@guest.example": "452 full"}
    assert gone.value.kind == "refused"
    assert sent["accepted"] == ["ann@guest.example"]
    assert sent["refused"] == {"gone@guest.example": "550 gone"}
    assert spam.value.message == "554 looks like spam"
    assert len(server.letters) == 1


async def test_a_missing_answer_behind_the_letter_is_unknown() -> None:
    """It may have been taken: once it was, and the connection broke; once nobody answers."""
    letter = {"to": "ann@guest.example", "template": "welcome", "values": VALUES}
    with mail_server() as server:
        async with mail(server) as send:
            server.at_the_end = ""
            with pytest.raises(Unknown) as cut:
                await send("k1", **letter)
            server.at_the_end = "nonsense"
            with pytest.raises(Unknown) as garbled:
                await send("k2", **letter)
            server.at_the_end = "250 OK"
            await send("k1", **letter)

    assert (cut.value.kind, garbled.value.kind) == ("network", "system")
    assert [each["message-id"] for each in server.letters] == [server.letters[0]["message-id"]] * 2


async def test_a_server_that_is_not_there_or_does_not_answer_is_a_failure() -> None:
    """Nothing was sent; a wrong password is a matter of permission and is not shown."""
    letter = {"to": "ann@guest.example", "template": "welcome", "values": VALUES}
    with mail_server() as server:
        async with mail(server, user="somebody") as send:
            with pytest.raises(Refused) as stranger:
                await send("k1", **letter)
    async with mail(server) as send:
        with pytest.raises(Failed) as away:
            await send("k2", **letter)
    with silent_server() as silent:
        async with mail(silent) as send:
            with pytest.raises(Failed) as slow:
                await send("k3", timeout_s=0.2, **letter)

    assert stranger.value.kind == "permission"
    assert PASSWORD not in str(stranger.value)
    assert away.value.kind == "network"
    assert slow.value.kind == "timeout_error"


async def test_starttls_is_not_done_without_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    """With the authority named the letter goes; without it nothing does."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    letter = {"to": "ann@guest.example", "template": "welcome", "values": VALUES}
    with mail_server(tls=tls) as server:
        async with mail(server, security="starttls") as send:
            with pytest.raises(Refused) as untrusted:
                await send("k1", **letter)
        async with mail(server, tmp_path, security="starttls", tls_ca="cert.pem") as send:
            await send("k2", **letter)

    assert untrusted.value.kind == "permission"
    assert len(server.letters) == 1
