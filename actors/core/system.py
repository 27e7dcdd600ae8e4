"""Starts, finds, watches and stops actors. There is no global one: it is handed in.

async with open_system() as system:
    ref = system.start(Greeter, name="greeter")
    print(await ask(ref, "hello", timeout_s=1))
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import structlog
import trio

from actors.core.base import DrivenActor, TrioActor
from actors.core.dispatcher import Dispatcher
from actors.core.future import TrioFuture
from actors.core.ref import NORMAL, Terminated, TrioRef
from actors.core.registry import Registry
from actors.core.threads import BlockingActor, BlockingHost, ThreadGate

log = structlog.get_logger()

A = TypeVar("A", bound=TrioActor)


class SystemStatistics(msgspec.Struct, frozen=True):
    """A snapshot of all actors: living ones and counts since the start."""

    live: int
    started: int
    ended: int
    crashed: int
    undelivered: int


class ActorSystem:
    """The actors of one nursery. Trio thread only, except ``tell_from_thread``."""

    def __init__(self, nursery: trio.Nursery, *, dispatcher: Dispatcher | None = None) -> None:
        self.nursery = nursery
        self.registry = Registry()
        self.gate = ThreadGate(trio.lowlevel.current_trio_token())
        self._dispatcher = dispatcher
        self._dispatcher_scope: trio.CancelScope | None = None
        self._empty: TrioFuture[None] | None = None
        self._started = 0
        self._ended = 0
        self._crashed = 0
        self._undelivered = 0

    @property
    def dispatcher(self) -> Dispatcher:
        """What drives the actors without a task; started when the first one is."""
        if self._dispatcher is None:
            self._dispatcher = Dispatcher()
            self._dispatcher_scope = trio.CancelScope()
            self.nursery.start_soon(self._drive, self._dispatcher, self._dispatcher_scope)
        return self._dispatcher

    def start(self, actor_class: type[A], *args: Any, name: str = "", **kwargs: Any) -> TrioRef[A]:
        """Start an actor and return its reference at once.

        ``on_start`` runs later in the actor's task; when it fails, watchers are told. Raises
        what the constructor raises, and AlreadyExistsError while the name is taken.
        """
        actor = actor_class(*args, **kwargs)
        actor.system = self
        ref = actor.actor_ref
        if name:
            actor.name = ref.name = name
        actor.actor_inbox.owner = actor.label
        self.registry.register(actor, name)
        self._started += 1
        actor._start_actor_loop()  # noqa: SLF001  # pykka's hook
        return ref

    def start_blocking(
        self, actor_class: type[BlockingActor], *args: Any, name: str = "", **kwargs: Any
    ) -> TrioRef[BlockingHost]:
        """Start an actor that may block, on a thread of its own; the rest is as ``start``."""
        return self.start(BlockingHost, actor_class, args, kwargs, name=name)

    async def start_ready(
        self, actor_class: type[A], *args: Any, name: str = "", **kwargs: Any
    ) -> TrioRef[A]:
        """Start an actor and wait for its ``on_start``; raises what that raises.

        A caller that is cancelled meanwhile leaves no half-started actor behind.
        """
        ref = self.start(actor_class, *args, name=name, **kwargs)
        try:
            await self.wait_ready(ref)
        except trio.Cancelled:
            self.kill(ref)
            raise
        return ref

    async def wait_ready(self, ref: TrioRef[Any]) -> None:
        """Wait until ``on_start`` is done; raises its error, or DeadActorError."""
        actor = self.registry.actor_of(ref)
        if actor is not None:
            await actor.when_ready()
            return
        await trio.lowlevel.checkpoint()
        assert ref.terminated is not None
        raise ref.terminated.error or ref.actor_inbox.refusal()

    async def stop(self, ref: TrioRef[Any], *, reason: str = NORMAL) -> Terminated:
        """Stop an actor behind what waits in its mailbox, and wait for its end."""
        ref.request_stop(reason)
        return await self.wait_ended(ref)

    async def wait_ended(self, ref: TrioRef[Any]) -> Terminated:
        """Wait for the end of an actor and return how it ended."""
        ended: TrioFuture[Terminated] = TrioFuture()
        self.registry.watch(ref, ended.set)
        try:
            return await ended
        finally:
            self.registry.unwatch(ref, ended.set)

    def kill(self, ref: TrioRef[Any]) -> None:
        """End an actor without handling what waits. Idempotent."""
        actor = self.registry.actor_of(ref)
        if actor is not None:
            actor._kill()  # noqa: SLF001  # the actor's life is our business

    async def stop_all(self, *, reason: str = NORMAL) -> None:
        """Stop all actors, the youngest first, and wait until none is left."""
        for actor in reversed(list(self.registry)):
            actor.actor_ref.request_stop(reason)
        while len(self.registry):
            if self._empty is None:
                self._empty = TrioFuture()
            await self._empty
        if self._dispatcher_scope is not None:
            self._dispatcher_scope.cancel()
            self._dispatcher = self._dispatcher_scope = None

    def tell_from_thread(self, ref: TrioRef[Any], message: Any) -> None:
        """Tell from any thread. Raises MailboxFullError, DeadActorError, OverloadedError.

        What it has accepted reaches the mailbox, unless the actor ends before.
        """
        self.gate.tell(ref, message)

    def statistics(self) -> SystemStatistics:
        """Return a snapshot."""
        return SystemStatistics(
            live=len(self.registry),
            started=self._started,
            ended=self._ended,
            crashed=self._crashed,
            undelivered=self._undelivered + self.gate.undelivered,
        )

    def ended(self, actor: TrioActor, terminated: Terminated) -> None:
        """Note the end of an actor. Called once by the actor itself."""
        self._ended += 1
        self._undelivered += terminated.undelivered
        watched = self.registry.ended(actor, terminated)
        if terminated.error is not None:
            self._crashed += 1
            if not watched:
                log.error("actor.failed", actor=actor.label, exc_info=terminated.error)
        if self._empty is not None and not len(self.registry):
            self._empty.set(None)
            self._empty = None

    async def _drive(self, dispatcher: Dispatcher, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await dispatcher.run()
        finally:
            # Without it they would neither live nor end, and nobody would be told.
            for actor in self.registry:
                if isinstance(actor, DrivenActor):
                    actor._kill()  # noqa: SLF001  # the actor's life is our business


@asynccontextmanager
async def open_system() -> AsyncIterator[ActorSystem]:
    """Open a nursery with a system in it; at the end all its actors are stopped.

    When the body fails or is cancelled the actors are killed.
    """
    async with trio.open_nursery() as nursery:
        system = ActorSystem(nursery)
        yield system
        await system.stop_all()
