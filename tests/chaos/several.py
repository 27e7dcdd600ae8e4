"""The campaign with several daemons: rounds of one kind of fault under load, then all checks.

    one nats-server <- proxy <- daemon (x N), services, and a driver, all processes

Each round starts a workload of every kind of workflow, does its fault in the middle, and goes
on when all daemons have shared the partitions again. MAIL is collected all the time; a recorder
keeps what is purged, for the checks. At the end everything has to have ended, once, as it had
to; and a program of its own folds every mailbox again (``verify``).
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from actors.owning.membership import LEASE_S
from protocols.errors import MovantError
from runtime.bridge import connect
from tests.chaos.campaign import COLLECTING, FLOWS, READY_S, drive, slowest, until_ended
from tests.chaos.checker import Findings, check
from tests.chaos.proxy import Proxy, proxied
from tests.chaos.reruns import Tally, tally
from tests.chaos.services import records
from tests.chaos.stored import Recorder, read
from tests.chaos.verify import Report as Verified
from tests.chaos.workload import Plan, plan
from tests.support.daemon import Api, Process
from tests.support.nats import NatsServer

PARTITIONS: Final = 64
LOAD_S: Final = 2.0
"""Over this the instances of a round are started."""
COUNT: Final = 34
SHARED_S: Final = 30.0
"""After each fault all daemons are back within this."""
DRAIN_S: Final = 15.0
LIVE_S: Final = 12.0
SLOW_S: Final = 10.0
"""When it takes longer until all have ended, the mailboxes of the last ones are shown."""

MAIN: Final = ("kill", "freeze", "drain", "server")
MORE: Final = ("blink", "join", "partition", "service", "kill two")
FAULTS: Final = (*MAIN, *MORE)


class Outcome(msgspec.Struct, kw_only=True):
    """What came of a series of rounds."""

    daemons: int
    faults: Counter[str]
    findings: Findings
    notes: list[str]
    tally: Tally
    verified: Verified
    back_s: list[float]
    """How long it took until all had their share again, by round."""
    ended_s: float
    log: str = ""


class Stage:
    """The processes of one series."""

    def __init__(self, directory: Path, server: NatsServer) -> None:
        self.directory = directory
        self.server = server
        self.daemons: list[Process] = []
        self.proxies: list[Proxy] = []
        self.services: dict[str, Process] = {}
        self.disruptions: list[tuple[int, int]] = []
        """When something was done that makes owners ask again: from, to (ns since 1970)."""

    def daemon(self, name: str, url: str) -> Process:
        """Return a daemon that is not started."""
        settings = self.directory / "movant.toml"
        settings.write_text(COLLECTING)
        common = ["-m", "runtime", "serve", "--workflow", str(FLOWS), "--name", name]
        common += ["--config", str(settings), "--http", "", "--drain-timeout", "5"]
        return Process(*common, "--nats", url)

    def serve(self, kind: str) -> None:
        """Start a service."""
        file = str(self.directory / f"{kind}.jsonl")
        process = Process("-m", "tests.chaos.services", kind, self.server.url, file)
        self.services[kind] = process
        process.start()

    @contextmanager
    def disturbing(self) -> Iterator[None]:
        """Note that owners may ask again while this lasts, and a moment longer."""
        began = time.time_ns()
        yield
        self.disruptions.append((began, time.time_ns()))

    @property
    def log(self) -> str:
        """What all daemons have written."""
        return "\n".join(f"--- daemon {n}\n{each.log}" for n, each in enumerate(self.daemons))

    def close(self) -> None:
        """End all processes."""
        for process in (*self.services.values(), *self.daemons):
            process.close()


@asynccontextmanager
async def staged(binary: str, daemons: int) -> AsyncIterator[Stage]:
    """Start server, proxies, daemons and services."""
    with tempfile.TemporaryDirectory(prefix="movant-several-") as text:
        async with AsyncExitStack() as stack:
            server = stack.enter_context(NatsServer(binary))
            stage = Stage(Path(text), server)
            stack.callback(stage.close)
            for number in range(daemons):
                proxy = await stack.enter_async_context(proxied(server.port))
                stage.proxies.append(proxy)
                stage.daemons.append(stage.daemon(f"d{number}", proxy.url))
            for each in stage.daemons:
                each.start()
            for kind in ("hosted", "plain", "late"):
                stage.serve(kind)
            yield stage


class Rounds:
    """Does rounds of faults, drawn from a seed."""

    def __init__(self, stage: Stage, api: Api, seed: int) -> None:
        self._stage = stage
        self._api = api
        self._chance = random.Random(f"several {seed}")  # noqa: S311 - a seed that replays it
        self._seed = seed
        self.wanted = Plan(seed)
        self.done: Counter[str] = Counter()
        self.notes: list[str] = []
        self.back_s: list[float] = []

    async def run(self, faults: Sequence[str], *, count: int) -> None:
        """Do one round after the other."""
        async with trio.open_nursery() as nursery:
            await self._shared()
            for number, fault in enumerate(faults):
                load = plan(self._seed * 1_000 + number, count, LOAD_S, f"r{number}-")
                self.wanted.deeds += load.deeds
                self.wanted.expected |= load.expected
                self.wanted.effects |= load.effects
                nursery.start_soon(drive, self._api, load)
                await trio.sleep(self._chance.uniform(0.2, LOAD_S))
                self.done[fault] += 1
                self.notes.append(f"{time.strftime('%H:%M:%S')} round {number}: {fault}")
                await getattr(self, "_" + fault.replace(" ", "_"))()
                began = trio.current_time()
                await self._shared()
                self.back_s.append(round(trio.current_time() - began, 2))

    def _one(self) -> Process:
        return self._chance.choice(self._stage.daemons)

    async def _kill(self) -> None:
        daemon = self._one()
        daemon.kill()
        await trio.sleep(self._chance.uniform(0.0, 1.5))
        daemon.start()

    async def _kill_two(self) -> None:
        daemons = self._chance.sample(self._stage.daemons, 2)
        for each in daemons:
            each.kill()
        await trio.sleep(self._chance.uniform(0.0, 1.0))
        for each in daemons:
            each.start()

    async def _freeze(self) -> None:
        await self._frozen(LEASE_S + self._chance.uniform(1.0, 3.0))

    async def _blink(self) -> None:
        await self._frozen(self._chance.uniform(0.1, 0.5) * LEASE_S)

    async def _frozen(self, seconds: float) -> None:
        daemon = self._one()
        daemon.signal(signal.SIGSTOP)
        await trio.sleep(seconds)
        daemon.signal(signal.SIGCONT)

    async def _drain(self) -> None:
        daemon = self._one()
        daemon.ask_to_end()
        with trio.move_on_after(DRAIN_S):
            while daemon.running:
                await trio.sleep(0.02)
        if daemon.running:
            self.notes.append(f"  the drain took longer than {DRAIN_S} s: killed")
            daemon.kill()
        daemon.start()

    async def _server(self) -> None:
        with self._stage.disturbing():
            self._stage.server.kill()
            await trio.sleep(self._chance.uniform(0.0, 1.0))
            self._stage.server.start()

    async def _service(self) -> None:
        kind = self._chance.choice(["hosted", "plain"])
        with self._stage.disturbing():
            self._stage.services[kind].kill()
            await trio.sleep(self._chance.uniform(0.0, 1.0))
            self._stage.services[kind].start()
            await trio.sleep(1.0)

    async def _partition(self) -> None:
        proxy = self._chance.choice(self._stage.proxies)
        with self._stage.disturbing():
            await proxy.half_open(LEASE_S + self._chance.uniform(1.0, 3.0))

    async def _join(self) -> None:
        newcomer = self._stage.daemon("newcomer", self._stage.server.url)
        newcomer.start()
        try:
            await self._shared(1)
            newcomer.ask_to_end()
            with trio.move_on_after(DRAIN_S):
                while newcomer.running:
                    await trio.sleep(0.02)
        finally:
            newcomer.close()

    async def _shared(self, more: int = 0) -> None:
        """Wait until every daemon lives and owns its share."""
        wanted = len(self._stage.daemons) + more
        share = -(-PARTITIONS // wanted)
        rows: Any = None
        with trio.move_on_after(SHARED_S):
            while True:
                try:
                    rows = (await self._api("status", answer_s=1.5))["daemons"]
                except MovantError:
                    await trio.sleep(0.1)
                    continue
                owned = [len(each["partitions"]) for each in rows if each["state"] == "ready"]
                if len(owned) == wanted and sum(owned) == PARTITIONS and max(owned) <= share:
                    return
                await trio.sleep(0.1)
        raise AssertionError(f"not shared among {wanted} after {SHARED_S} s: {rows}")


async def run(
    seed: int, binary: str, *, daemons: int, faults: Sequence[str], count: int = COUNT
) -> Outcome:
    """Run a series of rounds, and check everything."""
    async with staged(binary, daemons) as stage:
        async with (
            connect(stage.server.url, name="chaos client") as transport,
            trio.open_nursery() as nursery,
        ):
            api = Api(transport)
            await api.ready(READY_S)
            recorder, record = Recorder(), stage.directory / "record"
            nursery.start_soon(recorder.run, transport)
            rounds = Rounds(stage, api, seed)
            findings: Findings = []
            try:
                await rounds.run(faults, count=count)
            except* AssertionError as group:
                findings += [str(each) for each in group.exceptions]
            calm = trio.current_time()
            await until_ended(api, rounds.wanted)
            ended_s = round(trio.current_time() - calm, 1)
            if ended_s > SLOW_S:
                rounds.notes += await slowest(api, rounds.wanted)
            files = {name: stage.directory / f"{name}.jsonl" for name in stage.services}
            findings += await check(
                api, rounds.wanted, files, live_s=LIVE_S, recorder=recorder, record=record
            )
            streams = await read(transport, record)
            recorded = [each for path in files.values() for each in records(path)]
            counted = tally(streams, recorded, stage.disruptions)
            verified = await independently(stage.server.url, "--record", str(record))
            nursery.cancel_scope.cancel()
        return Outcome(
            daemons=daemons,
            faults=rounds.done,
            findings=[*findings, *counted.findings, *verified.findings],
            notes=rounds.notes,
            tally=counted,
            verified=verified,
            back_s=rounds.back_s,
            ended_s=ended_s,
            log=stage.log,
        )


async def independently(url: str, *doctored: str) -> Verified:
    """Let a process of its own fold and compare everything."""
    command = [sys.executable, "-m", "tests.chaos.verify", url, *doctored]
    found = await trio.run_process(
        command, capture_stdout=True, stderr=subprocess.DEVNULL, check=False
    )
    if not found.stdout:
        return Verified(findings=[f"the check ended with {found.returncode} and said nothing"])
    return msgspec.json.decode(found.stdout.splitlines()[-1], type=Verified)


def table(outcome: Outcome) -> str:
    """Return what was measured, in some lines."""
    counted, verified = outcome.tally, outcome.verified
    back = sorted(outcome.back_s) or [0.0]
    return (
        f"{outcome.daemons} daemons, {dict(outcome.faults)}: {len(outcome.findings)} findings\n"
        f"  {verified.instances} instances, {verified.finished} finished,"
        f" {verified.messages} messages, {verified.markers} markers, {verified.void} void\n"
        f"  MAIL begins with {verified.first}, {verified.packs} packs in it, {verified.bundles}"
        f" bundles; the record has missed {verified.missed}\n"
        f"  {counted.attempts} attempts, asked again {counted.asked_again}, possibly dispatched"
        f" {counted.possibly_dispatched}, allowed {counted.most}\n"
        f"  all shared again after {back[len(back) // 2]} s (median), {back[-1]} s (most);"
        f" all ended {outcome.ended_s} s after the last round"
    )
