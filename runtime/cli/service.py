"""``movant service ls|show|run``."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, Literal

import click

from runtime.cli.failures import OK, say
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import Target, command, target
from runtime.cli.output import pretty, write_facts, write_json, write_line, write_rows

if TYPE_CHECKING:
    from protocols.api import runs as api
    from protocols.service import Service
    from runtime.client.client import Client

service = LazyGroup(
    "service",
    help="Inspect and run services.",
    tree={
        "Commands": {
            "ls": Leaf("runtime.cli.service:ls", "List services."),
            "show": Leaf("runtime.cli.service:show", "Show a service."),
            "run": Leaf("runtime.cli.service:run", "Run a service of yours."),
            "force": Leaf("runtime.cli.service:force", "Force its breaker open or closed."),
        }
    },
    examples=(
        ("movant service run shop.billing:service", "host a service"),
        ("movant service ls", "who is there, who is missing"),
    ),
)


@command("ls", examples=(("movant service ls", "who is there, who is missing"),))
@target
def ls(to: Target) -> int:
    """List the services that the daemon knows."""
    from runtime.cli.session import ask  # noqa: PLC0415 - not for --help

    async def question(client: Client) -> api.ServicePage:
        return await client.services()

    rows = ask(to, question).services
    write_rows(
        to.form,
        rows,
        ("SERVICE", "STATE", "BREAKER", "OPEN", "PARKED", "OPERATIONS"),
        [
            (
                row.name,
                row.state,
                row.breaker,
                str(row.open_requests),
                str(row.parked),
                " ".join(row.operations) or "-",
            )
            for row in rows
        ],
    )
    if to.form == "table" and not rows:
        say("no workflow has asked a service yet")
    return OK


@command("show", examples=(("movant service show billing", "state, operations, counters"),))
@click.argument("name")
@target
def show(name: str, to: Target) -> int:
    """Show the service NAME."""
    from runtime.cli.session import ask  # noqa: PLC0415 - not for --help

    async def question(client: Client) -> api.ServiceView:
        return await client.service(name)

    view = ask(to, question)
    if to.form == "json":
        write_json(view)
    elif to.form == "jsonl":
        write_line(view)
    else:
        write_facts(
            [
                ("service", view.name),
                ("state", view.state),
                *((("paused", view.paused),) if view.paused else ()),
                ("breaker", view.breaker),
                ("parked", str(view.parked)),
                ("open requests", str(view.open_requests)),
                ("operations", "\n".join(view.operations)),
                *((name, f"{value:g}") for name, value in view.counters.items()),
                *((name, pretty(value)) for name, value in view.settings.items()),
            ]
        )
    return OK


@command(
    "force",
    examples=(
        ("movant service force billing open --reason 'it answers nonsense'", "ask it nothing"),
        ("movant service force billing closed", "ask it whatever it answers"),
        ("movant service force billing auto", "as it was: the breaker decides"),
    ),
)
@click.argument("name")
@click.argument("state", type=click.Choice(["open", "closed", "auto"]))
@click.option("--reason", default="", help="Why, for those who will ask.")
@target
def force(name: str, state: Literal["open", "closed", "auto"], reason: str, to: Target) -> int:
    """Force the breaker of the service NAME, or let it decide by itself again."""
    from runtime.cli.pause import say_if_unknown, write_told  # noqa: PLC0415 - not for --help
    from runtime.cli.session import ask, myself  # noqa: PLC0415 - not for --help

    async def question(client: Client) -> api.HoldTold:
        told = await client.force(name, state, reason=reason, by=myself())
        if state != "auto":
            await say_if_unknown(client, "service", name)
        return told

    return write_told(ask(to, question), to)


@command(
    "run",
    examples=(
        ("movant service run shop.billing:service", "the attribute of a module"),
        ("movant service run billing.py:service --nats nats://nats.internal:4222", "of a file"),
    ),
)
@click.argument("where", metavar="MODULE:ATTRIBUTE")
@click.option(
    "--nats", "url", metavar="URL", help="NATS server; default: that of the daemon here."
)
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="Find the server through the daemon of this store directory.",
)
def run(where: str, url: str | None, store: Path | None) -> int:
    """Run the service at MODULE:ATTRIBUTE until it is told to stop."""
    from runtime.client.discovery import find  # noqa: PLC0415 - not for --help
    from runtime.service_host import run_service  # noqa: PLC0415
    from runtime.telemetry import configure  # noqa: PLC0415

    loaded = load_service(where)
    configure()
    run_service(loaded, nats=find(url or "", store, user="service").url, store=store)
    return OK


def load_service(where: str) -> Service:
    """Return the service that ``module:attribute`` or ``file.py:attribute`` names.

    Raises NotFoundError and ConfigurationError.
    """
    from protocols.errors import ConfigurationError  # noqa: PLC0415 - see run
    from protocols.service import Service  # noqa: PLC0415

    loaded = load_attribute(where)
    if not isinstance(loaded, Service):
        raise ConfigurationError(
            f"{where} is no service but {type(loaded).__name__} {getattr(loaded, 'name', '')!r}",
            hint="name the movant.Service object of the module",
        )
    return loaded


def load_attribute(where: str) -> Any:
    """Return the attribute that ``module:attribute`` or ``file.py:attribute`` names.

    Raises NotFoundError when there is none, ConfigurationError when the module cannot be
    imported.
    """
    from protocols.errors import (  # noqa: PLC0415 - see run
        ConfigurationError,
        MovantError,
        NotFoundError,
    )

    name, colon, attribute = where.rpartition(":")
    if not colon or not name or not attribute:
        raise click.UsageError(f"{where!r} is not of the form module:attribute.")
    folder = Path.cwd()
    if name.endswith(".py"):
        folder, name = Path(name).absolute().parent, Path(name).stem
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"{_place(error, name)}: {error}",
                hint=f"install what provides {error.name!r} where the service runs",
            ) from error
        raise NotFoundError(
            f"there is no module {name!r} in {folder} or on the path of Python",
            hint=f"run it where the module is, or set PYTHONPATH ({Path.cwd()} is searched)",
        ) from error
    except MovantError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"{_place(error, name)}: {type(error).__name__}: {error}",
            hint="the module of a service must import without failing",
        ) from error
    if not hasattr(module, attribute):
        raise NotFoundError(
            f"module {name} has no attribute {attribute!r}",
            hint="name the movant.Service object of the module",
        )
    return getattr(module, attribute)


def _place(error: Exception, module: str) -> str:
    """Return ``file:line`` of an error at import, in the innermost file that is no library's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    foreign = ("<", sys.prefix, sys.base_prefix, __file__)
    frames = [
        frame
        for frame in extract_tb(error.__traceback__)
        if not frame.filename.startswith(foreign)
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else module
