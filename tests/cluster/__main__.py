"""Longer campaigns: ``python -m tests.cluster --kills 10``; exit code 1 when anything is wrong."""

from __future__ import annotations

import argparse
import sys

import structlog
import trio

from runtime.server.binary import find
from tests.cluster.campaign import Report, kills, playing
from tests.support.cluster import NatsCluster


def main() -> int:
    """Kill the leader so often under load, and tell what was counted."""
    parser = argparse.ArgumentParser(description="kill the leader of a stream under load")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--daemons", type=int, default=3)
    parser.add_argument("--stream", default="MAIL", help="whose leader is killed")
    parser.add_argument("--sync", default="2m", help="sync_interval of the servers")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    with NatsCluster(find().path, sync_interval=options.sync) as cluster:
        report = trio.run(_campaign, cluster, options)
    sys.stdout.write(told(report))
    return 1 if report.wrong else 0


async def _campaign(cluster: NatsCluster, options: argparse.Namespace) -> Report:
    async with playing(cluster, daemons=options.daemons) as play:
        return await kills(play, options.kills, stream=options.stream)


def told(report: Report) -> str:
    """Return a report as text."""
    lines = [
        f"{report.ended} instances with {report.steps} steps ended, {len(report.wrong)} wrong",
        f"{report.replies_sent} plain replies sent, {report.replies_lost} of them lost",
        f"{report.run_again} calls were repeats; each instance has its result all the same",
        f"longest pause after each kill, in s: {', '.join(map(str, report.gaps_s))}",
        *report.wrong,
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
