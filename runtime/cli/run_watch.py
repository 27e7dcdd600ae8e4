"""``movant run watch``: a live view on a terminal, lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from protocols import api
from protocols.effects import FINAL
from protocols.events import Event
from runtime.cli.failures import OK, RUN_FAILED, say
from runtime.cli.options import Target, command, target
from runtime.cli.output import (
    Format,
    clock_time,
    compact,
    duration,
    has_colors,
    write_line,
    write_text,
)
from runtime.cli.session import ask, full_id

if TYPE_CHECKING:
    from runtime.client import Client

_NS = 1_000_000_000
_MARKS = {
    "completed": ("✔", "green"),
    "failed": ("✘", "red"),
    "cancelled": ("✘", "yellow"),
    "blocked": ("■", "red"),
    "incident": ("!", "red"),
}


@command(
    "watch",
    examples=(
        ("movant run watch order-17", "follow it; exit 0 only when it completes"),
        ("movant run watch order-17 -o jsonl", "one event per line, for programs"),
    ),
)
@click.argument("run_id", metavar="RUN")
@target
def watch(run_id: str, to: Target) -> int:
    """Follow RUN until it ends. Exit 1 when it does not complete."""

    async def question(client: Client) -> int:
        chosen = await full_id(client, run_id)
        view = await client.show(chosen)
        if to.form == "table":
            _write_head(view)
        async for event in client.watch(chosen):
            if to.form == "table":
                write_text(_line(event, view.started_at))
            else:
                write_line(_data(event))
            if event.kind in FINAL:
                return _end(event, chosen, to.form)
        return OK

    return ask(to, question)


def _write_head(view: api.RunView) -> None:
    write_text(
        f"run {view.id}  {view.workflow}  {view.status} since {clock_time(view.started_at)}"
    )
    if view.status not in FINAL:
        for each in view.waiting:
            write_text(f"  · {each.kind} {each.path} {each.detail}".rstrip())


def _line(event: Event, started_at: int) -> str:
    after = duration((event.at - started_at) / _NS) if event.at and started_at else "-"
    mark, color = _MARKS.get(event.kind, ("·", ""))
    said = "" if event.data in (None, {}) else compact(event.data, 120)
    text = f"  {mark} {after:>7}  {event.kind:<10}  {said}".rstrip()
    return click.style(text, fg=color) if color and has_colors() else text


def _data(event: Event) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(event)
    return shown


def _end(event: Event, run_id: str, form: Format) -> int:
    if event.kind == "completed":
        return OK
    if form == "table":
        say(f"next:  movant run history {run_id}")
    return RUN_FAILED
