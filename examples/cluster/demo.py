"""Daemons on a cluster of three NATS servers; one daemon and one server are killed meanwhile.

    python -m examples.cluster.demo [--daemons 3] [--calm 4]

Orders are started all the time, twelve in a second. After some seconds the daemon that owns most
is killed (SIGKILL), its partitions are taken over by the others, it is started again and gets a
share back. Then the server that leads the mailboxes is killed; the two others elect a new
leader. At the end every order has its own right result, and no piece of work was done twice. The
exit code is 0 only if all of that is true.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog
import trio

from examples.cluster.orders import expected
from examples.cluster.stage import NAMES, REASK_S, Stage
from movant import Client
from protocols.api import runs as api
from protocols.errors import MovantError
from protocols.ports import Outgoing, Transport
from protocols.subjects import partition_of
from runtime.bridge import connect

STEPS: Final = 3
PARTITIONS: Final = 64
PER_S: Final = 12.0
"""Orders started in a second."""
READY_S_MAX: Final = 60.0
END_S_MAX: Final = 120.0
POLL_S: Final = 0.05
CALM_S: Final = 4.0
"""Before each kill: so long all goes well."""


class Order(msgspec.Struct):
    """One order: when it began and ended, and what is wrong with it."""

    number: int
    began: float
    ended: float = 0.0
    wrong: str = ""

    @property
    def id(self) -> str:
        """Its id."""
        return f"order-{self.number}"

    @property
    def partition(self) -> int:
        """Where its mailbox is."""
        return partition_of(self.id, PARTITIONS)


class Demo:
    """Plays the story and tells it."""

    def __init__(self, stage: Stage, client: Client, monitor: Transport, calm_s: float) -> None:
        self._stage = stage
        self._monitor = monitor
        self._client = client
        self._calm_s = calm_s
        self._began = trio.current_time()
        self._open = True
        self.orders: list[Order] = []

    def tell(self, text: str) -> None:
        """Print what happens, with the time."""
        print(f"  {trio.current_time() - self._began:6.1f} s  {text}", flush=True)

    async def run(self) -> list[str]:
        """Play; return what is wrong."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take_orders, nursery)
            await trio.sleep(self._calm_s)
            await self._lose_a_daemon()
            await trio.sleep(self._calm_s)
            await self._lose_a_server()
            await trio.sleep(self._calm_s)
            self._open = False
            self.tell(f"{len(self.orders)} orders have come in, no more do")
        return self._judge()

    async def _take_orders(self, nursery: trio.Nursery) -> None:
        while self._open:
            order = Order(len(self.orders) + 1, trio.current_time())
            self.orders.append(order)
            nursery.start_soon(self._follow, order)
            await trio.sleep(1 / PER_S)

    async def _follow(self, order: Order) -> None:
        try:
            outcome = await self._client.start(
                "cluster.order", {"number": order.number}, id=order.id, wait_s=END_S_MAX
            )
        except MovantError as error:
            order.wrong = repr(error)
            return
        order.ended = trio.current_time()
        if outcome.status != "completed" or outcome.result != expected(order.number):
            order.wrong = f"{outcome.status}, {outcome.result}"

    async def _lose_a_daemon(self) -> None:
        rows = await self._owners()
        for name, row in sorted(rows.items()):
            self.tell(f"{name:<5} owns {len(row.partitions)} partitions, pid {row.pid}")
        victim = max(rows.values(), key=lambda row: len(row.partitions))
        held = set(victim.partitions)
        under_way = sum(not each.ended and each.partition in held for each in self.orders)
        self._stage.kill_daemon(victim.daemon)
        killed = trio.current_time()
        self.tell(
            f"KILLED daemon {victim.daemon} (SIGKILL): {len(held)} partitions without an owner,"
            f" orders under way in them: {under_way}"
        )
        others = len(rows) > 1
        if not others:
            self._stage.start_daemon(victim.daemon)
        with trio.fail_after(END_S_MAX):
            while not any(each.ended > killed and each.partition in held for each in self.orders):
                await trio.sleep(POLL_S)
        self.tell(
            f"the first of these orders has ended, {trio.current_time() - killed:.1f} s later"
        )
        rows = await self._owners()
        self.tell(f"its partitions are taken: {_shares(rows)}")
        if others:
            self._stage.start_daemon(victim.daemon)
            self.tell(f"{victim.daemon} is started again")
            await self.shared(len(rows) + 1)
            self.tell(f"it got a share back: {_shares(await self._owners())}")

    async def _lose_a_server(self) -> None:
        leader = await self._leader()
        under_way = sum(not each.ended for each in self.orders)
        pid = self._stage.kill_server(leader)
        killed = trio.current_time()
        self.tell(
            f"KILLED server {leader} (SIGKILL, pid {pid}), which led the mailboxes;"
            f" orders under way: {under_way}"
        )
        with trio.fail_after(END_S_MAX):
            while await self._leader() in {"", leader} and self._stage.pid_of(leader) == pid:
                await trio.sleep(POLL_S)
            self.tell(f"its supervisor started it again, pid {self._stage.pid_of(leader)}")
            while not (found := await self._leader()):
                await trio.sleep(POLL_S)
        self.tell(f"{found} leads the mailboxes now, {trio.current_time() - killed:.1f} s later")
        led = trio.current_time()
        with trio.fail_after(END_S_MAX):
            while not any(each.ended > led for each in self.orders):
                await trio.sleep(POLL_S)
        self.tell(f"orders complete again, {trio.current_time() - killed:.1f} s after the kill")

    def _judge(self) -> list[str]:
        notes = self._stage.notes()
        asked, done = notes["asked"], notes["done"]
        twice = len(done) - len(set(done))
        wanted = len(self.orders)
        steps = STEPS * wanted
        slow = sorted(each.ended - each.began for each in self.orders)
        right = sum(bool(each.ended) and not each.wrong for each in self.orders)
        print(f"\n  orders        {wanted}, {right} of them completed with the right result")
        print(f"  time of one   {slow[len(slow) // 2]:.1f} s median, {slow[-1]:.1f} s the longest")
        print(f"  steps         {steps}, each with a key of its own")
        print(f"  requests      {len(asked)}: {len(asked) - len(set(asked))} repeats, same keys")
        print(f"  done twice    {twice}")
        wrong = [f"{each.id}: {each.wrong or 'not ended'}" for each in self.orders if each.wrong]
        if right != wanted:
            wrong.append(f"{wanted - right} orders did not end well")
        if twice:
            wrong.append(f"{twice} pieces of work were done twice")
        if len(set(done)) != steps:
            wrong.append(f"{len(set(done))} pieces of work were done, not {steps}")
        return wrong

    async def _owners(self) -> dict[str, api.DaemonRow]:
        """Return the daemons that live, with what they own."""
        with trio.fail_after(READY_S_MAX):
            while True:
                view = await self._client.status()
                rows = {each.daemon: each for each in view.daemons if each.partitions}
                if sum(len(each.partitions) for each in rows.values()) == PARTITIONS:
                    return rows
                await trio.sleep(POLL_S)

    async def shared(self, daemons: int) -> None:
        """Wait until so many daemons own partitions."""
        with trio.fail_after(READY_S_MAX):
            while len(await self._owners()) < daemons:
                await trio.sleep(POLL_S)

    async def _leader(self) -> str:
        """Return the server that leads the stream of the mailboxes, empty while there is none."""
        try:
            answer = await self._monitor.request(Outgoing("$JS.API.STREAM.INFO.MAIL", b""), 1.0)
        except MovantError:
            return ""
        found = msgspec.json.decode(answer.payload)
        return str((found.get("cluster") or {}).get("leader") or "")


