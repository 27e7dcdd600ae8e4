"""``movant connector``: check, list and test a file, without a daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.web import Web

FILE = """\
connectors:
  shop:
    kind: http
    base_url: {url}
    auth: {{bearer: "${{env:SHOP_TOKEN}}"}}
    health: /echo
    operations: {{look: {{path: /echo}}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a file whose interface is a dead port."""
    path = tmp_path / "connectors.yaml"
    path.write_text(FILE.format(url="http://127.0.0.1:9"))
    return path


def test_mistakes_are_shown_as_a_compiler_does(cli: Cli, file: Path) -> None:
    """Exit code 1, line, caret, advice; a good file is exit code 0."""
    good = cli("connector", "validate", str(file))
    file.write_text(file.read_text().replace("kind: http", "kind: htpp"))
    bad = cli("connector", "validate", str(file))
    lines = cli("connector", "validate", str(file), "-o", "json").json

    assert (good.code, bad.code) == (0, 1)
    assert ":3:11: error: 'htpp' is no kind" in bad.out
    assert "|           ^^^^\n    did you mean 'http'?" in bad.out
    assert (lines[0]["line"], lines[0]["column"]) == (3, 11)
    assert cli("connector", "run", str(file)).code == 2


def test_a_list_tells_which_secret_is_missing(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1 when one is, and never its value."""
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    missing = cli("connector", "ls", str(file))
    monkeypatch.setenv("SHOP_TOKEN", "sesame-open")
    there = cli("connector", "ls", str(file), "-o", "json")

    assert missing.code == 1
    assert "${env:SHOP_TOKEN}: the variable is not set" in missing.out
    assert there.code == 0
    assert (there.json[0]["name"], there.json[0]["secrets"]) == ("shop", 1)
    assert "sesame" not in there.out


def test_a_connector_is_tested_against_its_system(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There: exit code 0; nobody there, no such name, no secret: told, and not 0."""
    monkeypatch.setenv("SHOP_TOKEN", "sesame-open")
    dead = cli("connector", "test", "shop", str(file), "-o", "json")
    unknown = cli("connector", "test", "shp", str(file))
    with Web() as web:
        file.write_text(FILE.format(url=web.url))
        there = cli("connector", "test", "shop", str(file))
    monkeypatch.delenv("SHOP_TOKEN")
    closed = cli("connector", "test", "shop", str(file))

    assert (dead.code, there.code, closed.code, unknown.code) == (1, 0, 1, 5)
    assert dead.json[0]["detail"].startswith("no connection")
    assert "HTTP 200" in there.out
    assert "the variable is not set" in closed.out
    assert "did you mean 'shop'?" in unknown.err


def test_the_schema_knows_every_kind(cli: Cli) -> None:
    """It tells kinds apart by ``kind``."""
    schema = cli("connector", "schema").json
    kinds = schema["$defs"]["ConnectorFile"]["properties"]["connectors"]["additionalProperties"]

    assert {"http", "llm"} <= set(kinds["discriminator"]["mapping"])
