"""The server configurations of docs/operations.md, as they stand on the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[2] / "docs" / "operations.md"


def block(name: str) -> str:
    """Return the configuration behind a comment of the page."""
    found = re.search(
        rf"<!-- (?:table|login): {name} -->\n```\n(.*?)^```$",
        PAGE.read_text(),
        re.DOTALL | re.MULTILINE,
    )
    assert found, f"the page has no block {name}"
    return found[1]


def configuration(*logins: str) -> str:
    """Return the three parts of the page in their order."""
    return "\n".join((block("may"), *map(block, logins), block("accounts")))
