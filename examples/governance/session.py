"""A session: so many motions are in the house at once, and the others wait in order.

    movant run show session      # who is in, who waits, at which place
    movant run signal session petition '{"id": "harbour-lamps", "text": "Title: …"}'

A petition that comes when the house is full waits; when a motion ends, however it ends, the
first in the queue is let in. The King introduces it: he reads the text, and what he cannot read
is no motion. From there on it is a motion of its own, and the session waits for its end. All of
this is a workflow: a daemon that is killed finds queue and motions as they were.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

import movant

MOTION = "governance"
SHOWN_MAX = 100
PETITION_BYTES_MAX = 64 * 1024
PETITIONS_MAX = 1_000
"""Of one generation of the session's mailbox: then it goes on as new, once it is empty."""


class Petition(msgspec.Struct, frozen=True):
    """What somebody wants to become a motion.

    ``state`` names a later state in which it enters the pipeline; then its work is taken as done
    there, with ``output``, unless ``work_done`` is false. Anybody may send one: what could not be
    a run's id, or is too long, is refused before anything is made of it.
    """

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")]
    text: str
    state: str | None = None
    work_done: bool = True
    output: Any = None


class Opening(msgspec.Struct, frozen=True):
    """How a session begins: how many may be in, and who waits since the generation before."""

    max_concurrent_motions: int = 100
    waiting: tuple[Petition, ...] = ()


@movant.workflow("governance.session")
async def session(ctx: movant.Context, opening: Opening) -> dict[str, int]:
    """Let petitions in until somebody adjourns; then wait for those that came before."""
    house = _House(ctx, opening)
    async with ctx.scope(name="motions") as scope:
        house.scope = scope
        for petition in opening.waiting:
            house.take(petition)
        while True:
            try:
                name, data = await ctx.any_signal()
                if name == "adjourn":
                    break
                petition = read(data)
            except (movant.WorkflowError, msgspec.ValidationError) as error:
                house.refuse("", f"no petition: {error}")
                continue
            if house.is_empty and len(house.known) >= PETITIONS_MAX:
                ctx.continue_as(msgspec.structs.replace(opening, waiting=(petition,)))
            house.take(petition)
    return house.ended


def read(data: Any) -> Petition:
    """Return a petition. Raises msgspec.ValidationError for what is none."""
    petition = msgspec.convert(data, Petition)
    if len(msgspec.json.encode(petition)) > PETITION_BYTES_MAX:
        raise msgspec.ValidationError(f"more than {PETITION_BYTES_MAX} bytes")
    return petition


class _House:
    """Who is in, who waits, and what became of the others."""

    def __init__(self, ctx: movant.Context, opening: Opening) -> None:
        self.ctx = ctx
        self.room = opening.max_concurrent_motions
        self.scope: Any = None
        self.known: set[str] = set()
        self.waiting: list[Petition] = []
        self.active: list[str] = []
        self.ended = {"completed": 0, "failed": 0, "refused": 0}
        self.refused: list[dict[str, str]] = []

    @property
    def is_empty(self) -> bool:
        """Whether nobody is in and nobody waits."""
        return not self.active and not self.waiting

    def take(self, petition: Petition) -> None:
        """Put a petition at the end of the queue; one that came already changes nothing."""
        if petition.id in self.known:
            return
        self.known.add(petition.id)
        self.waiting.append(petition)
        if len(self.active) >= self.room:
            self.ctx.emit("queued", {"motion_id": petition.id, "place": len(self.waiting)})
        self._let_in()

    def refuse(self, motion_id: str, reason: str) -> None:
        """Tell that a petition is no motion."""
        self.ended["refused"] += 1
        self.refused.append({"id": motion_id, "reason": reason})
        self.ctx.emit("refused", {"motion_id": motion_id, "reason": reason})
        self._show()

    def _let_in(self) -> None:
        while self.waiting and len(self.active) < self.room:
            petition = self.waiting.pop(0)
            self.active.append(petition.id)
            self.scope.start(self._attend(petition), name=petition.id)
        self._show()

    async def _attend(self, petition: Petition) -> None:
        """Have a petition introduced, and wait for the end of the motion."""
        ctx = self.ctx
        try:
            motion = await ctx.call("king_service", "introduce", {"text": petition.text})
            entered = {"motion": motion}
            if petition.state is not None:
                entered |= {
                    "state": petition.state,
                    "work_done": petition.work_done,
                    "output": petition.output,
                }
            await ctx.child(MOTION, entered, id=petition.id, on_cancel="abandon")
        except movant.StepFailedError as error:
            self.refuse(petition.id, error.failure.message)
        except movant.ChildFailedError:
            self.ended["failed"] += 1
        else:
            self.ended["completed"] += 1
        self.active.remove(petition.id)
        self._let_in()

    def _show(self) -> None:
        self.ctx.set_state(
            active=self.active[:SHOWN_MAX],
            waiting=[each.id for each in self.waiting[:SHOWN_MAX]],
            in_queue=len(self.waiting),
            room=self.room,
            ended=self.ended,
            refused=self.refused[-20:],
        )
