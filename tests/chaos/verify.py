"""The independent fold check, a program of its own.

    python -m tests.chaos.verify nats://127.0.0.1:4222 [--record FILE]

It reads the streams itself (``tests.chaos.stored``), works out from the markers which owner
messages are void, folds every mailbox twice with its pinned definition: all that ever stood in
it, from its first message on, and what is left of it after packs, bundles and purges. Status,
result and state hash are compared with each other, with what the daemons tell and with what
they have archived. Of the daemon's code it uses the kernel (that is what a history means) and
the parser of single messages; nothing that owns, reads, packs, activates or checkpoints.

Prints its findings as JSON and exits 1 when there are any. ``--leave-out SEQ`` and ``--ignore
markers|copies`` doctor what was read, to prove that it can fail.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from actors.kernel.instance import Instance
from actors.owning.inbound import parse
from actors.owning.letters import Delivery, Letter
from protocols.effects import FINAL
from protocols.errors import MovantError
from protocols.mail import AnyMail, Continued, Pinned, Start
from runtime.bridge import NatsTransport, connect
from tests.chaos.stored import Streams, is_void, partition_of, read
from tests.support.daemon import Api

ASK_S: Final = 2.0
LATE_MAX: Final = 6
"""Of so many late messages every selection is tried."""
TRIES: Final = 20
"""The daemons may be busy, or one of those that may be asked frozen."""


class Report(msgspec.Struct, kw_only=True):
    """What was looked at, and what is wrong."""

    instances: int = 0
    messages: int = 0
    markers: int = 0
    void: int = 0
    finished: int = 0
    first: int = 0
    """What MAIL begins with: everything before it was collected."""
    packs: int = 0
    bundles: int = 0
    recorded: bool = False
    """Whether there was a record of every message that MAIL ever had."""
    missed: int = 0
    """Messages that are kept and that the record has not."""
    findings: list[str] = []


def valid(
    streams: Streams,
    instance: str,
    *,
    of: Mapping[str, list[Delivery]] | None = None,
    ignore: Collection[str] = (),
) -> list[Delivery]:
    """Return what counts of a mailbox: of all that ever stood in it, or ``of`` what is left."""
    mailbox = (of or streams.mailboxes)[instance]
    if not mailbox:
        return []
    markers = [] if "markers" in ignore else streams.markers.get(partition_of(mailbox), [])
    return [each for each in mailbox if not is_void(each, markers)]


def fold(streams: Streams, instance: str, messages: Iterable[Delivery]) -> Instance:
    """Fold messages from the first to the last with the definition that they pin.

    When a generation's beginning is all that is left of those before, from there on.
    """
    mails: list[AnyMail] = []
    pinned = ""
    for each in messages:
        parsed = parse(each, streams.keys)
        if isinstance(parsed, Letter):
            mails.append(parsed.mail)
            if isinstance(parsed.mail, Start | Pinned) and not pinned:
                pinned = parsed.mail.definition

    def find(name: str, digest: str) -> Any:
        return streams.workflows[digest][name]

    found = Instance(instance, find)
    generations = [each for each in mails if isinstance(each, Continued)]
    if generations and not _reaches(mails, generations[-1]):
        newest = max(generations, key=lambda each: each.generation)
        found = Instance.from_snapshot(instance, newest.snapshot, find)
        mails = [each for each in mails if each.seq > newest.through]
        found.refolding = True
        found.begin()
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
        left = valid(streams, instance, of=streams.kept, ignore=ignore)
        report.instances += 1
        report.messages += len(messages)
        report.void += len(streams.mailboxes[instance]) - len(messages)
        try:
            ours, again, kept = (fold(streams, instance, x) for x in (messages, messages, left))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is what is looked for
            report.findings.append(f"{instance}: cannot be folded: {type(error).__name__} {error}")
            continue
        if ours.state_hash() != again.state_hash():
            report.findings.append(f"{instance}: two folds of one mailbox differ")
        mine = _facts(ours)
        told = {
            "daemons": _view(views.get(instance)),
            "archive": _record(streams.records.get(instance)),
            "what is kept": _facts(kept),
        }
        hashes = _hashes(streams, instance, messages) | {mine["state_hash"]}
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
                    if mine[key] != value and not (key == "state_hash" and value in hashes)
                ]
        if told["daemons"] is None:
            report.findings.append(f"{instance}: no daemon tells about it")
    missing = streams.records.keys() - streams.mailboxes.keys()
    report.findings += [f"{each}: archived, and has no mailbox" for each in sorted(missing)]


def _reaches(mails: list[AnyMail], newest: Continued) -> bool:
    """Tell whether the messages of former generations are there: more than the start is."""
    return sum(each.seq <= newest.through for each in mails) > 1


def _hashes(streams: Streams, instance: str, messages: Iterable[Delivery]) -> set[str]:
    """Return the state hashes that an instance which has ended may be told with.

    Of what comes after the end, a collector drops what comes late enough, and a bundle that was
    made twice, by a daemon and by its successor, has it once only. It moves the time, no more.
    """
    record = streams.records.get(instance)
    if record is None:
        return set()
    told = [each for each in messages if each.seq <= record["through"]]
    late = [each for each in messages if each.seq > record["through"]][:LATE_MAX]
    return {
        fold(streams, instance, [*told, *some]).state_hash()
        for count in range(len(late) + 1)
        for some in combinations(late, count)
    }


def _facts(found: Instance) -> dict[str, Any]:
    return {
        "status": found.status,
        "result": msgspec.json.decode(found.result) if found.result else None,
        "failure": found.failure.kind if found.failure else "",
        "started_at": found.started_at,
        "finished_at": found.finished_at,
        "definition": found.definition,
        "state_hash": found.state_hash(),
    }


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


async def verify(
    url: str, record: Path | None, *, leave_out: Collection[int], ignore: Collection[str]
) -> Report:
    """Read, fold, ask and compare."""
    report = Report()
    async with connect(url, name="verify") as transport:
        streams = await read(transport, record, copies="copies" not in ignore)
        for box in (*streams.mailboxes.values(), *streams.kept.values()):
            box[:] = [each for each in box if each.seq not in leave_out]
        views = await ask_all(transport, streams.mailboxes)
        report.markers = sum(map(len, streams.markers.values()))
        report.first, report.missed = streams.first, streams.missed
        report.packs, report.bundles = streams.packs, streams.bundles
        report.recorded = streams.recorded
        report.findings += streams.findings
        compare(streams, views, report, ignore=ignore)
    return report


def main() -> int:
    """Check one server's streams."""
    parser = argparse.ArgumentParser(description="fold every mailbox and compare")
    parser.add_argument("url")
    parser.add_argument("--record", type=Path, help="what tests.chaos.stored.Recorder wrote")
    parser.add_argument("--leave-out", type=int, action="append", default=[], metavar="SEQ")
    parser.add_argument("--ignore", choices=["markers", "copies"], action="append", default=[])
    options = parser.parse_args()

    async def run() -> Report:
        return await verify(
            options.url, options.record, leave_out=options.leave_out, ignore=options.ignore
        )

    report = trio.run(run)
    print(msgspec.json.encode(report).decode())  # noqa: T201 - a report
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
