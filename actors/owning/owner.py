"""Owner: hosts the instances of its partitions. It alone acts for them.

    Intake -> letters -> WorkflowActor (fold) -> folded() -> requests, outbox
                 '- unknown id: activation             '- settled: passivation

An instance may be dropped from memory, or left out of the checkpoint, only when each of its
effects is acknowledged, decided, or covered by a wake. Recovery, takeover and activation are
one operation: fold the mailbox, then redo the effects at or above a threshold that the fold
does not show as done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog
import trio

from actors.core.system import ActorSystem
from actors.definitions.registry import Definitions
from actors.kernel.instance import Instance
from actors.motions.places import Places
from actors.owning.acting import Acting
from actors.owning.activation import Activation
from actors.owning.checkpointing import Checkpointing
from actors.owning.decisions import Decisions
from actors.owning.fold_guard import FoldGuard
from actors.owning.late import Late
from actors.owning.letters import Delivery, Letter
from actors.owning.outbox import Outbox, is_first
from actors.owning.partitions import Partition, Partitions
from actors.owning.passivation import Passivation, woken
from actors.owning.resolving import Resolving
from actors.owning.statistics import OwnerStatistics
from actors.owning.workflow import WorkflowActor
from actors.retention.tombstones import Tombstones
from actors.routing.requests import Requests
from actors.store import checkpoint as cp
from actors.store.archive import Archive
from actors.store.direct_reader import DirectReader
from protocols.effects import AnyEffect, Pin
from protocols.errors import MovantError
from protocols.mail import AnyMail, AttemptTimedOut, Start, Woken
from protocols.ports import Clock
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
    """The partitions of one daemon, on the trio thread. ``run`` belongs under a supervisor.

    Call ``wire`` before ``run``; ``Intake`` brings it what was read.
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
        archive: Archive,
        resolving: Resolving,
        live_max: int = LIVE_MAX,
        refill: Callable[[], None],
    ) -> None:
        self._system = system
        self.guard = guard
        self._clock = clock
        self._keys = keys
        self._mailboxes = mailboxes
        self._definitions = definitions
        self._refill = refill
        self.live: dict[str, WorkflowActor] = {}
        self.crashes: dict[str, tuple[int, int, str]] = {}
        self.blocked: dict[str, tuple[int, bool]] = {}
        """What became known of blocked instances, with their partition: blocked, or no longer."""
        self.places = Places(definitions)
        self.activation = Activation(
            self,
            mailboxes,
            archive,
            definitions,
            keys,
            resolving=resolving,
            clock=clock,
            start_soon=self._start_soon,
        )
        self.passivation = Passivation(
            clock,
            self.live,
            self._drop,
            self.epoch_of,
            lambda partition: self.requests.may_act(partition),  # noqa: PLW0108  # made later
            places=self.places,
            live_max=live_max,
        )
        self.decisions = Decisions(definitions, self.epoch_of)
        self._nursery: trio.Nursery | None = None
        self.tombstones = Tombstones(self.live, self._drop)
        self.partitions = Partitions(partitions)
        self.acting = Acting(
            self.partitions,
            self.passivation.guards,
            lambda *pin: self._start_soon(self.decisions.pin, *pin),
            self.decisions.continued,
        )
        self._checkpointing = Checkpointing(
            self.partitions, self.live, self.crashes, self.passivation.cover
        )
        self._begun = trio.Event()
        """Set, and made anew, whenever a marker of our own was read, or is waited for no more."""
        self.backlog = 0
        self._folded = 0

    # For the daemon.

    def wire(self, requests: Requests, outbox: Outbox, late: Late) -> None:
        """Connect what acts for the owner; once, before ``run``."""
        self.tombstones.late = late
        self.requests = self.acting.requests = self.passivation.requests = requests
        self.outbox = self.acting.outbox = self.passivation.outbox = self.decisions.outbox = outbox

    def demand(self) -> int:
        """Return how many more messages may be handed over."""
        return BACKLOG_MAX - self.backlog

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Host instances until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.passivation.run)
            task_status.started()

    def close(self) -> None:
        """Drop all actors: nothing of a former owner may act beside the next one."""
        for actor in list(self.live.values()):
            self._drop(actor)
        self.requests.parking.clear()

    # Partitions come and go.

    def epoch_of(self, partition: int) -> int:
        """Return the epoch under which a partition is owned; 0 when it is not any more."""
        found = self.partitions.owned.get(partition)
        return 0 if found is None else found.epoch

    def acts_in(self, partition: int) -> bool:
        """Tell whether effects may be done for a partition: it is owned, and stays so."""
        found = self.partitions.owned.get(partition)
        return found is not None and found.begun and not found.leaving

    def begin(self, partition: int, epoch: int, stored: cp.Checkpoint) -> None:
        """Own a partition from here on: fold what a former owner left, then read its tail."""
        found = self.partitions.add(partition, epoch, stored)
        self.partitions.begin_at(found, self._mailboxes.floor, self._clock.now_ns())
        self.activation.open(found)

    def recall(self, partition: Partition, instance: str) -> None:
        """Bring an instance into memory that a former owner left with something to do."""
        cause = partition.listed.get(instance, 0)
        if cause and instance not in self.live and self.acts_in(partition.number):
            actor = self._start_actor(instance, partition.number, cause)
            partition.early.append(actor)
            self._activate(actor)

    def leave(self, partition: int) -> None:
        """Send nothing more for a partition; what was handed over is still folded."""
        found = self.partitions.owned.get(partition)
        if found is not None:
            found.leaving = True
            found.settled.set()

    def forget(self, partition: int) -> None:
        """Own a partition no more: drop its actors, whatever they were at."""
        found = self.partitions.owned.pop(partition, None)
        if found is None:
            return
        found.settled.set()
        found.listed.clear()  # nobody is recalled for it
        self.requests.parking.forget(partition)
        self.places.leave(partition)
        for actor in [each for each in self.live.values() if each.partition == partition]:
            self.backlog -= actor.backlog
            actor.backlog = 0
            self._drop(actor)
        told: tuple[dict[str, Any], ...] = (self.crashes, self.blocked)
        for each in told:  # its next owner knows better
            for instance in [instance for instance, at in each.items() if at[0] == partition]:
                del each[instance]
        self._tell_begun()  # nobody has to wait for its marker any more

    def rouse(self, instance: str, partition: int, cause: int, steps: set[str]) -> None:
        """Bring an instance back that was parked here: its steps can be sent now."""
        if instance not in self.live and self.acts_in(partition):
            actor = self._start_actor(instance, partition, cause)
            actor.never_sent = frozenset(steps)
            self._activate(actor)

    async def drained(self, partition: int | None = None) -> None:
        """Wait until everything that was handed over is folded: of a partition, or of all."""
        for each in self.partitions:
            if partition in {None, each.number}:
                each.settled.set()  # nobody reads on to its marker
        # Polled: an event per message would be paid by every message, for one moment of use.
        while any(  # noqa: ASYNC110
            each.backlog or each.activating
            for each in self.live.values()
            if partition is None or each.partition == partition
        ):
            await trio.sleep(DRAIN_LOOK_S)

    async def caught_up(self) -> None:
        """Wait until our own marker is read in each partition that is owned."""
        while not all(each.begun for each in self.partitions):
            await self._begun.wait()

    def registered(self, names: Iterable[str]) -> None:
        """Pin the instances that waited for one of these workflows."""
        wanted = set(names)
        for actor in list(self.live.values()):
            pin = actor.unsettled.get(("pin", actor.instance.workflow))
            if type(pin) is Pin and pin.workflow in wanted:
                self._start_soon(self.decisions.pin, actor, pin)

    async def checkpoint(self) -> dict[int, cp.Checkpoint]:
        """Return what to store for each partition, as of now."""
        return await self._checkpointing.take()

    def statistics(self) -> OwnerStatistics:
        """Return counters since the start."""
        return OwnerStatistics(
            live=len(self.live),
            backlog=self.backlog,
            position=self.partitions.position,
            folded=self._folded,
            activations=self.activation.count,
            passivations=self.passivation.count,
            wakes=self.passivation.wakes,
            late=self.tombstones.count,
            crashed=len(self.crashes),
        )

    # For the intake.

    def arrive(self, letter: Letter, delivery: Delivery) -> WorkflowActor | None:
        """Return an actor for an id that is not in memory; None when nobody needs one."""
        mail = letter.mail
        partition = self.partitions.owned[letter.partition]
        if self.tombstones.is_late(letter, partition.mark):
            return None
        actor = self._start_actor(letter.instance, letter.partition, mail.seq)
        actor.fresh_from = mail.seq
        if letter.instance in self.crashes:  # what was lost with it is due as well
            actor.threshold = min(actor.threshold, self.crashes[letter.instance][1])
        if (
            type(mail) is not Start
            or not is_first(delivery.headers, letter.instance, self.partitions.count)
            or not partition.is_new(letter.instance, mail.at)
        ):
            actor.needed = mail.seq
            self._activate(actor)
        else:
            actor.holding = not partition.begun
        return actor

    def _start_actor(self, instance_id: str, partition: int, threshold: int) -> WorkflowActor:
        instance = Instance(instance_id, self._definitions.workflow)
        ref = self._system.start(WorkflowActor, self, instance, partition)
        actor = self._system.registry.actor_of(ref)
        assert isinstance(actor, WorkflowActor)
        assert instance_id not in self.live, "who is made anew stands behind all others"
        actor.threshold = threshold
        self.live[instance_id] = actor
        if not (owned := self.partitions.owned[partition]).begun:
            owned.early.append(actor)
        return actor

    def hand(self, actor: WorkflowActor, mail: AnyMail) -> None:
        """Give an actor its next message, or note that it has to read it from the store."""
        if not actor.unfolded:
            actor.unfolded = mail.seq
        if actor.activating or actor.behind:
            actor.needed = mail.seq
            return
        if actor.backlog >= PER_ACTOR_MAX or self.activation.fetches(mail):
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
        actor.activating = actor.holding = True
        if not actor.instance.folded:
            listed = self.partitions.owned[actor.partition].listed
            actor.threshold = min(actor.threshold, listed.pop(actor.id, actor.threshold))
        else:
            actor.threshold = actor.fresh_from = actor.instance.folded + 1
        self.activation.begin(actor)

    def adopt(self, actor: WorkflowActor, effects: Iterable[AnyEffect], parked: set[str]) -> None:
        """Take the effects of a refold; they are done as soon as the actor is up to date."""
        self.acting.adopt(actor, effects, parked)

    def remake(self, actor: WorkflowActor, threshold: int = 0) -> None:
        """Fold the generation again: its definition has changed, or a wake came.

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
        fresh.fresh_from = actor.fresh_from if actor.holding else actor.instance.folded + 1
        fresh.needed = fresh.unfolded = needed
        self._activate(fresh)

    def activated(self, actor: WorkflowActor) -> None:
        """Let an actor go on with what comes: it has folded all that was handed over."""
        actor.activating = actor.behind = False
        actor.unfolded = 0
        actor.touched = self._clock.monotonic()
        self.crashes.pop(actor.id, None)
        if actor.holding and self.partitions.owned[actor.partition].begun:
            self.acting.release(actor)
        blocked = actor.instance.status == "blocked"
        if blocked or actor.id in self.blocked:
            self.blocked[actor.id] = (actor.partition, blocked)
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
            self.acting.perform(actor, effect)
        if actor.holding:
            self.acting.hold_on(actor, mail)
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
            if not self.blocked.get(actor.id, (0, False))[1]:
                actor.tell_blocked()
            self.blocked[actor.id] = (actor.partition, True)
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
        causes += filter(None, [actor.lowest_cause()])
        self.crashes[actor.id] = (actor.partition, min(causes), f"{type(error).__name__}: {error}")
        self.backlog -= actor.backlog
        actor.backlog = 0
        self._drop(actor)

    def settled(self, actor: WorkflowActor, identity: Any, error: MovantError | None) -> None:
        """Note that an effect was acknowledged, or refused for good."""
        if error is not None:
            log.error("effect.refused", run=actor.id, effect=identity[0], reason=str(error))
        actor.unsettled.pop(identity, None)
        if actor.instance.generation > actor.instance.recorded:
            self.decisions.continued(actor)
        if actor.instance.finished_at:
            self._retire(actor)

    def begun(self, partition: Partition) -> None:
        """Act from here on: all that former owners wrote is read."""
        for actor in partition.begin():
            if not (actor.backlog or actor.activating or actor.behind):
                self.acting.release(actor)
                if actor.instance.finished_at:
                    self._retire(actor)
        self._tell_begun()

    def _tell_begun(self) -> None:
        self._begun.set()
        self._begun = trio.Event()

    def _retire(self, actor: WorkflowActor) -> None:
        """Drop a finished actor as soon as its last effects are acknowledged."""
        if actor.final and not (
            actor.backlog or actor.activating or actor.unsettled or actor.held
        ):
            self.tombstones.remember(actor.id, undoes=actor.instance.undoes)
            self.places.forget(actor.id)
            self._drop(actor)

    def _drop(self, actor: WorkflowActor) -> None:
        for identity in list(actor.asks):
            actor.drop_ask(identity)
        actor.gone = True
        if self.live.get(actor.id) is actor:
            del self.live[actor.id]
        self._system.kill(actor.actor_ref)
        actor.instance.close()
        self._refill()

    def _start_soon(self, function: Callable[..., Any], *args: Any) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(function, *args)
