"""The file of connectors: every mistake at its place; secrets and templates as pure parts."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.files.connectors import load_connectors, parse
from protocols.connectors.connector import Reference, references
from protocols.connectors.kinds import KINDS, ConnectorFile, kind_of
from protocols.connectors.template import MissingValueError, Values, names, pick
from protocols.connectors.template import parse as parts
from protocols.errors import ConfigurationError, NotFoundError
from protocols.service import Call, Failed, Service, Unknown
from runtime.connectors.frame import _guard, opened
from runtime.connectors.secrets import Secret, Secrets
from tests.docs.tables import DOCS

WRONG = """\
connectors:
  crm:
    kind: htp
  Shop.x:
    kind: http
    base_url: ftp://shop
    auth: {bearer: sesame}
    description: "${env:NO}"
    timout: 5s
  a b:
    kind: http
    base_url: https://user:pw@shop
    timeout: soon
  c:
    kind: http
    base_url: https://shop
    auth: {user: ann}
  d: {base_url: https://shop}
"""


def _told(text: str, *, toml: bool = False) -> list[tuple[int, int, str]]:
    return [
        (each.line, each.column, each.message) for each in parse(text.encode(), toml=toml).problems
    ]


def test_each_mistake_is_told_at_its_place_with_advice() -> None:
    """Kinds, keys, durations, logins: line and column, and what was meant."""
    document = parse(WRONG.encode())
    found = {(each.line, each.column): each for each in document.problems}

    assert found[3, 11].message == "'htp' is no kind"
    assert found[3, 11].hint == "did you mean 'http'?"
    assert found[9, 5].message == "'timout' is not known here"
    assert found[9, 5].hint == "did you mean 'timeout'?"
    assert found[13, 14].message.startswith("timeout 'soon' is not understood")
    assert found[17, 11].message.startswith("one of bearer, password (with user), value")
    assert found[18, 6].message == "'kind' is missing"
    assert document.excerpt(found[3, 11]) == "     3 |     kind: htp\n       |           ^^^"


SENSE = """\
connectors:
  Shop.x:
    kind: http
    base_url: ftp://shop
    auth: {bearer: sesame}
    description: "${env:NO}"
    headers: {X-A: "${vault:x}"}
    request: true
  shop:
    kind: http
    base_url: https://ann:pw@shop
    hosts: ["http://other"]
    operations:
      look: {path: "/{id", result: bdy, errors: {"200": x}, headers: {Host: x}}
      find: {path: "/{idd}", params: {id: string}}
  none: {kind: http, base_url: "https://shop"}
  models: {kind: llm, providers: {}}
"""


def test_what_no_type_can_say_is_told_as_well() -> None:
    """A secret as a value, a reference where none is read, templates, addresses, names."""
    found = {(line, message) for line, _, message in _told(SENSE)}

    assert found == {
        (2, "the name 'Shop.x' has a dot"),
        (4, "'ftp://shop' is no address"),
        (5, "a secret must not stand here"),
        (6, "references to secrets are not read here"),
        (7, "${vault:x} names no source: known: credential, env, file"),
        (11, "a login must not stand here"),
        (12, "'http://other' is no host"),
        (14, "a single '{' at character 2: write it twice, or a name in braces"),
        (14, "'bdy' is no part of an answer"),
        (14, "'200' is no status of a failure"),
        (14, "'Host' is no header that may be chosen"),
        (15, "'idd' is not in params"),
        (16, "there is no operation"),
        (17, "there is no provider"),
    }


TOML = """\
# The same in TOML
[connectors.crm]
kind = "http"
base_url = "https://crm"
auth = { bearer = "sesame" }
timout = 5

[connectors.crm.operations.look]
path = "/{id"
"""


def test_toml_has_places_too() -> None:
    """Tables, keys and inline tables; what is no TOML; and a good file is read as from YAML."""
    assert _told(TOML) != []
    assert _told(TOML, toml=True) == [(6, 1, "'timout' is not known here")]
    assert _told(TOML.replace("timout = 5", "timeout = 5"), toml=True) == [
        (5, 8, "a secret must not stand here"),
        (9, 8, "a single '{' at character 2: write it twice, or a name in braces"),
    ]
    assert _told("[connectors\n", toml=True)[0][0] == 1
    good = TOML.replace("timout = 5", "").replace("sesame", "${env:T}").replace("{id", "{id}")
    document = parse(good.encode(), toml=True)
    assert document.problems == []
    assert document.value is not None
    assert list(document.value.connectors) == ["crm"]


def test_a_file_is_read_with_its_place_in_the_error(tmp_path: Path) -> None:
    """What starts a daemon says file, line and column; no file is another error."""
    file = tmp_path / "connectors.yaml"
    file.write_text(WRONG)

    with pytest.raises(ConfigurationError, match=r"connectors\.yaml:3:11: 'htp' is no kind \(and"):
        load_connectors(file)
    with pytest.raises(NotFoundError):
        load_connectors(tmp_path / "none.yaml")


def test_the_example_of_the_page_is_right() -> None:
    """It has no problem, and the schema for editors takes it."""
    import jsonschema  # noqa: PLC0415 - for this test alone
    import yaml  # noqa: PLC0415

    text = (DOCS / "examples" / "connectors.yaml").read_bytes()
    document = parse(text)
    schema = msgspec.json.schema(ConnectorFile)

    assert document.problems == []
    assert document.value is not None
    assert {kind_of(each) for each in document.value.connectors.values()} <= set(KINDS)
    jsonschema.validate(yaml.safe_load(text), schema)
    assert {str(x) for x in references(document.value.connectors["crm"])} == {
        "${env:CRM_URL}",
        "${env:CRM_TOKEN}",
    }


def test_secrets_are_found_where_they_are_and_anew_each_time(tmp_path: Path) -> None:
    """Variable, file beside the connectors, credential of a service manager."""
    (tmp_path / "token").write_text("one-one-one\n")
    secrets = Secrets(tmp_path, {"A": "aaaaaa", "CREDENTIALS_DIRECTORY": str(tmp_path)})

    assert secrets.reveal("x ${env:A} ${file:token}").reveal() == "x aaaaaa one-one-one"
    (tmp_path / "token").write_text("two-two-two")
    assert secrets.reveal("${credential:token}").reveal() == "two-two-two"
    assert secrets.hidden({"one-one-one": ["two-two-two", 1]}) == {"***": ["***", 1]}
    for missing in ("${env:B}", "${file:nothing}"):
        with pytest.raises(ConfigurationError) as raised:
            secrets.reveal(missing)
        assert missing in raised.value.message


def test_a_secret_that_begins_with_another_one_is_hidden_whole() -> None:
    """As after a change of the secret: what was added to it must not stay."""
    secrets = Secrets(Path(), {"OLD": "sesame", "NEW": "sesame-open"})
    for each in ("OLD", "NEW"):
        secrets.reveal(f"${{env:{each}}}")

    assert secrets.hidden("sesame-open sesame") == "*** ***"


def test_a_secret_shows_nothing_of_itself() -> None:
    """Not as text, formatted, encoded or pickled."""
    secret = Secret("sesame-open")

    assert f"{secret} {secret!r} {secret!s:>5} {[secret]}".count("sesame") == 0
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_templates_fill_in_values_and_nothing_else() -> None:
    """Types are kept where a name stands alone; what is filled in is no template."""
    call = Call("s", "o", key="run-1/x", undoes="run-1/y")
    request = {"a": {"b": [1, {"c": True}]}, "text": "{a} ${env:X}", "none": None}
    values = Values(request, call, lambda _: "SECRET")

    assert values.value({"x": "{a.b}", "y": "{a.b.1.c}", "z": "{gone}", "n": "{none}"}) == {
        "x": [1, {"c": True}],
        "y": True,
        "n": None,
    }
    assert values.text("{{{text}}} ${env:K} {a.b} {call.key} {call.undoes}") == (
        '{{a} ${env:X}} SECRET [1,{"c":true}] run-1/x run-1/y'
    )
    assert set(names({"a": ["{x}", "{y.z} {call.key}"]})) == {"x", "y.z", "call.key"}
    assert parts("a${env:K}") == ("a", Reference("env", "K"))
    for missing in ("x {gone}", "x {none}"):
        with pytest.raises(MissingValueError):
            values.text(missing)
    with pytest.raises(ValueError, match=r"call\.kee"):
        parts("{call.kee}")
    assert pick({"a": [{"b": 2}]}, "a.0.b") == 2
    with pytest.raises(LookupError, match=r"a\.1"):
        pick({"a": [1]}, "a.1.b")


async def test_an_error_of_a_library_is_told_without_its_secrets() -> None:
    """Whatever an operation raises: the outcome is unknown, the text has no secret."""
    settings = parse(b'connectors: {x: {kind: http, base_url: "http://x", request: true}}')
    assert settings.value is not None
    secrets = Secrets(Path(), {"PW": "very-secret-pw"})
    service = Service("x", version="1.0.0")

    @service.operation()
    async def connect(_: Any) -> None:
        raise RuntimeError(f"cannot log in with {secrets.reveal('${env:PW}').reveal()}")

    @service.operation()
    async def lost(_: Any) -> None:
        secrets.reveal("${env:LOST}")

    _guard(service, settings.value.connectors["x"], secrets)
    with pytest.raises(Unknown) as raised:
        await service.operations["connect"].function(None, Call("x", "connect"))
    with pytest.raises(Failed) as gone:
        await service.operations["lost"].function(None, Call("x", "lost"))

    assert raised.value.message == "RuntimeError: cannot log in with ***"
    assert raised.value.__cause__ is None
    assert gone.value.message == "${env:LOST}: the variable is not set"


async def test_a_connector_without_its_secret_is_not_opened() -> None:
    """It is told which one is missing, before anything is asked."""
    found = parse(
        b'connectors: {x: {kind: http, base_url: "http://x", request: true, '
        b'auth: {bearer: "${env:T}"}}}'
    )
    assert found.value is not None
    with pytest.raises(ConfigurationError, match="T}: the variable is not set"):
        async with opened("x", found.value.connectors["x"], Secrets(Path(), {})):
            pass
