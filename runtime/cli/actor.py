"""``movant actor tree``: supervisors and services of all daemons, once or again and again."""

from __future__ import annotations

import shutil
import signal
import sys
from typing import TYPE_CHECKING, Final

import click

from runtime.cli.failures import OK, say
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import Target, command, target
from runtime.cli.output import (
    ReaderGoneError,
    aligned,
    duration,
    write_json,
    write_line,
    write_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocols.api import runs as api
    from runtime.client.client import Client

INTERVAL_S: Final = 2.0
INTERVAL_S_MIN: Final = 0.1
_NS: Final = 1_000_000_000
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
"""To the first cell; erase to the end of the line; erase all below."""
_COLUMNS: Final = (
    *("SERVICE", "DAEMON", "BREAKER", "PARKED", "RATE", "P50", "P99", "ERRORS", "PAUSED"),
)

_EXAMPLES = (
    ("movant actor tree", "who runs, who was restarted, who has a queue"),
    ("movant actor tree --watch", "the same every two seconds, until Ctrl-C"),
    ("movant actor tree --watch -n 10 -o json >> tree.jsonl", "one line of JSON each time"),
)
actor = LazyGroup(
    "actor",
    help="Inspect the daemon's actors.",
    tree={"Commands": {"tree": Leaf("runtime.cli.actor:tree", "Show the supervision tree.")}},
    examples=_EXAMPLES[:1],
)


@command("tree", examples=_EXAMPLES)
@click.option("--watch", is_flag=True, help="Ask again and again, until Ctrl-C.")
@click.option(
    "-n",
    "--interval",
    "interval_s",
    type=click.FloatRange(INTERVAL_S_MIN),
    metavar="SECONDS",
    default=INTERVAL_S,
    show_default=True,
    help="With --watch: how long between two questions.",
)
@target
def tree(to: Target, *, watch: bool, interval_s: float) -> int:
    """Show the supervision trees of all daemons, and the services that they ask."""
    from runtime.cli.session import ask  # noqa: PLC0415 - not for --help

    async def once(client: Client) -> api.ActorTree:
        return await client.actor_tree()

    async def again(client: Client) -> int:
        await _watch(client, to, interval_s)
        return OK

    if watch:
        return ask(to, again)
    found = ask(to, once)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        write_text("\n".join(_screen(found)))
    return OK


async def _watch(client: Client, to: Target, interval_s: float) -> None:
    """Ask until Ctrl-C. A daemon that is away is waited for: that is when people look."""
    import trio  # noqa: PLC0415 - not for --help

    from protocols.errors import MovantError  # noqa: PLC0415

    async def stop() -> None:
        with trio.open_signal_receiver(signal.SIGINT) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()

    failed: MovantError | ReaderGoneError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        try:
            await _show_again(client, to, interval_s)
        except (MovantError, ReaderGoneError) as error:
            failed = error  # raised below: outside of the nursery's group
            nursery.cancel_scope.cancel()
    if failed is not None:
        raise failed


async def _show_again(client: Client, to: Target, interval_s: float) -> None:
    import trio  # noqa: PLC0415 - not for --help

    from protocols.errors import UnavailableError, UnknownOutcomeError  # noqa: PLC0415

    in_place = to.form == "table" and sys.stdout.isatty()
    before: api.ActorTree | None = None
    while True:
        due = trio.current_time() + interval_s
        try:
            found = with_rates(await client.actor_tree(), before)
        except (UnavailableError, UnknownOutcomeError) as error:
            say(f"waiting: {error.message}")
        else:
            _show(found, to, in_place=in_place)
            before = found
        await trio.sleep_until(due)


def _show(found: api.ActorTree, to: Target, *, in_place: bool) -> None:
    if to.form != "table":
        write_line(found)
    elif in_place:
        size = shutil.get_terminal_size()
        write_text(_fitting(_screen(found), size.columns, size.lines))
    else:
        write_text("\n".join([*_screen(found), ""]))


def with_rates(found: api.ActorTree, before: api.ActorTree | None) -> api.ActorTree:
    """Return a tree with each service's answers a second since the tree before.

    A daemon that was started again counts from nothing: then there is no rate.
    """
    import msgspec  # noqa: PLC0415 - not for --help

    if before is None or found.server_time <= before.server_time:
        return found
    past_s = (found.server_time - before.server_time) / _NS
    counted = {(each.daemon, each.service): each.answers for each in before.services}
    rated = []
    for each in found.services:
        more = each.answers - counted.get((each.daemon, each.service), each.answers)
        rated.append(msgspec.structs.replace(each, rate_per_s=round(max(more, 0) / past_s, 1)))
    return msgspec.structs.replace(found, services=rated)


def _screen(found: api.ActorTree) -> list[str]:
    """Return the lines that a person reads."""
    nodes = [line for root in (found.root, *found.others) for line in _lines(root, "", "")]
    width = max(len(name) for name, _ in nodes)
    shown = [f"{name.ljust(width)}  {facts}".rstrip() for name, facts in nodes]
    if found.services:
        shown += ["", *aligned(_COLUMNS, [_cells(each) for each in found.services])]
    return shown


def _fitting(lines: Sequence[str], columns: int, rows: int) -> str:
    """Return what overwrites a terminal from its first cell, and no more than fits there."""
    room = max(rows - 1, 1)
    if len(lines) > room:
        left = len(lines) - room + 1
        lines = [
            *lines[: room - 1],
            f"… {left} more lines: make the window larger, or use -o json",
        ]
    drawn = [line[:columns] + _REST_OF_LINE for line in lines]
    return _HOME + "\n".join(drawn) + _REST + "\n"


def _lines(node: api.ActorNode, first: str, rest: str) -> list[tuple[str, str]]:
    facts = [node.state]
    if node.strategy:
        facts.append(node.strategy)
    if node.restarts:
        facts.append(f"restarts {node.restarts}")
    if node.queued:
        facts.append(f"queued {node.queued:,}")
    if node.last_crash:
        since = f", up {duration(node.up_s)} since" if node.up_s else ""
        facts.append(f"last crash: {' '.join(node.last_crash.split())}{since}")
    found = [(first + node.name, "  ".join(facts))]
    for number, child in enumerate(node.children, 1):
        last = number == len(node.children)
        branch, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        found += _lines(child, rest + branch, rest + below)
    return found


def _cells(each: api.ServiceFlow) -> tuple[str, ...]:
    return (
        each.service,
        each.daemon or "-",
        each.breaker,
        f"{each.parked:,}",
        f"{each.rate_per_s:g}/s" if each.rate_per_s else "-",
        duration(each.p50_s) if each.p50_s else "-",
        duration(each.p99_s) if each.p99_s else "-",
        f"{each.error_rate:.0%}",
        each.paused or "-",
    )
