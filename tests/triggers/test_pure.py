"""What triggers decide without a server: proof, rates, bodies, files, names."""

from __future__ import annotations

from typing import Any

import pytest

from actors.files import triggers as trigger_file
from actors.files.definitions import graph_of, parse
from actors.files.trigger_check import wrong_subject
from protocols.errors import BadValueError, RefusedError
from protocols.triggers import Trigger, Webhook, merged, named
from runtime.triggers.schedules import run_of
from runtime.triggers.webhooks import problem, read, sign, unproven

KEY = b"0123456789abcdef"
BODY = b'{"day": "monday"}'
NOW = 1_767_225_600
SIGNED = Webhook(path="/a", secret="env:A")  # noqa: S106 - where it is
BEARER = Webhook(path="/a")


def proven(headers: dict[str, str], *, hook: Webhook = SIGNED, **more: Any) -> bool:
    """Tell whether a request is proven."""
    given = {"body": BODY, "secret": KEY, "now_s": NOW, **more}
    return not unproven(hook, headers, **given)


def test_a_signature_is_that_of_standard_webhooks() -> None:
    """The example of their specification's libraries: any sender signs as we check."""
    import base64  # noqa: PLC0415 - this test alone

    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_signature_covers_id_time_and_body() -> None:
    """Whoever saw a request can neither change it nor send it again as another one, or later."""
    good = sign(KEY, "d-1", NOW, BODY)

    assert proven(good)
    assert proven(good | {"webhook-signature": f"v1,old {good['webhook-signature']}"})
    assert proven(good, now_s=NOW + 300)
    assert not proven(good, now_s=NOW + 301)
    assert not proven(good, now_s=NOW - 301)
    assert not proven(good, body=BODY + b" ")
    assert not proven(good, secret=b"another")
    assert not proven(good | {"webhook-id": "d-2"})
    assert not proven(good | {"webhook-timestamp": str(NOW + 1)})
    assert not proven(good | {"webhook-signature": ""})
    for missing in good:
        assert not proven({key: text for key, text in good.items() if key != missing})


@pytest.mark.parametrize("wrong", ["-1", "1e9", "²", "9" * 40, ""])
def test_a_time_that_is_none_proves_nothing(wrong: str) -> None:
    """And raises nothing: it comes from anybody."""
    assert not proven(sign(KEY, "d-1", NOW, BODY) | {"webhook-timestamp": wrong})


def test_a_token_is_compared_as_a_whole() -> None:
    """Without a signature the connection has to be trusted: the token is all there is."""
    assert proven({"authorization": f"Bearer {KEY.decode()}"}, hook=BEARER)
    for wrong in ("Bearer x", f"Basic {KEY.decode()}", f"Bearer {KEY.decode()}x", "", "Bearer é"):
        assert not proven({"authorization": wrong}, hook=BEARER)


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        ("application/json; charset=utf-8", b'{"a": [1]}', {"a": [1]}),
        ("application/cloudevents+json", b"1", 1),
        ("application/x-www-form-urlencoded", b"a=1&b=&c=%C3%A9", {"a": "1", "b": "", "c": "é"}),
        ("text/plain", b"hello", "hello"),
        ("", b"", None),
    ],
)
def test_bodies_are_read_by_their_type(kind: str, body: bytes, value: Any) -> None:
    """JSON in the value domain, forms, texts."""
    assert read(body, kind) == value


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b'{"a": 1, "a": 2}', 400),
        ("application/json", b'{"a": NaN}', 400),
        ("text/plain", b"\xff", 400),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 300), 400),
        ("application/xml", b"<a/>", 415),
        ("", b"{}", 415),
    ],
)
def test_bodies_that_are_not_read_say_why(kind: str, body: bytes, status: int) -> None:
    """Never a guess."""
    with pytest.raises(RefusedError) as raised:
        read(body, kind)

    assert problem(raised.value).status == status
    assert problem(BadValueError("x")).status == 400


@pytest.mark.parametrize(
    "wrong",
    [
        ">",
        "*.a",
        "movant.to.x.start.y",
        "$JS.API.>",
        "_INBOX.a",
        "a..b",
        "a.>.b",
        "a b",
        "",
        "a.x*",
    ],
)
def test_a_subject_of_ours_or_of_everybody_is_refused(wrong: str) -> None:
    """A trigger must not hear what movant says to itself."""
    assert wrong_subject(wrong)


