"""The page on motions: its tables are those of the code, its example runs as it stands."""

from __future__ import annotations

import re
from typing import Any, get_args

import msgspec
import pytest

from actors.files.definitions import load_document
from actors.motions.asking import CUT_S
from actors.motions.hearing import HELD_MAX
from actors.motions.record import DATA_BYTES_MAX, WARNINGS_MAX
from actors.motions.rules import Cause, read_decision
from protocols.directives import DIRECTIVES, RETRIES
from protocols.effects import Emit
from protocols.machines.machine import HISTORY_MAX, STATE_TIMEOUT_S, StateUndo
from runtime.cli.service import load_attribute
from tests.docs.tables import DOCS
from tests.kernel.mailbox import asks
from tests.motions.machines import in_building
from tests.support.daemon import daemon
from tests.support.nats import NatsServer

EXAMPLES = DOCS / "examples"
PAGE = (DOCS / "motions.md").read_text()


def rows(after: str) -> list[str]:
    """Return the first cells of the first table behind a text."""
    table = PAGE.split(after, 1)[1].split("\n\n")
    lines = next(each for each in table if each.startswith("|")).splitlines()[2:]
    return [re.sub(r"^\| `?([^`|]*)`? \|.*", r"\1", line) for line in lines]


def test_the_machine_of_the_page_is_the_same_in_python() -> None:
    """Both files say the same."""
    machine = load_attribute(f"{EXAMPLES / 'expense.py'}:expense")

    assert load_document(EXAMPLES / "expense.yaml").value == machine


def test_every_directive_is_on_the_page() -> None:
    """In words of its own."""
    assert sorted(rows("maps kinds to directives:")) == sorted(DIRECTIVES)


def test_every_word_of_an_undo_is_on_the_page() -> None:
    """And the machine of that section is the file, with its defaults."""
    text = PAGE.split("## Undo", 1)[1]
    undo = StateUndo(operation="x")

    assert rows("refuses the key from then on.") == [
        field.name for field in msgspec.structs.fields(StateUndo)
    ]
    assert text.split("```yaml\n", 1)[1].split("```")[0] == (EXAMPLES / "journey.yaml").read_text()
    assert f"{undo.policy.attempts} times" in text
    assert f"{undo.timeout:g} s where nobody says anything" in text
    assert CUT_S == 60
    assert "movant.StateUndo(" in text


def test_every_fact_of_an_event_is_on_the_page() -> None:
    """And every fact that a run shows."""
    box = in_building()
    box.reply("/states/REVIEWED/council.vote")
    box.signal("noise")
    box.fail("/states/BUILDING/builder.build", "system")

    events = {each.event: each.data for each in box.effects if isinstance(each, Emit)}
    for kind in ("transition", "transition_refused", "stale", "directive", "incident"):
        (row,) = re.findall(rf"^\| `{kind}` \| (.+) \|$", PAGE, re.MULTILINE)
        told = set(re.findall(r"`(\w+)`", row))
        assert events[kind].keys() - {"motion_id", "work_done", "reason", "entry"} <= told
    shown = PAGE.split("`movant run show` tells", 1)[1].split("\n\n", 1)[0]
    assert set(box.instance.state) == set(re.findall(r"`(\w+)`", shown))


def test_every_field_of_a_request_is_on_the_page() -> None:
    """And every cause, in the order of the code."""
    (*_, ask) = asks(in_building().effects)
    (row,) = re.findall(r"^\| `cause` \| (.+) \|$", PAGE, re.MULTILINE)

    table = PAGE.split("`operation` with", 1)[1].split("\n\n")[1]
    cells = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    told = {name for each in cells for name in re.findall(r"`(\w+)`", each)}

    assert told == set(msgspec.json.decode(ask.body))
    assert tuple(re.findall(r"`(\w+)`", row)) == get_args(Cause)


def test_every_word_of_a_decision_means_something() -> None:
    """As the page writes it."""
    words = [msgspec.json.decode(each.replace("…", "0")) for each in rows("for an operator's:")]

    found = [read_decision(word, "resumed") for word in words]

    assert [getattr(each, "do", None) for each in found] == [
        "retry",
        "transition",
        "return_to_previous",
        "halt",
    ]


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    """Limits and defaults."""
    text = " ".join(PAGE.split())

    assert f"{DATA_BYTES_MAX // 1024} KiB" in text
    assert f"last {HISTORY_MAX} transitions" in text
    assert f"{WARNINGS_MAX} warnings" in text
    assert f"{HELD_MAX} signals" in text
    assert STATE_TIMEOUT_S == 86_400
    assert (RETRIES.delays, RETRIES.attempts) == ((5, 30, 300), 4)


@pytest.mark.server
async def test_the_example_of_the_page_runs(nats_server: NatsServer) -> None:
    """Paid, rejected, withdrawn, and held where there is no receipt."""
    services = [load_attribute(f"{EXAMPLES / 'expense.py'}:{name}") for name in SERVICES]
    async with daemon(
        nats_server.url, workflows=[EXAMPLES / "expense.yaml"], services=services
    ) as movant:
        paid = await movant.run("expense", {"amount": 120, "receipt": "r.pdf"}, id="e-1")
        rejected = await movant.run("expense", {"amount": 900, "receipt": "r.pdf"}, id="e-2")
        await movant("run.start", workflow="expense", input={"amount": 1}, id="e-3")
        held: Any = await movant.view_when("e-3", lambda view: view["state"].get("blocked"))

    assert paid["result"]["data"]["PAYMENT"] == "paid 120, key e-1/1/states/PAYMENT/bank.pay"
    assert rejected["result"]["state"] == "REJECTED"
    assert held["state"]["blocked"] == "halted: validation: there is no receipt"
    assert held["state"]["next_action"] == "an operator: signal motion.resume"


@pytest.mark.server
async def test_the_example_of_the_undo_runs(nats_server: NatsServer) -> None:
    """Booked, or undone because there is no flight."""
    services = [
        load_attribute(f"{EXAMPLES / 'journey.py'}:{name}") for name in ("hotel", "airline")
    ]
    async with daemon(
        nats_server.url, workflows=[EXAMPLES / "journey.yaml"], services=services
    ) as movant:
        good = await movant.run("journey", {"to": "Bern"}, id="j-2")
        bad = await movant.run("journey", {"to": "moon"}, id="j-1")

    assert good["status"] == "completed"
    assert bad["status"] == "compensated"
    assert bad["failure"]["message"] == "FLIGHT: nobody flies to the moon"
    assert [(each["path"], each["fate"]) for each in bad["steps"]] == [
        ("/states/HOTEL/hotel.book", "undone")
    ]


SERVICES = ("accounts", "boss", "bank")
