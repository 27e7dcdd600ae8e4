"""The page on versions: its words are those of the code, its template is the file."""

from __future__ import annotations

import re
from typing import get_args

from actors.definitions.templates import load_template, template_of
from protocols import events
from protocols.changes import About
from protocols.moving import What
from tests.docs.tables import DOCS

PAGE = (DOCS / "versions.md").read_text()
FILE = DOCS / "examples" / "release.yaml"


def rows(after: str) -> list[str]:
    """Return the first cells of the first table behind a text."""
    text = PAGE.split(after, 1)[1]
    return re.findall(
        r"^\| `([^`|]*)` \|", text[text.index("\n|") :].split("\n\n")[0], re.MULTILINE
    )


def test_the_template_of_the_page_is_the_file() -> None:
    """It is right as it stands."""
    assert f"```yaml\n{FILE.read_text()}```" in PAGE
    assert load_template(FILE).problems == []
    assert template_of(FILE.read_bytes()).head.template == "release"


def test_every_word_of_the_code_is_on_the_page() -> None:
    """What becomes of steps, what a difference is about, events."""
    assert sorted(rows("what becomes of it:")) == sorted(get_args(What))
    assert rows("it publishes an event.") == [events.DEPLOYED, events.ROLLED_BACK]
    assert {f"`{each}`" for each in get_args(About) if each} <= set(re.findall(r"`\w+`", PAGE))
    assert f"`{events.MIGRATION_REFUSED}`" in PAGE
