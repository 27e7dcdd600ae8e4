"""Play the examples against their real services and print what became of every workflow.

    python -m examples [NAME...]          (make examples)

All play on one daemon with a NATS server of its own; the services of each are processes of their
own, started before it plays and ended behind it. The exit code is 0 only if everything ended as
the examples say that it must.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Final

import structlog
import trio
from rich.console import Console
from rich.table import Table

from examples.play import Row, Scene
from examples.stage import Stage, free_port, on_stage
from movant import Client
from protocols.errors import MovantError

EXAMPLES: Final[dict[str, str]] = {
    "restaurant": "examples.civic.play",
    "city": "examples.civic.city",
    "enterprise": "examples.enterprise.play",
    "forge": "examples.forge.play",
    "estate": "examples.estate.play",
}
"""The examples by their names, in the order in which they play."""


async def play(stage: Stage, names: Sequence[str]) -> list[str]:
    """Play some examples; print their rows, and return what is wrong."""
    print("Starting a daemon with a NATS server of its own ...", flush=True)
    stage.start_daemon(http=f"127.0.0.1:{free_port()}")
    rows: list[tuple[str, Row]] = []
    wrong: list[str] = []
    async with stage.client() as client:
        for name in names:
            print(f"  {name} ...", end="", flush=True)
            began = trio.current_time()
            scene = await act(stage, client, name)
            print(f" {trio.current_time() - began:.1f} s", flush=True)
            rows += ((name, row) for row in scene.rows())
            wrong += (f"{name}: {problem}" for problem in scene.wrong)
    show(rows)
    for problem in wrong:
        print(f"WRONG: {problem}")
    print("All as expected." if not wrong else "Not as expected.")
    return wrong


async def act(stage: Stage, client: Client, name: str) -> Scene:
    """Play one example, with its services."""
    module = import_module(EXAMPLES[name])
    before = stage.names
    scene = Scene(stage, client)
    module.begin(stage)
    try:
        await module.play(scene)
    except (RuntimeError, MovantError, TimeoutError, trio.TooSlowError) as error:
        scene.wrong.append(f"{type(error).__name__}: {error}")
    finally:
        for each in reversed([each for each in stage.names if each not in before]):
            stage.end(each)
    return scene


def show(rows: Sequence[tuple[str, Row]]) -> None:
    """Print a row for each workflow."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title, right in (
        ("example", False),
        ("workflow", False),
        ("runs", True),
        ("outcomes", False),
        ("compensated", True),
        ("gates decided", True),
        ("seconds", True),
    ):
        table.add_column(title, justify="right" if right else "left", no_wrap=True)
    for name, row in rows:
        outcomes = ", ".join(f"{count} {status}" for status, count in row.outcomes.most_common())
        numbers = (str(row.compensated), str(row.gates), f"{row.seconds:.1f}")
        table.add_row(name, row.workflow, str(row.runs), outcomes, *numbers)
    print()
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    print()


def main() -> int:
    """Play and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples", description="play the examples against their real services"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXAMPLES))
    options = parser.parse_args()
    unknown = sorted({*options.names} - EXAMPLES.keys())
    if unknown:
        parser.error(f"no example {', '.join(unknown)}; there are {', '.join(EXAMPLES)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    with on_stage("movant-examples-") as stage:
        try:
            wrong = trio.run(partial(play, stage, options.names or list(EXAMPLES)))
        except (RuntimeError, MovantError, TimeoutError, trio.TooSlowError) as error:
            print(f"The examples failed: {error!r}\n{stage.log('daemon')}")
            return 1
        except KeyboardInterrupt:
            print("stopped")
            return 130
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
