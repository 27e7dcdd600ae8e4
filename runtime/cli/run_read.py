"""``movant run ls|show|history``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, get_args

import click
from msgspec import structs

from protocols.api import runs as api
from protocols.compensation import StepFate
from protocols.effects import FINAL, Status, Waiting
from protocols.graphs.graph import SHOWN
from runtime.cli.failures import OK, repair, say
from runtime.cli.options import Target, command, raw_option, target
from runtime.cli.output import (
    between,
    by_hand,
    clock_time,
    compact,
    pretty,
    told,
    write_facts,
    write_json,
    write_jsonl,
    write_line,
    write_rows,
    write_runs,
)
from runtime.cli.run_batch import Which, which_options
from runtime.cli.session import ask, full_id, myself

if TYPE_CHECKING:
    from runtime.client.client import Client

_SUMMARY_CHARS: Final = 100
_PAGE: Final = 500


@command(
    "ls",
    examples=(
        ("movant run ls", "the newest 50"),
        ("movant run ls --status failed --workflow orders", "what has failed"),
        ("movant run ls --late", "what takes longer than it should"),
        ("movant run ls --prefix order- --since 7d --until 1d", "last week's, without today's"),
        ("movant run ls --all -o jsonl | jq -r .id", "every id"),
    ),
)
@which_options(get_args(Status))
@click.option("-n", "--limit", type=click.IntRange(1, api.PAGE_MAX), default=50, show_default=True)
@click.option("--all", "wants_all", is_flag=True, help="All pages, not only the first.")
@target
def ls(
    to: Target,
    *,
    which: Which,
    limit: int,
    wants_all: bool,
) -> int:
    """List runs, newest first."""
    query = which.query(time.time_ns())

    async def question(client: Client) -> api.RunPage:
        rows: list[api.RunRow] = []
        after = ""
        while True:
            page = await client.list(
                **structs.asdict(query),
                limit=_PAGE if wants_all else limit,
                after=after,
            )
            rows += page.runs
            after = page.next
            if not (wants_all and after):
                return api.RunPage(runs=rows, total=page.total, next=after)

    page = ask(to, question)
    if to.form == "json":
        write_json(page)
    elif to.form == "jsonl":
        write_jsonl(page.runs)
    else:
        write_runs(page.runs, late=which.late)
        more = "; --all shows the others" if page.next else ""
        say(f"{len(page.runs)} of {page.total:,} runs{more}")
        asleep = [x.id for x in page.runs if x.status == "running" and not x.waiting]
        if asleep:
            say(f"next:  movant why {asleep[0]}")
    return OK


@command(
    "show",
    examples=(
        ("movant run show order-17", "everything about a run"),
        ("movant run show 01k7 -o json | jq .result", "only its result"),
    ),
)
@click.argument("run_id", metavar="RUN")
@raw_option
@target
def show(run_id: str, to: Target, *, raw: bool) -> int:
    """Show RUN: status, input, result, and what it waits for."""

    async def question(client: Client) -> api.RunView:
        run = await full_id(client, run_id)
        return await client.show(run, raw=raw, by=myself("") if raw else None)

    view = ask(to, question)
    if to.form == "json":
        write_json(view)
    elif to.form == "jsonl":
        write_line(view)
    else:
        write_facts(_facts(view))
        if view.status == "blocked":
            say(repair(view.id, view.blocked_at))
        elif view.status == "compensation_incomplete":
            say(f"next:  movant run undo --plan {view.id}")
        elif any(each.kind == "gate" for each in view.waiting):
            say(f"next:  movant gate show {view.id}")
    return OK


def _origin(view: api.RunView) -> list[tuple[str, str]]:
    """Return which run it is, and what it began with."""
    facts = [
        ("run", view.id),
        ("workflow", view.workflow),
        ("definition", view.definition),
        ("status", view.status),
        ("started", clock_time(view.started_at)),
    ]
    if view.finished_at:
        took = between(view.started_at, view.finished_at)
        facts.append(("finished", f"{clock_time(view.finished_at)}  after {took}"))
    if view.by is not None and view.by.who:
        facts.append(("started by", view.by.who))
    if view.profile:
        facts.append(("profile", view.profile))
    if view.forked_from is not None:
        facts.append(("forked from", f"{view.forked_from.run}, at {view.forked_from.step}"))
    return facts


def _facts(view: api.RunView) -> list[tuple[str, str]]:
    facts = _origin(view)
    if view.generation > 1:
        facts.append(("generation", f"{view.generation:,}"))
    if view.progress is not None:
        facts.append(("progress", _progress(view.progress)))
    if view.late:
        facts.append(("late", "\n".join(map(_late, view.late))))
    stopped = {"paused": view.paused, "blocked": view.blocked}
    facts += [(name, why) for name, why in stopped.items() if why]
    facts.append(("input", pretty(view.input)))
    shown: dict[str, object] = view.state or {}
    state = {key: each for key, each in shown.items() if not key.startswith(SHOWN)}
    if state:
        facts.append(("state", pretty(state)))
    steps = {
        name: _step(view, name, str(each))
        for key, each in shown.items()
        if (name := key.removeprefix(SHOWN)) != key
    }
    if steps:
        width = max(map(len, steps))
        facts.append(("graph", "\n".join(f"{key:{width}}  {each}" for key, each in steps.items())))
    facts += _outcome(view)
    if view.waiting:
        facts.append(("waiting for", "\n".join(map(_waiting, view.waiting))))
    counted = [f"{name} {count:,}" for name, count in view.counters.items() if count]
    if counted:
        facts.append(("counters", "  ".join(counted)))
    return facts


def _late(each: Waiting) -> str:
    now = time.time_ns()
    return f"{each.path}  since {clock_time(each.due)}, for {between(each.due, now)}"


def _progress(found: api.Progress) -> str:
    text = f"{found.percent} %, {found.done} of {found.total} steps"
    now = time.time_ns()
    if found.expected_at > now:
        left = between(now, found.expected_at)
        text += f", done at about {clock_time(found.expected_at)}, in {left}"
    return text


def _outcome(view: api.RunView) -> list[tuple[str, str]]:
    facts = []
    if view.status == "completed":
        facts.append(("result", pretty(view.result)))
    if view.failure is not None:
        name = "reason" if view.failure.kind == "cancelled" else "failure"
        facts.append((name, told(view.failure)))
        if view.failure.details is not None:
            facts.append(("details", pretty(view.failure.details)))
    if view.steps:
        facts.append(("steps", "\n".join(map(_fate, view.steps))))
    return facts


def _fate(each: StepFate) -> str:
    text = f"{each.fate.replace('_', ' '):9}  {each.path}  {each.service}".rstrip()
    return f"{text}  {each.detail}" if each.detail else text


def _step(view: api.RunView, name: str, text: str) -> str:
    """Return what a step has come to; one that was under way when its run ended runs no more."""
    if text != "running" or view.status not in FINAL:
        return text
    failed = view.failure is not None and view.failure.message.startswith(f"/steps/{name}/")
    return "failed" if failed else "stopped"


def _waiting(each: Waiting) -> str:
    now = time.time_ns()
    text = f"{each.kind} {each.path}"
    if each.detail:
        text += f"  {each.detail}"
    if each.attempt > 1:
        text += f"  attempt {each.attempt}"
    if each.failed:
        text += f"  after {each.failed}"
    if each.due > now:
        text += f"  due in {between(now, each.due)}"
    if each.beat_at:
        said = "" if each.beat is None else f" {compact(each.beat, 60)}"
        text += f"  beat {between(each.beat_at, now)} ago{said}"
    return f"{text}  since {between(each.since, now)}"


@command(
    "history",
    examples=(
        ("movant run history order-17", "a line per message"),
        ("movant run history order-17 --full", "with what the messages say"),
        ("movant run history order-17 -o jsonl | grep '\"failure\"'", "for programs"),
    ),
)
@click.argument("run_id", metavar="RUN")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    metavar="SEQ",
    help="Only messages behind this one.",
)
@click.option("--full", is_flag=True, help="Show bodies and failures whole.")
@raw_option
@target
def history(run_id: str, to: Target, *, after: int, full: bool, raw: bool) -> int:
    """Show the mailbox of RUN: everything that has happened to it, in order."""

    async def question(client: Client) -> list[api.HistoryEntry]:
        chosen = await full_id(client, run_id)
        by = myself("") if raw else None
        return [each async for each in client.history(chosen, after=after, raw=raw, by=by)]

    entries = ask(to, question)
    first = entries[0].at if entries else 0
    write_rows(
        to.form,
        entries,
        ("SEQ", "AFTER", "KIND", "WHAT", "SAYS"),
        [
            (
                str(entry.seq),
                between(first, entry.at) if entry.at != first else "0ms",
                entry.kind,
                _what(entry),
                _says(entry, 0 if full else _SUMMARY_CHARS),
            )
            for entry in entries
        ],
    )
    if to.form == "table" and entries:
        say(f"{len(entries)} messages since {clock_time(first)}")
    return OK


def _what(entry: api.HistoryEntry) -> str:
    what = entry.path or entry.name or "-"
    return f"{what} (attempt {entry.attempt})" if entry.attempt > 1 else what


def _says(entry: api.HistoryEntry, width: int) -> str:
    if entry.failure is not None:
        text = told(entry.failure)
    elif entry.body is not None:
        text = compact(entry.body, width)
    else:
        text = entry.summary or "-"
    if entry.by is not None:
        text += f"  by {by_hand(entry.by)}"
    return text if not width or len(text) <= width else text[: width - 1] + "…"
