"""``movant mcp``: workflows as tools of the Model Context Protocol."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli.failures import OK
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import command

mcp = LazyGroup(
    "mcp",
    help="Workflows as tools for AI clients (Model Context Protocol).",
    tree={"Commands": {"serve": Leaf("runtime.cli.mcp:serve", "Serve one client over stdio.")}},
    examples=(("movant mcp serve --as ann", "what an AI client starts as its server"),),
)


@command(
    "serve",
    examples=(
        ("movant mcp serve --as ann", "it decides and starts in the name of ann"),
        ("movant mcp serve --read-only", "it looks, and changes nothing"),
    ),
)
@click.option("--nats", "url", metavar="URL", help="NATS server of the daemon.")
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="Ask the daemon that serves this store directory.",
)
@click.option("--as", "who", default="", metavar="NAME", help="In whose name, and no other.")
@click.option("--read-only", is_flag=True, help="Only tools that change nothing.")
def serve(url: str | None, store: Path | None, who: str, *, read_only: bool) -> int:
    """Serve the tools over standard input and output, until the client closes them.

    Needs the library of the protocol: pip install 'movant[mcp]'.
    """
    import trio  # noqa: PLC0415 - not for --help

    from protocols.errors import ConfigurationError  # noqa: PLC0415
    from runtime.telemetry import configure  # noqa: PLC0415

    try:
        from runtime.mcp_server import server  # noqa: PLC0415 - 0.6 s, and an extra
    except ImportError as error:
        raise ConfigurationError(
            "the library of the Model Context Protocol is not installed",
            hint="pip install 'movant[mcp]'",
        ) from error
    configure("error", "human")

    async def main() -> None:
        await server.serve(url, store=store, speaks_for=who, read_only=read_only)

    trio.run(main)
    return OK
