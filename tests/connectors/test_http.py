"""The HTTP connector against a real server in a process of its own."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.files.connectors import parse
from protocols.connectors.http import HttpConnector
from protocols.errors import ConfigurationError
from protocols.service import Call, Failed, Refused, Service, Unknown
from runtime.connectors.frame import Check, opened
from runtime.connectors.secrets import Secrets
from tests.support.web import Web

TOKEN = "tok-1234567890"  # noqa: S105 - a secret for this test alone
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Shop:
    """An open connector, asked without NATS."""

    def __init__(self, service: Service, checked: Any) -> None:
        self.service = service
        self.checked = checked

    async def __call__(self, operation: str, request: Any = None, **call: Any) -> Any:
        """Ask for an operation."""
        given = {"key": "run-1/charge", "timeout_s": 3.0, "traceparent": TRACE, **call}
        function = self.service.operations[operation].function
        return await function(request, Call(self.service.name, operation, **given))

    async def fails(self, operation: str, request: Any = None, **call: Any) -> Any:
        """Return the error that an operation answers with."""
        with pytest.raises((Refused, Failed, Unknown)) as raised:
            await self(operation, request, **call)
        return raised.value


@asynccontextmanager
async def shop(
    url: str, text: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Shop]:
    """Open the connector ``shop`` with the given lines; its server is at URL."""
    lines = "\n".join(f"    {line}" for line in text.strip("\n").split("\n"))
    document = parse(
        f"connectors:\n  shop:\n    kind: http\n    base_url: {url}\n{lines}".encode()
    )
    assert document.problems == []
    assert document.value is not None
    secrets = Secrets(Path(), {"SHOP_TOKEN": TOKEN} | dict(environment or {}))
    async with opened("shop", document.value.connectors["shop"], secrets) as found:
        yield Shop(found.service, found.check)


async def test_a_request_is_made_of_its_template(web: Web) -> None:
    """Path, query, headers, body, key and trace go out; the part that was asked for comes back."""
    text = """
auth: {bearer: "${env:SHOP_TOKEN}"}
headers: {X-Tenant: blue}
operations:
  add:
    method: POST
    path: /echo/{id}
    query: {tag: "{tags}", none: "{missing}", page: 2}
    headers: {X-For: "for {customer.name}"}
    body: {amount: "{amount}", note: "{{to}} {customer.name}", absent: "{missing}"}
    result: body.path
  whole: {method: POST, path: /echo, body: "{call.key}"}
"""
    request = {"id": "a/../b c", "amount": 12.5, "tags": ["x", "y"], "customer": {"name": "Ann"}}
    async with shop(web.url, text) as ask:
        result = await ask("add", request)
        whole = await ask("whole")
    seen = web.seen()[-2]

    assert result == "/echo/a/../b c"
    assert seen["query"] == [["tag", "x"], ["tag", "y"], ["page", "2"]]
    assert seen["body"] == '{"amount":12.5,"note":"{to} Ann"}'
    found = seen["headers"]
    assert found["authorization"] == f"Bearer {TOKEN}"
    assert found["x-tenant"] == "blue"
    assert found["x-for"] == "for Ann"
    assert found["idempotency-key"] == "run-1/charge"
    assert found["traceparent"] == TRACE
    assert whole["body"] == '"run-1/charge"'


async def test_no_answer_shows_a_secret(web: Web) -> None:
    """A server that tells all it got tells of no credentials, plain or encoded."""
    basic = 'auth: {user: ann, password: "${env:SHOP_TOKEN}"}\noperations: {look: {path: /echo}}'
    query = """
operations:
  look: {path: /echo, query: {api_key: "${env:SHOP_TOKEN}", q: "{q}"}, result: response}
  ill: {path: "/status/500", query: {x-key: "${env:SHOP_TOKEN}"}}
"""
    async with shop(web.url, basic) as ask:
        by_header = await ask("look")
    async with shop(web.url, query) as ask:
        by_query = await ask("look", {"q": "${env:SHOP_TOKEN}"})
        error = await ask.fails("ill")

    assert by_header["headers"]["authorization"] == "Basic ***"
    assert by_query["body"]["query"] == [["api_key", "***"], ["q", "${env:SHOP_TOKEN}"]]
    assert TOKEN not in repr((by_query, error, error.details))


STATUSES = [
    # method, status, outcome, kind
    ("GET", 404, Refused, "refused"),
    ("GET", 422, Refused, "validation"),
    ("GET", 401, Refused, "permission"),
    ("GET", 409, Refused, "taken"),
    ("GET", 408, Failed, "network"),
    ("GET", 500, Failed, "system"),
    ("GET", 504, Failed, "network"),
    ("POST", 429, Failed, "over_limit"),
    ("POST", 503, Unknown, "network"),
    ("PUT", 503, Unknown, "network"),
    ("GET", 503, Failed, "network"),
    ("POST", 502, Failed, "network"),  # not_done
    ("POST", 302, Unknown, "system"),
    ("POST", 307, Refused, "refused"),
    ("POST", 408, Unknown, "timeout"),
    ("POST", 500, Unknown, "system"),
    ("POST", 504, Unknown, "timeout"),
]


async def test_a_status_says_whether_it_was_done(web: Web) -> None:
    """Refused, failed or unknown by method and status; ``Retry-After`` in both forms."""
    text = """
