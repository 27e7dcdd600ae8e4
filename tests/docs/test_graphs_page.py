"""The page on graphs: its tables are those of the code, its example runs as it stands."""

from __future__ import annotations

import re

import pytest

from actors.files.definitions import graph_of, load_document, parse
from actors.files.yaml_nodes import BYTES_MAX
from actors.graphs.interpreter import ITEMS_MAX, GraphWorkflow
from protocols.found_references import found_in
from protocols.graphs.check import AVAILABLE, STEPS_MAX
from protocols.graphs.graph import KINDS, SERVICE
from protocols.graphs.references import RUN_FIELDS, STEP_FIELDS
from runtime.cli.service import load_attribute
from tests.docs.tables import DOCS
from tests.kernel.mailbox import Mailbox
from tests.support.daemon import daemon
from tests.support.nats import NatsServer

EXAMPLES = DOCS / "examples"
PAGE = (DOCS / "graphs.md").read_text()
FILE = EXAMPLES / "parcel.yaml"
SERVICES = ("till", "depot")


def test_the_graph_of_the_page_is_the_file_and_the_same_in_python() -> None:
    """All three say the same."""
    graph = load_attribute(f"{EXAMPLES / 'parcel.py'}:parcel")

    assert f"```yaml\n{FILE.read_text()}```" in PAGE
    assert load_document(FILE).problems == []
    assert load_document(FILE).value == graph


def test_the_mistake_of_the_page_is_told_like_that() -> None:
    """With its line, its column, the caret and the advice."""
    block = PAGE.split("before anything is deployed:\n\n```\n")[1].split("```")[0]
    line, column = map(int, re.findall(r"^parcel\.yaml:(\d+):(\d+)", block)[0])
    text = FILE.read_text().replace("{{steps.gift.result}}", "{{steps.gfit.result}}")

    document = parse(text.encode())
    (problem,) = document.problems

    assert (problem.line, problem.column) == (line, column)
    assert block == (
        f"parcel.yaml:{line}:{column}: error: {problem.message}\n"
        f"{document.excerpt(problem)}\n    {problem.hint}\n"
    )


def test_every_reference_of_the_page_can_be_read() -> None:
    """And every field of a step and of a run is among them."""
    table = PAGE.split("## References\n\n")[1].split("\n\n")[0]
    found = re.findall(r"`(\{\{.+?\}\})`", table)

    paths = [str(found_in(each)[0].reference.paths[0]) for each in found]

    assert {each.split(".")[2].split("[")[0] for each in paths if each.startswith("steps.")} == {
        *STEP_FIELDS
    }
    assert {each for each in paths if each.startswith("run.")} == {f"run.{x}" for x in RUN_FIELDS}


def test_every_directive_is_on_the_page() -> None:
    """Those that a step of a graph can follow, and no others."""
    table = PAGE.split("for those that are not named:\n\n")[1].split("\n\n")[0]

    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == AVAILABLE


def test_every_graph_of_the_page_can_be_read() -> None:
    """Also those in other notations."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)

    found = [parse(each.encode()) for each in blocks]

    assert len(found) == 4
    assert [each.problems for each in found] == [[]] * len(found)


def test_every_kind_of_step_is_on_the_page() -> None:
    """Those that ask no service are in a table."""
    table = PAGE.split("## Steps that ask no service\n\n")[1].split("## References")[0]

    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {*KINDS} - {SERVICE}


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    """The limits."""
    limits = " ".join(PAGE.split("## Limits")[1].split())

    assert f"A file: {BYTES_MAX // 1024} KiB. A graph: {STEPS_MAX:,} steps." in limits
    assert f"A `foreach`: {ITEMS_MAX:,} items." in limits


@pytest.mark.server
async def test_the_example_of_the_page_runs(nats_server: NatsServer) -> None:
    """Shipped, refused at the door, and undone because of a piano."""
    services = [load_attribute(f"{EXAMPLES / 'parcel.py'}:{name}") for name in SERVICES]
    async with daemon(nats_server.url, workflows=[FILE], services=services) as movant:
        shipped = await movant.run("parcel", {"amount": 120, "items": ["lamp", "book"]})
        small = await movant.run("parcel", {"amount": 1, "items": [], "note": "quick"})
        piano = await movant.run("parcel", {"amount": 5, "items": ["lamp", "piano"]}, id="p-3")
        with pytest.raises(Exception, match="does not fit workflow parcel"):
            await movant("run.start", workflow="parcel", input={"amount": 0, "items": []})

    assert shipped["result"] == {"paid": "paid 120", "tracking": "2 boxes, no note"}
    assert small["result"] == {"paid": "paid 1", "tracking": "0 boxes, quick"}
    assert piano["status"] == "compensated"
    assert piano["failure"]["kind"] == "too_large"
    assert [(each["path"], each["fate"]) for each in piano["steps"]] == [
        ("/steps/charge/till.charge", "undone"),
        ("/steps/pack/items/0/depot.pack", "undone"),
    ]


def test_the_rental_of_the_page_goes_from_a_signal_to_its_last_sleep() -> None:
    """Its kinds of steps in the order that the page tells; time is the test's."""
    graph = graph_of(load_document(EXAMPLES / "rental.yaml"))
    assert graph
    box = Mailbox(GraphWorkflow(graph))
    box.start({"guest": "ann", "rooms": ["12"], "leaves_at": "2027-02-01T10:00:00+01:00"})
    box.signal("paid", {"by": "card"})
    box.end_child("/steps/rooms/items/0/prepare-room", "clean")
    ready = dict(box.instance.state)
    for path in ("/steps/stay/sleep", "/steps/air/sleep"):
        (wait,) = [each for each in box.instance.waiting() if each.path == path]
        box.at = wait.due
        box.fire(path)

    assert (ready["rooms"], ready["paid_by"]) == (["clean"], "card")
    assert box.result == {"air": None}
