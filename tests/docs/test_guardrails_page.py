"""The page on guardrails: its tables are those of the code, its example is the file."""

from __future__ import annotations

import re
from typing import get_args

from actors.files.definitions import load_document
from actors.motions.interpreter import MotionWorkflow
from protocols.guardrails.guardrail import ACTIONS, Kind
from protocols.guardrails.sensitive import SORTS
from protocols.machines.machine import Machine
from runtime.cli.service import load_attribute
from runtime.redacting import REDACTED
from tests.docs.tables import DOCS
from tests.kernel.mailbox import Mailbox, paths
from tests.protocols.test_sensitive import samples

PAGE = (DOCS / "guardrails.md").read_text()


def rows(after: str) -> list[list[str]]:
    """Return the quoted words of each row of the first table behind a text."""
    text = PAGE.split(after, 1)[1]
    lines = text[text.index("\n|") :].split("\n\n")[0].strip().split("\n")[2:]
    return [re.findall(r"`([^`]+)`", line) for line in lines]


def test_the_example_of_the_page_is_the_file() -> None:
    """The daemon's tests run it."""
    assert f"```yaml\n{(DOCS / 'examples' / 'outreach.yaml').read_text()}```" in PAGE


def test_every_word_of_the_code_is_on_the_page() -> None:
    """Types, severities with what they lead to, sorts of data, verbs that are masked."""
    told = PAGE.split("`find` names sorts of data:")[1].split("\n\n")[0]

    assert [row[0] for row in rows("## Types")] == [*get_args(Kind)]
    assert [tuple(row[:2]) for row in rows("## What a violation leads to")] == [*ACTIONS.items()]
    assert set(re.findall(r"`(\w+)`", told)) >= set(SORTS)
    for verb in REDACTED:
        assert f"`{verb.replace('.', ' ')}`" in PAGE


def test_the_examples_in_python_and_of_a_machine_run() -> None:
    """Both let nothing private pass, and nothing long."""
    machine = load_document(DOCS / "examples" / "poster.yaml")
    assert machine.problems == []
    assert isinstance(machine.value, Machine)
    slogan = load_attribute(f"{DOCS / 'examples' / 'slogan.py'}:slogan")
    python, motion = Mailbox(slogan), Mailbox(MotionWorkflow(machine.value))
    long = Mailbox(slogan)
    for box in (python, motion):
        box.start("card 4111 1111 1111 1111")
    long.start("lamps")
    long.reply("/writer.write/writer.write", {"text": "lamps " * 20})

    assert paths(python.effects) == paths(motion.effects) == []
    assert python.result == "not written: compliance"
    assert motion.instance.state["next_action"] == "review by a person: signal motion.review"
    assert [each.path for each in long.instance.waiting()] == ["/writer.write/again"]


def test_the_number_of_samples_is_right() -> None:
    """Those that the detection is measured on."""
    found = samples()
    harmless = sum(not each.sorts for each in found)

    assert f"On {len(found)} labelled samples none of {harmless} harmless ones" in PAGE
