"""Owner: hosts the instances of its partitions. It alone acts for them.

    reader -> take() -> letters -> WorkflowActor (fold) -> folded() -> requests, outbox
                 |  unknown id: activation                     |
                 '- markers, dead letters              settled: passivation

An instance may be dropped from memory, or left out of the checkpoint, only when each of its
effects is acknowledged, decided, or covered by a wake. Recovery, takeover and activation are
one operation: fold the mailbox, then redo the effects at or above a threshold that the fold
does not show as done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog
import trio

from actors import checkpoint as cp
from actors.activation import Activation
from actors.archive import Archive
from actors.decisions import Decisions
from actors.definitions import Definitions
from actors.direct_reader import DirectReader
from actors.fold_guard import FoldGuard
from actors.inbound import DeadLetter, Delivery, Letter, Marker, parse
from actors.kernel.instance import Instance
from actors.late import Late
from actors.outbox import Outbox, is_first
from actors.owner_statistics import OwnerStatistics
from actors.partitions import FencedError, Partitions
from actors.passivation import Passivation, woken
from actors.requests import Requests
from actors.system import ActorSystem
from actors.tombstones import Tombstones
from actors.workflow import WorkflowActor
from protocols.effects import AnyEffect, Arm, Ask, Pin
from protocols.errors import MovantError
from protocols.mail import AnyMail, AttemptTimedOut, Pinned, Reply, Start, Woken
from protocols.ports import Clock
from protocols.subjects import partition_of
from protocols.tokens import KeyRing

LIVE_MAX: Final = 100_000
"""Instances in memory at once, about 8 kB each; above it those that wait leave sooner."""
BACKLOG_MAX: Final = 20_000
"""Messages handed over and not folded; above it the reader asks for no more."""
PER_ACTOR_MAX: Final = 2_000
"""Messages waiting for one instance; above it the rest is read again from its mailbox."""
DRAIN_LOOK_S: Final = 0.01

log = structlog.get_logger()


class Owner:
    """All partitions of one daemon, on the trio thread. ``run`` belongs under a supervisor.

    ``dead`` is told each message that no fold can take; MAIL begins at ``first``. Call ``wire``
    before ``run``.
    """

    requests: Requests
    outbox: Outbox

    def __init__(
        self,
        system: ActorSystem,
        clock: Clock,
        keys: KeyRing,
        definitions: Definitions,
        mailboxes: DirectReader,
        *,
        guard: FoldGuard,
        partitions: int,
        epoch: int,
        archive: Archive,
        first: int = 0,
        live_max: int = LIVE_MAX,
        checkpoints: Mapping[int, cp.Checkpoint],
        dead: Callable[[DeadLetter], None],
        refill: Callable[[], None],
    ) -> None:
        self._system = system
        self.guard = guard
        self._clock = clock
        self._keys = keys
        self._definitions = definitions
        self._epoch = epoch
        self._dead = dead
        self._refill = refill
        self.live: dict[str, WorkflowActor] = {}
        self.crashes: dict[str, tuple[int, int, str]] = {}
        self.blocked: dict[str, bool] = {}
        """What became known of blocked instances since the start: blocked, or no longer."""
        self.activation = Activation(self, mailboxes, archive, definitions, keys)
        self.passivation = Passivation(clock, self.live, self._drop, epoch, live_max=live_max)
        self.decisions = Decisions(definitions, epoch)
        self._nursery: trio.Nursery | None = None
        self.tombstones = Tombstones(self.live, self._drop)
        self.partitions = self._partitions = Partitions(
            partitions, epoch, checkpoints, first=first, now_ns=clock.now_ns()
        )
        self._catching_up = True
        self._caught_up = trio.Event()
        self._fence = trio.Event()
        self.backlog = 0
        self._folded = self._void = self._dead_count = 0

    # For the daemon.

    def wire(self, requests: Requests, outbox: Outbox, late: Late) -> None:
        """Connect what acts for the owner; once, before ``run``."""
        self.requests, self.tombstones.late = requests, late
        self.outbox = self.passivation.outbox = self.decisions.outbox = outbox

    @property
    def after(self) -> int:
        """The position that the reader has to start behind."""
        return self._partitions.after

    def demand(self) -> int:
        """Return how many more messages may be handed over."""
        return BACKLOG_MAX - self.backlog

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Recover, then host until cancelled. Raises FencedError when another owner came."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for instance, cause in list(self._partitions.listed.items()):
                if instance not in self.live:
                    partition = partition_of(instance, self._partitions.count)
                    self._activate(self._start_actor(instance, partition, cause))
            nursery.start_soon(self.passivation.run)
            task_status.started()
            await self._fence.wait()
            nursery.cancel_scope.cancel()
        # Outside of the nursery, or it would be wrapped in a group that nobody catches.
        raise FencedError(
            f"another daemon took over with epoch {self._partitions.fenced_by}",
            hint="look at `movant status` for who owns the partitions",
        )

    def close(self) -> None:
        """Drop all actors: nothing of a former owner may act beside the next one."""
        for actor in list(self.live.values()):
            self._drop(actor)

    async def drained(self) -> None:
        """Wait until everything that was handed over is folded."""
        # Polled: an event per message would be paid by every message, for one moment of use.
        while self.backlog or any(  # noqa: ASYNC110
            each.activating for each in self.live.values()
        ):
            await trio.sleep(DRAIN_LOOK_S)

    async def caught_up(self) -> None:
        """Wait until our own markers are read; from then on effects are under way."""
        await self._caught_up.wait()

    def registered(self, names: Iterable[str]) -> None:
        """Pin the instances that waited for one of these workflows."""
        wanted = set(names)
        for actor in list(self.live.values()):
            pin = actor.unsettled.get(("pin", actor.instance.workflow))
            if type(pin) is Pin and pin.workflow in wanted:
                self._start_soon(self.decisions.pin, actor, pin)

    def checkpoint(self) -> dict[int, cp.Checkpoint]:
        """Return what to store for each partition, as of now."""
        unsettled = [(at[0], id_, at[1]) for id_, at in self.crashes.items()]
        for actor in self.live.values():
            cause = actor.lowest_cause()
            if actor.activating:  # what it has not folded yet may have effects as well
                cause = actor.threshold if cause is None else min(cause, actor.threshold)
            if cause is not None:
                unsettled.append((actor.partition, actor.id, cause))
        at = self.folded_to()
        found = self._partitions.checkpoints(at, unsettled)
        for checkpoint in found.values():
            for instance, _ in cp.surplus(checkpoint.entries):
                if instance in self.live:
                    self.passivation.cover(self.live[instance])
        return found

    def folded_to(self) -> int:
        """Return the position at or below which everything is folded."""
        unfolded = (each.unfolded for each in self.live.values() if each.unfolded)
        return cp.position(self._partitions.handed, unfolded)

    def statistics(self) -> OwnerStatistics:
        """Return counters since the start."""
        return OwnerStatistics(
            live=len(self.live),
            backlog=self.backlog,
            position=self._partitions.handed,
            folded=self._folded,
            activations=self.activation.count,
            passivations=self.passivation.count,
            wakes=self.passivation.wakes,
            void=self._void,
            late=self.tombstones.count,
            dead=self._dead_count,
            crashed=len(self.crashes),
        )

    # Intake: what the reader read, in order.

    def take(self, batch: Sequence[Delivery]) -> None:
        """Hand each message to its actor. Never waits and never raises for foreign input."""
        live = self.live
        keys = self._keys
        partitions = self._partitions
        starts = partitions.starts
        for delivery in batch:
            partitions.handed = delivery.seq
            parsed = parse(delivery, keys)
            if type(parsed) is Letter:
                if parsed.partition >= partitions.count:
                    self._dead_count += 1
                    self._dead(DeadLetter(delivery, "stray", "there is no such partition"))
                    continue
                if delivery.seq <= starts[parsed.partition]:
                    continue
                mail = parsed.mail
                if type(mail) is not Reply and partitions.is_void(parsed.partition, mail):
                    self._void += 1
                    continue
                actor = live.get(parsed.instance)
                if actor is None:
                    actor = self._arrive(parsed, delivery)
                if actor is not None:
                    self._hand(actor, mail)
            elif type(parsed) is Marker:
                self._mark(parsed)
            elif type(parsed) is DeadLetter:
                self._dead_count += 1
                self._dead(parsed)

    def handed(self, partition: int) -> int:
        """Return the position up to which the markers of a partition are known."""
        return self._partitions.known_to(partition)

    def is_void(self, partition: int, mail: AnyMail) -> bool:
        """Tell whether a message stands behind a marker with a higher epoch."""
        return self._partitions.is_void(partition, mail)

    def _mark(self, marker: Marker) -> None:
        complete = self._partitions.mark(marker)
        if self._partitions.fenced_by:
            self._fence.set()
        elif complete and self._catching_up:
            self._begin()

    def _arrive(self, letter: Letter, delivery: Delivery) -> WorkflowActor | None:
        """Return an actor for an id that is not in memory; None when nobody needs one."""
        mail = letter.mail
        if self.tombstones.is_late(letter, self._partitions.marks[letter.partition]):
            return None
        actor = self._start_actor(letter.instance, letter.partition, mail.seq)
        if (
            type(mail) is not Start
            or not is_first(delivery.headers, letter.instance, self._partitions.count)
            or not self._partitions.is_new(letter.partition, letter.instance, mail.at)
        ):
            actor.needed = mail.seq
            self._activate(actor)
        return actor

    def _start_actor(self, instance_id: str, partition: int, threshold: int) -> WorkflowActor:
        instance = Instance(instance_id, self._definitions.workflow)
        ref = self._system.start(WorkflowActor, self, instance, partition)
        actor = self._system.registry.actor_of(ref)
        assert isinstance(actor, WorkflowActor)
        actor.threshold = threshold
        self.live[instance_id] = actor
        return actor

    def _hand(self, actor: WorkflowActor, mail: AnyMail) -> None:
        """Give an actor its next message, or note that it has to read it from the store."""
        if not actor.unfolded:
            actor.unfolded = mail.seq
        if actor.activating or actor.behind:
            actor.needed = mail.seq
            return
        if actor.backlog >= PER_ACTOR_MAX or (
            (type(mail) is Start or type(mail) is Pinned)
            and mail.definition
            and not self._definitions.is_loaded(mail.definition)
        ):
            actor.needed = mail.seq
            actor.behind = True
            if not actor.backlog:
                self._activate(actor)
            return
        actor.backlog += 1
        self.backlog += 1
        actor.actor_ref.tell(mail)

    # Activation: fold the stored mailbox.

    def _activate(self, actor: WorkflowActor) -> None:
        actor.activating = True
        if not actor.instance.folded:
            actor.threshold = min(
                actor.threshold, self._partitions.listed.pop(actor.id, actor.threshold)
            )
        else:
            actor.threshold = actor.instance.folded + 1
        self._start_soon(self.activation.run, actor)

    def adopt(self, actor: WorkflowActor, effects: Iterable[AnyEffect], parked: set[str]) -> None:
        """Take the effects of a refold: redo those at or above the actor's threshold."""
        actor.close_asks()
        for effect in effects:
            if not actor.instance.is_open(effect):
                continue
            if actor.instance.status == "blocked" and isinstance(effect, Ask | Arm | Pin):
                continue  # it waits for nothing until it is folded with repaired code
            redo = effect.cause >= actor.threshold
            if type(effect) is Ask and not redo and not self._catching_up:
                self.requests.hold(actor, effect)
            elif type(effect) is Ask and not self._catching_up:
                again = effect.options.idempotent or effect.step in parked
                self.requests.resume(actor, effect, again=again)
            elif redo or type(effect) is Ask:
                self._perform(actor, effect)

    def remake(self, actor: WorkflowActor, threshold: int = 0) -> None:
        """Fold the mailbox again from its beginning: its definition has changed, or a wake came.

        Effects at or above the threshold are done again. With a new definition that is all of
        them: the new code may ask earlier for what the old one never asked for, and repeats
        are dropped by their identity.
        """
        waiting = [each.seq for each in actor.actor_inbox.queue if hasattr(each, "seq")]
        needed = max([actor.needed, actor.instance.folded, *waiting])
        self.backlog -= actor.backlog
        actor.backlog = 0
        self._drop(actor)
        fresh = self._start_actor(actor.id, actor.partition, threshold)
        fresh.needed = fresh.unfolded = needed
        self._activate(fresh)

    def activated(self, actor: WorkflowActor) -> None:
        """Let an actor go on with what comes: it has folded all that was handed over."""
        actor.activating = actor.behind = False
        actor.unfolded = 0
        actor.touched = self._clock.monotonic()
        self.crashes.pop(actor.id, None)
        blocked = actor.instance.status == "blocked"
        if blocked or actor.id in self.blocked:
            self.blocked[actor.id] = blocked
        self._retire(actor)

    # Host of the actors: what their folds ask for.

    def folded(self, actor: WorkflowActor, mail: AnyMail, effects: list[AnyEffect]) -> None:
        """Act on what the fold of one message asked for."""
        self._folded += 1
        actor.touched = self._clock.monotonic()
        self._close(actor, mail)
        threshold = actor.again_from(mail)
        if threshold is not None:
            self.remake(actor, threshold)
            return
        for effect in effects:
            self._perform(actor, effect)
        if actor.backlog:
            actor.unfolded = mail.seq + 1
        elif actor.behind:
            self._activate(actor)
        else:
            actor.unfolded = 0
            if actor.instance.finished_at:
                self._retire(actor)

    def _close(self, actor: WorkflowActor, mail: AnyMail) -> None:
        """Drop what the fold of a message has decided."""
        if actor.instance.status == "blocked":
            if not self.blocked.get(actor.id):
                actor.tell_blocked()
            self.blocked[actor.id] = True
        actor.decided(mail)
        if type(mail) is Woken:
            woken(actor, mail)
        elif type(mail) is AttemptTimedOut:
            self.requests.early(actor, mail)

    def crashed(self, actor: WorkflowActor, mail: AnyMail | None, error: BaseException) -> None:
        """Drop an actor whose fold raised; the next message, or a restart, tries again."""
        seq = mail.seq if mail is not None else actor.threshold
        log.error("workflow.crashed", run=actor.id, seq=seq, exc_info=error)
        causes = [seq, actor.unfolded or seq, actor.threshold if actor.activating else seq]
        lowest = actor.lowest_cause()
        if lowest is not None:
            causes.append(lowest)
        self.crashes[actor.id] = (actor.partition, min(causes), f"{type(error).__name__}: {error}")
        self.backlog -= actor.backlog
        actor.backlog = 0
        self._drop(actor)

    def settled(self, actor: WorkflowActor, identity: Any, error: MovantError | None) -> None:
        """Note that an effect was acknowledged, or refused for good."""
        if error is not None:
            log.error("effect.refused", run=actor.id, effect=identity[0], reason=str(error))
        actor.unsettled.pop(identity, None)
        if actor.instance.finished_at:
            self._retire(actor)

    def _perform(self, actor: WorkflowActor, effect: AnyEffect) -> None:
        if type(effect) is Ask and not self._catching_up:
            self.requests.add(actor, effect)
            return
        actor.unsettled[effect.identity] = effect
        if self._catching_up:
            return
        if type(effect) is Pin:
            self._start_soon(self.decisions.pin, actor, effect)
        else:
            self.outbox.perform(actor, effect)

    def _begin(self) -> None:
        """Act from here on: all that former owners wrote is read."""
        self._catching_up = False
        for actor in list(self.live.values()):
            held, actor.unsettled = actor.unsettled, {}
            self.adopt(actor, held.values(), set())
            if actor.instance.finished_at:
                self._retire(actor)
        self._caught_up.set()

    def _retire(self, actor: WorkflowActor) -> None:
        """Drop a finished actor as soon as its last effects are acknowledged."""
        if actor.final and not (actor.backlog or actor.activating or actor.unsettled):
            self.tombstones.remember(actor.id)
            self._drop(actor)

    def _drop(self, actor: WorkflowActor) -> None:
        for identity in list(actor.asks):
            actor.drop_ask(identity)
        if self.live.get(actor.id) is actor:
            del self.live[actor.id]
        self._system.kill(actor.actor_ref)
        self._refill()

    def _start_soon(self, function: Callable[..., Any], *args: Any) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(function, *args)
