"""``movant status``: one screen; exit 0 ready, 3 degraded, 4 unreachable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runtime.cli.failures import DEGRADED, OK
from runtime.cli.options import Target, command, target
from runtime.cli.output import (
    clock_time,
    duration,
    write_facts,
    write_json,
    write_line,
    write_table,
    write_text,
)
from runtime.ranges import brief

if TYPE_CHECKING:
    from protocols.api import runs as api
    from runtime.client.client import Client

DAEMONS: Final = ("DAEMON", "STATE", "PARTITIONS", "IN MEMORY", "LAG", "WHERE")


@command(
    "status",
    examples=(
        ("movant status", "exit 0 ready, 3 degraded, 4 unreachable"),
        ("movant status -o json | jq .counters", "for programs"),
    ),
)
@target
def status(to: Target) -> int:
    """Show how the daemon stands."""
    from runtime.cli.session import ask  # noqa: PLC0415 - not for --help

    async def question(client: Client) -> api.StatusView:
        return await client.status()

    view = ask(to, question)
    if to.form == "json":
        write_json(view)
    elif to.form == "jsonl":
        write_line(view)
    else:
        write_facts(_facts(view))
        if len(view.daemons) > 1:
            write_text("")
            write_table(DAEMONS, [_daemon(each) for each in view.daemons])
    return OK if view.state == "ready" and not view.problems else DEGRADED


def _facts(view: api.StatusView) -> list[tuple[str, str]]:
    facts = [
        ("daemon", f"{view.daemon}  movant {view.version}"),
        ("state", view.state),
        ("up", duration(view.uptime_s)),
        ("durability", view.durability),
        ("partitions", brief(view.partitions) or "none"),
    ]
    unowned = [each.partition for each in view.owners if not each.daemon]
    if unowned:
        facts.append(("unowned", f"partitions {brief(unowned)}"))
    facts += [(name, f"{value:,.6g}") for name, value in view.counters.items() if value]
    facts += [(f"hold {each.kind}", _hold(each)) for each in view.holds]
    facts += [("problem", problem) for problem in view.problems]
    return facts


def _hold(hold: api.HoldView) -> str:
    """Return who paused or forced what, from where, when and why."""
    stands = "paused" if hold.paused else f"forced {hold.forced}"
    said = hold.by
    by = f" by {said.who}" if said and said.who else ""
    origin = f" from {said.where}" if said and said.where else ""
    reason = f": {hold.reason}" if hold.reason else ""
    return f"{hold.name} {stands}{by}{origin} at {clock_time(hold.at)}{reason}".lstrip()


def _daemon(row: api.DaemonRow) -> tuple[str, ...]:
    """Return the cells of one daemon among several."""
    counts = (f"{len(row.partitions)}", f"{row.live:,}", f"{row.lag:,}")
    return (row.daemon, row.state, *counts, f"{row.host} pid {row.pid}")
