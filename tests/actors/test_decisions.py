"""Decisions: when the owner may record that a generation has begun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.kernel.context import Context
from actors.owning.decisions import Decisions
from actors.owning.outbox import Outbox
from actors.owning.workflow import WorkflowActor
from actors.store.stream_writer import Written
from protocols.effects import FINAL, Continue, Emit
from protocols.errors import UnavailableError
from tests.kernel.mailbox import Mailbox


class Records(Outbox):
    """Keeps what was written, and who has to be told."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Mapping[str, Any], Written]] = []

    def decision(
        self, actor: WorkflowActor, kind: str, body: Mapping[str, Any], written: Written
    ) -> None:
        """Keep it."""
        del actor
        self.written.append((kind, body, written))


async def rounds(ctx: Context, value: int) -> str:
    """Tell, then continue; three generations in all."""
    ctx.emit("begun", value)
    await ctx.signal("go")
    ctx.emit("ended", value)
    if value < 3:
        ctx.continue_as(value + 1)
    return "done"


class Owned:
    """An instance with an actor whose effects are all performed, and none acknowledged."""

    def __init__(self) -> None:
        nothing: Any = None
        self.box = Mailbox(rounds)
        self.actor = WorkflowActor(nothing, self.box.instance, 0)
        self.decisions = Decisions(nothing, lambda _: 7)
        self.records = self.decisions.outbox = Records()
        self.perform(self.box.start(1))

    def perform(self, effects: list[Any]) -> None:
        """Do as the owner does."""
        for effect in effects:
            self.actor.unsettled[effect.identity] = effect
            if isinstance(effect, Continue):
                self.decisions.continued(self.actor)

    def acknowledge(self, event: str, generation: int) -> None:
        """Let the server acknowledge an event."""
        of_generation = f"i-1/{generation}/"
        for identity, effect in list(self.actor.unsettled.items()):
            if (
                isinstance(effect, Emit)
                and effect.event == event
                and effect.id.startswith(of_generation)
            ):
                del self.actor.unsettled[identity]
        self.decisions.continued(self.actor)

    @property
    def recorded(self) -> list[int]:
        """Generations that were recorded, in order."""
        return [body["generation"] for _, body, _ in self.records.written]


def test_a_generation_is_recorded_when_all_before_it_is_acknowledged() -> None:
    """A fold that begins there asks for nothing of the former ones again."""
    owned = Owned()
    owned.perform(owned.box.signal("go"))

    owned.acknowledge("begun", 1)
    owned.acknowledge("begun", 2)
    assert owned.recorded == []

    owned.acknowledge("ended", 1)
    owned.acknowledge("continued", 2)

    ((kind, body, _),) = owned.records.written
    assert kind == "continued"
    assert (body["epoch"], body["generation"], body["through"]) == (7, 2, 2)
    assert body["snapshot"].start.body == b"2"
    assert not owned.actor.settled


def test_only_the_newest_generation_is_recorded() -> None:
    """A loop that is faster than the acknowledgements records once."""
    owned = Owned()
    owned.perform(owned.box.signal("go"))
    owned.perform(owned.box.signal("go"))

    for generation in (1, 2):
        owned.acknowledge("begun", generation)
        owned.acknowledge("ended", generation)
    assert owned.recorded == []
    owned.acknowledge("continued", 2)

    assert owned.recorded == [3]


def test_what_has_ended_needs_no_record() -> None:
    """Nobody will fold it again for what comes."""
    owned = Owned()
    for _ in range(3):
        owned.perform(owned.box.signal("go"))

    owned.decisions.continued(owned.actor)

    assert owned.box.instance.status in FINAL
    assert not any(isinstance(each, Continue) for each in owned.actor.unsettled.values())


def test_a_record_that_was_refused_is_written_again() -> None:
    """With the next acknowledgement."""
    owned = Owned()
    owned.perform(owned.box.signal("go"))
    owned.acknowledge("begun", 1)
    owned.acknowledge("ended", 1)
    ((*_, written),) = owned.records.written

    written(0, UnavailableError("no"))
    owned.acknowledge("begun", 2)

    assert owned.recorded == [2, 2]