def _shares(rows: dict[str, api.DaemonRow]) -> str:
    return ", ".join(f"{name} {len(row.partitions)}" for name, row in sorted(rows.items()))


async def play(stage: Stage, daemons: int, calm_s: float) -> list[str]:
    """Start everything, play the story, and return what is wrong."""
    print("Starting three NATS servers ...\n", flush=True)
    stage.start_cluster()
    print("Three NATS servers, one cluster; every message is on two of them before it counts:")
    for each in stage.servers:
        print(f"  {each.name}  {each.url}  pid {each.pid}")
    print(
        f"\nDaemons: {', '.join(NAMES[:daemons])}."
        " Services: warehouse, hosted by movant; payments, nats-py alone.\n"
        "What payments answers while no server leads is lost, and asked for again after"
        f" {REASK_S:g} s.\n"
    )
    for name in NAMES[:daemons]:
        stage.start_daemon(name)
    for name in ("warehouse", "payments"):
        stage.start_service(name)
    os.environ.update(stage.login("client"))
    password = stage.password_file("monitor").read_text().strip()
    async with (
        Client.connect(stage.url, patience_s=READY_S_MAX) as client,
        connect(stage.url, name="monitor", user="monitor", password=password) as monitor,
    ):
        demo = Demo(stage, client, monitor, calm_s)
        await demo.shared(daemons)
        demo.tell("all daemons are ready; orders come in")
        wrong = await demo.run()
    for problem in wrong:
        print(f"WRONG: {problem}")
    print("\nNothing lost, nothing done twice." if not wrong else "\nNot as expected.")
    return wrong


def main() -> int:
    """Run the demonstration and return the exit code."""
    parser = argparse.ArgumentParser(description="kill a daemon and a server under load")
    parser.add_argument("--daemons", type=int, default=3, choices=range(1, len(NAMES) + 1))
    parser.add_argument(
        "--calm", type=float, default=CALM_S, help="seconds before each kill, and at the end"
    )
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    with tempfile.TemporaryDirectory(prefix="movant-cluster-") as folder:
        stage = Stage(Path(folder))
        try:
            story = partial(play, stage, options.daemons, options.calm)
            return 1 if trio.run(story) else 0
        except (RuntimeError, MovantError, trio.TooSlowError, BaseExceptionGroup) as error:
            print(f"The demonstration failed: {error!r}")
            for name in stage.daemons:
                print(f"--- {name}\n{stage.log(name)}")
            return 1
        except KeyboardInterrupt:
            print("stopped")
            return 130
        finally:
            stage.clear()


if __name__ == "__main__":
    sys.exit(main())
