"""Recordings: the mailbox of a run in one file, and folding it again elsewhere.

A recording has everything that the fold saw, as it stood in the stream, and the definition
that it was folded with. So a run can be examined on another machine, and a changed workflow
can be tried against what has really happened.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from actors.definitions.bundle import Packed
from actors.definitions.loading import load
from actors.owning.discards import discarded, kept, without
from actors.owning.generations import begun, generation_start, replaced_by
from actors.owning.inbound import parse
from actors.owning.letters import DeadLetter, Delivery, Letter
from actors.owning.partitions import is_void
from actors.owning.resolving import refers, with_value
from actors.store.checkpoint import Epochs
from protocols import codec
from protocols.api.runs import (
    EpochMarker,
    MessagePage,
    RunMessages,
    StoredMessage,
    WorkflowFetch,
    WorkflowPacked,
)
from protocols.blobs import LARGE, Blob, reference
from protocols.definition import Workflow
from protocols.effects import Status
from protocols.errors import BadValueError, MovantError, NotFoundError
from protocols.failure import Failure
from protocols.mail import AnyMail, Migrate, Pinned, Signal, Start, Switch
from protocols.routes import RoutingTable, checked, split
from protocols.subjects import check_id
from protocols.tokens import KeyRing
from runtime.client.client import Client
from runtime.version import VERSION

FORMAT: Final = 1


class Stored(msgspec.Struct, frozen=True):
    """One message as it stands in the stream; headers and payload are base64 in JSON."""

    seq: int
    at: int
    subject: str
    headers: bytes = b""
    payload: bytes = b""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run stands: what is compared."""

    status: Status
    result: Any = None
    failure: Failure | None = None
    blocked: str = ""
    waiting: tuple[str, ...] = ()


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """One run. ``dead`` names messages that the daemon took as dead letters."""

    format: int = FORMAT
    id: str
    workflow: str
    definition: str
    movant: str
    exported_at: int
    outcome: Outcome
    messages: tuple[Stored, ...]
    markers: tuple[tuple[int, int], ...] = ()
    dead: tuple[int, ...] = ()
    data: bytes = b""
    """The packed definition; empty when the exporter might not read it."""
    routes: RoutingTable | None = None
    """The routing table that the run is pinned to, if there is one."""
    others: dict[str, WorkflowPacked] = {}
    """The definitions that it had before it went over to another one, by hash."""
    blobs: dict[str, bytes] = {}
    """The values that messages refer to, by digest."""


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What a fold of a recording gave. No ``differences``: the same as recorded."""

    id: str
    definition: str
    folded: int
    outcome: Outcome
    recorded: Outcome
    differences: tuple[str, ...]


async def record(client: Client, run: str, now_ns: int) -> Recording:
    """Read the whole mailbox of a run.

    Raises NotFoundError.
    """
    view = await client.show(check_id(run), raw=True)
    dead = [entry.seq async for entry in client.history(run) if entry.kind == "dead"]
    stored: list[StoredMessage] = []
    markers: list[EpochMarker] = []
    after = 0
    while True:
        page = await client.calls.call(
            "run.messages", RunMessages(id=run, after=after), MessagePage
        )
        stored += page.messages
        markers = markers or page.markers
        after = page.next
        if not after:
            break
    packed = await _definition(client, view.definition)
    blobs = {}
    for each in stored:
        blob = _blob_in(each)
        if blob is not None and blob.digest not in blobs:
            blobs[blob.digest] = await client.large.content(run, blob)
    recording = Recording(
        id=run,
        workflow=view.workflow,
        definition=view.definition,
        movant=VERSION,
        exported_at=now_ns,
        outcome=Outcome(
            status=view.status,
            result=view.result,
            failure=view.failure,
            blocked=view.blocked,
            waiting=tuple(sorted(f"{each.kind} {each.path}" for each in view.waiting)),
        ),
        messages=tuple(
            Stored(each.seq, each.at, each.subject, each.headers, each.payload) for each in stored
        ),
        markers=tuple((each.seq, each.epoch) for each in markers),
        dead=tuple(dead),
        data=packed.data,
        routes=packed.routes,
        blobs=blobs,
    )
    others = {digest: await _definition(client, digest) for digest in _former(recording)}
    return msgspec.structs.replace(recording, others=others)


def _former(recording: Recording) -> list[str]:
    """Return the definitions of the parts of a mailbox before its last one."""
    mails = mails_of(recording)
    if not any(type(each) is Switch for each in mails):
        return []
    named = [each.definition for each in mails if isinstance(each, Start | Pinned | Migrate)]
    named += [each.order.definition for each in mails if type(each) is Switch]
    return [each for each in dict.fromkeys(named) if each and each != recording.definition]


def _loaded(data: bytes, digest: str, table: RoutingTable | None) -> dict[str, Workflow[Any]]:
    workflows = load(data, split(digest)[0])
    if table is None:
        return workflows
    routes = checked(table)
    return {name: each.with_routes(routes) for name, each in workflows.items()}


def read(data: bytes) -> Recording:
    """Return the recording of a file. Raises BadValueError."""
    try:
        recording = msgspec.json.decode(data, type=Recording)
    except msgspec.DecodeError as error:
        raise BadValueError(
            f"this is no exported run: {error}", hint="movant run export RUN writes one"
        ) from error
    if recording.format != FORMAT:
        raise BadValueError(
            f"the export has format {recording.format}, this movant reads {FORMAT}",
            hint="replay it with the version of movant that wrote it",
        )
    return recording


def replay(recording: Recording, packed: Packed | None = None) -> Replayed:
    """Fold a recording with its own definition, or with ``packed``; nothing is sent.

    Raises NotFoundError when there is no definition, and what loading it raises.
    """
    data, digest = recording.data, recording.definition
    if packed is not None:
        data, digest = packed.data, packed.hash
    if not data:
        raise NotFoundError(
            f"the export does not hold definition {digest}",
            hint="movant run replay FILE --with WORKFLOW.py folds it with another one",
        )
    workflows = _loaded(data, digest, recording.routes)
    others = {
        name: _loaded(each.data, name, each.routes)
        for name, each in recording.others.items()
        if each.data
    }

    def find(name: str, wanted: str) -> Workflow[Any]:
        known = others.get(wanted, workflows)
        if name not in known:
            raise NotFoundError(f"definition {digest} has no workflow {name!r}")
        return known[name]

    whole = mails_of(recording)
    snapshot, mails = generation_start(whole)
    replaced = replaced_by(whole) if others else {}
    if snapshot is not None:
        snapshot = kept(snapshot, discarded(whole)) or snapshot
        signals = (with_value(each, recording.blobs) for each in snapshot.signals)
        told = tuple(each for each in signals if isinstance(each, Signal))
        snapshot = msgspec.structs.replace(snapshot, signals=told)
        replaced = {0: digest}  # not the one that it names: what is tried is the code at hand
    instance = begun(recording.id, snapshot, find, replaced)
    instance.refolding = True
    if snapshot is not None:
        instance.begin()
    for mail in mails:
        instance.fold(mail)
    outcome = Outcome(
        status=instance.status,
        result=codec.decode(instance.result, LARGE) if instance.result else None,
        failure=instance.failure,
        blocked=str(instance.blocked) if instance.blocked is not None else "",
        waiting=tuple(sorted(f"{each.kind} {each.path}" for each in instance.waiting())),
    )
    return Replayed(
        id=recording.id,
        definition=digest,
        folded=len(mails),
        outcome=outcome,
        recorded=recording.outcome,
        differences=tuple(_differences(recording.outcome, outcome)),
    )


class _AnyToken(KeyRing):
    """Takes every reply token: the keys stay with the daemon, which has judged already."""

    def verify(self, token: str, instance_id: str, step: str, attempt: int) -> bool:
        """Take it."""
        del token, instance_id, step, attempt
        return True


_ANY_TOKEN: Final = _AnyToken("none", {"none": b""})


def mails_of(recording: Recording) -> list[AnyMail]:
    """Return what the daemon folded: no dead letters, nothing behind a higher epoch."""
    epochs = Epochs(recording.markers)
    dead = set(recording.dead)
    mails: list[AnyMail] = []
    for each in recording.messages:
        delivery = Delivery(each.seq, each.at, each.subject, each.headers, each.payload)
        parsed = parse(delivery, _ANY_TOKEN)
        if isinstance(parsed, DeadLetter) or each.seq in dead or not isinstance(parsed, Letter):
            continue
        if not is_void(epochs, parsed.mail):
            mails.append(parsed.mail)
    whole = without(mails, discarded(mails))
    return [with_value(each, recording.blobs) for each in whole]


def _blob_in(message: StoredMessage) -> Blob | None:
    """Return what a message refers to, if it does."""
    delivery = Delivery(message.seq, message.at, message.subject, message.headers, message.payload)
    parsed = parse(delivery, _ANY_TOKEN)
    if not isinstance(parsed, Letter) or not refers(parsed.mail):
        return None
    return reference(parsed.mail.body)  # type: ignore[union-attr]  # what refers has a body


def _differences(recorded: Outcome, replayed: Outcome) -> list[str]:
    found = []
    for name in ("status", "result", "failure", "waiting"):
        before, after = getattr(recorded, name), getattr(replayed, name)
        if before != after:
            found.append(f"{name}: recorded {_shown(before)}, replayed {_shown(after)}")
    if replayed.blocked and replayed.blocked != recorded.blocked:
        found.append(f"blocked: {replayed.blocked}")
    return found


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def _definition(client: Client, digest: str) -> WorkflowPacked:
    """Return the packed definition and its table; without data when it cannot be read."""
    if digest:
        try:
            return await client.calls.call(
                "workflow.fetch", WorkflowFetch(hash=digest), WorkflowPacked
            )
        except MovantError:
            pass
    return WorkflowPacked(hash=digest, data=b"")
