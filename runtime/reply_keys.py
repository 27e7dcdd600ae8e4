"""The keys that sign reply subjects, kept in a bucket that all daemons share."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from actors.store.kv import Kv
from protocols.errors import AlreadyExistsError
from protocols.ports import Entropy
from protocols.tokens import KeyRing

REPLY_KEY_BYTES: Final = 32
FIRST_KEY: Final = "k1"
"""Id of the first reply key: the same for all, so that only one of them can make it."""


async def load_keys(kv: Kv, entropy: Entropy) -> KeyRing:
    """Load the reply keys; make the first one.

    Of daemons that start together one makes it, and all have it: a reply whose key a daemon
    does not know would be none for its folds. So the leader is asked: a replica may be behind
    (hazard S6). Raises UnavailableError, UnknownOutcomeError.
    """
    while not (found := {each.key: each.value for each in await kv.leaders()}):
        secret = bytes.fromhex(entropy.token(REPLY_KEY_BYTES))
        with suppress(AlreadyExistsError):
            await kv.put(FIRST_KEY, secret, revision=0)
    return KeyRing(list(found)[-1], found)
