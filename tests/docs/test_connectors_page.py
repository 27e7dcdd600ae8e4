"""The page on connectors: its examples are the files, its numbers those of the code."""

from __future__ import annotations

import re
from typing import get_args, get_type_hints

from actors.files.connectors import load_document, parse
from actors.files.definitions import load_document as load_definition
from protocols.connectors import browser as connector_browser
from protocols.connectors import sql as connector_sql
from protocols.connectors.connector import SOURCES
from protocols.connectors.http import SAFE
from protocols.connectors.kinds import KINDS
from protocols.connectors.llm import NO_MODEL, SUITS, LlmResult
from runtime.connectors import llm_choice, sql_session, wire
from runtime.connectors.hosting import AGAIN, DAEMON_DRAIN_S
from runtime.connectors.secrets import HIDDEN, HIDE_CHARS_MIN
from tests.docs.tables import DOCS

PAGE = (DOCS / "connectors.md").read_text()
FLAT = " ".join(PAGE.split())


def rows(after: str) -> dict[str, list[str]]:
    """Return the rows of the first table behind a text, by their first cell."""
    text = PAGE.split(after, 1)[1]
    found = re.findall(r"^\| (.+) \|$", text[text.index("\n|") :].split("\n\n")[0], re.MULTILINE)
    return {row[0]: row[1:] for row in (each.split(" | ") for each in found[1:])}


def test_the_examples_of_the_page_are_the_files() -> None:
    """Both are right; the tests of hosting run them in a daemon."""
    for name in ("connectors.yaml", "signup.yaml", "desk.yaml", "stay.yaml"):
        assert f"```yaml\n{(DOCS / 'examples' / name).read_text()}```" in PAGE

    assert load_document(DOCS / "examples" / "connectors.yaml").problems == []
    assert load_document(DOCS / "examples" / "desk.yaml").problems == []
    assert load_definition(DOCS / "examples" / "signup.yaml").problems == []
    assert load_definition(DOCS / "examples" / "stay.yaml").problems == []
    assert load_definition(DOCS / "examples" / "houses.yaml").problems == []


def test_every_connector_that_the_page_shows_is_right() -> None:
    """Each block of connectors parses without a mistake; each kind has a table of its keys."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    shown = [each for each in blocks if each.startswith("connectors:")]

    assert [parse(each.encode()).problems for each in shown] == [[]] * 6
    assert all(f"<!-- table: {kind} -->" in PAGE for kind in KINDS)


def test_words_of_databases_and_browsers_are_those_of_the_code() -> None:
    """Attempts behind a deadlock, operations and actions of a browser, the key of a step."""
    actions = get_args(get_type_hints(connector_browser.Action)["do"])

    assert sql_session.CONFLICTS_MAX == 4
    assert "(after four attempts)" in PAGE
    assert f"`:{connector_sql.KEY}`" in PAGE
    assert all(f"| `{each}` |" in PAGE for each in get_args(connector_browser.BrowserOperation))
    assert ", ".join(f"`{each}`" for each in actions) in FLAT


def test_the_parts_of_the_score_are_those_of_the_code() -> None:
    """Names and weights."""
    told = {name: float(cells[0]) for name, cells in rows("**The choice.**").items()}

    assert told == llm_choice.WEIGHTS
    assert f"`{NO_MODEL}`" in PAGE
    assert f"suits each with {SUITS}" in PAGE
    breaker = llm_choice.BREAKER
    assert (breaker.breaker_failures, breaker.breaker_of) == (3, 5)
    assert "after three failures of five" in FLAT
    for field in ("output", "model", "provider", "finish_reason", "usage", "selection"):
        assert field in LlmResult.__struct_fields__
        assert f"`{field}`" in PAGE


def test_words_and_numbers_of_the_page_are_those_of_the_code() -> None:
    """Sources of secrets, what is hidden, safe methods, redirects, pauses."""
    assert {name[3 : name.index(":")] for name in rows("a reference stands")} == set(SOURCES)
    assert f"show `{HIDDEN}`" in FLAT
    assert HIDE_CHARS_MIN == 6
    assert "of six characters and more" in FLAT
    assert all(method in FLAT for method in SAFE)
    assert wire.REDIRECTS_MAX == 5
    assert "up to five" in FLAT
    assert f"up to {AGAIN.max_delay_s:.0f} seconds" in FLAT
    assert "a daemon waits ten seconds" in FLAT
    assert DAEMON_DRAIN_S == 10.0
    not_done = "429, 425, 503 with `Retry-After`, one of `not_done`"
    assert set(wire.NOT_DONE) == {425, 429}
    assert wire.TURNED_AWAY == 503
    assert rows("**What a status means.**")[not_done] == ["failed", "failed"]
