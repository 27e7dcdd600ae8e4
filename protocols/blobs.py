"""Blobs: values too large for a message. They stand in the stream BLOBS, by run and digest.

    movant.put.<id>.<digest>.<n>        where a chunk is published to, n = 0, 1, …
    movant.blob.<p>.<id>.<digest>.<n>   how BLOBS stores it

A message that carries a large value has ``Content-Type: application/vnd.movant.blob+json`` and a
reference as its payload. A reference names no run: it means a blob of the run whose mailbox (or
event, or record) it stands in. So nobody can name the values of another run, and the blobs of a
run go when the run does.

Pure: bytes in, bytes out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from protocols.errors import BadValueError
from protocols.subjects import is_number

BLOB: Final = "application/vnd.movant.blob+json"
"""Content type of a message whose payload is a reference."""
LARGE: Final = ";movant=blob"
"""Ends the content type of a value that came out of a blob: it may be larger than a payload."""
INLINE_BYTES_MAX: Final = 256 * 1024
"""What is larger is stored as a blob."""
BLOB_BYTES_MAX: Final = 64 * 1024 * 1024
"""The largest value. A constant, as what a fold may ask for must be the same for every fold."""
CHUNK_BYTES: Final = 256 * 1024
"""Every chunk but the last has so many bytes; far below any server's ``max_payload``."""
STAGED_CHARS: Final = 32
"""Of the name of chunks that are staged: half a digest, so that it can be none."""
ARTIFACTS_MAX: Final = 64
"""Artifacts of one reply: their names stand in a header, whose block is bounded."""
NAME_CHARS_MAX: Final = 120
_DIGEST: Final = re.compile(r"[0-9a-f]{64}\Z")
_STAGED: Final = re.compile(rf"[0-9a-f]{{{STAGED_CHARS}}}\Z")
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+/-]{0,99}(;[ -:<-~]{1,60})?\Z")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


class Blob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A reference. ``digest`` is the SHA-256 of the content in hexadecimal, ``size`` in bytes."""

    digest: str
    size: int
    content_type: str = ""
    """Of the content; empty: JSON."""
    subject: str = ""
    """Where the chunks stand, in a request: for services, which know no partitions."""

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-self.size // CHUNK_BYTES)


class Artifact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of a run, as a reply declares it: a name and the blob that is its content."""

    name: str
    digest: str
    size: int
    content_type: str = "application/octet-stream"

    @property
    def blob(self) -> Blob:
        """The reference to its content."""
        return Blob(digest=self.digest, size=self.size, content_type=self.content_type)


class File(msgspec.Struct, frozen=True):
    """A file to be kept as an artifact of the run that asked."""

    name: str
    content: bytes
    content_type: str = "application/octet-stream"


class Result(msgspec.Struct, frozen=True):
    """What a handler returns that has files to keep beside its value."""

    value: object = None
    artifacts: tuple[File, ...] = ()


_decoder: Final = msgspec.json.Decoder(Blob)
_artifacts_decoder: Final = msgspec.json.Decoder(tuple[Artifact, ...])


def blob_of(content: bytes, content_type: str = "") -> Blob:
    """Return the reference to a content. Takes 0.5 ms for each MB."""
    digest = hashlib.sha256(content).hexdigest()
    return Blob(digest=digest, size=len(content), content_type=content_type)


def encoded(blob: Blob) -> bytes:
    """Return the payload of a message that carries a reference."""
    return msgspec.json.encode(blob)


def reference(payload: bytes) -> Blob:
    """Return the reference in a payload. Raises BadValueError for what is none."""
    try:
        blob = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadValueError(f"not a reference to a blob: {error}") from error
    return checked(blob)


def checked(blob: Blob) -> Blob:
    """Return a reference that can be one. Raises BadValueError."""
    if _DIGEST.match(blob.digest) is None:
        raise BadValueError("a digest is a SHA-256 in 64 hexadecimal digits")
    if not 0 <= blob.size <= BLOB_BYTES_MAX:
        raise BadValueError(f"a blob has at most {BLOB_BYTES_MAX} bytes, this one {blob.size}")
    if blob.content_type and _TYPE.match(blob.content_type) is None:
        raise BadValueError(f"{blob.content_type[:60]!r} is no content type")
    return blob


def check_staged(name: str) -> str:
    """Return a name under which chunks may be staged. Raises BadValueError."""
    if _STAGED.match(name) is None:
        raise BadValueError(f"staged chunks have a name of {STAGED_CHARS} hexadecimal digits")
    return name


def is_whole(blob: Blob, content: bytes) -> bool:
    """Tell whether a content is what a reference says."""
    return len(content) == blob.size and hashlib.sha256(content).hexdigest() == blob.digest


def chunks(content: bytes) -> Iterator[bytes]:
    """Cut a content into its chunks."""
    view = memoryview(content)
    for start in range(0, len(content), CHUNK_BYTES):
        yield bytes(view[start : start + CHUNK_BYTES])


def put_subject(instance: str, digest: str, number: int) -> str:
    """Return where a chunk is published to."""
    return f"movant.put.{instance}.{digest}.{number}"


def placed(blob: Blob, instance: str, partition: int) -> Blob:
    """Return a reference that tells a service where the chunks stand."""
    subject = f"movant.blob.{partition}.{instance}.{blob.digest}"
    return msgspec.structs.replace(blob, subject=subject)


def partition_in(blob: Blob, instance: str) -> int:
    """Return the partition in the subject of a reference; -1: it has none for this run."""
    lead, _, rest = blob.subject.removeprefix("movant.blob.").partition(".")
    if rest != f"{instance}.{blob.digest}" or not is_number(lead):
        return -1
    return int(lead)


def stored_subject(instance: str, digest: str, number: int, partition: int | str = "*") -> str:
    """Return where a chunk stands; in whatever partition, when that is not known."""
    return f"movant.blob.{partition}.{instance}.{digest}.{number}"


def artifacts(header: str) -> tuple[Artifact, ...]:
    """Return what the header of a reply declares. Raises BadValueError."""
    try:
        found = _artifacts_decoder.decode(header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadValueError(f"not a list of artifacts: {error}") from error
    if len(found) > ARTIFACTS_MAX:
        raise BadValueError(
            f"a reply has at most {ARTIFACTS_MAX} artifacts, this one {len(found)}"
        )
    for each in found:
        check_artifact_name(each.name)
        checked(each.blob)
    return found


def check_artifact_name(name: str) -> str:
    """Return a name that is one plain file name everywhere. Raises BadValueError."""
    if len(name) > NAME_CHARS_MAX or _NAME.match(name) is None:
        raise BadValueError(
            f"{name[:60]!r} is no name of an artifact",
            hint=f"letters, digits, '.', '_' and '-', beginning with a letter or digit, at most"
            f" {NAME_CHARS_MAX} characters",
        )
    return name