not_done: [502]
operations:
  get: {path: "/status/{code}", errors: {"409": taken}}
  post: {method: POST, path: "/status/{code}"}
  put: {method: PUT, path: "/status/{code}"}
  later: {path: /status/429, query: {retry-after: "{after}"}}
  away: {method: POST, path: /status/503, query: {retry-after: "9"}}
  gone: {path: /status/404, expect: [404], result: status}
"""
    async with shop(web.url, text) as ask:
        for method, status, outcome, kind in STATUSES:
            error = await ask.fails(method.lower(), {"code": status})
            assert (type(error), error.kind) == (outcome, kind), (method, status)
            assert error.details["said"] == {"error": "as you wish", "code": 7}
            assert error.details["request_id"] == "r-17"
        soon = await ask.fails("later", {"after": "7"})
        date = await ask.fails("later", {"after": "Fri, 01 Jan 1999 00:00:00 GMT"})
        away = await ask.fails("away")
        gone = await ask("gone")

    assert (type(away), away.retry_after_s) == (Failed, 9.0)
    assert soon.retry_after_s == 7.0
    assert date.retry_after_s == 0.0
    assert gone == 404


async def test_no_answer_is_unknown_where_it_may_have_been_done(web: Web) -> None:
    """A dead server: nothing was sent. A slow one: it depends on what was asked."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with shop(dead, "operations: {post: {method: POST, path: /x}}") as ask:
            unreachable = await ask.fails("post")
    text = """
operations:
  get: {path: /slow}
  post: {method: POST, path: /slow, timeout: 300ms}
  search: {method: POST, path: /slow, timeout: 300ms, safe: true}
"""
    async with shop(web.url, text) as ask:
        got = await ask.fails("get", timeout_s=0.3)
        posted = await ask.fails("post")
        searched = await ask.fails("search")

    assert (type(unreachable), unreachable.kind) == (Failed, "network")
    assert (type(got), got.kind) == (Failed, "network")
    assert (type(posted), posted.kind) == (Unknown, "timeout")
    assert type(searched) is Failed
    sent = [each["headers"] for each in web.seen("/slow")]
    assert ["idempotency-key" in each for each in sent] == [False, True, False]


async def test_answers_that_cannot_be_used_are_told(web: Web) -> None:
    """Too long, no JSON, a part that is not there: by whether something may have been done."""
    text = """
response_bytes_max: 1000
operations:
  huge: {path: /huge}
  posted: {method: POST, path: /huge}
  garbled: {path: /garbled}
  part: {method: POST, path: /charges, result: body.nothing}
"""
    async with shop(web.url, text) as ask:
        found = [await ask.fails(each) for each in ("huge", "posted", "garbled", "part")]

    assert [(type(each), each.kind) for each in found] == [
        (Refused, "over_limit"),
        (Unknown, "over_limit"),
        (Failed, "system"),
        (Unknown, "system"),
    ]


async def test_credentials_stay_with_their_host(web: Web) -> None:
    """Another host is refused; one that is allowed gets no credentials; no cookie goes on."""
    other = web.url.replace("127.0.0.1", "localhost")
    port = web.url.rpartition(":")[2]
    text = f"""
auth: {{header: X-Api-Key, value: "${{env:SHOP_TOKEN}}"}}
hosts: ["localhost:{port}"]
request: true
operations:
  away: {{path: /away, query: {{to: "{{to}}"}}}}
"""
    async with shop(web.url, text) as ask:
        home = await ask("away", {"to": "/echo/home"})
        there = await ask("away", {"to": f"{other}/echo/there"})
        forbidden = await ask.fails("away", {"to": "http://127.0.0.2:1/"})
        generic = ask.service.operations["request"].request_type
        asked = await ask("request", generic(url=f"{other}/echo/direct", query={"a": 1}))
        refused = await ask.fails("request", generic(url="http://example.com/"))
        loop = await ask.fails("away", {"to": "/away?to=/away?to=/away"})

    assert home["headers"]["x-api-key"] == "***"
    assert "x-api-key" not in there["headers"]
    assert "x-api-key" not in asked["body"]["headers"]
    assert asked["body"]["query"] == [["a", "1"]]
    assert "cookie" not in asked["body"]["headers"]
    assert "set-cookie" not in asked["headers"]
    assert (forbidden.kind, refused.kind) == ("compliance", "compliance")
    assert isinstance(loop, Refused | Failed)


