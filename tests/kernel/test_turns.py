"""A run whose workflow limits how many are active: it waits for its turn, by the fold alone."""

from __future__ import annotations

from typing import Any

import pytest

from actors.graphs.interpreter import GraphWorkflow
from actors.motions.interpreter import MotionWorkflow
from actors.owning.outbox import record_of
from protocols.definition import Workflow, WorkflowOptions, workflow
from protocols.effects import Enqueue
from protocols.errors import ConfigurationError
from protocols.graphs.profile import Limits
from protocols.machines.machine import Machine, State
from protocols.mail import QUEUES, Pinned, Start, Turn, TurnWord
from tests.graphs.orders import graph_of
from tests.kernel.mailbox import DEFINITION, Mailbox, events, finish, paths

GROUPED = """
name: payment
input: {who: {type: string, optional: true}}
limits: {max_active: 2, per: "{{input.who}}", priority: 4, on_limit: refuse}
steps: {pay: {service: bank, operation: pay}}
"""


async def listen(ctx: Any) -> Any:
    """Ask, and take two signals."""
    await ctx.call("a", "b")
    return [await ctx.signal("go"), await ctx.signal("go")]


def box_of(code: Workflow[Any] | None = None) -> Mailbox:
    """Return a mailbox of a workflow with a limit."""
    return Mailbox(code or Workflow("listen", listen, WorkflowOptions(active_max=3, priority=2)))


def start(
    box: Mailbox, body: bytes = b"null", *, kernel: int = QUEUES, definition: str = DEFINITION
) -> Any:
    """Start it; return the effects."""
    return box.fold(
        Start(
            **box._stamp(),
            workflow=box.code.name,
            body=body,
            definition=definition,
            kernel=kernel,
        )
    )


def say(box: Mailbox, said: Any) -> Any:
    """Say whose turn it is; return the effects."""
    word = TurnWord(said=said, group="g", limit=3, place=1)
    return box.fold(Turn(**box._stamp(), epoch=1, word=word))


def test_nothing_of_the_code_runs_before_its_turn_and_what_comes_is_kept() -> None:
    """Others are told that it waits, and later that it has begun."""
    box = box_of()

    (asked,) = start(box)
    box.signal("go", 1)
    told = events(say(box, "queued"))
    waits = (box.instance.status, box.instance.waiting()[0].kind, box.instance.is_open(asked))
    box.refold()
    begun = say(box, "granted")
    again = say(box, "granted")

    assert asked == Enqueue(
        cause=1, workflow="listen", group="", limit=3, priority=2, place=1, refuse=False
    )
    assert (told, waits) == (["queued"], ("queued", "turn", True))
    assert (events(begun), paths(begun)) == (["started"], ["/a.b"])
    assert (again, box.instance.is_open(asked)) == ([], False)
    box.reply("/a.b")
    box.signal("go", 2)
    assert box.result == [1, 2]
    box.refold()


def test_a_raw_start_waits_for_its_pin_and_then_for_its_turn() -> None:
    """By its own sequence it stands in the queue, not by that of the pin."""
    box = box_of()
    start(box, definition="", kernel=1)

    pinned = box.fold(Pinned(**box._stamp(), epoch=1, definition=DEFINITION, kernel=QUEUES))

    (asked,) = pinned
    assert isinstance(asked, Enqueue)
    assert (asked.cause, asked.place) == (2, 1)


def test_a_cancel_takes_it_out_of_the_queue() -> None:
    """A turn that comes later changes nothing."""
    box = box_of()
    (asked,) = start(box)

    ended = finish(box.cancel())
    say(box, "granted")

    assert (ended.status, box.instance.is_open(asked)) == ("cancelled", False)
    assert (box.instance.status, box.instance.counters.stray) == ("cancelled", 1)
    box.refold()


def test_one_that_does_not_wait_fails_beyond_the_limit() -> None:
    """As its parent is told, with the kind that directives know."""
    box = box_of(GraphWorkflow(graph_of(GROUPED)))

    (asked,) = start(box, b'{"who":"eve"}')
    say(box, "refused")

    assert (asked.group, asked.limit, asked.priority, asked.refuse) == ("eve", 2, 4, True)
    assert box.instance.failure is not None
    assert box.instance.failure.kind == "over_limit"


@pytest.mark.parametrize("fields", ["", "input: {who: {type: string, optional: true}}"])
def test_an_input_that_does_not_say_by_what_it_is_counted_fails_at_once(fields: str) -> None:
    """It would fail when its turn came, too."""
    text = GROUPED.replace("input: {who: {type: string, optional: true}}", fields)
    box = box_of(GraphWorkflow(graph_of(text)))

    start(box, b'{"who":{"a":1}}' if fields else b"{}")

    assert box.instance.failure is not None
    assert box.instance.failure.kind == "validation"


def test_runs_of_before_do_not_wait() -> None:
    """Their mailboxes hold no turn: they fold as they did."""
    box = box_of()

    assert paths(start(box, kernel=QUEUES - 1)) == ["/a.b"]


def test_a_run_that_was_given_other_code_goes_on() -> None:
    """It may have begun before that code had a limit."""
    box = box_of()
    start(box)
    again = type(box.instance)("i-1", box.load, definition="e" * 16)

    assert paths(again.fold(box.mails[0])) == ["/a.b"]


def test_python_and_machines_say_it_as_graphs_do() -> None:
    """How many may be active, what others do, and how long an ended run is kept."""
    code = workflow("w", max_active=3, on_limit="refuse", retention_s=60.0)(listen)
    machine = MotionWorkflow(
        Machine(
            name="m",
            initial="A",
            states={"A": State(owner="clerk", next="B"), "B": State(terminal=True)},
            limits=Limits(max_active=4, priority=2),
            retention="1h",
        )
    )
    graph = GraphWorkflow(graph_of(GROUPED + "retention: 7d"))

    said = [
        (x.active_max, x.refuses, x.priority, x.kept_s)
        for x in (code.options, machine.options, graph.options)
    ]
    assert said == [(3, True, 0, 60.0), (4, False, 2, 3_600.0), (2, True, 4, 604_800.0)]
    with pytest.raises(ConfigurationError):
        WorkflowOptions(active_max=-1)


def test_what_ends_says_how_long_it_is_kept() -> None:
    """Its record has it, so that nobody has to read the definition again."""
    box = box_of(workflow("w", retention_s=60.0)(listen))
    start(box)
    ended = finish(box.cancel())

    assert record_of(box.instance, ended, 1).kept_s == 60.0
