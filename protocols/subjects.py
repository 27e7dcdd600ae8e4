"""NATS subjects: build, parse, and the rules for ids.

    movant.to.<id>.start.<workflow>                  what others publish
    movant.to.<id>.signal.<name>
    movant.to.<id>.reply.<step>.<attempt>.<token>
    movant.to.<id>.owner.<kind>                      what the partition's owner decides
    movant.to.<id>.control.<verb>
    movant.to.<id>.pack.<through>.<digest>           copies of messages at or below <through>
    movant.mail.<p>.<id>.…                           the same, as MAIL stores it
    movant.mail.<p>._owner                           epoch markers
    movant.timer.<p>.<id>.<name>                     an armed timer
    movant.fired.<p>.<id>.<name>                     its firing; MAIL stores it as
                                                     movant.mail.<p>.<id>.timer.<name>
    movant.timer._cron.<trigger>                     the armed next time of a schedule
    movant.timer._due.<trigger>                      its firing; MAIL does not import it
    movant.svc.<service>.<operation>                 requests to services
    movant.beat.<id>.<step>.<attempt>.<token>        who works on one tells that he is alive
    movant.event.<workflow>.<id>.<kind>              events
    movant.done.<p>.<id>                             the archive record of a finished instance
    movant.done.<p>._bundle.<through>.<first id>.…   histories of finished instances
    movant.api.<group>.<verb>                        the API
    movant.peer.<daemon>.<verb>                      daemons among themselves
    movant.dead.<reason>                             dead letters

The partition of an id is what the server computes with ``{{partition(n,1)}}``: FNV-1a, 32 bit,
modulo n (nats-server, server/subject_transform.go).
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote

from protocols.errors import InvalidIdError

ID_BYTES_MAX: Final = 128
STEP_TOKEN_BYTES_MAX: Final = 64
GENERATION_CHARS_MAX: Final = 18
"""Digits of a generation: below 64 bits."""
NUMBER_CHARS_MAX: Final = 18
"""Below 64 bits; a subject could hold thousands of digits."""
SUBJECT_BYTES_MAX: Final = 1024
"""nats-py closes for good on a subject above the server's 4,096 bytes; ours stay far below."""

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}\Z")
_DOTTED: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*\Z")
_STEP_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")

TO: Final = "movant.to."
MAIL: Final = "movant.mail."
BEATS: Final = "movant.beat.>"
_BEAT_TOKENS: Final = 6
PEERS: Final = "_all"
API_AGAIN: Final = "movant.api.again."
OWNER_TOKEN: Final = "_owner"  # noqa: S105 - a subject token, no secret
BUNDLE_TOKEN: Final = "_bundle"  # noqa: S105 - the same


def is_id(text: str) -> bool:
    """Tell whether ``text`` may be an instance id."""
    return _ID.match(text) is not None


def check_id(text: str, what: str = "id") -> str:
    """Return ``text``, or raise InvalidIdError when it may not be an id."""
    if not is_id(text):
        shown = text if len(text) <= 40 else text[:40] + "…"  # noqa: PLR2004
        raise InvalidIdError(
            f"{what} {shown!r} is not valid",
            hint="letters, digits, '_' and '-', not starting with '_' or '-', 1 to 128 of them",
        )
    return text


def is_number(text: str) -> bool:
    """Tell whether text is decimal digits and nothing else: int() takes no superscripts."""
    return text.isascii() and text.isdigit() and len(text) <= NUMBER_CHARS_MAX


def is_name(text: str) -> bool:
    """Tell whether ``text`` may be the name of a workflow or a service."""
    return len(text) <= ID_BYTES_MAX and _DOTTED.match(text) is not None


def is_step_name(text: str) -> bool:
    """Tell whether ``text`` may be the name of a step, a scope or a signal."""
    return _STEP_NAME.match(text) is not None


def check_name(text: str, what: str = "name") -> str:
    """Return a workflow or service name (dots allowed), or raise InvalidIdError."""
    if not is_name(text):
        raise InvalidIdError(
            f"{what} {text[:60]!r} is not valid",
            hint="letters, digits, '_', '-' and single dots between them, at most 128 in all",
        )
    return text


def is_reply(text: str) -> bool:
    """Tell whether a stranger's reply subject may be answered: it is none of ours.

    Who asks chooses where the answer goes, and it goes there with our rights.
    """
    return text != "" and not text.startswith(("movant.", "$"))


def is_step_reply(text: str) -> bool:
    """Tell whether ``text`` is where a workflow expects a service's reply."""
    return text.startswith(TO) and text.split(".", 4)[3:4] == ["reply"]


@lru_cache(maxsize=16_384)
def check_step_name(text: str) -> str:
    """Return a step, scope or branch name, or raise InvalidIdError."""
    if not is_step_name(text):
        raise InvalidIdError(
            f"step name {text[:60]!r} is not valid",
            hint="letters, digits, '_', '-' and '.', 1 to 128 of them; no '/' and no '#'",
        )
    return text


def partition_of(instance_id: str, partitions: int) -> int:
    """Return the partition of an id, as the server computes it."""
    value = 2166136261
    for byte in instance_id.encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value % partitions