def test_a_subject_of_others_is_taken() -> None:
    """Wildcards behind a name."""
    assert [wrong_subject(each) for each in ("a", "a.*.b", "a.>", "movants.>")] == [""] * 4


def test_a_secret_is_referred_to_with_and_without_braces() -> None:
    """As in the files of connectors."""
    text = "workflow: a\ntriggers: [{webhook: {path: /a, secret: '%s'}}]\n"

    for good in ("env:A_1", "${env:A_1}", "file:/run/a", "${file:/run/a}"):
        assert trigger_file.parse((text % good).encode()).problems == []
    for wrong in ("A_1", "${env:A_1", "env:", "file:run", "${A}"):
        assert len(trigger_file.parse((text % wrong).encode()).problems) == 1


def test_names_are_made_of_workflow_and_kind() -> None:
    """A second one of a kind has a number; adding replaces by name."""
    webhooks = [Trigger(webhook="/a"), Trigger(webhook="/b"), Trigger(name="x", manual="")]

    keys = [each.key for each in named("civic.permit", webhooks)]
    found = merged(
        webhooks, [Trigger(name="webhook", webhook="/c"), Trigger(webhook="/d", name="y")]
    )

    assert keys == ["civic-permit-webhook", "civic-permit-webhook-2", "civic-permit-x"]
    assert [(x.name, x.text) for x in found] == [
        ("webhook", "POST /c"),
        ("webhook-2", "POST /b"),
        ("x", ""),
        ("y", "POST /d"),
    ]
    assert run_of("k", NOW * 1_000_000_000) == "k-20260101T000000Z"


FILE = """
workflow: order
triggers:
  - schedule: "61 * * * *"
  - schedule: {cron: "0 9 * * *", zone: Europe/Zurih}
  - schedule: {cron: "0 9 * * *", every: 5s}
  - webhook: {path: orders, secret: "s3cr3t"}
    input: "{{payload.x}}"
  - message: movant.to.>
    when: "payload.x >"
  - manual: a
    id: "{{trigger.at}}"
  - {}
  - {name: schedule, signal: go, message: a, schdule: 1}
"""


def test_mistakes_in_a_file_are_found_at_their_places() -> None:
    """Line and column of each; a secret that was written down is not repeated."""
    first = trigger_file.parse(FILE.encode())
    # What cannot be built hides what can be checked only as a whole: so without those.
    lines = FILE.split("\n")
    rest = trigger_file.parse("\n".join(lines[:5] + lines[6:-2]).encode())

    assert {each.line for each in first.problems} == {6, 14}
    assert {(each.line, each.message.split(":")[0]) for each in rest.problems} >= {
        (4, "cron '61 * * * *'"),
        (5, "zone 'Europe/Zurih' is not known"),
        (6, "'orders' is no path"),
        (6, "secret says where the secret is, and is not the secret itself"),
        (7, "nothing here is called 'payload'"),
        (8, "'movant.to.>' overlaps subjects of movant or of NATS itself"),
        (11, "'manual' takes no 'id'"),
        (12, "the trigger never fires"),
    }
    assert "s3cr3t" not in str([each.message for each in rest.problems])


def test_triggers_as_the_requirements_have_them_are_those_of_a_graph() -> None:
    """A type, and a key for each."""
    text = """
name: leads
steps: {a: {set: {x: 1}}}
triggers: [
  { type: 'schedule', schedule: '0 9 * * *' },
  { type: 'webhook', endpoint: '/api/trigger-lead-generation' },
  { type: 'manual', permission: 'lead-generation:execute' },
]
"""
    document = parse(text.encode())

    assert document.problems == []
    graph = graph_of(document)
    assert graph is not None
    assert graph.triggers == (
        Trigger(schedule="0 9 * * *"),
        Trigger(webhook="/api/trigger-lead-generation"),
        Trigger(manual="lead-generation:execute"),
    )
    wrong = parse(text.replace("'webhook'", "'hook'").replace("permission:", "perm:").encode())
    assert [each.line for each in wrong.problems] == [6, 6, 7, 7]
