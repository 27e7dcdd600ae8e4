"""The witness: statements that hold each transition of an instance, in a chain of hashes.

    messages  m1 m2 m3 | m4 ... m9 | m10
    chain     genesis <- statement 1 <- statement 2 <- statement 3: its hash is the chain's head

A statement names each message that was folded since the one before it, by a *leaf*: sequence,
time, and a digest of what was stored. A fold of the mailbox makes the same statements again, so
whoever has the statements, or the head alone, can tell whether a mailbox is what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from struct import Struct as Layout
from typing import Any, Final, NamedTuple

import msgspec

from protocols.failure import Failure

DIGEST_BYTES: Final = 12
"""Of a stored message: another one with the same digest takes 2**96 tries."""
LEAVES_MAX: Final = 256
"""Messages in one statement: 7 kB, and a 256th of the writes for a run without transitions."""
VALUE_BYTES: Final = 16
HASH_BYTES: Final = 32

_leaf: Final = Layout(f">Qq{DIGEST_BYTES}s")
LEAF_BYTES: Final = _leaf.size
_pack: Final = _leaf.pack


class Operator(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who does something by hand, from where, and why: as they say it themselves."""

    who: str = ""
    where: str = ""
    why: str = ""


class Leaf(NamedTuple):
    """One message, as a statement names it."""

    seq: int
    at: int
    digest: bytes


class Statement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One transition. ``hash`` is that of all other fields, as JSON, in this order.

    ``cause`` is the sequence of the message that brought it about, ``actor`` the kind of that
    message, or the service that owns the state that was left. ``input`` and ``output`` are
    digests of what the instance, or the state, was given and gave. ``messages`` has the leaves
    of what was folded since the statement before, ``previous`` that one's hash.
    """

    number: int
    instance: str
    workflow: str
    definition: str
    generation: int = 1
    what: str
    detail: str = ""
    at: int
    cause: int
    actor: str = ""
    by: Operator | None = None
    input: str = ""
    output: str = ""
    messages: bytes = b""
    previous: str
    hash: str = ""

    def sealed(self) -> Statement:
        """Return the statement with its hash."""
        return msgspec.structs.replace(self, hash=self.computed())

    def computed(self) -> str:
        """Return the hash that the other fields give, whatever ``hash`` says."""
        plain = msgspec.structs.replace(self, hash="") if self.hash else self
        return blake2b(msgspec.json.encode(plain), digest_size=HASH_BYTES).hexdigest()

    def leaves(self) -> Iterator[Leaf]:
        """Yield the messages that it names. Raises ValueError when they are cut off."""
        return leaves(self.messages)


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where a chain stands: its last statement, and the leaves of what was folded since."""

    number: int
    hash: str
    leaves: bytes = b""


def leaf(seq: int, at: int, subject: str, headers: bytes, payload: bytes) -> bytes:
    """Return the leaf of a stored message; ``headers`` as its sender wrote them."""
    content = b"%b\n%d\n%b%b" % (
        subject.encode("utf-8", "backslashreplace"),
        len(headers),
        headers,
        payload,
    )
    return _pack(seq, at, blake2b(content, digest_size=DIGEST_BYTES).digest())


def leaves(packed: bytes) -> Iterator[Leaf]:
    """Yield leaves that stand one behind the other. Raises ValueError when one is cut off."""
    if len(packed) % LEAF_BYTES:
        raise ValueError(f"{len(packed)} bytes are no number of leaves")
    return (Leaf(*each) for each in _leaf.iter_unpack(packed))


def genesis(instance: str) -> str:
    """Return what the first statement has as ``previous``: a chain belongs to its instance."""
    return blake2b(f"movant {instance}".encode(), digest_size=HASH_BYTES).hexdigest()


Value = bytes | str | Failure | None
"""An input or an output before its digest is made; text is a digest already."""


class Draft:
    """A statement whose hash is not computed yet.

    A transition costs its fold no more than this; the hash is computed when the statement is
    published, or a later one is. ``before`` is the draft or the hash of the statement before,
    or nothing for the first one.
    """

    __slots__ = ("_facts", "before", "hash", "input", "leaves", "number", "output")

    def __init__(
        self,
        number: int,
        before: str | Draft,
        leaves: list[bytes],
        facts: dict[str, Any],
        values: tuple[Value, Value],
    ) -> None:
        self.number = number
        self.before = before
        self.leaves = leaves
        self.input, self.output = values
        self.hash = ""
        """Empty until it is computed."""
        self._facts = facts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Draft) and self.statement() == other.statement()

    __hash__ = None  # type: ignore[assignment]  # equal by what it says

    def __repr__(self) -> str:
        return repr(self.statement())

    @property
    def definition(self) -> str:
        """The definition that the instance had then."""
        return str(self._facts["definition"])

    def statement(self) -> Statement:
        """Return the statement, with its hash."""
        plain, _ = self._seal()
        return msgspec.structs.replace(plain, hash=self.hash)

    def encoded(self) -> bytes:
        """Return the JSON of ``statement()``: the hash is its last field."""
        _, body = self._seal()
        return b'%b,"hash":"%b"}' % (body[:-1], self.hash.encode())

    def _seal(self) -> tuple[Statement, bytes]:
        """Compute the hash; return the statement without it, and the JSON of that."""
        waiting: list[Draft] = []
        before = self.before
        while isinstance(before, Draft) and not before.hash:
            waiting.append(before)
            before = before.before
        # Not recursive: a fold may have made thousands that nobody has asked for.
        for each in reversed(waiting):
            each._seal_next()  # noqa: SLF001 - of the same class
        return self._seal_next()

    def _seal_next(self) -> tuple[Statement, bytes]:
        """Do as ``_seal`` does, when the one before has its hash already."""
        if isinstance(self.before, Draft):
            self.before = self.before.hash
        plain = Statement(
            number=self.number,
            **self._facts,
            input=_value_digest(self.input),
            output=_value_digest(self.output),
            messages=b"".join(self.leaves),
            previous=self.before or genesis(self._facts["instance"]),
        )
        body = msgspec.json.encode(plain)
        self.hash = self.hash or blake2b(body, digest_size=HASH_BYTES).hexdigest()
        return plain, body


def _value_digest(value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Failure):
        value = msgspec.json.encode(value)
    return blake2b(value, digest_size=VALUE_BYTES).hexdigest() if value else ""
