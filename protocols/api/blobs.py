"""What the API says about values that are too large for a message, and about artifacts."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from protocols.api.base import At, By, Id, Message, MessageId
from protocols.blobs import Blob

LargeValue = Annotated[
    Blob | None,
    Meta(description="Instead of a value that is too large: digest and size of its blob."),
]
Name = Annotated[str, Meta(description="Its name: one plain file name.")]
Digest = Annotated[str, Meta(description="SHA-256 of the content, in hexadecimal.")]
Size = Annotated[int, Meta(description="Of the content, in bytes.")]


class RunArtifacts(Message, frozen=True, kw_only=True):
    """List the artifacts of an instance."""

    id: Id


class ArtifactRow(Message, frozen=True, kw_only=True):
    """One artifact. Of several with one name the latest counts."""

    name: Name
    size: Size
    digest: Digest
    content_type: Annotated[str, Meta(description="As who stored it says.")] = ""
    path: Annotated[str, Meta(description="The step that gave it.")] = ""
    seq: Annotated[int, Meta(description="Stream sequence of the reply that declares it.")] = 0
    at: At = 0


class ArtifactPage(Message, frozen=True, kw_only=True):
    """The artifacts of an instance, by name."""

    id: Id
    artifacts: Annotated[list[ArtifactRow], Meta(description="The rows.")] = []


class RunBlob(Message, frozen=True, kw_only=True):
    """Read one chunk of a blob of an instance: of an artifact, or of a large value."""

    id: Id
    digest: Digest
    chunk: Annotated[
        int, Meta(ge=0, le=1_000, description="Which one: each but the last has 262144 bytes.")
    ] = 0


class RunChunk(Message, frozen=True, kw_only=True):
    """One chunk."""

    data: Annotated[bytes, Meta(description="Its bytes; base64 in JSON.")]


class RunMend(Message, frozen=True, kw_only=True):
    """Look whether a blob of an instance is whole; with its content beside it make it so.

    For whoever has put one and was told that chunks of it stand there already.
    """

    id: Id
    digest: Digest
    size: Size
    staged: Annotated[
        str,
        Meta(
            description="Name of chunks of the instance, 32 hexadecimal digits: they are its"
            " content, replace what is wrong, and go then."
        ),
    ] = ""


class RunMended(Message, frozen=True, kw_only=True):
    """How the blob stands now."""

    whole: Annotated[bool, Meta(description="All of it is there, and is what its digest says.")]


class RunSupply(Message, frozen=True, kw_only=True):
    """Let an instance go on whose missing value was put back."""

    id: Id
    digest: Digest
    size: Size
    message_id: MessageId = ""
    by: By = None


class RunDiscard(Message, frozen=True, kw_only=True):
    """Give up the value of a message that blocks an instance: it goes on without it."""

    id: Id
    message: Annotated[int, Meta(description="Stream sequence of that message, from the view.")]
    message_id: MessageId = ""
    by: By = None


_DIGEST: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
EXAMPLES: Final[dict[str, tuple[Any, Any]]] = {
    "run.artifacts": (
        {"id": "order-17"},
        {
            "id": "order-17",
            "artifacts": [
                {
                    "name": "invoice.pdf",
                    "size": 48_213,
                    "digest": _DIGEST,
                    "content_type": "application/pdf",
                    "path": "/invoices.print",
                    "seq": 21,
                }
            ],
        },
    ),
    "run.supply": (
        {"id": "order-17", "digest": _DIGEST, "size": 48_213, "by": {"who": "ann"}},
        {"id": "order-17", "seq": 23},
    ),
    "run.discard": (
        {"id": "order-17", "message": 21, "by": {"who": "ann", "why": "the disk is lost"}},
        {"id": "order-17", "seq": 23},
    ),
    "run.mend": ({"id": "order-17", "digest": _DIGEST, "size": 48_213}, {"whole": True}),
    "run.blob": ({"id": "order-17", "digest": _DIGEST}, {"data": "dGVzdA=="}),
}
"""One example of each request and its answer, by verb."""
