"""Events about instances: CloudEvents 1.0 in binary mode over NATS.

An event is published to ``movant.event.<workflow>.<id>.<kind>``. Its attributes are headers
with the prefix ``ce-``, its data is the payload, so any CloudEvents consumer can read it.

Attribute values are percent-encoded as the NATS binding of CloudEvents demands: space, double
quote, percent, and whatever is not printable ASCII. Values in double quotes, which older
senders write, are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec

from protocols.blobs import BLOB
from protocols.codec import decode, encode
from protocols.effects import FINAL
from protocols.errors import BadValueError
from protocols.headers import CONTENT_TYPE, JSON
from protocols.subjects import check_id, check_name

TYPE_PREFIX: Final = "movant.workflow."
TYPE_VERSION: Final = ".v1"
SOURCE_PREFIX: Final = "/movant/workflow/"
SPEC_VERSION: Final = "1.0"

STARTED: Final = "started"
QUEUED: Final = "queued"
"""A run waits for its turn: so many of its workflow are active; data has the limit."""
COMPENSATING: Final = "compensating"
"""What can be undone is about to be; data has the paths of the steps, in order."""
COMPENSATED: Final = "compensated"
"""It has failed or was cancelled, and is undone."""
COMPENSATION_INCOMPLETE: Final = "compensation_incomplete"
"""It has failed or was cancelled, and some of it could not be undone, or nobody knows."""
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
BLOCKED: Final = "blocked"
"""The mailbox cannot be folded with this code; data says why."""
RESUMED: Final = "resumed"
"""A blocked instance goes on."""
INCIDENT: Final = "incident"
"""Somebody has to look: data says at what."""
OUTCOME_UNKNOWN: Final = "outcome_unknown"
"""Nobody knows whether a step was done: a person has to say; data says which one."""
OUTCOME_DECIDED: Final = "outcome_decided"
"""A person has said whether a step was done; data has the word."""
GATE_OPENED: Final = "gate_opened"
"""A person has to decide; data has the gate with all that it shows."""
GATE_VOTED: Final = "gate_voted"
"""One of several people has approved; data has who, and how many there are."""
GATE_ESCALATED: Final = "gate_escalated"
"""Nobody has decided in time, and others may as well now; data has the gate."""
GATE_OVERDUE: Final = "gate_overdue"
"""Nobody has decided in time, and the gate still waits."""
GATE_DELEGATED: Final = "gate_delegated"
"""Somebody has handed his say over; data has the gate, by whom, and to whom."""
GATE_REMINDED: Final = "gate_reminded"
"""People are reminded of an open gate; data has which reminder it is."""
GATE_DECIDED: Final = "gate_decided"
"""A gate has ended; data has the decision, who made it, from where and why, and the changes."""
GATE_WITHDRAWN: Final = "gate_withdrawn"
"""A gate was given up: what it stood in was cancelled."""
UPDATE_ANSWERED: Final = "update_answered"
"""An update was accepted or answered; data has its message id, and how."""
GUARDRAIL_VIOLATED: Final = "guardrail_violated"
"""A rule does not hold for a step; data has the rule, why, and what that leads to."""
BUDGET_EXHAUSTED: Final = "budget_exhausted"
"""There is not enough in a budget for a step; data has the budget and why."""
CONTINUED: Final = "continued"
"""A new generation has begun; data has its number."""
MIGRATED: Final = "migrated"
"""An operator has given the instance other code; data has its definition."""
REPAIRED: Final = "value_repaired"
"""A person has put back a value that was missing, or given it up; data has the message."""
MIGRATION_REFUSED: Final = "migration_refused"
"""A run could not go over to another definition where it stood; data says why."""
WITNESSED: Final = "witnessed"
"""A statement about messages without a transition; data says how many."""
MAILBOX_LARGE: Final = "mailbox_large"
"""The mailbox of a generation nears its limit; data has the numbers."""
ROUTED: Final = "routed"
"""Who serves an attempt was chosen; data has the candidates, their scores, and why."""
RUNNING_LATE: Final = "running_late"
"""A run, a step or a state takes longer than it should; data says which, since when."""
LATE: Final = "late"
"""A service succeeded for an instance that had ended long ago; data says at which step."""
TRIGGER_FIRED: Final = "trigger_fired"
"""A trigger has started or signalled a run; data has the trigger, and when it was due."""
TRIGGER_LATE: Final = "trigger_late"
"""The same, for a time that was missed."""
TRIGGER_SKIPPED: Final = "trigger_skipped"
"""A trigger was due and has done nothing; data says why. Its id is that of the trigger."""
TRIGGER_REFUSED: Final = "trigger_refused"
"""What came could not start a run, or who asked might not; data says why."""
TRIGGER_KINDS: Final = {
    "fired": TRIGGER_FIRED,
    "late": TRIGGER_LATE,
    "skipped": TRIGGER_SKIPPED,
    "refused": TRIGGER_REFUSED,
}
"""The event of what a trigger did."""
TRANSITION: Final = "transition"
"""A motion has gone from one state to another."""
ATTESTED: Final = frozenset({GUARDRAIL_VIOLATED, BUDGET_EXHAUSTED})
"""Kinds that an interpreter of graphs states."""
DEPLOYED: Final = "deployed"
"""New instances of a workflow start with another definition; its hash stands for the instance."""
ROLLED_BACK: Final = "rolled_back"
"""They start with an earlier one again."""
STATED: Final = frozenset(
    {
        STARTED,
        CONTINUED,
        MIGRATED,
        REPAIRED,
        OUTCOME_DECIDED,
        GATE_DECIDED,
        *ATTESTED,
        WITNESSED,
        TRANSITION,
        *FINAL,
    }
)
"""Kinds whose data has a statement, as ``witness``."""
LIFECYCLE: Final = (
    QUEUED,
    STARTED,
    CONTINUED,
    MIGRATED,
    REPAIRED,
    MIGRATION_REFUSED,
    WITNESSED,
    TRANSITION,
    MAILBOX_LARGE,
    RUNNING_LATE,
    COMPENSATING,
    COMPLETED,
    FAILED,
    COMPENSATED,
    COMPENSATION_INCOMPLETE,
    CANCELLED,
    BLOCKED,
    RESUMED,
    INCIDENT,
    OUTCOME_UNKNOWN,
    OUTCOME_DECIDED,
    GATE_OPENED,
    GATE_VOTED,
    GATE_ESCALATED,
    GATE_OVERDUE,
    GATE_DELEGATED,
    GATE_REMINDED,
    GATE_DECIDED,
    GATE_WITHDRAWN,
    UPDATE_ANSWERED,
    GUARDRAIL_VIOLATED,
    BUDGET_EXHAUSTED,
    ROUTED,
    LATE,
    *TRIGGER_KINDS.values(),
)
"""Kinds that movant publishes itself; an author's events have kinds of their own."""
_FREE: Final = frozenset(
    {QUEUED, RESUMED, INCIDENT, LATE, UPDATE_ANSWERED, *TRIGGER_KINDS.values()}
)
"""An interpreter such as that of motions tells of some; others authors could have before."""
RESERVED: Final = (*(kind for kind in LIFECYCLE if kind not in _FREE), DEPLOYED, ROLLED_BACK)
"""Kinds that ``ctx.emit`` refuses."""

