"""Detours: effects whose value is too large for a message, and those behind them.

    effect -> large? -> BLOBS, for the run that it goes to -> effect with a reference
       '- of an instance with one under way: behind it, so that order stays

An effect on a detour is not settled, like one whose acknowledgement is awaited.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from actors.owning.workflow import WorkflowActor
from actors.store.storing import Storing
from protocols.blobs import INLINE_BYTES_MAX, encoded
from protocols.effects import AnyEffect, Emit, Finish, Send, Spawn

BODIED: Final = frozenset({Emit, Finish, Send, Spawn})


class Reference(bytes):
    """The body of an effect whose value is stored: the reference to it."""

    __slots__ = ()


class Detours:
    """Effects on their way through BLOBS; ``perform`` is told them when that is done."""

    def __init__(
        self, storing: Storing, perform: Callable[[WorkflowActor, AnyEffect], None]
    ) -> None:
        self._storing = storing
        self._perform = perform
        self._lines: dict[WorkflowActor, deque[AnyEffect]] = {}

    def takes(self, actor: WorkflowActor, effect: AnyEffect) -> bool:
        """Take an effect that has to wait; False: it can be done now."""
        line = self._lines.get(actor) if self._lines else None
        if line is not None:
            line.append(effect)
            return True
        if type(effect) not in BODIED or len(effect.body) <= INLINE_BYTES_MAX:  # type: ignore[union-attr]
            return False
        self._lines[actor] = deque([effect])
        self._storing.start_soon(self._run, actor)
        return True

    async def _run(self, actor: WorkflowActor) -> None:
        line = self._lines[actor]
        try:
            while line and not actor.gone:  # who comes after it asks for all of it again
                effect = await self._stored(actor, line[0])
                line.popleft()
                if not actor.gone:
                    self._perform(actor, effect)
        finally:
            del self._lines[actor]

    async def _stored(self, actor: WorkflowActor, effect: AnyEffect) -> AnyEffect:
        """Return an effect with a reference in place of a large value, which is stored then."""
        if not isinstance(effect, Emit | Finish | Send | Spawn):
            return effect
        if len(effect.body) <= INLINE_BYTES_MAX:
            return effect
        owners = [actor.id]
        if isinstance(effect, Send):
            owners = [effect.to]
        elif isinstance(effect, Spawn):
            owners = [effect.child]
        elif isinstance(effect, Finish) and effect.parent is not None:
            owners.append(effect.parent.instance)
        blobs = [await self._storing.surely(owner, effect.body) for owner in owners]
        return msgspec.structs.replace(effect, body=Reference(encoded(blobs[0])))
