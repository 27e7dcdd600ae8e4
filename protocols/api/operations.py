"""The API's verbs for operators: raw messages, packed definitions, checks, dead letters."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from protocols.api.base import AfterSeq, At, Hash, Id, Limit, Message
from protocols.api.errors import ErrorReply
from protocols.routes import RoutingTable

SHOWN_BYTES_MAX: Final = 512 * 1024
"""Of one raw message: in base64 it has to fit into an answer."""

Seq = Annotated[int, Meta(description="Stream sequence.")]
Reason = Annotated[str, Meta(description="Why it is a dead letter: stray, id, value and so on.")]
AnyReason = Annotated[str, Meta(description="Only letters of this reason; empty: all.")]
OneLetter = Annotated[int, Meta(description="One letter.")]
LettersOf = Annotated[str, Meta(description="All letters of this reason.")]
EveryLetter = Annotated[bool, Meta(description="Every letter.")]


class StoredMessage(Message, frozen=True, kw_only=True):
    """One message as it stands in the stream."""

    seq: Seq
    at: At
    subject: Annotated[str, Meta(description="Its subject as it is stored.")]
    headers: Annotated[bytes, Meta(description="The raw header block, in base64.")] = b""
    payload: Annotated[bytes, Meta(description="The payload, in base64.")] = b""
    size: Annotated[int, Meta(description="Size of the payload; above the limit it is cut.")] = 0


class RunMessages(Message, frozen=True, kw_only=True):
    """Read the raw messages of one instance."""

    id: Id
    after: AfterSeq = 0


class EpochMarker(Message, frozen=True, kw_only=True):
    """Where an epoch of a partition begins."""

    seq: Seq
    epoch: Annotated[int, Meta(description="The epoch.")]


class MessagePage(Message, frozen=True, kw_only=True):
    """Raw messages in stream order, and the epochs of their partition."""

    messages: Annotated[list[StoredMessage], Meta(description="The messages.")]
    markers: Annotated[
        list[EpochMarker], Meta(description="All epochs of the partition, on the first page.")
    ] = []
    next: Annotated[
        int, Meta(description="Pass this as `after` for the next page; 0: no more.")
    ] = 0


class WorkflowFetch(Message, frozen=True, kw_only=True):
    """Read a packed definition."""

    hash: Hash


class WorkflowPacked(Message, frozen=True, kw_only=True):
    """A packed definition."""

    hash: Hash
    data: Annotated[bytes, Meta(description="The packed definition (zip), in base64.")]
    routes: Annotated[
        RoutingTable | None, Meta(description="The routing table that the hash names as well.")
    ] = None


class WorkflowRoute(Message, frozen=True, kw_only=True):
    """Let new runs of some workflows use a routing table; one without routes takes it away."""

    workflows: Annotated[list[str], Meta(description="Names of workflows.", min_length=1)]
    table: Annotated[RoutingTable, Meta(description="Services and routes.")]


class WorkflowRouted(Message, frozen=True, kw_only=True):
    """The table is stored. Runs that have started keep theirs, unless they are migrated."""

    table: Annotated[str, Meta(description="Hash of the table; empty: none is used.")]
    definitions: Annotated[
        dict[str, str], Meta(description="What new runs start with, by workflow.")
    ]
    absent: Annotated[
        list[str],
        Meta(description="Services of the table that do not answer now; requests wait for them."),
    ] = []


class Finding(Message, frozen=True, kw_only=True):
    """What one check has found, and what to do about it."""

    check: Annotated[str, Meta(description="What was checked.")]
    verdict: Annotated[Literal["ok", "warning", "error"], Meta(description="How it stands.")]
    found: Annotated[str, Meta(description="What was found, for people.")]
    next: Annotated[str, Meta(description="The next thing to do; empty: nothing.")] = ""


class Findings(Message, frozen=True, kw_only=True):
    """What the daemon has found about its server, its streams and its permissions."""

    findings: Annotated[list[Finding], Meta(description="One for each check.")]
    server_time: At = 0


class DeadList(Message, frozen=True, kw_only=True):
    """List dead letters, oldest first."""

    reason: AnyReason = ""
    after: Annotated[int, Meta(description="Only letters with a higher sequence in DEAD.")] = 0
    limit: Limit = 50


class DeadRow(Message, frozen=True, kw_only=True):
    """One dead letter."""

    seq: Annotated[int, Meta(description="Its sequence in DEAD.")]
    at: At
    reason: Reason
    subject: Annotated[str, Meta(description="Where it stood.")] = ""
    source_seq: Annotated[int, Meta(description="Its sequence in MAIL.")] = 0
    detail: Annotated[str, Meta(description="What is wrong with it.")] = ""
    size: Annotated[int, Meta(description="Size of its payload.")] = 0


class DeadPage(Message, frozen=True, kw_only=True):
    """A page of dead letters."""

    letters: Annotated[list[DeadRow], Meta(description="The rows.")]
    reasons: Annotated[
        dict[str, int], Meta(description="How many letters there are, by reason.")
    ] = {}
    next: Annotated[
        int, Meta(description="Pass this as `after` for the next page; 0: no more.")
    ] = 0


class DeadShow(Message, frozen=True, kw_only=True):
    """Show one dead letter with its bytes."""

    seq: Annotated[int, Meta(description="Its sequence in DEAD.")]


class DeadView(DeadRow, frozen=True, kw_only=True):
    """A dead letter with its bytes."""

    headers: Annotated[bytes, Meta(description="The raw header block, in base64.")] = b""
    payload: Annotated[bytes, Meta(description="The payload, in base64; cut at 512 kB.")] = b""


class DeadReplay(Message, frozen=True, kw_only=True):
    """Send letters again to where they were addressed: one, all of a reason, or every one.

    Only starts and signals: whatever else there is, only the daemon may write.
    """

    seq: OneLetter = 0
    reason: LettersOf = ""
    all: EveryLetter = False
    after: Annotated[int, Meta(description="Only letters with a higher sequence in DEAD.")] = 0
    through: Annotated[
        int, Meta(description="Only letters up to this sequence in DEAD; 0: all that are there.")
    ] = 0


class DeadReplayed(Message, frozen=True, kw_only=True):
    """What became of one letter; a letter that was sent is no longer in DEAD."""

    seq: Annotated[int, Meta(description="Its sequence in DEAD.")]
    subject: Annotated[str, Meta(description="Where it was sent; empty: nowhere.")] = ""
    error: Annotated[ErrorReply | None, Meta(description="Why it was not sent.")] = None


class DeadReplays(Message, frozen=True, kw_only=True):
    """What became of the letters. A large number needs several requests."""

    letters: Annotated[list[DeadReplayed], Meta(description="One for each letter.")]
    next: Annotated[
        int, Meta(description="Pass this as `after` for the letters behind these; 0: no more.")
    ] = 0
    through: Annotated[
        int,
        Meta(
            description="Pass this as `through` with `next`: a letter that is still wrong comes"
            " back behind it."
        ),
    ] = 0


class DeadPurge(Message, frozen=True, kw_only=True):
    """Remove letters: one, all of a reason, or every one."""

    seq: OneLetter = 0
    reason: LettersOf = ""
    all: EveryLetter = False


class DeadPurged(Message, frozen=True, kw_only=True):
    """How many letters were removed."""

    purged: Annotated[int, Meta(description="Letters that are gone.")]