CE_ID: Final = "ce-id"
CE_TYPE: Final = "ce-type"
CE_SOURCE: Final = "ce-source"
CE_SUBJECT: Final = "ce-subject"
CE_TIME: Final = "ce-time"
CE_SPEC_VERSION: Final = "ce-specversion"
CE_TRACEPARENT: Final = "ce-traceparent"
CE_CONTENT_TYPE: Final = "ce-datacontenttype"

_STRUCTURED: Final = "application/cloudevents"
_NS_PER_S: Final = 1_000_000_000
_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII
)
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\Z')
_PLAIN: Final = re.compile(r"[!#$&-~]*\Z")
"""What needs no encoding: printable ASCII but space, double quote and percent."""
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_ESCAPE_CHARS: Final = 3


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has happened to an instance.

    ``id`` is the same whenever the event is published again, so that consumers can drop
    repeats; ``at`` is in nanoseconds since 1970, UTC.
    """

    id: str
    kind: str
    workflow: str
    instance: str
    at: int
    data: Any = None
    traceparent: str = ""

    @property
    def type(self) -> str:
        """The CloudEvents type, such as ``movant.workflow.completed.v1``."""
        return f"{TYPE_PREFIX}{self.kind}{TYPE_VERSION}"


def to_wire(event: Event) -> tuple[dict[str, str], bytes]:
    """Return headers and payload of an event. Raises RefusedError for what cannot be sent."""
    check_name(event.kind, "event kind")
    found = {
        CE_SPEC_VERSION: SPEC_VERSION,
        CE_ID: event.id,
        CE_TYPE: event.type,
        CE_SOURCE: SOURCE_PREFIX + check_name(event.workflow, "workflow name"),
        CE_SUBJECT: check_id(event.instance),
        CE_TIME: to_time(event.at),
        CE_CONTENT_TYPE: JSON,
    }
    if event.traceparent:
        found[CE_TRACEPARENT] = event.traceparent
    encoded = {name: percent_encode(value) for name, value in found.items()}
    return {CONTENT_TYPE: JSON, **encoded}, encode(event.data)


def from_wire(headers: Mapping[str, str], payload: bytes) -> Event:
    """Return the event of a message; large data are the reference to them.

    Raises BadValueError when it is none of movant's.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    content_type = lower.get("content-type", "")
    if content_type.lower().startswith(_STRUCTURED):
        raise BadValueError("events in structured mode are not read", hint="send binary mode")
    found = {
        name: percent_decode(_unquote(value))
        for name, value in lower.items()
        if name.startswith("ce-")
    }
    for name in (CE_SPEC_VERSION, CE_ID, CE_TYPE, CE_SOURCE, CE_SUBJECT, CE_TIME):
        if not found.get(name):
            raise BadValueError(f"the header {name} is missing: this is no event")
    if found[CE_SPEC_VERSION] != SPEC_VERSION:
        raise BadValueError(f"CloudEvents {found[CE_SPEC_VERSION]!r} is not {SPEC_VERSION}")
    kind, source = found[CE_TYPE], found[CE_SOURCE]
    if not (kind.startswith(TYPE_PREFIX) and kind.endswith(TYPE_VERSION)):
        raise BadValueError(f"events of type {kind!r} are not movant's")
    if not source.startswith(SOURCE_PREFIX):
        raise BadValueError(f"events from {source!r} are not movant's")
    data_type = found.get(CE_CONTENT_TYPE, content_type)
    return Event(
        id=found[CE_ID],
        kind=kind.removeprefix(TYPE_PREFIX).removesuffix(TYPE_VERSION),
        workflow=source.removeprefix(SOURCE_PREFIX),
        instance=found[CE_SUBJECT],
        at=from_time(found[CE_TIME]),
        data=decode(payload, "" if data_type == BLOB else data_type),
        traceparent=found.get(CE_TRACEPARENT, ""),
    )


