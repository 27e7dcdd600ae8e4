"""Reply keys: what reply tokens are signed with. Every daemon of an account has the same ones.

A reply that was asked for by one daemon is folded by another: a ring without its key would
drop it. So all read what the stream's *leader* has (a replica may be behind, hazard S6), and
the first key has a fixed name: of daemons that start together one makes it, the others find it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from actors.kv import Kv
from protocols.errors import AlreadyExistsError
from protocols.ports import Entropy
from protocols.tokens import KeyRing

KEY_BYTES: Final = 32
FIRST: Final = "k1"


async def reply_keys(kv: Kv, entropy: Entropy) -> KeyRing:
    """Load all keys; make the first one. Raises UnavailableError, UnknownOutcomeError."""
    stored = await kv.leaders()
    if not stored:
        with suppress(AlreadyExistsError):
            await kv.put(FIRST, bytes.fromhex(entropy.token(KEY_BYTES)), revision=0)
        stored = await kv.leaders()
    return KeyRing(stored[-1].key, {each.key: each.value for each in stored})
