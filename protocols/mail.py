"""What stands in a workflow's mailbox: the messages that a fold sees.

On the wire a message is a subject, headers and a payload; ``actors.owning.inbound`` makes these
Structs from them. Every one carries ``seq`` (its stream sequence) and ``at`` (the server's
timestamp, nanoseconds since 1970, UTC). Foreign kinds keep their payload as bytes: the fold
decodes what it consumes.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.failure import Failure
from protocols.gates.words import GateWord
from protocols.routes import Scored
from protocols.updates import Answer
from protocols.witness import Head, Operator

LARGE_VALUES: Final = 2
"""The kernel from which on values may be as large as a blob."""
QUEUES: Final = 3
"""The kernel from which on a run waits for its turn, where its workflow limits how many begin."""
CLEAR_ANSWERS: Final = 4
"""The kernel from which on an answer that tells a failure in wrong words is no success."""
KERNEL: Final = 4
"""What new starts are folded with, and definitions that are packed now; all else as it was."""


class Mail(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Base of all mailbox messages. ``leaf`` is what statements name it by; wakes have none."""

    seq: int
    at: int
    leaf: bytes = b""


class Parent(msgspec.Struct, frozen=True, kw_only=True):
    """Which step of which instance waits for a child."""

    instance: str
    path: str


class Start(Mail, frozen=True, kw_only=True, tag="start"):
    """Start the instance; the first one counts, later ones are dropped."""

    workflow: str
    body: bytes
    content_type: str = ""
    message_id: str = ""
    definition: str = ""
    parent: Parent | None = None
    traceparent: str = ""
    priority: int = 0
    """Who goes first where requests have to wait: -9 a batch, 9 an emergency."""
    by: Operator | None = None
    """Who has started it, from where and why; None: the start does not say."""
    profile: str = ""
    """Under which of its profiles it runs."""
    group: str = ""
    """By what it is counted, where its workflow limits how many may be active."""
    kernel: int = 1
    """The semantics that it is folded with; from 2 on, values may be as large as a blob."""


class Signal(Mail, frozen=True, kw_only=True, tag="signal"):
    """A signal by name. Without a message id every copy is a signal of its own."""

    name: str
    body: bytes
    content_type: str = ""
    message_id: str = ""
    by: Operator | None = None
    reference: bytes = b""
    """What stands in the mailbox when ``body`` was fetched from a blob; snapshots have that."""
    asks: bool = False
    """Its sender waits to be told what becomes of it: who takes it answers."""


class Reply(Mail, frozen=True, kw_only=True, tag="reply"):
    """A service's answer to one attempt of a step; ``failure`` is None for a success."""

    step: str
    """The step token of the path (``protocols.subjects.step_token``)."""
    attempt: int
    body: bytes = b""
    content_type: str = ""
    failure: Failure | None = None
    odd: str = ""
    """Why its headers make no sense; what then counts depends on the kernel."""


class Fired(Mail, frozen=True, kw_only=True, tag="timer"):
    """A timer has fired; it counts only when ``at`` is not before its due time."""

    name: str
    """Timer name: the step token of the path that armed it."""


class Woken(Mail, frozen=True, kw_only=True, tag="wake"):
    """The firing of a wake: effects with a cause >= ``since`` are due again. No fold state."""

    number: int
    epoch: int
    since: int
    parked: tuple[str, ...] = ()


class Pinned(Mail, frozen=True, kw_only=True, tag="owner.pinned"):
    """The definition that a raw start is folded with; the first valid one counts."""

    epoch: int
    definition: str
    kernel: int = 1
    libraries: dict[str, str] = {}


class AttemptTimedOut(Mail, frozen=True, kw_only=True, tag="owner.timeout"):
    """The owner gave an attempt up. Counts only when ``at`` >= asked + the step's timeout."""

    epoch: int
    step: str
    attempt: int


