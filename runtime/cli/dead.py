"""``movant dead ls|show|replay|purge``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from runtime.cli.failures import DEGRADED, OK, plain, say
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import Target, command, target
from runtime.cli.output import (
    clock_time,
    write_bytes,
    write_facts,
    write_json,
    write_rows,
    write_text,
)
from runtime.cli.session import ask

if TYPE_CHECKING:
    from protocols.api import runs as api
    from runtime.client.client import Client

dead = LazyGroup(
    "dead",
    help="Messages that no run can take: look, send again, remove.",
    tree={
        "Commands": {
            "ls": Leaf("runtime.cli.dead:ls", "List dead letters."),
            "show": Leaf("runtime.cli.dead:show", "Show one with its bytes."),
            "replay": Leaf("runtime.cli.dead:replay", "Send again to where they were addressed."),
            "purge": Leaf("runtime.cli.dead:purge", "Remove them."),
        }
    },
    examples=(
        ("movant dead ls", "the oldest first, and how many there are by reason"),
        ("movant dead replay --reason schema", "after an upgrade"),
    ),
)

_reason = click.option("--reason", default="", help="Only letters of this reason.")


@command(
    "ls",
    examples=(
        ("movant dead ls --reason value", "what was no valid value"),
        ("movant dead ls -o jsonl --limit 1000", "for programs"),
    ),
)
@_reason
@click.option("--limit", type=click.IntRange(1, 1000), default=50, help="At most this many.")
@click.option("--after", type=int, default=0, help="Only letters with a higher number.")
@target
def ls(to: Target, reason: str, limit: int, after: int) -> int:
    """List dead letters, the oldest first."""
    from protocols.api import runs as api  # noqa: PLC0415 - not for --help

    request = api.DeadList(reason=reason, after=after, limit=limit)
    page: api.DeadPage = ask(to, lambda client: _call(client, "dead.ls", request, api.DeadPage))
    if to.form == "json":
        write_json(page)
        return OK
    cells = [
        (str(each.seq), each.reason, clock_time(each.at), each.subject, each.detail)
        for each in page.letters
    ]
    write_rows(to.form, page.letters, ("LETTER", "REASON", "AT", "SUBJECT", "DETAIL"), cells)
    if to.form == "table":
        counts = ", ".join(f"{count} {name}" for name, count in page.reasons.items())
        say(f"in all: {counts or 'none'}" + (f"; more: --after {page.next}" if page.next else ""))
    return OK


@command(
    "show",
    examples=(
        ("movant dead show 17", "headers and payload as text"),
        ("movant dead show 17 --raw > payload", "its bytes"),
    ),
)
@click.argument("letter", type=click.IntRange(min=1))
@click.option("--raw", is_flag=True, help="Write the payload's bytes and nothing else.")
@target
def show(to: Target, letter: int, *, raw: bool) -> int:
    """Show one dead letter: why it is one, its headers and its payload."""
    from protocols.api import runs as api  # noqa: PLC0415 - not for --help

    request = api.DeadShow(seq=letter)
    view: api.DeadView = ask(to, lambda client: _call(client, "dead.show", request, api.DeadView))
    if raw:
        write_bytes(view.payload)
    elif to.form != "table":
        write_json(view)
    else:
        cut = "" if len(view.payload) == view.size else f" (the first {len(view.payload)})"
        facts = (
            ("letter", str(view.seq)),
            ("at", clock_time(view.at)),
            ("reason", f"{view.reason}: {view.detail}"),
            ("subject", view.subject),
            *((("sequence", f"{view.source_seq} in MAIL"),) if view.source_seq else ()),
            ("headers", _text(view.headers) or "none"),
            ("payload", f"{view.size} bytes{cut}"),
        )
        write_facts(facts)
        write_text(_text(view.payload))
    return OK


@command(
    "replay",
    examples=(
        ("movant dead replay 17", "one letter"),
        ("movant dead replay --reason schema", "all of a reason, such as after an upgrade"),
        ("movant dead replay --all", "every letter"),
    ),
)
@click.argument("letter", type=click.IntRange(min=1), required=False)
@_reason
@click.option("--all", "everything", is_flag=True, help="Send every letter.")
@target
def replay(to: Target, letter: int | None, reason: str, *, everything: bool) -> int:
    """Send dead letters again to where they were addressed.

    Only starts and signals, and messages to their trigger; a letter that was sent is no longer
    a dead one. Exit 3 when something was not sent.
    """
    from protocols.api import runs as api  # noqa: PLC0415 - not for --help

    _check_which(letter, reason, everything=everything)

    async def send(client: Client) -> list[api.DeadReplayed]:
        results: list[api.DeadReplayed] = []
        after = through = 0
        while True:
            request = api.DeadReplay(
                seq=letter or 0, reason=reason, all=everything, after=after, through=through
            )
            told: api.DeadReplays = await _call(client, "dead.replay", request, api.DeadReplays)
            results += told.letters
            after, through = told.next, told.through
            if not after:
                return results

    results = ask(to, send)
    cells = [
        (str(each.seq), each.subject or "-", each.error.message if each.error else "sent")
        for each in results
    ]
    write_rows(to.form, results, ("LETTER", "SUBJECT", "RESULT"), cells)
    return DEGRADED if any(each.error for each in results) else OK


@command(
    "purge",
    examples=(
        ("movant dead purge 17", "one letter"),
        ("movant dead purge --reason stray", "all of a reason"),
        ("movant dead purge --all", "every letter"),
    ),
)
@click.argument("letter", type=click.IntRange(min=1), required=False)
@_reason
@click.option("--all", "everything", is_flag=True, help="Remove every letter.")
@target
def purge(to: Target, letter: int | None, reason: str, *, everything: bool) -> int:
    """Remove dead letters for good."""
    from protocols.api import runs as api  # noqa: PLC0415 - not for --help

    _check_which(letter, reason, everything=everything)
    request = api.DeadPurge(seq=letter or 0, reason=reason, all=everything)
    told: api.DeadPurged = ask(
        to, lambda client: _call(client, "dead.purge", request, api.DeadPurged)
    )
    if to.form == "table":
        write_text(f"{told.purged} removed")
    else:
        write_json(told)
    return OK


def _check_which(letter: int | None, reason: str, *, everything: bool) -> None:
    if sum((letter is not None, bool(reason), everything)) != 1:
        raise click.UsageError("Name one letter, --reason or --all.")


async def _call(client: Client, verb: str, request: Any, result: Any) -> Any:
    return await client.calls.call(verb, request, result)


def _text(data: bytes) -> str:
    """Return bytes for a terminal: what is not printable is escaped."""
    return plain(data.decode("utf-8", "backslashreplace"))
