"""The page on triggers: its tables are those of the code, its examples are the files."""

from __future__ import annotations

import re

from actors.files.definitions import load_document
from actors.files.trigger_check import ROOTS
from actors.files.triggers import load_document as load_triggers
from protocols import events
from protocols.api.triggers import BACKFILL_MAX
from runtime.triggers.webhooks import DEFAULT_TOKEN
from tests.docs.tables import DOCS

EXAMPLES = DOCS / "examples"
PAGE = (DOCS / "triggers.md").read_text()


def rows(after: str) -> dict[str, str]:
    """Return the first table behind a text: the rest of each row by its first cell."""
    text = PAGE.split(after, 1)[1]
    table = text[text.index("\n|") :].split("\n\n")[0]
    return dict(re.findall(r"^\| `?([^`|]*?)`? \| (.*) \|$", table, re.MULTILINE)[1:])


def test_the_examples_of_the_page_are_the_files_and_nothing_is_wrong_with_them() -> None:
    """The daemon's tests run both."""
    assert f"```yaml\n{(EXAMPLES / 'nightly.yaml').read_text()}```" in PAGE
    assert f"```yaml\n{(EXAMPLES / 'payments.yaml').read_text()}```" in PAGE
    assert load_document(EXAMPLES / "nightly.yaml").problems == []
    assert load_triggers(EXAMPLES / "payments.yaml").problems == []


def test_names_events_and_numbers_on_the_page_are_those_of_the_code() -> None:
    """What references look at, what is published, what is limited."""
    names = rows("They look at:")

    for kind, roots in ROOTS.items():
        if kind != "manual":
            told = {*re.findall(r"`(\w+)", names[kind])}
            assert {*roots} - {"trigger"} <= told
    assert rows("## Events").keys() == {*events.TRIGGER_KINDS.values()}
    assert f"up to {BACKFILL_MAX:,}" in PAGE
    assert DEFAULT_TOKEN in PAGE
