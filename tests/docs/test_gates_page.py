"""The page on gates: its tables are those of the code, its examples are the files."""

from __future__ import annotations

import re
from typing import get_args

from actors.files.definitions import load_document
from actors.graphs.gate import result_of
from actors.kernel.gates import ENDED_MAX
from actors.views.gate_index import GATES_MAX
from protocols import events
from protocols.gates.gate import FILLED, GATE_BYTES_MAX, Choice, OnExpiry
from protocols.gates.words import GateDecision
from tests.docs.tables import DOCS

EXAMPLES = DOCS / "examples"
PAGE = (DOCS / "gates.md").read_text()


def rows(after: str) -> list[str]:
    """Return the first cells of the first table behind a text."""
    text = PAGE.split(after, 1)[1]
    return re.findall(
        r"^\| `([^`|]*)` \|", text[text.index("\n|") :].split("\n\n")[0], re.MULTILINE
    )


def test_the_examples_of_the_page_are_the_files() -> None:
    """The graph as a whole, and the gate in Python; the daemon's tests run both."""
    python = PAGE.split("## In Python", 1)[1].split("```python\n", 1)[1].split("```")[0]

    assert f"```yaml\n{(EXAMPLES / 'claim.yaml').read_text()}```" in PAGE
    assert f"```yaml\n{(EXAMPLES / 'letter.yaml').read_text()}```" in PAGE
    assert load_document(EXAMPLES / "letter.yaml").problems == []
    assert load_document(EXAMPLES / "claim.yaml").problems == []
    assert python in (EXAMPLES / "claim.py").read_text()


def test_every_word_of_the_code_is_on_the_page() -> None:
    """Decisions, what happens on expiry, events, the result in a graph."""
    told = result_of(GateDecision(gate="/gate.x", do="approve", at=0))
    last = " ".join(PAGE.split("Of `escalate`", 1)[1].split("## Limits")[0].split())

    assert rows("## Decisions") == [*get_args(Choice)]
    assert sorted(rows("says what\nhappens")) == sorted(get_args(OnExpiry))
    assert set(rows("[protocol.md]")) == {x for x in events.LIFECYCLE if x.startswith("gate_")}
    assert re.findall(r"`(\w+)`", last.split("In a graph references")[1])[: len(FILLED)] == [
        *FILLED
    ]
    assert set(re.findall(r"`(\w+)`", last.split("The result of")[1])) == {*told, "auto"}


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    """The limits."""
    limits = " ".join(PAGE.split("## Limits")[1].split())

    assert f"values: {GATE_BYTES_MAX // 1024} KiB" in limits
    assert f"up to {GATES_MAX:,} gates are listed" in limits
    assert f"last {ENDED_MAX} gates" in limits
