"""Reply tokens: a guard against mistakes, with the key's id inside.

Whoever can read requests sees the token, so it protects nothing against them; permissions do
that (docs/operations.md). It tells a reply to this attempt from one that was mis-addressed, and
because keys are only ever added, a history folds the same after a rotation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from protocols.errors import ConfigurationError

_DIGEST_BYTES = 6


class KeyRing:
    """All reply keys that were ever used, by id; ``current`` signs."""

    __slots__ = ("_hashers", "_signer", "current")

    def __init__(self, current: str, keys: Mapping[str, bytes]) -> None:
        if current not in keys:
            raise ConfigurationError(f"reply key {current!r} is not in the key ring")
        self.current = current
        # A keyed hasher is made once and copied: half the cost of making one a message.
        self._hashers = {
            name: hashlib.blake2b(key=key, digest_size=_DIGEST_BYTES) for name, key in keys.items()
        }
        self._signer = self._hashers[current]

    def sign(self, instance_id: str, step: str, attempt: int) -> str:
        """Return the token of one attempt: ``<key id>-<digest>``."""
        hasher = self._signer.copy()
        hasher.update(f"{instance_id}/{step}/{attempt}".encode())
        return f"{self.current}-{hasher.hexdigest()}"

    def verify(self, token: str, instance_id: str, step: str, attempt: int) -> bool:
        """Tell whether a token was made for this attempt by any key of the ring."""
        key_id, _, digest = token.partition("-")
        keyed = self._hashers.get(key_id)
        if keyed is None:
            return False
        hasher = keyed.copy()
        hasher.update(f"{instance_id}/{step}/{attempt}".encode())
        return digest == hasher.hexdigest()

    def sign_child(self, child: str, parent: str) -> str:
        """Return the token of a child's start; ``parent`` is instance and path."""
        return self.sign(child, f"|{parent}", 0)

    def verify_child(self, token: str, child: str, parent: str) -> bool:
        """Tell whether the start of a child was written by its parent's owner."""
        return self.verify(token, child, f"|{parent}", 0)
