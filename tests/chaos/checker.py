"""The checker: what must be true of the streams and the services' files after the faults.

It shares the fold with the daemon and nothing else: it reads the whole of every mailbox, from
its first message, without checkpoints, wakes or activations, and looks at each outcome.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from actors.kernel.instance import Instance
from actors.owning.inbound import parse
from actors.owning.letters import Delivery, Letter
from actors.store.direct_reader import DirectReader
from protocols import headers as h
from protocols.archive import ArchiveRecord
from protocols.definition import Workflow
from protocols.effects import FINAL, AnyEffect, Arm, Finish
from protocols.errors import MovantError
from protocols.mail import AnyMail, Fired
from tests.chaos.services import Record, records
from tests.chaos.stored import Recorder, Streams, read
from tests.chaos.verify import valid
from tests.chaos.workload import Expected, Plan
from tests.support.daemon import Api

TRIES: Final = 10
FOLDS: Final = 2
"""A fold is compared with another one of the same mailbox."""

Findings = list[str]


class Stored(msgspec.Struct):
    """What the streams hold."""

    streams: Streams
    archive: dict[str, list[ArchiveRecord]]
    events: dict[str, list[tuple[str, str]]]
    """By instance: kind and id of each event."""
    dead: list[Delivery]


async def check(
    api: Api,
    plan: Plan,
    files: Mapping[str, Path],
    *,
    live_s: float,
    recorder: Recorder | None = None,
    record: Path | None = None,
) -> Findings:
    """Return everything that is wrong; nothing when all is right.

    What was recorded of MAIL is written to ``record`` when all is quiet.
    """
    found: Findings = []
    await _idle(api, found, live_s)
    if recorder is not None and record is not None:
        await recorder.write(api.transport, record)
    stored = await _read(api, record)
    found += stored.streams.findings
    for instance, expected in plan.expected.items():
        _outcome(instance, expected, stored, found)
    found += [f"{each} was never asked for" for each in stored.archive.keys() - plan.expected]
    found += [f"dead letter: {each.subject} {each.headers!r}" for each in stored.dead]
    for instance in stored.streams.mailboxes:
        _fold(instance, stored, found)
    for instance in plan.expected:
        _events(instance, stored, found)
    await _witnessed(api, stored, found)
    _effects(plan, [each for path in files.values() for each in records(path)], found)
    return found


async def _witnessed(api: Api, stored: Stored, found: Findings) -> None:
    """See that every history is as it was stated when it was folded, whoever folded it."""
    for instance in stored.streams.mailboxes:
        try:
            told = await _verified(api, instance)
        except MovantError as error:
            found.append(f"{instance} is not verified: {error}")
            continue
        found += [f"{instance} is not as it was stated: {each}" for each in told["findings"]]
        if told["statements"] != told["published"]:
            found.append(f"{instance}: of its statements {told}")


async def _verified(api: Api, instance: str) -> Any:
    """Return a verification; partitions may change hands, on a busy machine at any time."""
    for _ in range(TRIES):
        with suppress(MovantError):
            return await api("run.verify", id=instance, answer_s=5.0)
        await trio.sleep(0.2)
    return await api("run.verify", id=instance, answer_s=5.0)


async def _idle(api: Api, found: Findings, live_s: float) -> None:
    """See that everybody leaves memory, and that no fold has crashed."""
    counters: Any = None
    with trio.move_on_after(live_s):
        while True:
            try:
                view = await api("status", answer_s=3.0)
            except MovantError as error:
                counters = error
            else:
                counters = view["counters"]
                counters["live"] = sum(each["live"] for each in view["daemons"])
                if not counters["live"]:
                    break
            await trio.sleep(0.2)
    if not isinstance(counters, dict) or counters["live"] or counters["crashed"]:
        found.append(f"the daemon is not idle: {counters}")


async def _read(api: Api, recorded: Path | None) -> Stored:
    transport = api.transport
    streams = await read(transport, recorded)
    archive: dict[str, list[ArchiveRecord]] = defaultdict(list)
    for each in await _all(transport, "ARCHIVE", "movant.done.*.*"):
        record = msgspec.json.decode(each.payload, type=ArchiveRecord)
        archive[record.id].append(record)
    events: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for each in await _all(transport, "EVENTS", "movant.event.>"):
        tokens = each.subject.split(".")
        events[tokens[3]].append((tokens[4], (h.decode(each.headers) or {})["ce-id"]))
    dead = await _all(transport, "DEAD", "movant.dead.>")
    return Stored(streams, archive, events, dead)


async def _all(transport: Any, stream: str, subject: str) -> list[Delivery]:
    async with DirectReader(transport, stream) as reader:
        return await reader.subject(subject)


def _outcome(instance: str, expected: Expected, stored: Stored, found: Findings) -> None:
    """See that an instance ended once, and as it had to (I1, I7, I10)."""
    archived = stored.archive.get(instance, [])
    if len(archived) != 1:
        kinds = [each.subject.split(".", 4)[4][:60] for each in stored.streams.mailboxes[instance]]
        found.append(f"{instance} ended {len(archived)} times; its mailbox: {kinds}")
        return
    record = archived[0]
    kind = record.failure.kind if record.failure else ""
    result = msgspec.json.decode(record.result)
    if record.workflow == "chaos.signals":
        # A careful client sends again what has no id and was not acknowledged. The first one may
        # still wait in its buffer then, until there is a connection again.
        result = list(dict.fromkeys(result))
    if record.status != expected.status or kind != expected.failure:
        found.append(f"{instance} ended as {record.status} {record.failure}, not {expected}")
    elif expected.results and result not in expected.results:
        found.append(f"{instance} returned {result!r}, not {expected.results!r}")


def _fold(instance: str, stored: Stored, found: Findings) -> None:
    """Another fold of the whole mailbox gives what the daemon archived (I2, I3, I6, I7)."""
    mails = _mails(instance, stored)
    folds = [_folded(instance, mails, stored, found) for _ in range(FOLDS)]
    one = folds[0]
    if len({each.state_hash() for each in folds}) != 1:
        found.append(f"{instance}: two folds of one mailbox differ")
    if one.status == "blocked":
        found.append(f"{instance} is blocked: {one.blocked}")
    archived = stored.archive.get(instance)
    if not archived:
        if one.status in FINAL:
            found.append(f"{instance} has ended as {one.status} and is not in the archive")
        return
    record = archived[0]
    theirs = (record.status, record.started_at, record.finished_at, record.definition)
    ours = (one.status, one.started_at, one.finished_at, one.definition)
    kinds = (record.failure and record.failure.kind, one.failure and one.failure.kind)
    if theirs != ours or bytes(record.result) != (one.result or b"null") or kinds[0] != kinds[1]:
        found.append(f"{instance}: archived {record}, folded {ours} {one.result!r}")


def _folded(instance: str, mails: Sequence[AnyMail], stored: Stored, found: Findings) -> Instance:
    """Fold a mailbox; look at what it asks for on the way."""

    def find(name: str, digest: str) -> Workflow[Any]:
        return stored.streams.workflows[digest][name]

    fold = Instance(instance, find)
    fold.refolding = True
    due: dict[str, int] = {}
    finishes: list[int] = []
    for mail in mails:
        if type(mail) is Fired and mail.at < due.get(mail.name, 0):
            found.append(
                f"{instance}: timer {mail.name} fired {due[mail.name] - mail.at} ns early"
            )
        effects: list[AnyEffect] = fold.fold(mail)
        due |= {each.name: each.due for each in effects if type(each) is Arm}
        finishes += [each.cause for each in effects if type(each) is Finish]
    archived = stored.archive.get(instance)
    if archived and finishes != [archived[0].through]:
        found.append(f"{instance}: ended at {finishes}, archived at {archived[0].through}")
    return fold


def _mails(instance: str, stored: Stored) -> list[AnyMail]:
    """Return the valid mail of an instance: nothing behind a marker with a higher epoch."""
    parsed = (parse(each, stored.streams.keys) for each in valid(stored.streams, instance))
    return [each.mail for each in parsed if isinstance(each, Letter)]


def _events(instance: str, stored: Stored, found: Findings) -> None:
    """See that there is a start and one end, and that an id always means the same event."""
    events = stored.events.get(instance, [])
    ends = {kind for kind, _ in events} & set(FINAL)
    kinds: dict[str, set[str]] = defaultdict(set)
    for kind, identity in events:
        kinds[identity].add(kind)
    if len(ends) != 1:
        found.append(f"{instance} has the ends {sorted(ends)}")
    archived = stored.archive.get(instance)
    if archived and ends != {archived[0].status}:
        found.append(f"{instance} is archived as {archived[0].status}, its event is {ends}")
    # One that was cancelled before its code began has not started.
    if not any(kind == "started" for kind, _ in events) and ends != {"cancelled"}:
        found.append(f"{instance} has no event that it started")
    found += [f"{instance}: event {one} is {of}" for one, of in kinds.items() if len(of) > 1]
    lifecycle = Counter(kind for kind, _ in {*events} if kind in {*FINAL, "started"})
    found += [f"{instance}: {n} ids for {kind}" for kind, n in lifecycle.items() if n > 1]


def _effects(plan: Plan, recorded: Sequence[Record], found: Findings) -> None:
    """Every effect happened, once per key, and one key stands for one piece of work (I5)."""
    keys: dict[str, set[str]] = defaultdict(set)
    effects: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for each in recorded:
        keys[each.tag].add(each.key)
        (effects if each.what == "effect" else calls)[each.tag] += 1
    for tag, expected in plan.effects.items():
        if not expected.least <= effects[tag] <= 1:
            found.append(f"{tag} had {effects[tag]} effects, {calls[tag]} calls")
        if len(keys[tag]) > 1:
            found.append(f"{tag} has the keys {sorted(keys[tag])}")
        if expected.calls_max and calls[tag] > expected.calls_max:
            found.append(f"{tag} was asked {calls[tag]} times and may be asked once")
