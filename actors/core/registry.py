"""Stable names, and who wants to know of whose end.

Registering, looking up, leaving and watching take constant time. Only living actors are in
here; how a dead one ended stands on its reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import structlog

from actors.core.ref import Terminated, TrioRef
from protocols.errors import AlreadyExistsError, NotFoundError

if TYPE_CHECKING:
    from actors.core.base import TrioActor

log = structlog.get_logger()

Watcher = Callable[[Terminated], None] | TrioRef[Any]
"""Called with, or told, the Terminated."""


class Registry:
    """Names -> current incarnation, and death watch."""

    def __init__(self) -> None:
        self._live: dict[str, TrioActor] = {}
        self._names: dict[str, TrioRef[Any]] = {}
        self._watchers: dict[str, dict[Watcher, None]] = {}
        self._watched_by: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[TrioActor]:
        return iter(list(self._live.values()))

    def register(self, actor: TrioActor, name: str = "") -> None:
        """Add a new actor. Raises AlreadyExistsError while the name's bearer lives."""
        if name:
            if name in self._names:
                raise AlreadyExistsError(
                    f"an actor named {name!r} lives already",
                    hint="wait for its end, or choose another name",
                )
            self._names[name] = actor.actor_ref
        self._live[actor.actor_urn] = actor

    def unregister(self, actor: TrioActor) -> None:
        """Remove an actor and its name. Idempotent."""
        self._live.pop(actor.actor_urn, None)
        if actor.name and self._names.get(actor.name) is actor.actor_ref:
            del self._names[actor.name]

    def find(self, name: str) -> TrioRef[Any] | None:
        """Return who bears the name now, or None."""
        return self._names.get(name)

    def lookup(self, name: str) -> TrioRef[Any]:
        """Return who bears the name now. Raises NotFoundError."""
        ref = self._names.get(name)
        if ref is None:
            raise NotFoundError(f"no actor is named {name!r}", hint="movant actor tree")
        return ref

    def actor_of(self, ref: TrioRef[Any]) -> TrioActor | None:
        """Return the living actor behind a reference; for the system, not for senders."""
        return self._live.get(ref.actor_urn)

    def watch(self, ref: TrioRef[Any], watcher: Watcher) -> None:
        """Tell ``watcher`` the end of an actor, exactly once; at once when it is dead already.

        Watching twice is watching once. A watching actor that ends is forgotten.
        """
        if ref.terminated is not None:
            _tell(watcher, ref.terminated)
            return
        self._watchers.setdefault(ref.actor_urn, {})[watcher] = None
        if isinstance(watcher, TrioRef):
            self._watched_by.setdefault(watcher.actor_urn, set()).add(ref.actor_urn)

    def unwatch(self, ref: TrioRef[Any], watcher: Watcher) -> None:
        """Take a watch back. Idempotent."""
        watchers = self._watchers.get(ref.actor_urn)
        if watchers is None:
            return
        watchers.pop(watcher, None)
        if not watchers:
            del self._watchers[ref.actor_urn]
        if isinstance(watcher, TrioRef):
            self._watched_by.get(watcher.actor_urn, set()).discard(ref.actor_urn)

    def ended(self, actor: TrioActor, terminated: Terminated) -> bool:
        """Remove an actor and tell its watchers; return whether there was one."""
        self.unregister(actor)
        for urn in self._watched_by.pop(actor.actor_urn, ()):
            watchers = self._watchers.get(urn)
            if watchers is not None:
                watchers.pop(actor.actor_ref, None)
                if not watchers:
                    del self._watchers[urn]
        watchers = self._watchers.pop(actor.actor_urn, None)
        for watcher in watchers or ():
            if isinstance(watcher, TrioRef):
                self._watched_by.get(watcher.actor_urn, set()).discard(actor.actor_urn)
            _tell(watcher, terminated)
        return bool(watchers)


def _tell(watcher: Watcher, terminated: Terminated) -> None:
    try:
        if not isinstance(watcher, TrioRef):
            watcher(terminated)
        elif watcher.is_alive():
            # The end of another actor is never refused for want of room.
            watcher.actor_inbox.force(terminated)
    except Exception:  # one watcher must not keep it from the others
        log.exception("actor.watcher_failed", watched=terminated.name or terminated.urn)
