"""``movant status``: one screen; exit 0 ready, 3 degraded, 4 unreachable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.cli.failures import DEGRADED, OK
from runtime.cli.options import Target, command, target
from runtime.cli.output import duration, write_facts, write_json, write_line
from runtime.ranges import ranges

if TYPE_CHECKING:
    from protocols import api
    from runtime.client import Client


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
    return OK if view.state == "ready" and not view.problems else DEGRADED


def _facts(view: api.StatusView) -> list[tuple[str, str]]:
    facts = [
        ("daemon", f"{view.daemon}  movant {view.version}"),
        ("state", view.state),
        ("up", duration(view.uptime_s)),
        ("durability", view.durability),
        ("partitions", ranges(view.partitions) or "none"),
    ]
    if len(view.daemons) > 1:
        facts += [(f"with {each.daemon}", _daemon(each)) for each in view.daemons]
    facts += [(name, f"{value:,.6g}") for name, value in view.counters.items() if value]
    facts += [("problem", problem) for problem in view.problems]
    return facts


def _daemon(row: api.DaemonRow) -> str:
    """Return one line about a daemon among several."""
    found = [row.state, f"{row.host} pid {row.pid}"]
    found.append(f"{len(row.partitions)} partitions: {ranges(row.partitions) or 'none'}")
    if row.live:
        found.append(f"{row.live:,} in memory")
    if row.lag:
        found.append(f"lag {row.lag:,}")
    return "  ".join(found)
