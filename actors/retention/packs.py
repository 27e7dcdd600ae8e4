"""Packs: copies of stored messages, so that the stream's prefix can be purged.

    pack    movant.to.<id>.pack.<through>.<digest>[.<i>.<n>]   messages of one mailbox
    bundle  movant.done.<p>._bundle.<through>.<first>.<digest>[.<i>.<n>]   of finished ones

A copy holds what the server stored: sequence, timestamp, subject, headers (without those of an
atomic batch) and payload. Copies are true for ever, whoever made them: a mailbox is the union
of its messages and of all copies in its packs, by sequence. The digest is of the content, so
that the same pack made twice is one message; what is larger than a message may be is sliced,
and slices count only when all are there.

Pure: bytes in, bytes out.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from actors.owning.letters import Delivery
from actors.views.leaves import plain_headers
from protocols.subjects import is_number

GROUP_BYTES: Final = 512 * 1024
"""Where a pack or a bundle is cut, before compression."""
SLICE_BYTES: Final = 768 * 1024
"""What one message carries of a larger one; its headers and a little growth need the rest."""
OPENED_BYTES_MAX: Final = 64 * 1024 * 1024
"""No honest group opens to more: a history is cut into groups, and a message has at most 1 MB."""
LEVEL: Final = 1
"""Of zlib: 6 takes four times as long and saves another tenth."""
DIGEST_BYTES: Final = 8
_COPY_BYTES: Final = 40
"""About what the rest of a copy takes beside headers and payload."""
_KIND: Final = 4
_PACK: Final = "pack"
_SLICED_TOKENS: Final = 9


class Copy(msgspec.Struct, array_like=True, gc=False):
    """One stored message; ``rest`` is its subject behind ``movant.mail.<p>.<id>.``."""

    seq: int
    at: int
    rest: str
    headers: bytes
    payload: bytes


class Mailbox(msgspec.Struct):
    """A mailbox as it is folded: messages in order, each once."""

    messages: list[Delivery]
    through: int = 0
    """Everything at or below it that is not among the messages was not needed; 0: no packs."""
    unreadable: list[Delivery] = []
    """Packs that cannot be opened: their messages may be missing."""


class Sealed(msgspec.Struct):
    """One message to write: the end of its subject, and its payload."""

    digest: str
    """Digest of the content, with the number of the slice where there are several."""
    payload: bytes


_encoder: Final = msgspec.msgpack.Encoder()
_pack_decoder: Final = msgspec.msgpack.Decoder(list[Copy])
_bundle_decoder: Final = msgspec.msgpack.Decoder(dict[str, list[Copy]])


def is_pack(subject: str) -> bool:
    """Tell whether a stored subject is that of a pack."""
    return subject.split(".", _KIND + 1)[_KIND : _KIND + 1] == [_PACK]


def copy_of(delivery: Delivery) -> Copy:
    """Return the copy of a stored message, however it was read."""
    return Copy(
        delivery.seq,
        delivery.at,
        delivery.subject.split(".", _KIND)[_KIND],
        plain_headers(delivery.headers),
        delivery.payload,
    )


def groups(copies: Iterable[Copy]) -> Iterator[list[Copy]]:
    """Cut a history into groups that fit one message each, unless a single message is larger."""
    group: list[Copy] = []
    size = 0
    for each in copies:
        cost = size_of(each)
        if group and size + cost > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(each)
        size += cost
    if group:
        yield group


def size_of(copy: Copy) -> int:
    """Return about how many bytes a copy takes."""
    return len(copy.headers) + len(copy.payload) + len(copy.rest) + _COPY_BYTES


def seal_pack(group: Sequence[Copy]) -> list[Sealed]:
    """Return the messages that carry one group of one mailbox."""
    return _seal(_encoder.encode(group))


def seal_bundle(histories: Mapping[str, Sequence[Copy]]) -> list[Sealed]:
    """Return the messages that carry the histories of several instances."""
    return _seal(_encoder.encode(histories))


def _seal(content: bytes) -> list[Sealed]:
    digest = hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()
    slices = [content[at : at + SLICE_BYTES] for at in range(0, len(content), SLICE_BYTES)]
    if len(slices) == 1:
        return [Sealed(digest, zlib.compress(content, LEVEL))]
    return [
        Sealed(f"{digest}.{number}.{len(slices)}", zlib.compress(part, LEVEL))
        for number, part in enumerate(slices)
    ]


def expand(stored: Iterable[Delivery], *, mark: int = 0, after: int = 0) -> Mailbox:
    """Return the union of a mailbox's messages and its packs, above sequence ``after``.

    A message below the partition's ``mark`` counts only as a copy: what is needed of those
    stands in packs, and the others are about to be purged.
    """
    packs: list[Delivery] = []
    found: dict[int, Delivery] = {}
    for each in stored:
        if is_pack(each.subject):
            packs.append(each)
        elif each.seq > after and each.seq >= mark:
            found[each.seq] = each
    if not packs:
        return Mailbox([found[seq] for seq in sorted(found)])
    through = 0
    opened, unreadable = open_packs(packs)
    for limit, pack, copies in opened:
        start = ".".join(pack.subject.split(".", _KIND)[:_KIND]) + "."
        through = max(through, limit)
        for copy in copies:
            if copy.seq > after and copy.seq not in found:
                found[copy.seq] = Delivery(
                    copy.seq, copy.at, start + copy.rest, copy.headers, copy.payload
                )
    return Mailbox([found[seq] for seq in sorted(found)], through, unreadable)


def union(*parts: Iterable[Delivery]) -> list[Delivery]:
    """Return messages in order, each once."""
    found = {each.seq: each for part in parts for each in part}
    return [found[seq] for seq in sorted(found)]


def open_packs(
    packs: Iterable[Delivery],
) -> tuple[list[tuple[int, Delivery, list[Copy]]], list[Delivery]]:
    """Open packs: (through, pack, copies) of each, and the packs that cannot be opened."""
    sliced: dict[tuple[str, ...], dict[str, Delivery]] = defaultdict(dict)
    opened = []
    unreadable = []
    for each in packs:
        tokens = each.subject.split(".")
        if len(tokens) == _SLICED_TOKENS:
            parts = sliced[(*tokens[:7], tokens[8])]
            parts[tokens[7]] = each
            if len(parts) < len(range(_number(tokens[8]))):
                continue
            try:
                pieces = [parts[str(number)].payload for number in range(len(parts))]
            except KeyError:
                unreadable.append(each)
                continue
        else:
            pieces = [each.payload]
        try:
            content = b"".join(_inflate(piece) for piece in pieces)
            copies = _pack_decoder.decode(content)
            _check(each, tokens, content, copies)
        except (ValueError, IndexError, zlib.error, msgspec.MsgspecError):
            unreadable.append(each)
            continue
        opened.append((_number(tokens[5]), each, copies))
    return opened, unreadable


def missing_slices(packs: Iterable[Delivery]) -> list[str]:
    """Return a filter for each sliced pack of which not all slices are among ``packs``."""
    seen: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for each in packs:
        tokens = each.subject.split(".")
        if len(tokens) == _SLICED_TOKENS:
            seen[(*tokens[:7], tokens[8])].add(tokens[7])
    return [
        ".".join((*key[:7], "*", key[7]))
        for key, parts in seen.items()
        if len(parts) < len(range(_number(key[7])))
    ]


def open_bundle(pieces: Sequence[bytes]) -> dict[str, list[Copy]]:
    """Return the histories by id. Raises ValueError for what is no bundle."""
    try:
        return _bundle_decoder.decode(b"".join(_inflate(each) for each in pieces))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"not a bundle: {error}") from error


def delivery_of(copy: Copy, partition: int, instance: str) -> Delivery:
    """Return a copy as if it were read from MAIL."""
    subject = f"movant.mail.{partition}.{instance}.{copy.rest}"
    return Delivery(copy.seq, copy.at, subject, copy.headers, copy.payload)


def _check(pack: Delivery, tokens: list[str], content: bytes, copies: list[Copy]) -> None:
    """Refuse a pack that is not what its subject says."""
    through = _number(tokens[5])
    if hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest() != tokens[6]:
        raise ValueError("the content has another digest")
    last = 0
    for each in copies:
        if not last < each.seq <= through < pack.seq:
            raise ValueError("sequences of a pack rise, and stand below it")
        if each.rest.startswith(f"{_PACK}."):
            raise ValueError("a pack holds no packs")
        last = each.seq


def _number(text: str) -> int:
    if not is_number(text):
        raise ValueError(f"{text[:40]!r} is no number")
    return int(text)


def _inflate(data: bytes) -> bytes:
    opener = zlib.decompressobj()
    content = opener.decompress(data, OPENED_BYTES_MAX)
    if not opener.eof:
        raise ValueError("a pack that opens to more than it may")
    return content
