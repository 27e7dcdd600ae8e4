"""The page on the MCP server: its table is that of the code."""

from __future__ import annotations

import re

from runtime.mcp_server.tools import TOOLS
from runtime.progress import RUNS_MAX
from tests.docs.tables import DOCS

PAGE = (DOCS / "mcp.md").read_text()


def test_the_table_has_every_tool_and_all_that_it_takes() -> None:
    """In the order of the code."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| .+ \|$", PAGE, re.MULTILINE)
    told = {name: re.findall(r"`(\w+)`", fields) for name, fields in rows}

    assert told == {name: [*tool.request.__struct_fields__] for name, tool in TOOLS.items()}


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    """How many former runs are looked at."""
    assert "last three runs" in " ".join(PAGE.split())
    assert RUNS_MAX == 3
