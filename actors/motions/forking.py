"""Motions that go over: to another machine, or what one has done to another motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from actors.motions.hearing import Hearing
from actors.motions.rules import Move
from protocols import codec
from protocols.blobs import BLOB_BYTES_MAX
from protocols.forking import Forking, ForkOrder, machine_fork, not_forked
from protocols.moving import Moving, machine_move, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocols.definition import Workflow
    from protocols.machines.machine import Machine
    from protocols.mail import SwitchOrder


class Forkable(Hearing):
    """Where one motion is, for another machine, and for another motion."""

    def _move(self, workflow: Workflow[object], order: SwitchOrder, go: bool) -> Moving:  # noqa: FBT001
        """Tell how the motion goes over to another machine where it stands; ``go``: do it."""
        machine: Machine | None = getattr(workflow, "machine", None)
        if machine is None:
            return refused("the new definition is no state machine")
        if self.block is None or self.cut is not None or self.word is not None:
            return refused("the motion is between two states: try again soon")
        moves = order.moves
        found = machine_move(
            self.machine, machine, self.state, self.data, moves=moves, accept=order.accept
        )
        if go and not found.problems:
            self.go_over(machine, getattr(workflow, "held_to", None), moves)
        return found

    def _fork(
        self, workflow: Workflow[object], order: ForkOrder, fallen: Mapping[str, str]
    ) -> Forking:
        """Tell what a motion of a machine takes over of this one."""
        machine: Machine | None = getattr(workflow, "machine", None)
        if machine is None:
            return not_forked("the new definition is no state machine")
        moves = order.moves
        was = next((x for x in self.entries if moves.get(x, x) == order.step), order.step)
        before = self._before(was)
        fates = {_state_of(path): fate for path, fate in fallen.items()}
        found = machine_fork(
            self.machine, machine, before, tuple(self.entries), order, fallen=fates
        )
        if found.problems:
            return found
        taken = {each.was: each.step for each in found.steps if each.what == "taken"}
        ways = {**taken, was: order.step}
        left = {
            "state": order.step,
            "data": {to: self.data[name] for name, to in taken.items() if name in self.data},
            "came_from": {to: ways.get(self.came_from.get(at, ""), "") for at, to in ways.items()},
            "pivoted": any(self.machine.states[name].pivot for name in taken),
        }
        return msgspec.structs.replace(found, standing=left)

    def _before(self, state: str) -> tuple[str, ...]:
        """Return the states whose work led to one, the first one first."""
        found = dict.fromkeys([state])
        at = self.came_from.get(state, "")
        while at and at not in found:
            found[at] = None
            at = self.came_from.get(at, "")
        return tuple(reversed(list(found)[1:]))

    def _begin_with(self) -> Move | None:
        """Return how the motion begins with what another one has done, if it is a fork."""
        taken = self.ctx.taken
        if taken is None:
            return None
        self.data = dict(taken.standing["data"])
        self.sizes = {x: len(codec.encode(y, limit=BLOB_BYTES_MAX)) for x, y in self.data.items()}
        self.came_from = dict(taken.standing["came_from"])
        if taken.standing["pivoted"]:
            self.pivoted = True
            self.ctx.pivot()
        return Move(to=taken.standing["state"], cause="forked", back=True)


def _state_of(path: str) -> str:
    """Return the state in which a step was asked for; empty: in none."""
    place = path.removeprefix("/states/")
    return place.partition("/")[0].partition("#")[0] if place != path else ""
