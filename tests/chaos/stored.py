"""What the streams hold, read without the daemon's code for packs, bundles and activations.

    MAIL       messages, and packs of what was purged ──┐
    ARCHIVE    bundles of what has ended ───────────────┴─ by sequence ─> what a fold can have now
    a Recorder every message that MAIL ever had ────────────────────────> what there was

A campaign records MAIL while it is written. Then whatever is kept is compared with the record,
and folds begin with the first message; without one they have what is left. Markers that were
purged stand in checkpoints.

The record is no mirror of MAIL: a mirror answers the direct gets of its origin, and so changes
what is to be checked.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from actors.definitions.loading import load
from actors.definitions.stored import KvDefinitionStore
from actors.owning.letters import Delivery
from actors.store.direct_reader import DirectReader
from actors.store.kv import Kv
from protocols.definition import Workflow
from protocols.errors import MovantError
from protocols.tokens import KeyRing
from runtime.bridge import NatsTransport

MARKER: Final = re.compile(r"movant\.mail\.(\d+)\._owner")
DECISION: Final = re.compile(
    r"movant\.mail\.\d+\.[^.]+\.owner\.(pinned|routed|timeout|refused|continued)"
)
SERVER_LINES: Final = b"\r\nNats-Stream: "
BATCH_LINE: Final = re.compile(rb"Nats-Batch-(?:Id|Sequence|Commit): [^\r]*\r\n")
NO_LINES: Final = b"NATS/1.0\r\n\r\n"
EVERY_S: Final = 0.05
"""How often the recorder looks: far more often than MAIL is purged."""

Copied = tuple[int, int, str, bytes, bytes]
"""Of a message in a pack: sequence, time, end of the subject, headers, payload."""

Messages = dict[int, Delivery]
"""By sequence."""


class Streams(msgspec.Struct, kw_only=True):
    """What was read, by partition and by instance."""

    markers: dict[int, list[tuple[int, int]]]
    """Sequence and epoch, in stream order."""
    mailboxes: dict[str, list[Delivery]]
    """All that ever stood in a mailbox, as far as anybody has it."""
    kept: dict[str, list[Delivery]]
    """What a daemon can fold."""
    records: dict[str, dict[str, Any]]
    keys: KeyRing
    workflows: dict[str, dict[str, Workflow[Any]]]
    first: int = 0
    """What MAIL begins with."""
    packs: int = 0
    bundles: int = 0
    recorded: bool = False
    missed: int = 0
    """Messages that are kept and that the record has not."""
    findings: list[str] = []


class _Read(msgspec.Struct):
    """One stream's messages of mailboxes."""

    markers: dict[int, dict[int, int]]
    raw: dict[str, Messages]
    packs: list[Delivery]


class Recorder:
    """Keeps every message of MAIL, whatever is purged. Run it beside the load."""

    def __init__(self) -> None:
        self.messages: list[Delivery] = []

    async def run(self, transport: NatsTransport) -> None:
        """Record until cancelled, over every loss of the connection."""
        async with DirectReader(transport, "MAIL") as mail:
            while True:
                with suppress(MovantError):
                    await self.look(mail)
                await trio.sleep(EVERY_S)

    async def look(self, mail: DirectReader) -> None:
        """Take what has come."""
        after = self.messages[-1].seq if self.messages else 0
        async for part in mail.follow("movant.mail.>", after):
            self.messages += part

    async def write(self, transport: NatsTransport, path: Path) -> None:
        """Take the rest, and write it all to a file."""
        async with DirectReader(transport, "MAIL") as mail:
            await self.look(mail)
        await trio.Path(path).write_bytes(msgspec.msgpack.encode(self.messages))


async def read(
    transport: NatsTransport, record: Path | None = None, *, copies: bool = True
) -> Streams:
    """Read all that is stored, in stream order; without ``copies`` only messages themselves.

    ``record`` is what a ``Recorder`` has written.

    MAIL goes before ARCHIVE: what is purged meanwhile stands higher up by then, or there.
    """
    keys = {each.key: each.value for each in await Kv(transport, "movant_keys").all()}
    store = KvDefinitionStore(Kv(transport, "movant_definitions"))
    workflows = {
        each.hash: load(await store.get(each.hash), each.hash) for each in await store.list()
    }
    async with DirectReader(transport, "MAIL") as mail:
        now = _sorted(await mail.subject("movant.mail.>"))
        first = await mail.first()
    async with DirectReader(transport, "ARCHIVE") as archive:
        stored = [msgspec.json.decode(x.payload) for x in await archive.subject("movant.done.*.*")]
        bundles = await archive.subject("movant.done.*._bundle.>")
    before = _Read(defaultdict(dict), defaultdict(dict), [])
    if record is not None:
        content = await trio.Path(record).read_bytes()
        before = _sorted(msgspec.msgpack.decode(content, type=list[Delivery]))
    if not copies:
        now.packs, bundles = [], []
    found = Streams(
        markers={},
        mailboxes={},
        kept={},
        records={each["id"]: each for each in stored},
        keys=KeyRing(list(keys)[-1], keys),
        workflows=workflows,
        first=first,
        packs=len(now.packs),
        bundles=len(bundles),
        recorded=record is not None,
    )
    for each in await Kv(transport, "movant_checkpoints").all():
        if each.key.isdigit():
            known = msgspec.json.decode(each.value)
            now.markers[int(each.key)].update(known.get("markers", ()))
    kept = _kept(now, bundles, found.findings)
    for partition in now.markers.keys() | before.markers.keys():
        both = before.markers[partition] | now.markers[partition]
        found.markers[partition] = sorted(both.items())
    for instance in sorted(kept.keys() | before.raw.keys()):
        was, now_has = before.raw.get(instance, {}), kept.get(instance, {})
        if record is not None:
            found.missed += len(now_has.keys() - was.keys())
        found.findings += _differing(instance, was, now_has)
        found.kept[instance] = [now_has[seq] for seq in sorted(now_has)]
        union = now_has | was
        found.mailboxes[instance] = [union[seq] for seq in sorted(union)]
    return found


