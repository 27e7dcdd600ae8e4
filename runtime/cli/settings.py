"""``movant config show|check``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli.failures import OK, say
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import command, output_option
from runtime.cli.output import Format, compact, write_rows

config = LazyGroup(
    "config",
    help="Show and check the daemon's configuration.",
    tree={
        "Commands": {
            "show": Leaf("runtime.cli.settings:show", "Show every setting."),
            "check": Leaf("runtime.cli.settings:check", "Check a file and the environment."),
        }
    },
    examples=(
        ("movant config show --origin", "where each value comes from"),
        ("movant config check --config /etc/movant.toml", "exit 2 when something is wrong"),
    ),
)

_file = click.option("--config", "path", type=click.Path(path_type=Path), help="TOML file.")


@command(
    "show",
    examples=(
        ("movant config show --origin", "flag, variable, file and line, or default"),
        ("movant config show --config movant.toml -o json", "for programs; secrets are ***"),
    ),
)
@_file
@click.option("--origin", is_flag=True, help="Show where each value comes from.")
@output_option
def show(path: Path | None, form: Format, *, origin: bool) -> int:
    """Show every setting of the daemon as it would be used."""
    from runtime.config import flatten, load  # noqa: PLC0415 - not for --help

    loaded = load(file=path)
    rows = [
        {"setting": key, "value": value, "origin": loaded.origins[key]}
        for key, value in flatten(loaded.config).items()
    ]
    columns = ("SETTING", "VALUE", "ORIGIN")[: 3 if origin else 2]
    cells = [
        tuple(
            cell if isinstance(cell, str) and cell else compact(cell)
            for cell in list(row.values())[: len(columns)]
        )
        for row in rows
    ]
    write_rows(form, rows, columns, cells)
    return OK


@command(
    "check",
    examples=(
        ("movant config check --config /etc/movant.toml", "exit 2 when something is wrong"),
    ),
)
@_file
def check(path: Path | None) -> int:
    """Check a file together with the environment."""
    from runtime.config import load  # noqa: PLC0415 - not for --help

    loaded = load(file=path)
    chosen = sum(origin != "default" for origin in loaded.origins.values())
    say(f"the configuration is right; {chosen} settings are not the default")
    return OK
