"""A command's connection to the daemon: connect, ask, disconnect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from protocols.subjects import ID_BYTES_MAX, is_id
from runtime.cli.failures import say
from runtime.cli.options import Target

if TYPE_CHECKING:
    from protocols.api.runs import RunOutcome
    from protocols.errors import MovantError
    from protocols.witness import Operator
    from runtime.client.client import Client

PATIENCE_S: Final = 2.0
"""A person waits this long for a daemon that restarts, then is told that there is none."""
FULL_ID_CHARS: Final = 20
"""From here on a word is taken as a whole id; what the client chooses itself is this long."""

RETURN_S: Final = 60.0
"""Who waits for the end of a long run outlasts a restart of the daemon, but not its absence."""
AGAIN_S: Final = 0.5
GRACE_S: Final = 5.0
"""So much later than it was asked to a busy daemon may answer."""

R = TypeVar("R")


def ask(to: Target, question: Callable[[Client], Awaitable[R]], *, patience_s: float = 0.0) -> R:
    """Connect, run ``question`` with a client, and return its answer.

    ``patience_s``: how long a daemon that is away is waited for; 0: as long as people wait.
    """
    import trio  # noqa: PLC0415 - 150 ms with NATS, which help and usage errors do not pay

    from runtime.client.client import Client  # noqa: PLC0415
    from runtime.telemetry import configure  # noqa: PLC0415

    last = ""

    def waiting(error: MovantError) -> None:
        nonlocal last
        if error.message != last:  # several requests wait for the same
            last = error.message
            say(f"waiting: {last}")

    async def main() -> R:
        async with Client.connect(
            to.url,
            store=to.store,
            name="movant-cli",
            patience_s=patience_s or PATIENCE_S,
            waiting=waiting,
        ) as client:
            return await question(client)

    configure("error", "human")  # the error that ends the command says it all
    return trio.run(main)


async def outcome_of(
    client: Client, run: str, timeout_s: float, *, heard: bool = False
) -> RunOutcome:
    """Wait for the end of a run, also while the daemon is away and comes back.

    ``heard``: it has just answered. Raises what ``Client.wait`` raises; that nobody answers only
    when the daemon never did, is away for ``RETURN_S``, or is silent when the time is over.
    """
    import trio  # noqa: PLC0415 - see ask

    from protocols.errors import UnavailableError, UnknownOutcomeError  # noqa: PLC0415
    from runtime.client.client import WAIT_SLICE_S, WaitTimeoutError  # noqa: PLC0415

    deadline = trio.current_time() + timeout_s
    gone_at: float | None = None
    while True:
        began = trio.current_time()
        try:
            return await client.wait(run, timeout_s=max(0.0, min(deadline - began, WAIT_SLICE_S)))
        except WaitTimeoutError as error:
            if trio.current_time() >= deadline:
                raise WaitTimeoutError(
                    f"run {run} is still {error.status} after {timeout_s:g} s",
                    status=error.status,
                    hint=error.hint,
                ) from error
            heard, gone_at = True, None
            continue
        except (UnavailableError, UnknownOutcomeError):
            now = trio.current_time()
            # That it takes so long means that it did answer, or the request was not taken.
            if gone_at is None and (heard or now - began > 2 * PATIENCE_S):
                gone_at = now
                say("the daemon is away; waiting for it")
            if gone_at is None or now - gone_at > RETURN_S or now > deadline:
                raise
        await trio.sleep(AGAIN_S)


@contextmanager
def within(timeout_s: float) -> Iterator[None]:
    """Give up what takes clearly longer than a person wants to wait: a daemon that hangs."""
    import trio  # noqa: PLC0415 - see ask

    from protocols.errors import UnknownOutcomeError  # noqa: PLC0415

    with trio.move_on_after(timeout_s + GRACE_S) as scope:
        yield
    if scope.cancelled_caught:
        raise UnknownOutcomeError(
            f"the daemon has not answered within {timeout_s:g} s",
            hint="the run goes on when the daemon does; movant status shows how it stands",
        )


def myself(why: str = "", who: str = "") -> Operator:
    """Return who runs this command, for the history: the system's user and machine.

    ``who``: somebody who is not the user, as in a shared account.
    """
    import getpass  # noqa: PLC0415 - see ask
    import os  # noqa: PLC0415
    import socket  # noqa: PLC0415

    from protocols.witness import Operator  # noqa: PLC0415

    try:
        who = who or getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        who = f"uid {os.getuid()}"
    return Operator(who=who, where=socket.gethostname(), why=why)


async def full_id(client: Client, word: str) -> str:
    """Return the id that a person meant: the whole id, or the only one that begins so."""
    if not is_id(word) or FULL_ID_CHARS <= len(word) <= ID_BYTES_MAX:
        return word
    return await client.resolve(word)
