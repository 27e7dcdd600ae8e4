"""``movant pause|resume``: hold a service, a workflow, a run or everything, and let it go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from runtime.cli.failures import OK, say
from runtime.cli.options import Target, command, target
from runtime.cli.output import write_json, write_line, write_text

if TYPE_CHECKING:
    from protocols.api import runs as api
    from runtime.client.client import Client, HoldKind

KINDS: Final = ("service", "workflow", "run", "all")
_what = click.argument("what", type=click.Choice(KINDS))
_name = click.argument("name", default="")
_reason = click.option("--reason", default="", help="Why, for those who will ask.")


@command(
    "pause",
    examples=(
        ("movant pause service billing --reason upgrade", "ask billing for nothing more"),
        ("movant pause workflow orders", "none of its runs sends a request"),
        ("movant pause run order-17", "one run"),
        ("movant pause all --reason 'wrong prices'", "nobody sends anything"),
    ),
)
@_what
@_name
@_reason
@target
def pause(what: HoldKind, name: str, reason: str, to: Target) -> int:
    """Send no more requests to a service, or for a workflow, a run, or at all.

    Requests wait and use up no attempt. What a service has already goes on; answers, signals
    and timers are taken. It lasts until somebody resumes, also over restarts.
    """
    return _say(what, name, reason, to, paused=True)


@command(
    "resume",
    examples=(
        ("movant resume service billing", "what waited goes first, at a limited rate"),
        ("movant resume all", "everything"),
    ),
)
@_what
@_name
@_reason
@target
def resume(what: HoldKind, name: str, reason: str, to: Target) -> int:
    """Send requests again."""
    return _say(what, name, reason, to, paused=False)


def _say(what: HoldKind, name: str, reason: str, to: Target, *, paused: bool) -> int:
    if (what == "all") == bool(name):
        raise click.UsageError("Give a name with service, workflow or run, and none with all.")
    from runtime.cli.session import ask, full_id, myself  # noqa: PLC0415 - not for --help

    async def question(client: Client) -> api.HoldTold:
        called = await full_id(client, name) if what == "run" else name
        speak = client.pause if paused else client.resume
        told = await speak(what, called, reason=reason, by=myself())
        if paused:
            await say_if_unknown(client, what, called)
        return told

    return write_told(ask(to, question), to)


async def say_if_unknown(client: Client, what: HoldKind, name: str) -> None:
    """Tell that a hold counts only later; it is stored, for it may be right before its thing."""
    if not await _is_known(client, what, name):
        say(f"no {what} {name!r} is known; this counts as soon as there is one")


async def _is_known(client: Client, what: HoldKind, name: str) -> bool:
    """Tell whether there is what was paused: a name may be a typo, and may be of tomorrow."""
    from protocols.errors import NotFoundError  # noqa: PLC0415 - see _say

    try:
        if what == "service":
            found = await client.service(name)
            return bool(found.operations) or found.parked > 0  # a pause alone makes a row
        if what == "workflow":
            await client.workflow(name)
    except NotFoundError:
        return False
    return True


def write_told(told: api.HoldTold, to: Target) -> int:
    """Write how a hold stands, and who may not know it yet."""
    if to.form == "json":
        write_json(told)
    elif to.form == "jsonl":
        write_line(told)
    else:
        hold = told.hold
        stands = "paused" if hold.paused else "resumed"
        if hold.kind == "breaker":
            stands = f"forced {hold.forced}" if hold.forced else "by itself again"
        write_text(f"{hold.kind} {hold.name}".rstrip() + f": {stands}")
    for daemon in told.unaware:
        say(f"daemon {daemon} has not confirmed it; it will know within seconds")
    return OK
