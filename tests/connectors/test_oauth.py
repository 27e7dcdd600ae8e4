"""OAuth 2.0 of connectors that speak HTTP: a real token endpoint, a real interface behind it."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog.testing
import trio

from actors.files.connectors import parse
from protocols.service import Call, Failed, Refused
from runtime.connectors import peer
from runtime.connectors.frame import opened
from runtime.connectors.secrets import Secrets
from tests.connectors.test_http import shop
from tests.support.web import Web

SECRET = "se/cret 4711"  # noqa: S105 - a secret for this test alone
OPERATIONS = """
operations:
  look: {path: /guarded, result: body.headers.authorization}
  post: {method: POST, path: /guarded, body: {n: 1}, result: body.body}
"""


def client(web: Web, query: str = "", more: str = "") -> str:
    """Return a connector's lines: a client of the token endpoint."""
    return (
        f"auth: {{oauth2: {{token_url: '{web.url}/token?{query}', client_id: shop,"
        f" client_secret: '${{env:CLIENT_SECRET}}'{more}}}}}{OPERATIONS}"
    )


async def test_one_token_serves_all_until_it_is_nearly_over(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait for it; it is shown nowhere, and is replaced in time."""
    granted: list[Any] = []

    async def look(ask: Any) -> None:
        granted.append(await ask("look"))

    before = len(web.seen("/token"))
    environment = {"CLIENT_SECRET": SECRET}
    with structlog.testing.capture_logs() as logs:
        async with shop(
            web.url, client(web, "s=0.2", ", scope: a b, audience: shop"), environment
        ) as ask:
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(look, ask)
            await look(ask)
            first = web.seen("/token")[before:]
        monkeypatch.setattr(peer, "EARLY_SHARE", 1.0)
        monkeypatch.setattr(peer, "EARLY_S_MAX", 60.0)
        async with shop(web.url, client(web, "life=60", ", login: body"), environment) as ask:
            await ask("look")
            await ask("look")
    later = web.seen("/token")[before + 1 :]

    assert granted == ["Bearer ***"] * 21
    (asked,) = first
    basic = b64encode(b"shop:se%2Fcret%204711").decode()
    assert asked["headers"]["authorization"] == f"Basic {basic}"
    assert asked["body"] == "grant_type=client_credentials&scope=a+b&audience=shop"
    assert len(later) == 2
    assert later[0]["body"].endswith("client_id=shop&client_secret=se%2Fcret+4711")
    assert "authorization" not in later[0]["headers"]
    assert not any(each in repr(logs) for each in (SECRET, basic, "granted-token"))


async def test_a_token_that_is_refused_is_fetched_again_once(web: Web) -> None:
    """A revoked one is replaced, and the whole request goes out again; a second 401 stands."""
    async with (
        shop(web.url, "operations: {revoke: {path: /revoke}}") as admin,
        shop(web.url, client(web), {"CLIENT_SECRET": SECRET}) as ask,
    ):
        await ask("look")
        await admin("revoke")
        before = len(web.seen("/token"))
        posted = await ask("post")
        fetched = len(web.seen("/token")) - before
        stranger = f"auth: {{bearer: '${{env:SHOP_TOKEN}}'}}{OPERATIONS}"
        async with shop(web.url, stranger) as other:
            turned_away = await other.fails("post")
    last = [each["headers"]["idempotency-key"] for each in web.seen("/guarded")[-3:-1]]

    assert posted == '{"n":1}'
    assert fetched == 1
    assert len(set(last)) == 1
    assert (type(turned_away), turned_away.kind) == (Refused, "permission")


async def test_language_models_are_asked_with_tokens(web: Web) -> None:
    """Each provider has tokens of its own."""
    provider = {
        "base_url": f"{web.url}/guarded",
        "models": {"good": {}},
        "auth": {
            "oauth2": {
                "token_url": f"{web.url}/token",
                "client_id": "reader",
                "client_secret": "${env:CLIENT_SECRET}",
            }
        },
    }
    given = {"connectors": {"models": {"kind": "llm", "providers": {"cloud": provider}}}}
    settings = parse(msgspec.json.encode(given)).value
    assert settings is not None
    secrets = Secrets(Path(), {"CLIENT_SECRET": SECRET})
    async with opened("models", settings.connectors["models"], secrets) as found:
        call = Call("models", "complete", timeout_s=5.0)
        result = await found.service.operations["complete"].function({"prompt": "Hello"}, call)

    assert result["output"] == "You said: Hello"


@pytest.mark.parametrize(
    ("query", "outcome", "kind"),
    [
        ("status=401", Refused, "permission"),
        ("status=400", Refused, "permission"),
        ("status=503", Failed, "network"),
        ("status=429", Failed, "over_limit"),
        ("garbled=1", Failed, "system"),
        ("s=5", Failed, "network"),
    ],
)
async def test_without_a_token_nothing_is_sent(
    web: Web, query: str, outcome: type[Exception], kind: str
) -> None:
    """So that no outcome is unknown, and all who wait for one fetch share its failure."""
    errors: list[Any] = []

    async def post(ask: Any) -> None:
        errors.append(await ask.fails("post", timeout_s=0.3 if query == "s=5" else 5.0))

    before = len(web.seen("/guarded")), len(web.seen("/token"))
    async with (
        shop(web.url, client(web, query), {"CLIENT_SECRET": SECRET}) as ask,
        trio.open_nursery() as nursery,
    ):
        for _ in range(3):
            nursery.start_soon(post, ask)

    assert {(type(each), each.kind) for each in errors} == {(outcome, kind)}
    assert all(each.message.startswith("no token") for each in errors)
    assert len(web.seen("/guarded")) == before[0]
    if query != "s=5":  # there each one's time ends for itself
        assert len(web.seen("/token")) == before[1] + 1


def test_mistakes_are_found_when_the_file_is_read() -> None:
    """Two ways at once; an address that is none, and a secret that stands in the file."""
    lines = "connectors: {x: {kind: http, base_url: 'http://x', request: true, auth: {"
    client = "oauth2: {token_url: 'ftp://x', client_id: a, client_secret: in-the-file}"

    both = parse(f"{lines}bearer: '${{env:A}}', {client}}}}}}}".encode()).problems
    one = parse(f"{lines}{client}}}}}}}".encode()).problems

    assert [each.message[:14] for each in both] == ["one of bearer,"]
    assert sorted(each.message for each in one) == [
        "'ftp://x' is no address",
        "a secret must not stand here",
    ]
