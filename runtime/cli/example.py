"""The example that ``movant dev`` runs when it is given no workflow."""

from __future__ import annotations

from pathlib import Path
from typing import Final

EXAMPLE: Final = '''\
"""A first workflow: a step, a wait, a decision from outside, another step."""

import msgspec

import movant


class Guest(msgspec.Struct):
    """Whom to greet."""

    name: str
    wait_s: float = 1.0


def greet(name: str) -> str:
    """A step: it runs once, and its result is kept."""
    return f"Hello, {name}!"


@movant.workflow
async def hello(ctx: movant.Context, guest: Guest) -> str:
    """Greet a guest. Kill the daemon in between: it goes on where it was."""
    greeting = await ctx.run(greet, guest.name)
    await ctx.sleep(guest.wait_s)
    return greeting + " This took one step and one timer."
'''


def write_example(store: Path) -> Path:
    """Write the example below the store directory and return its path; an edited one is kept."""
    path = store / "example" / "hello.py"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(EXAMPLE)
    return path
