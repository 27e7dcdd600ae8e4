"""Interpreting: what a context has for code that runs definitions, and authors do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.kernel.gates import Gates
from actors.kernel.operations import AnySignal
from protocols.subjects import check_name

if TYPE_CHECKING:
    from actors.kernel.ledger import Forker, Mover
    from protocols.mail import Taken


class Interpreting(Gates):
    """The part of the context that the interpreters of graphs and machines need."""

    __slots__ = ()

    def tell_late(self, kind: str) -> None:
        """Publish an event of this kind for each answer that comes to a step decided before.

        Its data: the step's path, the attempt, and whether the answer was a success.
        """
        self._ledger.scheduler.current()
        self._ledger.late_event = check_name(kind, "event kind")

    def hear(self) -> AnySignal:
        """Wait like ``any_signal``; ``update`` of the wait answers a sender who waits for that."""
        return AnySignal(self._ledger, holds=True)

    def movable(self, mover: Mover) -> None:
        """Say how the code goes on with another definition from where it stands."""
        self._ledger.scheduler.current()
        self._ledger.mover = mover

    def forkable(self, forker: Forker) -> None:
        """Say what another run may take over of this one, when it has ended."""
        self._ledger.scheduler.current()
        self._ledger.forker = forker

    @property
    def place(self) -> str:
        """The place in the tree of paths: what the paths of what is asked next begin with."""
        return self._ledger.scheduler.current().frame.prefix

    @property
    def taken(self) -> Taken | None:
        """What the code begins with that another run has done; None: it begins with nothing."""
        return self._ledger.taken