async def test_a_redirect_elsewhere_takes_nothing_along(web: Web) -> None:
    """Neither the headers of an operation nor its body: a secret may be in both."""
    other = web.url.replace("127.0.0.1", "localhost")
    text = f"""
hosts: ["localhost:{web.url.rpartition(":")[2]}"]
operations:
  look: {{path: /away, query: {{to: "{{to}}"}}, headers: {{X-Key: "${{env:SHOP_TOKEN}}"}}}}
  find:
    {{method: POST, safe: true, path: /away, query: {{to: "{{to}}"}},
     body: {{k: "${{env:SHOP_TOKEN}}"}}}}
"""
    async with shop(web.url, text) as ask:
        home = await ask("look", {"to": "/echo/home"})
        there = await ask("look", {"to": f"{other}/echo/elsewhere"})
        found = await ask("find", {"to": "/echo/found"})
        refused = await ask.fails("find", {"to": f"{other}/echo/never"})

    assert home["headers"]["x-key"] == "***"
    assert "x-key" not in there["headers"]
    assert there["headers"]["traceparent"] == TRACE
    assert found["body"] == '{"k":"***"}'
    assert (type(refused), refused.kind) == (Refused, "compliance")
    assert web.seen("/echo/never") == []


async def test_redirects_have_one_time_together(web: Web) -> None:
    """Who is sent round and round has as much time as who is answered at once."""
    async with shop(web.url, "operations: {look: {path: /round}}") as ask:
        error = await ask.fails("look", timeout_s=0.5)

    assert (type(error), error.kind) == (Failed, "network")
    assert error.message.startswith("no answer in 0.")


async def test_a_request_chooses_no_header_that_frames_it(web: Web) -> None:
    """A wrong length would cut the body off, and nobody could say what was done."""
    names = ("Content-Length", "transfer-encoding", "Host", "Connection", "é", "a b", "x\r\ny")
    async with shop(web.url, "request: true") as ask:
        generic = ask.service.operations["request"].request_type
        before = len(web.seen())
        found = [
            await ask.fails(
                "request", generic(url="/echo", method="POST", body="12345", headers={name: "0"})
            )
            for name in names
        ]

    assert {(type(each), each.kind) for each in found} == {(Refused, "validation")}
    assert len(web.seen()) == before


async def test_a_look_that_cannot_be_taken_is_told(web: Web, tmp_path: Path) -> None:
    """Its secret is gone: that is what is wrong, and nobody else is disturbed."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    async with shop(web.url, f"auth: {{bearer: '${{file:{token}}}'}}\nrequest: true") as ask:
        token.unlink()
        (found,) = await ask.checked()

    assert not found.ok
    assert "cannot be read" in found.detail


async def test_certificates_are_named_from_the_file(tmp_path: Path) -> None:
    """A relative path begins where the file of the connectors is, as that of every kind."""
    settings = HttpConnector(base_url="https://127.0.0.1:9", request=True, tls_ca="ca.pem")
    for known, why in ((False, "No such file"), (True, "(?i)certificate")):
        if known:
            (tmp_path / "ca.pem").write_text("none")
        with pytest.raises(ConfigurationError, match=why):
            async with opened("shop", settings, Secrets(tmp_path)):
                pass


async def test_a_value_cannot_leave_its_place_in_the_path(web: Web) -> None:
    """A dot segment is refused, a missing value too; nothing is sent."""
    async with shop(web.url, 'operations: {get: {path: "/echo/{id}/x"}}') as ask:
        before = len(web.seen())
        found = [await ask.fails("get", {"id": each}) for each in ("..", "", None)]

    assert [each.kind for each in found] == ["validation"] * 3
    assert len(web.seen()) == before


async def test_limits_hold_requests_back(web: Web) -> None:
    """A request that would wait longer for its turn than it has time is not begun."""
    text = "rate_per_s: 1\nburst: 1\nconcurrency_max: 1\noperations: {get: {path: /echo}}"
    async with shop(web.url, text) as ask:
        await ask("get")
        error = await ask.fails("get", timeout_s=0.2)

    assert (type(error), error.kind) == (Failed, "over_limit")
    assert 0.5 < error.retry_after_s <= 1.0


async def test_the_check_changes_nothing_and_tells(web: Web) -> None:
    """It asks for the path of health: there, denied, dead."""
    found: list[Check] = []
    for lines in ("health: /echo", "health: /status/401", "health: /status/500"):
        async with shop(web.url, f"{lines}\nrequest: true") as ask:
            found += await ask.checked()
    async with shop("http://127.0.0.1:9", "request: true") as ask:
        found += await ask.checked()

    assert [each.ok for each in found] == [True, False, False, False]
    assert found[1].detail == "HTTP 401"