def is_void(delivery: Delivery, markers: Iterable[tuple[int, int]]) -> bool:
    """Tell whether a decision stands behind a marker with a higher epoch than its own."""
    if not DECISION.match(delivery.subject):
        return False
    epoch = msgspec.json.decode(delivery.payload).get("epoch", 0)
    return any(seq < delivery.seq and higher > epoch for seq, higher in markers)


def partition_of(mailbox: Iterable[Delivery]) -> int:
    """Return the partition in which the messages of one mailbox stand."""
    (found,) = {int(each.subject.split(".")[2]) for each in mailbox}
    return found


def plain(headers: bytes) -> bytes:
    """Return a header block without the server's lines and those of an atomic batch."""
    cut = headers.rfind(SERVER_LINES)
    left = BATCH_LINE.sub(b"", headers if cut < 0 else headers[: cut + 2] + b"\r\n")
    return b"" if left == NO_LINES else left


def _sorted(stored: Iterable[Delivery]) -> _Read:
    found = _Read(defaultdict(dict), defaultdict(dict), [])
    for each in stored:
        marker = MARKER.fullmatch(each.subject)
        tokens = each.subject.split(".")
        if marker:
            epoch = msgspec.json.decode(each.payload)["epoch"]
            found.markers[int(marker[1])][each.seq] = epoch
        elif tokens[4] == "pack":
            found.packs.append(each)
        else:
            found.raw[tokens[3]][each.seq] = each
    return found


def _kept(now: _Read, bundles: Iterable[Delivery], findings: list[str]) -> dict[str, Messages]:
    """Return what MAIL has, and what stands in packs and bundles."""
    kept = {instance: dict(raw) for instance, raw in now.raw.items()}

    def add(partition: str, instance: str, copies: Iterable[Copied]) -> None:
        mailbox = kept.setdefault(instance, {})
        for seq, at, rest, headers, payload in copies:
            subject = f"movant.mail.{partition}.{instance}.{rest}"
            copy = Delivery(seq, at, subject, headers, payload)
            findings.extend(_differing(instance, mailbox, {seq: copy}))
            mailbox.setdefault(seq, copy)

    for tokens, content in _contents(now.packs, findings):
        add(tokens[2], tokens[3], msgspec.msgpack.decode(content, type=list[Copied]))
    for tokens, content in _contents(bundles, findings):
        histories = msgspec.msgpack.decode(content, type=dict[str, list[Copied]])
        for instance, copies in histories.items():
            add(tokens[2], instance, copies)
    return kept


def _contents(
    stored: Iterable[Delivery], findings: list[str]
) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """Yield subject and content of packs or bundles; of one in slices when all are there.

    movant.mail.<p>.<id>.pack.<through>.<digest>[.<i>.<n>], and of a bundle as many tokens.
    """
    slices: dict[tuple[str, ...], dict[int, bytes]] = defaultdict(dict)
    for each in stored:
        tokens = each.subject.split(".")
        number, count = (int(tokens[7]), tokens[8]) if len(tokens) > 7 else (0, "1")
        slices[*tokens[:7], count][number] = zlib.decompress(each.payload)
    for key, parts in slices.items():
        if len(parts) < int(key[7]):
            continue  # a pass was cut short
        content = b"".join(parts[number] for number in sorted(parts))
        if hashlib.blake2b(content, digest_size=8).hexdigest() == key[6]:
            yield key, content
        else:
            findings.append(f"{'.'.join(key[:7])} does not have its digest")


def _differing(instance: str, was: Mapping[int, Delivery], now: Messages) -> Iterator[str]:
    """Tell which messages are not what they were."""
    for seq in was.keys() & now.keys():
        if _facts(was[seq]) != _facts(now[seq]):
            yield f"{instance}: {seq} was {_facts(was[seq])}, and is {_facts(now[seq])}"


def _facts(each: Delivery) -> tuple[int, str, bytes, bytes]:
    return each.at, each.subject, plain(each.headers), each.payload
