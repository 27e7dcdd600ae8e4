"""``movant nats cluster``: three NATS servers of this machine as one cluster, for trying."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from runtime.cli.failures import OK, say
from runtime.cli.options import command, output_option
from runtime.cli.output import Format, write_json, write_line

if TYPE_CHECKING:
    from runtime.server.cluster import Cluster
    from runtime.server.configuration import Durability

_PORTS = 65_535
_NODES = 3
_LOOK_S = 0.1


@command(
    "cluster",
    examples=(
        ("movant nats cluster", "until Ctrl-C; its stores are kept"),
        ("movant nats cluster --store /tmp/try --port 4222", "ports 4222, 4223, 4224"),
        ("movant nats cluster -o json", "urls and process ids, for programs"),
    ),
)
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the three stores; default: cluster, beside the daemon's store.",
)
@click.option(
    "--port",
    type=click.IntRange(0, _PORTS - _NODES + 1),
    default=0,
    help="Port of the first server, the others follow; 0: free ones, kept over restarts.",
)
@click.option(
    "--durability",
    type=click.Choice(["fsync", "interval"]),
    default="interval",
    help="fsync: an acknowledged message is on the disks of a majority. interval: in the memory"
    " of a majority, on disk within 10 s.",
)
@output_option
def cluster(store: Path | None, port: int, durability: str, form: Format) -> int:
    """Run three NATS servers as one cluster here; restart what dies. Ctrl-C stops them.

    For trying what happens when a server is killed: three servers on one machine do not
    survive the machine.
    """
    import trio  # noqa: PLC0415 - not for --help

    from runtime.config import default_store  # noqa: PLC0415
    from runtime.server.cluster import Cluster, ClusterSettings  # noqa: PLC0415
    from runtime.telemetry import configure  # noqa: PLC0415

    directory = (store or default_store().with_name("movant-cluster")).expanduser().absolute()
    configure("error", "human")  # who dies and comes back is told in words
    one = Cluster(
        ClusterSettings(
            store=directory,
            ports=tuple(range(port, port + _NODES)) if port else (),
            durability=cast("Durability", durability),
        )
    )
    if form == "table":
        say("starting three NATS servers; in some seconds they have elected their leaders")
    trio.run(_host, one, form)
    if form == "table":
        say(f"stopped; everything is kept in {directory}")
    return OK


async def _host(one: Cluster, form: Format) -> None:
    import trio  # noqa: PLC0415 - see above

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        try:
            async with trio.open_nursery() as nursery:

                async def obey() -> None:
                    async for _ in signals:
                        nursery.cancel_scope.cancel()

                nursery.start_soon(obey)
                await nursery.start(one.run)
                _tell(one, form)
                if form == "table":
                    nursery.start_soon(_tell_deaths, one)
        except BaseExceptionGroup as group:
            # One task can fail, the cluster: its error is what the command ends with.
            raise group.exceptions[0] from None


def _tell(one: Cluster, form: Format) -> None:
    passwords = one.settings.store / "credentials"
    if form != "table":
        nodes: list[dict[str, Any]] = [
            {"name": name, "url": each.url, "pid": each.pid} for name, each in one.nodes.items()
        ]
        told = {"url": one.url, "nodes": nodes, "passwords": str(passwords)}
        (write_json if form == "json" else write_line)(told)
        sys.stdout.flush()  # a program reads it while we go on
        return
    say("\nThree NATS servers, one cluster:\n")
    for name, each in one.nodes.items():
        say(f"  {name}  {each.url}  pid {each.pid}")
    # After ``make cluster`` the virtual environment need not be on the path.
    movant = "movant" if shutil.which("movant") else shlex.quote(str(Path(sys.argv[0]).absolute()))
    say(
        "\nIn other terminals, a daemon (or several, with other names), and what it runs:\n\n"
        f"  export MOVANT_NATS={one.url}\n"
        "  export MOVANT_NATS__USER=daemon\n"
        f"  export MOVANT_NATS__PASSWORD_FILE={shlex.quote(str(passwords / 'daemon.password'))}\n"
        f"  {movant} serve --name a --replicas 3 --http ''\n"
        f"  {movant} status\n\n"
        "Clients and services log in as client and service, with the files of these names beside"
        " that one.\n"
        "Kill a server to see what happens (kill -9 and its pid); it is started again. Ctrl-C"
        " stops all three.\n"
    )


async def _tell_deaths(one: Cluster) -> None:
    """Say who died and was started again, until cancelled."""
    import trio  # noqa: PLC0415 - see above

    pids = {name: each.pid for name, each in one.nodes.items()}
    while True:
        await trio.sleep(_LOOK_S)
        for name, each in one.nodes.items():
            if each.pid not in {0, pids[name]}:
                say(f"{time.strftime('%H:%M:%S')}  {name} died; started again, pid {each.pid}")
                pids[name] = each.pid
