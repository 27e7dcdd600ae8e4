"""``movant serve`` and ``movant dev``: the daemon in production, and to try things."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from runtime.cli.failures import OK, USAGE, say
from runtime.cli.options import command

F = TypeVar("F", bound=Callable[..., Any])

HTTP_DEFAULT = "127.0.0.1:0"


def _settings(function: F) -> F:
    """Add the flags that both commands have."""
    for decorate in reversed(
        (
            click.option("--config", type=click.Path(path_type=Path), help="TOML file."),
            click.option(
                "--nats",
                metavar="URL",
                help="Use this NATS instead of an own server; several of a cluster: with commas.",
            ),
            click.option(
                "--store",
                type=click.Path(path_type=Path, file_okay=False),
                help="Directory of everything durable.",
            ),
            click.option(
                "--port",
                "--nats-port",
                type=click.IntRange(0, 65_535),
                help="Port of the own NATS server; 0: a free one, kept over restarts.",
            ),
            click.option(
                "--durability",
                type=click.Choice(["fsync", "interval"]),
                help="fsync: an acknowledged message is on disk. interval: it survives a crash.",
            ),
            click.option("--name", help="Name of the daemon; default: the host's."),
            click.option(
                "--partitions",
                type=click.IntRange(1, 1024),
                help="Fixed when the store is created.",
            ),
            click.option(
                "--replicas",
                type=click.IntRange(1, 5),
                help="Copies of each stream; above 1 on a NATS cluster. Fixed like partitions.",
            ),
            click.option(
                "--drain-timeout",
                type=float,
                metavar="SECONDS",
                help="How long a shutdown waits for what is under way.",
            ),
            click.option(
                "--connectors",
                metavar="FILE",
                type=click.Path(),
                help="Host the connectors of this file (YAML or TOML).",
            ),
            click.option(
                "--http",
                metavar="HOST:PORT",
                help="Serve webhooks, /healthz and /readyz here; port 0: a free one; '': nowhere.",
            ),
            click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"])),
            click.option("--log-format", type=click.Choice(["auto", "json", "human"])),
        )
    ):
        function = decorate(function)
    return function


@command(
    "serve",
    examples=(
        ("movant serve", "with a NATS server of its own"),
        ("movant serve --config /etc/movant.toml --http 127.0.0.1:8700", "in production"),
        ("movant serve --nats nats://nats.internal:4222", "on an existing NATS"),
        ("movant serve --nats nats://a,nats://b,nats://c --replicas 3", "on a cluster"),
        ("MOVANT_LOG__LEVEL=debug movant serve", "every setting has a variable"),
    ),
)
@_settings
@click.option(
    "--workflow",
    "workflows",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Register this file or directory at the start.",
)
def serve(config: Path | None, workflows: tuple[Path, ...], **flags: Any) -> int:
    """Run the daemon. SIGTERM drains it: exit 0, nothing lost."""
    from runtime.cli.host import serve as host  # noqa: PLC0415 - trio and NATS are not for --help
    from runtime.config import load  # noqa: PLC0415

    loaded = load(_keys(flags, workflows), file=config)
    if loaded.origins["http.address"] == "default":
        loaded = load({**_keys(flags, workflows), "http.address": HTTP_DEFAULT}, file=config)
    host(loaded.config, lambda _: None)
    return OK


@command(
    "dev",
    examples=(
        ("movant dev", "with a small example"),
        ("movant dev orders.py billing/", "with workflows of yours"),
        ("movant dev parcels.yaml --http 127.0.0.1:8700", "with webhooks"),
    ),
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@_settings
def dev(paths: tuple[Path, ...], config: Path | None, **flags: Any) -> int:
    """Run server, daemon and the workflows in PATHS here; without PATHS an example.

    Nothing starts with a file that is wrong. The log is for people. Ctrl-C stops everything;
    what was under way goes on next time.
    """
    from actors.definitions.validation import validate  # noqa: PLC0415 - see serve
    from runtime.cli.example import write_example  # noqa: PLC0415
    from runtime.cli.findings import refused  # noqa: PLC0415
    from runtime.cli.host import serve as host  # noqa: PLC0415
    from runtime.config import load  # noqa: PLC0415

    chosen = _keys(flags, paths)
    if chosen["log.format"] is None:
        chosen["log.format"] = "human"
    loaded = load(chosen, file=config)
    problems = [each for path in loaded.config.workflows for each in validate(path)]
    if refused(problems, "nothing was started"):
        return USAGE
    example = not loaded.config.workflows
    if example:
        chosen["workflows"] = [str(write_example(loaded.config.server.store))]
        loaded = load(chosen, file=config)
    # An address is only needed where the daemon is not the one that clients look for first.
    where = f" --store {flags['store']}" if flags["store"] else ""

    def told(daemon: Any) -> None:
        say(f"\nmovant is ready on {daemon.url}. In another terminal:\n")
        if example:
            say(f"  movant run start hello -i name=Ann --id first --wait{where}")
            say(f"  movant run history first{where}")
        else:
            say(f"  movant workflow ls{where}")
            say(f"  movant run start WORKFLOW -i KEY=VALUE{where}")
            say(f"  movant gate ls{where}")
        say(f"  movant status{where}\n\nCtrl-C stops it.\n")

    host(loaded.config, told)
    if sys.stderr.isatty():
        say("stopped; everything is kept in " + str(loaded.config.server.store))
    return OK


def _keys(flags: dict[str, Any], workflows: tuple[Path, ...]) -> dict[str, Any]:
    """Return flags by the name of their setting."""
    return {
        "name": flags["name"],
        "nats.url": flags["nats"],
        "server.store": flags["store"],
        "server.port": flags["port"],
        "server.durability": flags["durability"],
        "http.address": flags["http"],
        "partitions": flags["partitions"],
        "replicas": flags["replicas"],
        "drain_timeout_s": flags["drain_timeout"],
        "connectors": flags["connectors"],
        "log.level": flags["log_level"],
        "log.format": flags["log_format"],
        "workflows": [str(path) for path in workflows] or None,
    }
