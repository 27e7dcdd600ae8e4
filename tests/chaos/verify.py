"""The independent fold check, a program of its own.

    python -m tests.chaos.verify nats://127.0.0.1:4222

It reads MAIL and ARCHIVE itself, works out from the markers which owner messages are void,
folds every mailbox from its first message with its pinned definition, and compares status,
result and state hash with what the daemons tell and what they have archived. Of the daemon's
code it uses the kernel (that is what a history means) and the parser of single messages;
nothing that owns, reads, activates or checkpoints.

Prints its findings as JSON and exits 1 when there are any. ``--leave-out SEQ`` and ``--ignore
markers`` doctor what was read, to prove that it can fail.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec
import trio

from actors.direct_reader import DirectReader
from actors.inbound import parse
from actors.kernel.instance import Instance
from actors.kv import Kv
from actors.kv_definitions import KvDefinitionStore
from actors.letters import Delivery, Letter
from actors.loading import load
from protocols.definition import Workflow
from protocols.errors import MovantError
from protocols.mail import AnyMail, Pinned, Start
from protocols.tokens import KeyRing
from runtime.bridge import NatsTransport, connect
from tests.support.daemon import Api

MARKER: Final = re.compile(r"movant\.mail\.(\d+)\._owner")
DECISION: Final = re.compile(r"movant\.mail\.\d+\.[^.]+\.owner\.(pinned|timeout|refused)")
FINAL: Final = frozenset({"completed", "failed", "cancelled"})
ASK_S: Final = 2.0
TRIES: Final = 20
"""The daemons may be busy, or one of those that may be asked frozen."""


class Report(msgspec.Struct, kw_only=True):
    """What was looked at, and what is wrong."""

    instances: int = 0
    messages: int = 0
    markers: int = 0
    void: int = 0
    finished: int = 0
    findings: list[str] = []


class Streams(msgspec.Struct):
    """What was read, by partition and by instance."""

    markers: dict[int, list[tuple[int, int]]]
    """Sequence and epoch, in stream order."""
    mailboxes: dict[str, list[Delivery]]
    records: dict[str, dict[str, Any]]
    keys: KeyRing
    workflows: dict[str, dict[str, Workflow[Any]]]


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


def valid(streams: Streams, instance: str, *, ignore: Collection[str] = ()) -> list[Delivery]:
    """Return what counts of a mailbox."""
    mailbox = streams.mailboxes[instance]
    markers = [] if "markers" in ignore else streams.markers[partition_of(mailbox)]
    return [each for each in mailbox if not is_void(each, markers)]


def fold(streams: Streams, instance: str, messages: Iterable[Delivery]) -> Instance:
    """Fold messages from the first to the last with the definition that they pin."""
    mails: list[AnyMail] = []
    pinned = ""
    for each in messages:
        parsed = parse(each, streams.keys)
        if isinstance(parsed, Letter):
            mails.append(parsed.mail)
            if isinstance(parsed.mail, Start | Pinned) and not pinned:
                pinned = parsed.mail.definition
    found = Instance(instance, lambda name, digest: streams.workflows[digest][name])
    found.refolding = True
    for mail in mails:
        found.fold(mail)
    if found.definition and pinned and found.definition != pinned:
        raise AssertionError(f"folded with {found.definition}, pinned is {pinned}")
    return found


def compare(
    streams: Streams,
    views: Mapping[str, Any],
    report: Report,
    *,
    ignore: Collection[str] = (),
) -> None:
    """Fold every instance twice, and compare with what the daemons tell and have archived."""
    for instance in sorted(streams.mailboxes):
        messages = valid(streams, instance, ignore=ignore)
        report.instances += 1
        report.messages += len(messages)
        report.void += len(streams.mailboxes[instance]) - len(messages)
        try:
            ours, again = (fold(streams, instance, messages) for _ in range(2))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is what is looked for
            report.findings.append(f"{instance}: cannot be folded: {type(error).__name__} {error}")
            continue
        if ours.state_hash() != again.state_hash():
            report.findings.append(f"{instance}: two folds of one mailbox differ")
        told = {
            "daemons": _view(views.get(instance)),
            "archive": _record(streams.records.get(instance)),
        }
        mine = {
            "status": ours.status,
            "result": msgspec.json.decode(ours.result) if ours.result else None,
            "failure": ours.failure.kind if ours.failure else "",
            "started_at": ours.started_at,
            "finished_at": ours.finished_at,
            "definition": ours.definition,
            "state_hash": ours.state_hash(),
        }
        report.finished += ours.status in FINAL
        if ours.status in FINAL and told["archive"] is None:
            report.findings.append(f"{instance}: ended as {ours.status} and is not archived")
        if ours.status not in FINAL and told["archive"] is not None:
            report.findings.append(f"{instance}: archived, and by its mailbox {ours.status}")
        for who, theirs in told.items():
            if theirs is not None:
                report.findings += [
                    f"{instance}: {key} is {mine[key]!r}, and {value!r} for the {who}"
                    for key, value in theirs.items()
                    if mine[key] != value
                ]
        if told["daemons"] is None:
            report.findings.append(f"{instance}: no daemon tells about it")
    missing = streams.records.keys() - streams.mailboxes.keys()
    report.findings += [f"{each}: archived, and has no mailbox" for each in sorted(missing)]


def _view(view: Any) -> dict[str, Any] | None:
    if view is None:
        return None
    keys = ("status", "result", "started_at", "finished_at", "definition", "state_hash")
    found = {key: view.get(key) for key in keys}
    found["finished_at"] = found["finished_at"] or 0
    return {**found, "failure": (view.get("failure") or {}).get("kind", "")}


def _record(record: dict[str, Any] | None) -> dict[str, Any] | None:
    if record is None:
        return None
    found = {key: record[key] for key in ("status", "started_at", "finished_at", "definition")}
    found["failure"] = (record.get("failure") or {}).get("kind", "")
    return {**found, "result": record.get("result")}


async def read(transport: NatsTransport, *, leave_out: Collection[int] = ()) -> Streams:
    """Read all that is stored, in stream order."""
    keys = {each.key: each.value for each in await Kv(transport, "movant_keys").all()}
    store = KvDefinitionStore(Kv(transport, "movant_definitions"))
    workflows = {
        each.hash: load(await store.get(each.hash), each.hash) for each in await store.list()
    }
    markers: dict[int, list[tuple[int, int]]] = defaultdict(list)
    mailboxes: dict[str, list[Delivery]] = defaultdict(list)
    async with DirectReader(transport, "MAIL") as mail:
        for each in await mail.subject("movant.mail.>"):
            found = MARKER.fullmatch(each.subject)
            if found:
                epoch = msgspec.json.decode(each.payload)["epoch"]
                markers[int(found[1])].append((each.seq, epoch))
            elif each.seq not in leave_out:
                mailboxes[each.subject.split(".")[3]].append(each)
    async with DirectReader(transport, "ARCHIVE") as archive:
        stored = [msgspec.json.decode(each.payload) for each in await archive.subject("movant.>")]
    records = {each["id"]: each for each in stored if "id" in each}
    return Streams(markers, mailboxes, records, KeyRing(list(keys)[-1], keys), workflows)


async def ask_all(transport: NatsTransport, instances: Iterable[str]) -> dict[str, Any]:
    """Ask the daemons about every instance."""
    api = Api(transport)
    views: dict[str, Any] = {}
    limit = trio.CapacityLimiter(8)

    async def one(instance: str) -> None:
        for _ in range(TRIES):
            try:
                async with limit:
                    views[instance] = await api("run.show", id=instance, answer_s=ASK_S)
            except MovantError:
                await trio.sleep(0.2)
            else:
                return

    async with trio.open_nursery() as nursery:
        for each in instances:
            nursery.start_soon(one, each)
    return views


async def verify(url: str, *, leave_out: Collection[int], ignore: Collection[str]) -> Report:
    """Read, fold, ask and compare."""
    report = Report()
    async with connect(url, name="verify") as transport:
        streams = await read(transport, leave_out=leave_out)
        views = await ask_all(transport, streams.mailboxes)
        report.markers = sum(map(len, streams.markers.values()))
        compare(streams, views, report, ignore=ignore)
    return report


def main() -> int:
    """Check one server's streams."""
    parser = argparse.ArgumentParser(description="fold every mailbox and compare")
    parser.add_argument("url")
    parser.add_argument("--leave-out", type=int, action="append", default=[], metavar="SEQ")
    parser.add_argument("--ignore", choices=["markers"], action="append", default=[])
    options = parser.parse_args()

    async def run() -> Report:
        return await verify(options.url, leave_out=options.leave_out, ignore=options.ignore)

    report = trio.run(run)
    print(msgspec.json.encode(report).decode())  # noqa: T201 - a report
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