def percent_encode(text: str) -> str:
    """Encode an attribute value for a header. Raises BadValueError for a lone surrogate."""
    if _PLAIN.match(text):
        return text
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadValueError(f"{text!r} is no valid text") from error
    return "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte not in b'"%' else f"%{byte:02X}"  # noqa: PLR2004 - printable ASCII
        for byte in raw
    )


def percent_decode(text: str) -> str:
    """Decode an attribute value. Raises BadValueError for an invalid sequence.

    Guessing would make two events of one; characters that should have been encoded but were
    not are taken as they are, because that loses nothing.
    """
    raw = bytearray()
    at = 0
    while at < len(text):
        if text[at] != "%":
            raw += text[at].encode("utf-8", "surrogatepass")
            at += 1
            continue
        digits = text[at + 1 : at + _ESCAPE_CHARS]
        if len(digits) != _ESCAPE_CHARS - 1 or not _HEX.issuperset(digits):
            raise BadValueError(f"{text[at : at + _ESCAPE_CHARS]!r} is no percent sequence")
        raw.append(int(digits, 16))
        at += _ESCAPE_CHARS
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadValueError(f"{text!r} encodes no valid text") from error


def to_time(at: int) -> str:
    """Return nanoseconds since 1970 as an RFC 3339 time in UTC, all nine digits kept."""
    seconds, fraction = divmod(at, _NS_PER_S)
    return f"{_whole(seconds)}.{fraction:09}Z"


@lru_cache(maxsize=1_024)
def _whole(seconds: int) -> str:
    return f"{_1970 + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}"


def from_time(text: str) -> int:
    """Return the nanoseconds since 1970 of an RFC 3339 time. Raises BadValueError."""
    found = _TIME.match(text)
    try:
        if found is None:
            raise ValueError("not RFC 3339")
        moment = datetime.fromisoformat((found[1] + found[3]).upper())
        seconds = (moment - _1970) // timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise BadValueError(f"{text[:60]!r} is no time") from error
    return seconds * _NS_PER_S + int((found[2] or "0").ljust(9, "0"))


def _unquote(text: str) -> str:
    found = _QUOTED.match(text)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else text
