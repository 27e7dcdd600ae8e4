"""Ferry: carries firings of timers into the mailboxes while the server's own import stands still.

MAIL imports firings from TIMERS as a JetStream source. In a cluster that import needs 13 to
50 s to go on when the server dies that led TIMERS (measured, nats-server 2.15.1 with three
nodes: it looks every 10 s, and waits longer after each failure), though both streams have new
leaders after 4 to 8 s. All sleeps, timeouts and wakes would be late by as much.

So the owner of a partition looks at the import once a second, and when it has been silent for
``SILENT_S`` he publishes the firings behind it himself. When the import goes on it brings the
same firings again: a timer that nobody waits for any more is dropped by the fold, and a wake
that is folded twice only makes somebody look twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog
import trio

from actors.owning.letters import Delivery
from actors.store.direct_reader import DirectReader
from actors.store.stream_writer import StreamWriter
from protocols.errors import MovantError, UnavailableError, UnknownOutcomeError
from protocols.ports import Outgoing, Transport
from protocols.subjects import to_timer

LOOK_S: Final = 1.0
SILENT_S: Final = 3.0
"""A working import hears its source's heartbeat every second."""
ANSWER_S: Final = 2.0
FIRED: Final = "movant.fired.>"
_TOKENS: Final = 5
"""``movant.fired.<p>.<id>.<name>``; a name may have dots."""

log = structlog.get_logger()


class Import(msgspec.Struct, frozen=True):
    """How the import stands: the last sequence of TIMERS that MAIL has, and how long ago."""

    name: str = ""
    seq: int = 0
    active: int = -1
    """Nanoseconds since it was heard; -1: not since its leader came."""

    @property
    def silent(self) -> bool:
        """Whether it stands still."""
        return self.active < 0 or self.active > SILENT_S * 1e9


class Replica(msgspec.Struct, frozen=True):
    """A follower of MAIL."""

    name: str = ""
    current: bool = True
    offline: bool = False
    """Said about half a minute after a death; before that it is only not current."""

    @property
    def problem(self) -> str:
        """What a person should look at, or nothing."""
        if self.current and not self.offline:
            return ""
        return f"server {self.name} is away or behind: MAIL has one copy less"


class _Info(msgspec.Struct):
    """What STREAM.INFO tells about sources and replicas; a leader that is away tells nothing."""

    class Cluster(msgspec.Struct):
        replicas: list[Replica] = []

    sources: list[Import] = []
    cluster: Cluster = msgspec.field(default_factory=Cluster)


_decoder: Final = msgspec.json.Decoder(_Info)


class Ferry:
    """Looks after the import for the partitions that ``acts_in`` names. Run ``run``."""

    def __init__(
        self, transport: Transport, mail: StreamWriter, acts_in: Callable[[int], bool]
    ) -> None:
        self._transport = transport
        self._mail = mail
        self._acts_in = acts_in
        self._through = 0
        self._silent_before = False
        self.carried = 0
        """Firings that were carried so far."""
        self.problems: list[str] = []
        """What is wrong with the replicas of MAIL, as of the last look."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look once a second until cancelled."""
        async with DirectReader(self._transport, "TIMERS") as timers:
            task_status.started()
            while True:
                await trio.sleep(LOOK_S)
                try:
                    await self.look(timers)
                except (UnavailableError, UnknownOutcomeError, msgspec.DecodeError) as error:
                    self.problems = ["MAIL has no leader: nothing is stored"]
                    log.debug("ferry.waiting", reason=str(error))

    async def look(self, timers: DirectReader) -> None:
        """Look once; carry what lies behind an import that stands still.

        Twice in a row it has to be silent: a leader that has just come knows nothing yet.
        """
        found = await self._import()
        if found is None or not found.silent:
            self._silent_before = False
            return
        if not self._silent_before:
            self._silent_before = True
            return
        async for part in timers.follow(FIRED, max(found.seq, self._through)):
            ours = [each for each in part if self._is_ours(each)]
            await self._carry(ours)
            self._through = part[-1].seq

    async def _import(self) -> Import | None:
        answer = await self._transport.request(
            Outgoing("$JS.API.STREAM.INFO.MAIL", b""), timeout_s=ANSWER_S
        )
        told = _decoder.decode(answer.payload)
        self.problems = [each.problem for each in told.cluster.replicas if each.problem]
        return next((each for each in told.sources if each.name == "TIMERS"), None)

    def _is_ours(self, firing: Delivery) -> bool:
        tokens = firing.subject.split(".", _TOKENS - 1)
        return len(tokens) == _TOKENS and tokens[2].isdigit() and self._acts_in(int(tokens[2]))

    async def _carry(self, firings: Sequence[Delivery]) -> None:
        """Publish firings and wait until they are stored."""
        if not firings:
            return
        left = len(firings)
        done = trio.Event()

        def written(_: int, error: MovantError | None) -> None:
            nonlocal left
            left -= 1
            if error is not None:  # the import brings it, later
                log.warning("ferry.refused", reason=str(error))
            if not left:
                done.set()

        for each in firings:
            _, _, _, instance, name = each.subject.split(".", _TOKENS - 1)
            self._mail.write(Outgoing(to_timer(instance, name), each.payload), written)
        await done.wait()
        self.carried += len(firings)
        log.info("ferry.carried", firings=len(firings), through=firings[-1].seq)