class AttemptRefused(Mail, frozen=True, kw_only=True, tag="owner.refused"):
    """The owner did not dispatch an attempt: nobody serves it, or a policy forbids it.

    Or its service was silent for too long; then the outcome is unknown, and the failure has what
    its last beat said.
    """

    epoch: int
    step: str
    attempt: int
    failure: Failure


class Routed(Mail, frozen=True, kw_only=True, tag="owner.routed"):
    """The owner chose who serves an attempt; the first valid choice counts.

    ``candidates`` and ``reason`` tell how it came to that, for people.
    """

    epoch: int
    step: str
    attempt: int
    service: str
    candidates: tuple[Scored, ...] = ()
    reason: str = ""


class TurnWord(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a run may begin, by a limit of how many there are: it waits, may, or must not.

    All else is for those who count: of which ``group`` the run is, its ``limit`` and
    ``priority``, and the sequence of its start (``place``), by which it stands in the queue.
    """

    said: Literal["queued", "granted", "refused"]
    group: str = ""
    limit: int = 0
    priority: int = 0
    place: int = 0


class Turn(Mail, frozen=True, kw_only=True, tag="owner.turn"):
    """The owner says whether a run may begin; the first word but ``queued`` counts."""

    epoch: int
    word: TurnWord


class ChildEnded(Mail, frozen=True, kw_only=True, tag="owner.child"):
    """A child workflow has ended; written by the child's owner, identified by step."""

    step: str
    child: str
    status: str
    body: bytes = b""
    content_type: str = ""
    failure: Failure | None = None


class Lacking(Mail, frozen=True, kw_only=True, tag="lacking"):
    """Stands for a message whose blob is missing or altered: no fold can go on behind it.

    Nothing of it is recorded: with the blob back, the same mailbox folds to its end. Only that a
    person has given it up is.
    """

    message: str
    of: Start | Signal | Reply | ChildEnded | Fork
    """What it stands for, with the reference instead of the value."""
    discarded: bool = False
    """A person has given the value up: it blocks no more, see ``Repaired``."""


class Cancel(Mail, frozen=True, kw_only=True, tag="control.cancel"):
    """An operator or a parent asks the instance to cancel."""

    message_id: str = ""
    reason: str = ""
    by: Operator | None = None


class UndoAll(Mail, frozen=True, kw_only=True, tag="control.undo"):
    """An operator asks the instance to stop and to undo what it did."""

    message_id: str = ""
    reason: str = ""
    by: Operator | None = None


class Word(msgspec.Struct, frozen=True):
    """What a person says about a step: its path, the attempt, and the result if it was done."""

    step: str
    attempt: int
    done: bool
    result: Any = None


class Reviewed(Mail, frozen=True, kw_only=True, tag="control.review"):
    """A person's word about an attempt of which nobody knew whether it had an effect."""

    step: str
    attempt: int
    done: bool
    body: bytes = b""
    """The encoded result, when it was done."""
    message_id: str = ""
    by: Operator | None = None


class Decided(Mail, frozen=True, kw_only=True, tag="control.gate"):
    """A person's word at a gate."""

    word: GateWord
    message_id: str = ""
    by: Operator | None = None


class Migrate(Mail, frozen=True, kw_only=True, tag="control.migrate"):
    """Fold the current generation with another definition: repaired code, or a newer version.

    The last one counts, for all messages of the generation, also for those before it; or, with
    ``since``, for all messages from that ``Switch`` on.
    """

    definition: str
    since: int = 0
    """Sequence of the switch whose definition it replaces; 0: the first one."""
    message_id: str = ""
    by: Operator | None = None


class SwitchOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """To which definition a run goes over, and how: the body of a switch."""

    definition: str
    moves: dict[str, str] = {}
    """Names of steps or states that have changed, old to new."""
    accept: tuple[str, ...] = ()
    """Steps whose effect is another one in the new definition, though they have run."""
    whole: bool = False
    """Whether every step keeps what it came to; without it the first 500 do, as it was once."""


class Switch(Mail, frozen=True, kw_only=True, tag="control.switch"):
    """Go on with another definition from here: what was done before stays as it was done.

    What came before is folded with the definition of before. A switch that is not possible
    where the run stands does nothing.
    """

    order: SwitchOrder
    message_id: str = ""
    by: Operator | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Which run another one was forked from, at which step, and how that stood then."""

    run: Annotated[str, Meta(description="Id of the other run.")]
    step: Annotated[str, Meta(description="The step or state at which this one began.")]
    through: Annotated[
        int, Meta(description="Sequence of the last message of the other run that was folded.")
    ]
    head: Annotated[
        str, Meta(description="Hash of its latest statement then; empty: it had made none.")
    ] = ""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a fork takes over from its origin: the payload of the message.

    ``standing`` is in the words of whoever interprets the definition, and ``start`` tells the one
    start that it is for (``start_digest``).
    """

    origin: Origin
    start: str
    standing: dict[str, Any]


def start_digest(workflow: str, definition: str, body: bytes) -> str:
    """Return by what a fork knows its start again."""
    content = b"\n".join((workflow.encode(), definition.encode(), body))
    return blake2b(content, digest_size=16).hexdigest()


class Fork(Mail, frozen=True, kw_only=True, tag="control.fork"):
    """What the run begins with that the start of the same message id starts.

    It stands before that start, and does nothing without it. ``body`` is an encoded ``Taken``.
    """

    body: bytes
    content_type: str = ""
    message_id: str = ""
    by: Operator | None = None


class MigrateOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a migration that replaces the definition of a switch."""

    definition: str
    since: int


class Repair(msgspec.Struct, frozen=True):
    """What a person does about a message whose value is missing: the body of a repair."""

    message: int
    """Its sequence."""
    how: Literal["supplied", "discarded"]


class Repaired(Mail, frozen=True, kw_only=True, tag="control.repair"):
    """A person has put back the value of a message, or gives it up.

    One that is given up stays so, for every fold, should its value be there again some day: a
    signal never came, an answer is one of which nobody knows what it was, and a run whose start
    it was has failed. It counts from here on, not from where the message stands.
    """

    order: Repair
    message_id: str = ""
    by: Operator | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole state of an instance at the beginning of a generation, before its code runs.

    A fold of this and of the messages above ``through`` gives what a fold of the whole mailbox
    gives. Times are nanoseconds since 1970.
    """

    generation: int
    through: int
    """Sequence of the message whose fold ended the former generation."""
    now: int
    definition: str
    start: Start
    """The start of the instance, with the input of this generation."""
    started_at: int
    signals: tuple[Signal, ...] = ()
    """Signals that nobody has taken, in the order in which they came."""
    state: dict[str, bytes] = {}
    """What ``ctx.set_state`` showed: encoded values by name."""
    seen: bytes = b""
    """Digests of the latest message ids, eight bytes each, the oldest first."""
    decided: tuple[tuple[str, int], ...] = ()
    """Step tokens decided last, with the attempt that gave the value, or 0."""
    late_successes: tuple[tuple[str, int], ...] = ()
    counters: dict[str, int] = {}
    """Statistics: duplicates, early, late, stray."""
    witness: Head | None = None
    """Where the chain of statements stood; snapshots of earlier versions do not say."""
    answered: tuple[Answer, ...] = ()
    """The latest updates that were answered, the newest last."""


class Continued(Mail, frozen=True, kw_only=True, tag="owner.continued"):
    """A generation has begun at ``through``: a fold may begin with its snapshot.

    It counts when the last migration between ``through`` and itself, if there is one, names
    the definition of the snapshot: other code has not continued there.
    """

    epoch: int
    generation: int
    through: int
    snapshot: Snapshot


AnyMail = (
    Start
    | Signal
    | Reply
    | Fired
    | Woken
    | Pinned
    | AttemptTimedOut
    | AttemptRefused
    | Routed
    | Turn
    | ChildEnded
    | Lacking
    | Cancel
    | UndoAll
    | Reviewed
    | Decided
    | Migrate
    | Switch
    | Repaired
    | Fork
    | Continued
)
