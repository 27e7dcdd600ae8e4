"""The outbox: what it writes is what others can read."""

from __future__ import annotations

import msgspec
import trio

from actors.kernel.instance import Instance
from actors.owning.inbound import parse
from actors.owning.letters import Delivery, Letter
from actors.owning.outbox import Outbox, event_payload, first_of, is_first, lifecycle, schedule
from actors.owning.workflow import WorkflowActor
from protocols import headers as h
from protocols.definition import workflow
from protocols.effects import Emit
from protocols.events import from_wire
from protocols.mail import Start
from protocols.ports import Outgoing
from protocols.subjects import partition_of
from protocols.tokens import KeyRing

AT = 1_795_240_535_689_432_320


class Written:
    """Takes the place of a stream writer and remembers what it was told to write."""

    def __init__(self) -> None:
        self.messages: list[Outgoing] = []

    def write(self, message: Outgoing, _: object) -> None:
        """Remember a message."""
        self.messages.append(message)


@workflow("civic.greeting")
async def greet(_ctx: object, name: str) -> str:
    """Greet."""
    return f"hello {name}"


async def test_an_event_reads_as_a_cloud_event() -> None:
    """What the hot path writes by hand is what protocols.events understands."""
    instance = Instance("run-1", lambda _name, _hash: greet)
    effects = instance.fold(
        Start(seq=7, at=AT, workflow="civic.greeting", body=b'"Ann"', definition="d1")
    )
    emitted = [each for each in effects if isinstance(each, Emit)]
    writers = {name: Written() for name in ("MAIL", "TIMERS", "EVENTS", "ARCHIVE")}
    outbox = Outbox(
        writers,  # type: ignore[arg-type]  # a Written is enough
        lambda *_: None,
        None,  # type: ignore[arg-type]  # nothing is spawned
        position=lambda _: 7,
        undo=lambda *_: None,
        storing=None,  # type: ignore[arg-type]  # nothing is large
    )
    actor = WorkflowActor(None, instance, 1)  # type: ignore[arg-type]  # no host is asked

    for each in emitted:
        outbox.perform(actor, each)
    await trio.lowlevel.checkpoint()

    events = [
        from_wire(h.decode(h.block(each.headers)) or {}, each.payload)
        for each in writers["EVENTS"].messages
    ]
    assert [event.kind for event in events] == ["started", "completed"]
    assert {event.at for event in events} == {AT}
    assert {event.workflow for event in events} == {"civic.greeting"}
    assert events[1].data["result"] == "hello Ann"
    assert writers["EVENTS"].messages[0].subject == "movant.event.civic-greeting.run-1.started"


def test_the_statement_stands_in_an_event_as_in_the_json_of_the_whole() -> None:
    """Its bytes are joined to those of the rest; whoever verifies them has encoded all in one."""
    instance = Instance("run-1", lambda _name, _hash: greet)
    body = b'"Ann"'
    effects = instance.fold(
        Start(seq=7, at=AT, workflow="civic.greeting", body=body, definition="d1", leaf=b"x" * 28)
    )
    emitted = [each for each in effects if isinstance(each, Emit)]

    assert [each.event for each in emitted] == ["started", "completed"]
    for each in emitted:
        assert each.statement is not None
        told = msgspec.structs.replace(
            lifecycle(instance, each.event, "d1"), witness=each.statement.statement()
        )
        assert event_payload(instance, each) == msgspec.json.encode(told)


def test_only_the_exact_proof_shows_that_a_message_is_its_mailbox_s_first() -> None:
    """A stranger's check of another subject proves nothing."""
    proof = h.block(b"Movant-Definition: d\r\n" + first_of("run-1", 64))
    other = h.block(first_of("run-2", 64))
    bare = b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 0\r\n\r\n"

    assert is_first(proof, "run-1", 64)
    assert not is_first(other, "run-1", 64)
    assert not is_first(bare, "run-1", 64)
    assert not is_first(b"", "run-1", 64)


def test_a_timer_s_firing_is_a_timer_message_of_its_instance() -> None:
    """The target subject, through MAIL's transform, is what the reader parses."""
    partition = partition_of("run-1", 64)
    message = schedule(partition, "run-1", "sleep#2", AT, b"{}")

    target = (h.decode(h.block(message.headers)) or {})[h.SCHEDULE_TARGET]
    stored = target.replace("movant.fired.", "movant.mail.").split(".")
    subject = ".".join([*stored[:4], "timer", *stored[4:]])
    parsed = parse(Delivery(9, AT, subject, b"", b"{}"), KeyRing("k", {"k": b"x"}))

    assert isinstance(parsed, Letter)
    assert parsed.partition == partition
    assert parsed.mail.seq == 9
