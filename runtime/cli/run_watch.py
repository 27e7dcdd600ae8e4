"""``movant run watch``: a live view on a terminal, lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from protocols.api import runs as api
from protocols.effects import FINAL
from protocols.events import LIFECYCLE, Event
from protocols.failure import Failure
from protocols.guardrails.sensitive import Redactor
from runtime.cli.failures import OK, RUN_FAILED, plain, repair, say
from runtime.cli.options import Target, command, target
from runtime.cli.output import (
    clock_time,
    compact,
    duration,
    has_colors,
    told,
    write_line,
    write_text,
)
from runtime.cli.session import ask, full_id

if TYPE_CHECKING:
    from runtime.client.client import Client

_NS: Final = 1_000_000_000
_SAID_CHARS: Final = 120
_MARKS = {
    "completed": ("✔", "green"),
    "failed": ("✘", "red"),
    "compensated": ("↺", "yellow"),
    "compensation_incomplete": ("✘", "red"),
    "cancelled": ("✘", "yellow"),
    "blocked": ("■", "red"),
    "queued": ("…", "cyan"),
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
@click.option("--raw", is_flag=True, help="Do not mask what is sensitive.")
@target
def watch(run_id: str, to: Target, *, raw: bool) -> int:
    """Follow RUN until it ends or is blocked. Exit 1 when it does not complete."""

    async def question(client: Client) -> int:
        chosen = await full_id(client, run_id)
        view = await client.show(chosen)
        if to.form == "table":
            _write_head(view)
        if view.status == "blocked":  # nothing comes any more until somebody does something
            if to.form != "table":
                write_line({"kind": "blocked", "data": {"reason": view.blocked}})
            return _end("blocked", chosen)
        async for told_event in client.watch(chosen):
            event = told_event if raw else _masked(told_event)
            if to.form == "table":
                write_text(_line(event, view.started_at))
            else:
                write_line(_data(event))
            if event.kind in FINAL or event.kind == "blocked":
                return _end(event.kind, chosen)
        return OK

    return ask(to, question)


def _masked(event: Event) -> Event:
    """Return an event with what is sensitive masked: it comes past the daemon, as it is."""
    return msgspec.structs.replace(event, data=Redactor().value(event.data))


def _write_head(view: api.RunView) -> None:
    write_text(
        f"run {view.id}  {view.workflow}  {view.status}  started {clock_time(view.started_at)}"
    )
    if view.blocked:
        mark, color = _MARKS["blocked"]
        write_text(_colored(f"  {mark} {plain(view.blocked)}", color))
    if view.status not in FINAL:
        for each in view.waiting:
            write_text(f"  · {each.kind} {each.path} {each.detail}".rstrip())


def _line(event: Event, started_at: int) -> str:
    after = duration((event.at - started_at) / _NS) if event.at and started_at else "-"
    mark, color = _MARKS.get(event.kind, ("·", ""))
    said = plain(_said(event))
    text = f"  {mark} {after:>7}  {event.kind:<10}  {said}".rstrip()
    return _colored(text, color)


def _said(event: Event) -> str:
    """Return what an event tells beside its kind; the head names the run already."""
    data = event.data
    if event.kind not in LIFECYCLE or not isinstance(data, dict):
        return "" if data in (None, {}) else compact(data, _SAID_CHARS)
    if event.kind == "completed":
        return compact(data.get("result"), _SAID_CHARS)
    failure = data.get("failure")
    if event.kind == "update_answered" and not failure:
        return f"{data.get('name')} {data.get('status')}"
    if isinstance(failure, dict):
        return told(Failure(kind=failure["kind"], message=failure.get("message", "")))
    if failure:
        return told(failure)
    said = data.get("text" if event.kind == "gate_decided" else "title")
    return str(data.get("reason") or said or "")


def _colored(text: str, color: str) -> str:
    return click.style(text, fg=color) if color and has_colors() else text


def _data(event: Event) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(event)
    return shown


def _end(kind: str, run_id: str) -> int:
    if kind == "completed":
        return OK
    say(repair(run_id) if kind == "blocked" else f"next:  movant run history {run_id}")
    return RUN_FAILED