@lru_cache(maxsize=65_536)
def step_token(path: str) -> str:
    """Return the subject token of a path: escaped, and a hash when it is above 64 bytes."""
    token = quote(path.removeprefix("/"), safe="/#").replace(".", "%2E")
    if len(token) <= STEP_TOKEN_BYTES_MAX:
        return token
    digest = hashlib.sha256(path.encode()).hexdigest()[:40]
    generation = generation_of(token)
    return f"~{digest}" if generation == 1 else f"~{generation}~{digest}"


def root_of(generation: int) -> str:
    """Return what the paths of a generation begin with; nothing for the first one."""
    return "" if generation == 1 else f"/@{generation}"


def generation_of(step: str) -> int:
    """Return the generation that a step token belongs to."""
    mark, end = ("~", "~") if step.startswith("~") else ("%40", "/")
    number, found, _ = step.removeprefix(mark).partition(end)
    if not found or not step.startswith(mark) or not (number.isascii() and number.isdigit()):
        return 1
    return int(number[:GENERATION_CHARS_MAX])


def to_start(instance_id: str, workflow: str) -> str:
    """Where a start is published."""
    return f"movant.to.{instance_id}.start.{workflow}"


def to_signal(instance_id: str, name: str) -> str:
    """Where a signal is published."""
    return f"movant.to.{instance_id}.signal.{name}"


def to_reply(instance_id: str, step: str, attempt: int, token: str) -> str:
    """Where a service's reply goes; ``step`` is a step token."""
    return f"movant.to.{instance_id}.reply.{step}.{attempt}.{token}"


class Beat(NamedTuple):
    """Which attempt a beat is about. ``step`` is a step token."""

    instance: str
    step: str
    attempt: int
    token: str


def beat_for(reply: str) -> str:
    """Return where beats of an attempt go whose answer goes to ``reply``."""
    _, _, instance_id, _, rest = reply.split(".", 4)
    return f"{BEATS[:-1]}{instance_id}.{rest}"


def beat_of(subject: str) -> Beat | None:
    """Return which attempt a beat is about; None for what is none."""
    tokens = subject.split(".")
    if len(tokens) != _BEAT_TOKENS or not is_number(tokens[4]):
        return None
    return Beat(tokens[2], tokens[3], int(tokens[4]), tokens[5])


def to_timer(instance_id: str, name: str) -> str:
    """Where a firing is published by hand; stored as one that was imported."""
    return f"movant.to.{instance_id}.timer.{name}"


def to_owner(instance_id: str, kind: str) -> str:
    """Where the partition's owner writes a decision."""
    return f"movant.to.{instance_id}.owner.{kind}"


def to_control(instance_id: str, verb: str) -> str:
    """Where the API writes an operator's verb."""
    return f"movant.to.{instance_id}.control.{verb}"


def to_pack(instance_id: str, through: int, digest: str) -> str:
    """Where copies of an instance's messages at or below ``through`` are published."""
    return f"movant.to.{instance_id}.pack.{through}.{digest}"


def packs(instance_id: str, partition: int) -> str:
    """Return the filter of the packs of one stored mailbox."""
    return f"movant.mail.{partition}.{instance_id}.pack.>"


def mailbox(instance_id: str, partition: int) -> str:
    """Return the filter of one stored mailbox."""
    return f"movant.mail.{partition}.{instance_id}.>"


def marker(partition: int) -> str:
    """Where the epoch markers of a partition are published; stored as they are."""
    return f"movant.mail.{partition}.{OWNER_TOKEN}"


def timer(partition: int, instance_id: str, name: str) -> str:
    """Return the subject of an armed timer; publishing again replaces it."""
    return f"movant.timer.{partition}.{instance_id}.{name}"


def fired(partition: int, instance_id: str, name: str) -> str:
    """Return the subject of a timer's firing in TIMERS."""
    return f"movant.fired.{partition}.{instance_id}.{name}"


def cron(trigger: str) -> str:
    """Return the subject of the armed next time of a schedule."""
    return f"movant.timer._cron.{trigger}"


def cron_due(trigger: str) -> str:
    """Return where the server tells that a schedule is due.

    Not below ``movant.fired``: MAIL has no use for it, and whoever collects there purges it.
    """
    return f"movant.timer._due.{trigger}"


def service(name: str, operation: str) -> str:
    """Return the subject of a service's operation."""
    return f"movant.svc.{name}.{operation}"


def event(workflow: str, instance_id: str, kind: str) -> str:
    """Return the subject of an event; dots in the workflow's name become dashes."""
    return f"movant.event.{workflow.replace('.', '-')}.{instance_id}.{kind}"


def done(partition: int, instance_id: str) -> str:
    """Return the subject of the archive record of a finished instance."""
    return f"movant.done.{partition}.{instance_id}"


def bundle(partition: int, through: int, first: str, digest: str) -> str:
    """Return the subject of histories, of which ``first`` has the least id."""
    return f"movant.done.{partition}.{BUNDLE_TOKEN}.{through}.{first}.{digest}"


def api(verb: str) -> str:
    """Return the subject of an API verb such as ``run.start``."""
    return f"movant.api.{verb}"


def api_again(verb: str) -> str:
    """Return where a request goes that nobody has answered: to every daemon, not to one."""
    return f"{API_AGAIN}{verb}"


def peer(member: str, verb: str) -> str:
    """Return where one daemon asks another one, or all with ``PEERS`` as the member."""
    return f"movant.peer.{member}.{verb}"


def dead(reason: str) -> str:
    """Return the subject of a dead letter."""
    return f"movant.dead.{reason}"
