"""A command's connection to the daemon: connect, ask, disconnect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from protocols.subjects import ID_BYTES_MAX, is_id
from runtime.cli.options import Target

if TYPE_CHECKING:
    from runtime.client import Client

PATIENCE_S: Final = 2.0
"""A person waits this long for a daemon that restarts, then is told that there is none."""
FULL_ID_CHARS: Final = 20
"""From here on a word is taken as a whole id; what the client chooses itself is this long."""

R = TypeVar("R")


def ask(to: Target, question: Callable[[Client], Awaitable[R]]) -> R:
    """Connect, run ``question`` with a client, and return its answer."""
    import trio  # noqa: PLC0415 - 150 ms with NATS, which help and usage errors do not pay

    from runtime.client import Client  # noqa: PLC0415
    from runtime.telemetry import configure  # noqa: PLC0415

    async def main() -> R:
        async with Client.connect(
            to.url, store=to.store, name="movant-cli", patience_s=PATIENCE_S
        ) as client:
            return await question(client)

    configure("error", "human")  # the error that ends the command says it all
    return trio.run(main)


async def full_id(client: Client, word: str) -> str:
    """Return the id that a person meant: the whole id, or the only one that begins so."""
    if not is_id(word) or FULL_ID_CHARS <= len(word) <= ID_BYTES_MAX:
        return word
    return await client.resolve(word)
