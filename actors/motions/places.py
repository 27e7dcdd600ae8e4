"""Places: where each motion of a daemon stands, in memory or not.

    in memory -- leaves it: its place is kept, some 300 B --> dormant
    dormant   -- its next message brings it back; the place is made anew when it is asked for

A dormant motion does not change, so its place stays right until it comes back. What a daemon
takes over dormant has no place before somebody folds it (``learn``), once. A place is only for
showing: nothing is decided by it, and all of them may be dropped at any time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from sys import intern
from typing import TYPE_CHECKING, Final

import msgspec

from actors.motions.interpreter import MotionWorkflow
from protocols import codec
from protocols.effects import FINAL, Waiting
from protocols.errors import NotFoundError
from protocols.subjects import step_token

if TYPE_CHECKING:
    from actors.definitions.registry import Definitions
    from actors.kernel.instance import Instance
    from actors.owning.workflow import WorkflowActor

PLACES_MAX: Final = 200_000
"""Above it a dormant motion has no place, and whoever asks for it has to fold it."""
_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BEFORE: Final = ".before/"
"""Part of the path of a step that has to be done before a transition takes effect."""


class Place(msgspec.Struct, gc=False):
    """Where one motion stands. Times in nanoseconds since 1970; 0: none.

    ``waiting`` and ``step`` (the token of the step that it waits for) are filled in only by
    ``place_of(…, whole=True)``, because finding them costs more than all else.
    """

    machine: str
    partition: int
    folded: int
    started_at: int
    state: str
    owner: str
    entered_at: int
    expected: int
    blocked: str
    """Why it is halted, under review, or cannot be folded; empty: it is not."""
    next_action: str
    waiting: str = ""
    step: str = ""


class Places:
    """Places by id. One for all motions of an owner."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._known: dict[tuple[str, str], bool] = {}
        self._names: dict[str, bool] = {}
        """Whether the latest definition of a name that was looked at was a machine."""
        self.rows: dict[str, Place] = {}

    def is_motion(self, workflow: str, definition: str) -> bool:
        """Tell whether a workflow is a machine; of a definition that is not loaded, by name."""
        known = self._known.get((workflow, definition))
        if known is None:
            if not self._definitions.is_loaded(definition):
                return self._names.get(workflow, False)
            try:
                found = self._definitions.workflow(workflow, definition)
            except NotFoundError:
                return False
            known = self._known[workflow, definition] = isinstance(found, MotionWorkflow)
            self._names[workflow] = known
        return known

    def knows(self, workflow: str, definition: str) -> bool:
        """Tell whether ``is_motion`` can answer; without a definition, for the name alone."""
        return (workflow, definition) in self._known or (
            not definition and workflow in self._names
        )

    @property
    def machines(self) -> list[str]:
        """The names of those that are known."""
        return [name for name, known in self._names.items() if known]

    def update(self, actor: WorkflowActor) -> bool:
        """Bring the place of an instance in memory up to date; tell whether it has moved."""
        instance = actor.instance
        known = self.rows.get(actor.id)
        if actor.activating or (known is not None and known.folded == instance.folded):
            return False
        if actor.final:
            self.forget(actor.id)
            return False
        if not self.is_motion(instance.workflow, instance.definition):
            return False
        self.rows[actor.id] = place_of(instance, actor.partition)
        return True

    def keep(self, actor: WorkflowActor) -> None:
        """Keep the place of an instance that is about to leave memory, if it is a motion."""
        instance = actor.instance
        if not self.is_motion(instance.workflow, instance.definition):
            return
        self.forget(actor.id)
        if len(self.rows) < PLACES_MAX and not actor.final:
            self.rows[actor.id] = place_of(instance, actor.partition, whole=True)

    def learn(self, instance: Instance, partition: int) -> None:
        """Take the place of a dormant motion that was folded to be shown."""
        if instance.id not in self.rows and len(self.rows) < PLACES_MAX:
            self.rows[instance.id] = place_of(instance, partition, whole=True)

    def forget(self, instance: str) -> None:
        """Drop the place of an instance that has ended."""
        self.rows.pop(instance, None)

    def leave(self, partition: int) -> None:
        """Drop the places of a partition: its next owner knows better."""
        for instance in [id_ for id_, each in self.rows.items() if each.partition == partition]:
            del self.rows[instance]


def place_of(instance: Instance, partition: int, *, whole: bool = False) -> Place:
    """Return where a motion stands; ``whole``: with what it waits for."""
    halted = instance.shown("blocked")
    if instance.blocked is not None:
        blocked = f"{instance.blocked.reason}: {instance.blocked.message}"
    else:
        blocked = codec.decode(halted) or ""
    place = Place(
        machine=instance.workflow,
        partition=partition,
        folded=instance.folded,
        started_at=instance.started_at,
        state="queued" if instance.status == "queued" else _text(instance.shown("state")),
        owner=_text(instance.shown("owner")),
        entered_at=_time(instance.shown("entered_at")) or instance.started_at,
        expected=_time(instance.shown("expected_completion")),
        blocked=blocked,
        next_action=_text(instance.shown("next_action")),
    )
    if whole and instance.status not in FINAL:
        _look(place, instance.waiting())
    return place


def _look(place: Place, waits: list[Waiting]) -> None:
    """Fill in what a motion waits for: a step before all else, a deadline last."""
    if not waits:
        return
    first = min(waits, key=lambda each: (each.kind != "step", each.kind == "timer", each.since))
    place.waiting = intern(f"{first.kind} {first.path}")
    if first.kind == "step":
        place.step = intern(step_token(first.path))
        if not place.next_action or _BEFORE in first.path:  # a hook: the owner is done, or not on
            place.next_action = intern(" ".join(first.detail.rsplit(".", 1)))


@lru_cache(maxsize=4_096)
def _text(body: bytes) -> str:
    """Return a shown text; the same object for the same text, so that many rows share it."""
    return codec.decode(body) or ""


def _time(body: bytes) -> int:
    """Return a shown time in nanoseconds since 1970; 0: there is none."""
    text = codec.decode(body)
    if not text:
        return 0
    return (datetime.fromisoformat(text) - _1970) // timedelta(microseconds=1) * 1_000
