"""One run of the campaign: a workload under faults, and then the check."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from protocols import headers as h
from protocols.codec import encode
from protocols.errors import MovantError, RefusedError
from protocols.ports import Outgoing
from runtime.bridge import connect
from runtime.server.credentials import ensure
from tests.chaos.checker import Findings, check
from tests.chaos.faults import Faults
from tests.chaos.proxy import Proxy, proxied
from tests.chaos.workload import Deed, Plan, plan
from tests.support.daemon import Api, Process
from tests.support.nats import NatsServer

FLOWS: Final = Path(__file__).parent / "definitions" / "chaos_flows.py"
FAULTS_S: Final = 13.0
SPREAD: Final = 0.8
"""The share of that time in which instances are started."""
LATE: Final = 0.7
"""The share after which the service that was absent comes."""
BOUND_S: Final = 75.0
"""All ends within this after the last fault: above two re-asks of 30 s."""
LIVE_S: Final = 12.0
"""Nobody stays in memory longer than this: idle time, a look, and a busy machine."""
SLOW_S: Final = 32.0
"""One wake later than the last fault: whoever takes longer is shown."""
CROWDED: Final = 3
"""Instances in memory when crowded: all others leave at once and live by timers and wakes."""
COLLECTING: Final = "[retention]\nmessages_min = 100\nchunk = 32\nbusy_max = 1.0\n"
"""MAIL is collected all the time, under every fault."""
READY_S: Final = 60.0
"""Several daemons start at once, on a machine that may be busy."""
RETRY_S: Final = 0.1
SERVER_BACK_S: Final = 10.0


class Report(msgspec.Struct, kw_only=True):
    """What came of one seed."""

    seed: int
    variant: str
    findings: Findings
    faults: Counter[str]
    notes: list[str]
    ended_s: float
    """How long after the last fault the last instance ended."""
    log: str = ""


class Play:
    """The processes of one run."""

    def __init__(
        self,
        url: str,
        directory: Path,
        daemon: Process,
        *,
        server: NatsServer | None = None,
        proxy: Proxy | None = None,
        service_url: str = "",
    ) -> None:
        self.url = url
        self.service_url = service_url or url
        self.directory = directory
        self.server = server
        self.proxy = proxy
        self.daemon = daemon
        self.services: dict[str, Process] = {}

    def file(self, service: str) -> Path:
        """Return where a service records what it does."""
        return self.directory / f"{service}.jsonl"

    def serve(self, kind: str) -> None:
        """Start a service."""
        process = Process(
            "-m", "tests.chaos.services", kind, self.service_url, str(self.file(kind))
        )
        self.services[kind] = process
        process.start()

    def server_pid(self) -> int:
        """Return the pid of the server, 0 while there is none."""
        if self.server is not None:
            return self.server.pid
        try:
            for task in Path(f"/proc/{self.daemon.pid}/task").iterdir():
                for child in (task / "children").read_text().split():
                    if Path(f"/proc/{child}/comm").read_text().strip() == "nats-server":
                        return int(child)
        except FileNotFoundError:
            pass
        return 0

    async def kill_server(self) -> None:
        """Kill the server; it is started again at once."""
        if self.server is not None:
            self.server.kill()
            self.server.start()
            return
        pid = self.server_pid()
        if pid:
            os.kill(pid, signal.SIGKILL)
            with trio.move_on_after(SERVER_BACK_S):
                while self.server_pid() in {0, pid}:
                    await trio.sleep(0.02)

    def close(self) -> None:
        """End all processes."""
        for process in (*self.services.values(), self.daemon):
            process.close()


@asynccontextmanager
async def playing(binary: str, variant: str, *, crowded: bool) -> AsyncIterator[Play]:
    """Start server, proxy, daemon and services."""
    with tempfile.TemporaryDirectory(prefix="movant-chaos-") as text:
        directory = Path(text)
        common = ["-m", "runtime", "serve", "--workflow", str(FLOWS), "--name", "chaos"]
        common += ["--http", "", "--drain-timeout", "3"]
        settings = directory / "movant.toml"
        limits = f"[limits]\nlive_instances_max = {CROWDED}\n" if crowded else ""
        settings.write_text(COLLECTING + limits)
        common += ["--config", str(settings)]
        async with AsyncExitStack() as stack:
            if variant == "embedded":
                port = _free_port()
                store = directory / "s"
                store.mkdir(mode=0o700)
                secrets = ensure(store)  # the daemon would make them; services start beside it
                daemon = Process(*common, "--store", str(store), "--port", str(port))
                admin, service = (
                    f"nats://{user}:{secrets[user]}@127.0.0.1:{port}"
                    for user in ("admin", "service")
                )
                play = Play(admin, directory, daemon, service_url=service)
            else:
                server = stack.enter_context(NatsServer(binary))
                proxy = await stack.enter_async_context(proxied(server.port))
                daemon = Process(*common, "--nats", proxy.url)
                play = Play(server.url, directory, daemon, server=server, proxy=proxy)
            stack.callback(play.close)
            daemon.start()
            yield play


async def run(
    seed: int,
    binary: str,
    *,
    variant: str,
    crowded: bool,
    count: int,
    faults: int,
    faults_s: float = FAULTS_S,
) -> Report:
    """Run one seed and return what was found."""
    wanted = plan(seed, count, faults_s * SPREAD)
    async with playing(binary, variant, crowded=crowded) as play:
        with trio.fail_after(30.0):
            while not _listens(int(play.url.rpartition(":")[2])):
                await trio.sleep(0.05)
        async with connect(play.url, name="chaos client") as transport:
            api = Api(transport)
            await api.ready(READY_S)
            doing = Faults(play, seed, count=faults)
            play.serve("hosted")
            play.serve("plain")
            async with trio.open_nursery() as keeping:
                keeping.start_soon(doing.keep)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(drive, api, wanted)
                    nursery.start_soon(_come_late, play, faults_s * LATE)
                    nursery.start_soon(doing.run, faults_s)
                calm = trio.current_time()
                await until_ended(api, wanted)
                ended_s = trio.current_time() - calm
                keeping.cancel_scope.cancel()
            findings = await check(
                api, wanted, {name: play.file(name) for name in play.services}, live_s=LIVE_S
            )
            if ended_s > SLOW_S:
                doing.notes += await slowest(api, wanted)
        return Report(
            seed=seed,
            variant=variant,
            findings=findings,
            faults=doing.done,
            notes=doing.notes,
            ended_s=round(ended_s, 1),
            log=play.daemon.log,
        )


async def slowest(api: Api, wanted: Plan) -> list[str]:
    """Return the mailboxes of those that ended last, with times before their end."""
    views = [await api("run.show", id=each) for each in wanted.expected]
    views.sort(key=lambda each: -each.get("finished_at", 0))
    lines = []
    for view in views[:6]:
        for each in (await api("run.history", id=view["id"], limit=100))["entries"]:
            before_s = (view.get("finished_at", 0) - each["at"]) / 1e9
            what = each.get("path") or each.get("name") or each.get("summary") or ""
            lines.append(f"  {view['id']} -{before_s:.2f} s {each['seq']} {each['kind']} {what}")
    return lines


async def _come_late(play: Play, after_s: float) -> None:
    await trio.sleep(after_s)
    play.serve("late")


async def drive(api: Api, wanted: Plan) -> None:
    """Do the deeds, those of one instance one after the other."""
    began = trio.current_time()
    queues: dict[str, list[Deed]] = {}
    for each in wanted.deeds:
        queues.setdefault(each.id, []).append(each)

    async def one(deeds: list[Deed]) -> None:
        for deed in deeds:
            await trio.sleep_until(began + deed.at_s)
            await _do(api, deed)

    async with trio.open_nursery() as nursery:
        for deeds in queues.values():
            nursery.start_soon(one, deeds)


async def _do(api: Api, deed: Deed) -> None:
    """Do one deed until it is acknowledged, as a careful client does."""
    while True:
        try:
            match deed.verb:
                case "api":
                    await api(
                        "run.start",
                        workflow=deed.workflow,
                        id=deed.id,
                        input=deed.data,
                        answer_s=3.0,
                    )
                case "signal":
                    await api(
                        "run.signal",
                        id=deed.id,
                        name=deed.workflow,
                        data=deed.data,
                        message_id=deed.message_id,
                        answer_s=3.0,
                    )
                case "cancel":
                    await api("run.cancel", id=deed.id, message_id=deed.message_id, answer_s=3.0)
                case "raw":
                    await _publish(api, f"movant.to.{deed.id}.start.{deed.workflow}", deed)
                case "raw_signal":
                    await _publish(api, f"movant.to.{deed.id}.signal.{deed.workflow}", deed)
        except RefusedError:
            raise
        except MovantError:
            await trio.sleep(RETRY_S)
        else:
            return


async def _publish(api: Api, subject: str, deed: Deed) -> None:
    lines = {}
    payload = encode(deed.data)
    if deed.msgpack:
        lines[h.CONTENT_TYPE] = "application/msgpack"
        payload = msgspec.msgpack.encode(deed.data)
    if deed.message_id:
        lines[h.MESSAGE_ID] = deed.message_id
    message = Outgoing(subject, payload, h.encode(lines) if lines else b"")
    answer = await api.transport.request(message, 3.0)
    told: Any = msgspec.json.decode(answer.payload)
    if "seq" not in told:
        raise AssertionError(f"{subject} was not stored: {told}")


async def until_ended(api: Api, wanted: Plan) -> None:
    """Wait until all have ended, or the bound is over: the check tells who has not."""
    with trio.move_on_after(BOUND_S):
        while True:
            try:
                ended = 0
                for status in ("completed", "failed", "cancelled", "blocked"):
                    ended += (await api("run.ls", status=status, limit=1, answer_s=3.0))["total"]
                if ended >= len(wanted.expected):
                    return
            except MovantError:
                pass
            await trio.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
