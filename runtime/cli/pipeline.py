"""``movant pipeline``: all active motions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from protocols.api import runs as api
from runtime.cli.failures import OK, say
from runtime.cli.options import Target, command, target
from runtime.cli.output import (
    between,
    duration,
    write_facts,
    write_json,
    write_jsonl,
    write_table,
    write_text,
)
from runtime.cli.session import ask

if TYPE_CHECKING:
    from runtime.client.client import Client

_PAGE: Final = 500
_COUNTS_MAX: Final = 20
"""States that are counted by name on the screen; JSON has all of them."""


@command(
    "pipeline",
    examples=(
        ("movant pipeline", "all active motions, the longest in their state first"),
        ("movant pipeline --blocked", "who cannot go on by itself, and why"),
        ("movant pipeline --machine permit --state REVIEWED", "who is there, and since when"),
        ("movant pipeline --all -o jsonl | jq -r .motion_id", "every id"),
    ),
)
@click.option("--machine", metavar="NAME", help="Only motions of this machine.")
@click.option("--state", metavar="STATE", help="Only rows in this state.")
@click.option("--blocked", is_flag=True, help="Only rows that are blocked.")
@click.option("--overdue", is_flag=True, help="Only rows past their expected completion.")
@click.option("-n", "--limit", type=click.IntRange(1, api.PAGE_MAX), default=50, show_default=True)
@click.option("--after", default="", metavar="CURSOR", help="The page behind this one (`next`).")
@click.option("--all", "wants_all", is_flag=True, help="All pages, not only the first.")
@target
def pipeline(
    to: Target,
    *,
    machine: str | None,
    state: str | None,
    blocked: bool,
    overdue: bool,
    limit: int,
    after: str,
    wants_all: bool,
) -> int:
    """Show all active motions: where they are, what holds them, and what comes next."""

    async def question(client: Client) -> tuple[api.PipelineStatus, list[api.MotionPipelineState]]:
        rows: list[api.MotionPipelineState] = []
        cursor = after
        while True:
            page = await client.pipeline(
                machine=machine,
                state=state,
                blocked=blocked,
                overdue=overdue,
                limit=_PAGE if wants_all else limit,
                after=cursor,
            )
            rows += page.motions
            cursor = page.next
            if not (wants_all and cursor):
                return page, rows

    status, rows = ask(to, question)
    if to.form == "jsonl":
        write_jsonl(rows)
    elif to.form == "json":
        write_json(_with(status, rows))
    else:
        write_facts(_facts(status))
        if rows:
            write_text("")
            write_table(
                ("MOTION", "MACHINE", "STATE", "OWNER", "FOR", "EXPECTED", "NEXT", "HELD BY"),
                [_cells(row, status.server_time) for row in rows],
            )
        more = "; --all shows the others" if status.next else ""
        say(f"{len(rows)} of {status.total:,} motions{more}")
        _warn(status)
    return OK


def _with(status: api.PipelineStatus, rows: list[api.MotionPipelineState]) -> api.PipelineStatus:
    import msgspec  # noqa: PLC0415 - not for --help

    return msgspec.structs.replace(status, motions=rows)


def _facts(status: api.PipelineStatus) -> list[tuple[str, str]]:
    by_state = sorted(status.motions_by_state.items(), key=lambda each: (-each[1], each[0]))
    counted = [f"{state or '(not yet)'} {count:,}" for state, count in by_state[:_COUNTS_MAX]]
    facts = [("active", f"{status.active_motions:,}")]
    if counted:
        facts.append(("states", "  ".join(counted)))
    facts += [("blocked", f"{status.blocked:,}"), ("overdue", f"{status.overdue:,}")]
    if status.oldest_motion:
        age = duration(status.oldest_motion_age_s)
        facts.append(("oldest", f"{status.oldest_motion}  started {age} ago"))
    done, failed = status.recent_completions, status.recent_failures
    facts.append(("last 24 h", f"{done:,} completed  {failed:,} failed"))
    return facts


def _cells(row: api.MotionPipelineState, now: int) -> tuple[str, ...]:
    expected = "-"
    if row.expected_completion:
        late = row.overdue
        first, last = (row.expected_completion, now) if late else (now, row.expected_completion)
        expected = f"{between(first, last)} ago" if late else f"in {between(first, last)}"
    return (
        row.motion_id,
        row.machine,
        row.current_state or "-",
        row.owner or "-",
        duration(row.time_in_state_s),
        expected,
        row.next_action or "-",
        "; ".join(row.blocking_issues) or "-",
    )


def _warn(status: api.PipelineStatus) -> None:
    """Say what is not in the answer: a short list must not look like a healthy one."""
    if status.silent:
        say(f"missing: the motions of {', '.join(status.silent)}, who does not answer")
    if status.unread:
        say(f"{status.unread:,} motions are not read yet; ask again in a moment")
