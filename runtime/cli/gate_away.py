"""``movant gate away|back|absences``: who decides at gates while somebody is away."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

import click

from runtime.cli.failures import OK, say
from runtime.cli.options import Target, command, moment, target
from runtime.cli.output import by_hand, clock_time, write_facts, write_json, write_line, write_rows
from runtime.cli.session import ask, myself

if TYPE_CHECKING:
    from protocols.gates.absences import Absence

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_name = click.argument("name", metavar="NAME")
_reason = click.option("--reason", default="", help="Why, for those who will ask.")
_as = click.option("--as", "who", default="", metavar="NAME", help="Who you are, if not the user.")


@command(
    "away",
    examples=(
        (
            "movant gate away ann --to bob --from 2026-12-01 --until 2026-12-14 --reason leave",
            "both days are among them",
        ),
        ("movant gate away ann --to bob --until 2026-12-14T12:00:00Z --role finance", "from now"),
    ),
)
@_name
@click.option("--to", "other", required=True, metavar="NAME", help="Who decides instead.")
@click.option("--from", "begin", default="", metavar="TIME", help="When it begins; else now.")
@click.option("--until", "end", required=True, metavar="TIME", help="When it is over.")
@click.option(
    "--role", "roles", multiple=True, help="A role of NAME that goes along; may come again."
)
@_reason
@_as
@target
def away(
    name: str,
    to: Target,
    *,
    other: str,
    begin: str,
    end: str,
    roles: tuple[str, ...],
    reason: str,
    who: str,
) -> int:
    """Let somebody decide for a time what would be NAME's, at all gates.

    TIME is a day, from its beginning to its end on this machine, or a time such as
    2026-12-01T08:00:00Z. NAME may still decide; it ends by itself.
    """
    since, until = _time(begin) if begin else 0, _time(end, days=1)
    by = myself(reason, who)
    found = ask(
        to,
        lambda client: client.stand_in(name, other, until, since=since, roles=roles, by=by),
    )
    return _tell(to, found)


@command("back", examples=(("movant gate back ann", "ann decides herself again"),))
@_name
@click.option("--id", "identity", default="", help="Which one, when there are several.")
@_reason
@_as
@target
def back(name: str, to: Target, *, identity: str, reason: str, who: str) -> int:
    """Let nobody stand in for NAME any more: it ends now, or does not begin."""
    by = myself(reason, who)
    return _tell(to, ask(to, lambda client: client.end_stand_in(name, identity, by=by)))


@command(
    "absences",
    examples=(
        ("movant gate absences", "who is away or will be"),
        ("movant gate absences bob --all", "where bob is away or stands in, also in the past"),
    ),
)
@click.argument("name", metavar="[NAME]", required=False, default="")
@click.option("--all", "over", is_flag=True, help="Also those that are over.")
@target
def absences(name: str, to: Target, *, over: bool) -> int:
    """List who is away or will be, and who stands in."""
    found = ask(to, lambda client: client.absences(name, over=over))
    write_rows(
        to.form,
        found,
        ("AWAY", "STANDS IN", "FROM", "UNTIL", "ROLES", "SAID BY", "WHY", "ID"),
        [
            (
                each.who,
                each.to,
                clock_time(each.since, "seconds"),
                clock_time(each.end, "seconds"),
                ", ".join(each.roles) or "-",
                each.by.who,
                each.by.why or "-",
                each.id,
            )
            for each in found
        ],
    )
    if to.form == "table" and not found:
        say("nobody is away")
    return OK


def _tell(to: Target, found: Absence) -> int:
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        write_facts(
            [
                ("away", found.who),
                ("stands in", found.to),
                ("from", clock_time(found.since, "seconds")),
                ("until", clock_time(found.end, "seconds")),
                *([("taken back", by_hand(found.ended_by))] if found.ended_by else []),
                *([("roles", ", ".join(found.roles))] if found.roles else []),
            ]
        )
        if found.ended_by is None:
            say(f"next:  movant gate ls --for {found.to}")
    return OK


def _time(text: str, days: int = 0) -> int:
    """Return a time in ns since 1970; of a day when it begins on this machine, or days later."""
    if not _DAY.fullmatch(text):
        return moment(text)
    try:
        begins = datetime.combine(date.fromisoformat(text) + timedelta(days=days), time())
        return int(begins.astimezone().timestamp()) * 1_000_000_000
    except (ValueError, OverflowError) as error:
        raise click.UsageError(f"{text!r} is no day") from error
