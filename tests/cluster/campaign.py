"""Kill the leader again and again while workflows run; then count what was lost.

A plain reply that meets no leader vanishes, and nobody is told (hazard S3). The owner asks
again with the same key; so every instance ends, with the right result, and the only price is
time and steps that are run again.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from protocols.errors import MovantError
from runtime.client.client import Client
from tests.cluster.flows import expected
from tests.support.cluster import NatsCluster, revived
from tests.support.daemon import Process, asking
from tests.support.raw import Raw

FLOWS: Final = Path(__file__).with_name("flows.py")
REASK_S: Final = 1.5
STEPS: Final = 6
WORKERS: Final = 60
"""Instances under way at once."""
BEFORE_S: Final = 1.0
"""Load before each kill."""
DEAD_S: Final = 0.5
"""How long a killed node stays away."""
PATIENCE_S: Final = 60.0
"""Far above an election (4 to 9 s) and a re-ask."""


class Report(msgspec.Struct, kw_only=True):
    """What came of a campaign."""

    ended: int = 0
    wrong: list[str] = []
    gaps_s: list[float] = []
    """From each kill until the next instance ended."""
    replies_sent: int = 0
    """By the plain service."""
    replies_lost: int = 0
    run_again: int = 0
    """Calls of a service beyond the first one with a key."""
    steps: int = 0


class Play:
    """The processes on a cluster."""

    def __init__(self, cluster: NatsCluster, directory: Path) -> None:
        self.cluster = cluster
        self.directory = directory
        self.daemons: list[Process] = []
        self.services: dict[str, Process] = {}

    def daemon(self, name: str) -> Process:
        """Start a daemon."""
        settings = self.directory / "movant.toml"
        settings.write_text(f"replicas = 3\nreask_s = {REASK_S}\n")
        arguments = ["-m", "runtime", "serve", "--nats", self.cluster.url, "--name", name]
        arguments += ["--http", "", "--config", str(settings), "--workflow", str(FLOWS)]
        arguments += ["--store", str(self.directory / name)]
        process = Process(*arguments)
        self.daemons.append(process)
        process.start()
        return process

    def serve(self, kind: str) -> None:
        """Start a service."""
        file = str(self.directory / kind)
        process = Process("-m", "tests.cluster.services", kind, self.cluster.url, file)
        self.services[kind] = process
        process.start()

    def calls(self, kind: str) -> list[list[str]]:
        """Return key and reply subject of each call."""
        path = self.directory / kind
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def close(self) -> None:
        """End all processes."""
        for each in (*self.services.values(), *self.daemons):
            each.close()


@asynccontextmanager
async def playing(cluster: NatsCluster, *, daemons: int = 1) -> AsyncIterator[Play]:
    """Run daemons and both services on a cluster."""
    with tempfile.TemporaryDirectory(prefix="movant-cluster-") as text:
        play = Play(cluster, Path(text))
        async with AsyncExitStack() as stack:
            stack.callback(play.close)
            for number in range(daemons):
                play.daemon(f"d{number + 1}")
            play.serve("hosted")
            play.serve("plain")
            async with asking(cluster.url) as asked:
                try:
                    await asked.ready()
                except trio.TooSlowError as error:
                    log = play.daemons[0].log
                    raise AssertionError(f"the daemon does not answer:\n{log}") from error
            yield play


class Load:
    """Keeps so many instances under way until it is told to stop, and checks each result."""

    def __init__(self, client: Client, report: Report, *, steps: int = STEPS) -> None:
        self._client = client
        self._report = report
        self._steps = steps
        self._started = 0
        self._stop = False
        self._progress = trio.Event()

    def stop(self) -> None:
        """Let what is under way end and begin nothing more."""
        self._stop = True

    async def progress(self) -> float:
        """Wait for the next end of an instance; return how long that took."""
        began = trio.current_time()
        self._progress = trio.Event()
        await self._progress.wait()
        return trio.current_time() - began

    async def run(self, workers: int = WORKERS) -> None:
        """Run until stopped and everything has ended."""
        async with trio.open_nursery() as nursery:
            for _ in range(workers):
                nursery.start_soon(self._work)

    async def _work(self) -> None:
        while not self._stop:
            self._started += 1
            await self._one(self._started)

    async def _one(self, number: int) -> None:
        value = {"n": number, "steps": self._steps}
        report = self._report
        try:
            outcome = await self._client.start(
                "cluster.chain", value, id=f"chain-{number}", wait_s=PATIENCE_S
            )
        except MovantError as error:
            report.wrong.append(f"chain-{number}: {error!r}")
            return
        if outcome.status != "completed" or outcome.result != expected(number, self._steps):
            report.wrong.append(f"chain-{number}: {outcome.status} {outcome.result}")
        report.ended += 1
        report.steps += self._steps
        self._progress.set()


async def kills(play: Play, count: int, *, stream: str = "MAIL") -> Report:
    """Kill the leader of a stream so many times under load; return what was counted."""
    cluster, report = play.cluster, Report()
    async with Client.connect(cluster.url, patience_s=PATIENCE_S) as client:
        load = Load(client, report)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load.run)
            for _ in range(count):
                await trio.sleep(BEFORE_S)
                leader = await trio.to_thread.run_sync(cluster.leader, stream)
                leader.kill()
                with trio.fail_after(PATIENCE_S):
                    report.gaps_s.append(round(await _long_progress(load), 2))
                await trio.sleep(DEAD_S)
                await revived(cluster)
            load.stop()
    await trio.to_thread.run_sync(_count, play, report)
    return report


async def _long_progress(load: Load) -> float:
    """Return the longest pause between ends in the seconds after a kill.

    What was already on its way ends at once; the pause comes behind it.
    """
    longest = 0.0
    began = trio.current_time()
    while longest < 2.0 and trio.current_time() - began < 12.0:
        longest = max(longest, await load.progress())
    return longest


def _count(play: Play, report: Report) -> None:
    """Compare what the services did with what is stored."""
    plain, hosted = play.calls("plain"), play.calls("hosted")
    report.run_again = len(plain) - len({key for key, _ in plain})
    report.run_again += len(hosted) - len({key for key, _ in hosted})
    sent = Counter(reply for _, reply in plain)
    with Raw(play.cluster.url.split(",")[0]) as raw:
        stored = raw.subjects("MAIL", "movant.mail.*.*.reply.>")
    kept: Counter[str] = Counter()
    for subject, times in stored.items():
        kept[subject.split(".", 3)[3]] += times
    report.replies_sent = sum(sent.values())
    report.replies_lost = sum(
        max(0, times - kept[reply.split(".", 2)[2]]) for reply, times in sent.items()
    )
