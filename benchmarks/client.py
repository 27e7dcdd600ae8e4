"""The client's side of a benchmark: who has ended, what the archive says, the wire's own speed."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
import trio

from actors.owning.letters import Delivery
from actors.store.direct_reader import DirectReader
from protocols.archive import ArchiveRecord
from protocols.errors import MovantError
from protocols.ports import Frame, Outgoing
from runtime.bridge.transport import NatsTransport
from runtime.client.client import Client

POLL_S: Final = 0.01
ANSWER_S: Final = 5.0
TIDY_S: Final = 1.5
"""The daemon gives memory back within a second."""
COLLECTED_S: Final = 4.0
"""When no pass has begun for so long, none is due."""
DORMANT_POLL_S: Final = 0.1
SHARED_S: Final = 30.0
SHARED_POLL_S: Final = 0.1
RECORD: Final = msgspec.json.Decoder(ArchiveRecord)


class Finished:
    """Counts completed instances by their events."""

    def __init__(self, wanted: int) -> None:
        self.ids: dict[str, float] = {}
        self._wanted = wanted
        self._done = trio.Event()

    def take(self, frames: Sequence[Frame]) -> None:
        """Note which instances have ended."""
        now = time.perf_counter()
        for frame in frames:
            self.ids.setdefault(frame.subject.split(".")[3], now)
        if len(self.ids) >= self._wanted:
            self._done.set()

    async def wait(self) -> None:
        """Wait until all have ended."""
        await self._done.wait()


async def archived(transport: NatsTransport) -> int:
    """Return how many instances are in the archive, 0 while nobody answers."""
    try:
        answer = await transport.request(Outgoing("$JS.API.STREAM.INFO.ARCHIVE", b""), 1.0)
        return int(msgspec.json.decode(answer.payload)["state"]["messages"])
    except (MovantError, KeyError, msgspec.DecodeError):
        return 0


async def until_archived(transport: NatsTransport, wanted: int, limit_s: float) -> bool:
    """Wait until so many instances are in the archive; tell whether that came true."""
    with trio.move_on_after(limit_s):
        while await archived(transport) < wanted:
            await trio.sleep(POLL_S)
        return True
    return False


async def stored(transport: NatsTransport, stream: str, subject: str) -> list[Delivery]:
    """Return all messages of a stream that match a subject filter, in order."""
    async with DirectReader(transport, stream) as reader:
        return await reader.subject(subject)


async def records(transport: NatsTransport) -> dict[str, tuple[float, ArchiveRecord]]:
    """Return by id what the archive says, with the wall-clock time at which it was stored."""
    found = await stored(transport, "ARCHIVE", "movant.done.*.*")
    decoded = [(each.at / 1e9, RECORD.decode(each.payload)) for each in found]
    return {record.id: (at, record) for at, record in decoded}


def is_right(record: ArchiveRecord, result: Any) -> bool:
    """Tell whether an instance completed with the result that is expected."""
    return record.status == "completed" and msgspec.json.decode(record.result) == result


async def shared(client: Client, names: Collection[str], partitions: int) -> dict[str, list[int]]:
    """Wait until these daemons have even shares of the partitions; return the shares by name."""
    with trio.fail_after(SHARED_S):
        while True:
            owned: dict[str, list[int]] = {name: [] for name in names}
            for row in (await client.status()).owners:
                if row.daemon in owned and row.position:  # its marker was read
                    owned[row.daemon].append(row.partition)
            sizes = [len(each) for each in owned.values()]
            if sum(sizes) == partitions and max(sizes) <= -(-partitions // len(sizes)):
                return owned
            await trio.sleep(SHARED_POLL_S)


async def until_dormant(client: Client, limit_s: float) -> None:
    """Wait until no instance is in the daemon's memory, and that memory is given back."""
    with trio.fail_after(limit_s):
        while (await client.status()).counters["live"]:
            await trio.sleep(DORMANT_POLL_S)
    await trio.sleep(TIDY_S)


async def until_collected(client: Client, limit_s: float) -> float:
    """Wait until no pass over MAIL goes on; return the seconds that it took."""
    began = since = trio.current_time()
    with trio.fail_after(limit_s):
        while trio.current_time() < since + COLLECTED_S:
            if (await client.status()).counters["collector_under_way"]:
                since = trio.current_time()
            await trio.sleep(DORMANT_POLL_S)
    return round(since - began, 1)


async def round_trips_per_s(transport: NatsTransport, count: int = 2_000) -> float:
    """Return core NATS round trips per second, one after the other."""
    inbox = transport.new_inbox()

    def answer(frames: Sequence[Frame]) -> None:
        for each in frames:
            transport.publish(Outgoing(each.reply, b""))

    subscription = await transport.subscribe(inbox, answer)
    began = time.perf_counter()
    for _ in range(count):
        await transport.request(Outgoing(inbox, b""), ANSWER_S)
    took = time.perf_counter() - began
    subscription.unsubscribe()
    return count / took
