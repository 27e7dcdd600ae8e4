"""Reply tokens: a guard against mistakes, with the key's id inside.

Whoever can read requests sees the token, so it protects nothing against them; permissions do
that (docs/operations.md). It tells a reply to this attempt from one that was mis-addressed, and
because keys are only ever added, a history folds the same after a rotation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from protocols.errors import ConfigurationError

_DIGEST_BYTES = 6


class KeyRing(msgspec.Struct, frozen=True):
    """All reply keys that were ever used, by id; ``current`` signs."""

    current: str
    keys: Mapping[str, bytes]

    def sign(self, instance_id: str, step: str, attempt: int) -> str:
        """Return the token of one attempt: ``<key id>-<digest>``."""
        return f"{self.current}-{_digest(self.keys[self.current], instance_id, step, attempt)}"

    def verify(self, token: str, instance_id: str, step: str, attempt: int) -> bool:
        """Tell whether a token was made for this attempt by any key of the ring."""
        key_id, _, digest = token.partition("-")
        key = self.keys.get(key_id)
        return key is not None and digest == _digest(key, instance_id, step, attempt)


def _digest(key: bytes, instance_id: str, step: str, attempt: int) -> str:
    text = f"{instance_id}/{step}/{attempt}".encode()
    return hashlib.blake2b(text, key=key, digest_size=_DIGEST_BYTES).hexdigest()


def ring(keys: Mapping[str, bytes], current: str) -> KeyRing:
    """Return a key ring. Raises ConfigurationError when the current key is missing."""
    if current not in keys:
        raise ConfigurationError(f"reply key {current!r} is not in the key ring")
    return KeyRing(current, dict(keys))
