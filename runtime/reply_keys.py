"""Reply keys: all daemons of an account sign with the newest and know every one."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from actors.kv import Kv
from protocols.errors import AlreadyExistsError
from protocols.ports import Entropy
from protocols.tokens import KeyRing

KEY_BYTES: Final = 32
FIRST_KEY: Final = "k1"
"""Id of the first key: the same for all, so that only one of them can make it."""


async def load_keys(kv: Kv, entropy: Entropy) -> KeyRing:
    """Load the keys; make the first one. Raises UnavailableError, UnknownOutcomeError.

    Of daemons that start together one makes it, and all have it: a reply whose key a daemon
    does not know would be none for its folds.
    """
    while not (found := {each.key: each.value for each in await kv.all()}):
        with suppress(AlreadyExistsError):
            await kv.put(FIRST_KEY, bytes.fromhex(entropy.token(KEY_BYTES)), revision=0)
    return KeyRing(list(found)[-1], found)
