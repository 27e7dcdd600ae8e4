"""``movant gate``: the gates that are open, and a person's decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from protocols.api import runs as api
from protocols.gates.words import Said
from runtime.cli.failures import OK, say
from runtime.cli.gate_batch import approve_all
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import Target, command, raw_option, read_value, target
from runtime.cli.output import (
    between,
    clock_time,
    compact,
    write_facts,
    write_json,
    write_line,
    write_rows,
    write_text,
)
from runtime.cli.session import ask, full_id, myself

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.client.client import Client

_PAGE = 500
_DONE_MAX = 10
"""Steps that are shown on the screen; JSON has more of them."""

gate = LazyGroup(
    "gate",
    help="See what waits for a person, and decide. RUN is an id, or the beginning of one.",
    tree={
        "Look": {
            "ls": Leaf("runtime.cli.gate:ls", "List open gates, the oldest first."),
            "show": Leaf("runtime.cli.gate:show", "Show a gate and what each decision does."),
        },
        "Decide": {
            "approve": Leaf("runtime.cli.gate:approve", "Let the run go on."),
            "modify": Leaf("runtime.cli.gate:modify", "Let it go on with other values."),
            "reject": Leaf("runtime.cli.gate:reject", "Let the gate fail."),
            "retry": Leaf("runtime.cli.gate:retry", "Let work before it be done once more."),
            "skip": Leaf("runtime.cli.gate:skip", "Go on without what the gate is for."),
            "cancel": Leaf("runtime.cli.gate:cancel", "Cancel the run."),
            "delegate": Leaf("runtime.cli.gate:delegate", "Let somebody else decide instead."),
        },
        "Stand in": {
            "away": Leaf("runtime.cli.gate_away:away", "Let somebody stand in for a time."),
            "back": Leaf("runtime.cli.gate_away:back", "Let nobody stand in any more."),
            "absences": Leaf("runtime.cli.gate_away:absences", "List who is away."),
        },
    },
    examples=(
        ("movant gate ls", "what waits for a person"),
        ("movant gate show claim-7", "what is to be decided there"),
        ("movant gate approve claim-7 --reason 'I know them'", "decide"),
    ),
)


@command(
    "ls",
    examples=(
        ("movant gate ls", "all open gates"),
        ("movant gate ls --for bob --role finance", "those that bob may decide"),
        ("movant gate ls --workflow claim -o json", "those of one workflow, for programs"),
        ("movant gate ls --all -o jsonl | jq -r .id", "the runs that wait for a person"),
    ),
)
@click.option("--workflow", metavar="NAME", help="Only those of runs of this workflow.")
@click.option("--run", "run_id", metavar="RUN", help="Only those of this run.")
@click.option("--for", "who", default="", metavar="NAME", help="Only those that NAME may decide.")
@click.option("--role", default="", help="With --for: the role that NAME has.")
@click.option("-n", "--limit", type=click.IntRange(1, api.PAGE_MAX), default=50, show_default=True)
@click.option("--after", default="", metavar="CURSOR", help="The page behind this one (`next`).")
@click.option("--all", "wants_all", is_flag=True, help="All pages, not only the first.")
@target
def ls(
    to: Target,
    *,
    workflow: str | None,
    run_id: str | None,
    who: str,
    role: str,
    limit: int,
    after: str,
    wants_all: bool,
) -> int:
    """List the open gates of all runs, the oldest first."""

    async def question(client: Client) -> tuple[api.GatePage, list[api.GateRow]]:
        rows: list[api.GateRow] = []
        run = None if run_id is None else await full_id(client, run_id)
        cursor = after
        while True:
            page = await client.gates(
                workflow=workflow,
                run=run,
                who=who,
                role=role,
                limit=_PAGE if wants_all else limit,
                after=cursor,
            )
            rows += page.gates
            cursor = page.next
            if not (wants_all and cursor):
                return page, rows

    page, rows = ask(to, question)
    write_rows(
        to.form,
        rows,
        ("RUN", "GATE", "WORKFLOW", "FOR", "EXPIRES", "WHO", "TITLE"),
        [_cells(row, page.server_time) for row in rows],
    )
    if to.form not in {"json", "jsonl"}:
        more = "; --all shows the others" if page.next else ""
        say(f"{len(rows)} of {page.total:,} gates{more}")
        if page.unread:
            say(f"{page.unread:,} old runs are being looked at: ask again for their gates")
    return OK


def _cells(row: api.GateRow, now: int) -> tuple[str, ...]:
    who = [*row.approvers, *(f"role {role}" for role in row.roles)]
    some = f" ({row.approved} of {row.quorum})" if row.quorum > 1 else ""
    some += f", instead of {' and '.join(row.instead_of)}" if row.instead_of else ""
    return (
        row.id,
        row.name,
        row.workflow or "-",
        between(row.opened_at, now),
        _expires(row.due, now, row.on_expiry),
        (", ".join(who) or "anybody") + some,
        row.title or "-",
    )


def _expires(due: int, now: int, then: str) -> str:
    if not due:
        return "-"
    return f"in {between(now, due)}: {then}" if due > now else f"now: {then}"


@command(
    "show",
    examples=(
        ("movant gate show claim-7", "the only gate that is open"),
        ("movant gate show claim-7 payout -o json", "one by its name, for programs"),
    ),
)
@click.argument("run_id", metavar="RUN")
@click.argument("name", metavar="[GATE]", required=False, default="")
@raw_option
@target
def show(run_id: str, name: str, to: Target, *, raw: bool) -> int:
    """Show what is to be decided in RUN at GATE, what was done, and what each decision does."""

    async def question(client: Client) -> api.GateView:
        run = await full_id(client, run_id)
        return await client.gate(run, name, raw=raw, by=myself("") if raw else None)

    found = ask(to, question)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        write_facts(_facts(found))
        if found.text:
            write_text(f"\n{found.text}")
        if found.open:
            write_text("\nmay be decided")
            write_facts([(f"  {do}", means) for do, means in found.decisions.items()])
            say(f"next:  movant gate {next(iter(found.decisions))} {found.id} {found.name}")
    return OK


def _facts(found: api.GateView) -> list[tuple[str, str]]:
    facts = [("run", f"{found.id} ({found.workflow}, {found.status})"), ("gate", found.gate)]
    if found.title:
        facts.append(("title", found.title))
    if found.decision is not None:
        facts.append(("decided", found.decision.text))
        facts.append(("at", clock_time(found.decision.at, "seconds")))
        facts += [
            (f"changed {each.field}", f"{compact(each.before)} -> {compact(each.after)}")
            for each in found.decision.changes
        ]
        return facts
    for key, value in (found.values or {}).items():
        may = " (may be modified)" if key in (found.fields or {}) else ""
        facts.append((str(key), f"{compact(value)}{may}"))
    who = [*found.approvers, *(f"role {role}" for role in found.roles)]
    facts.append(("who", ", ".join(who) or "anybody"))
    if found.excluded:
        facts.append(("but not", ", ".join(found.excluded)))
    if found.quorum > 1:
        voted = ", ".join(each.by.who for each in found.votes)
        count = f"{len(found.votes)} of {found.quorum}"
        facts.append(("approved", f"{count}: {voted}" if voted else count))
    facts.append(("since", clock_time(found.opened_at, "seconds")))
    if found.due:
        facts.append(("expires", f"{clock_time(found.due, 'seconds')}, then {found.on_expiry}"))
    return facts + _around(found)


def _around(found: api.GateView) -> list[tuple[str, str]]:
    """Return who handed it over or is away, what stands around it, and what would be undone."""
    facts = [
        ("handed over", f"by {each.by.who} to {each.to}, {clock_time(each.at, 'seconds')}")
        for each in found.delegations
    ]
    for absent in found.away:
        until = clock_time(absent.until, "seconds")
        reason = f": {absent.reason}" if absent.reason else ""
        others = ", ".join(absent.instead) or "nobody"
        facts.append(("away", f"{absent.who} until {until}{reason}; {others} may instead"))
    lists = (
        ("retry may do", found.retry),
        ("done", found.done[-_DONE_MAX:]),
        ("behind it", found.next[:_DONE_MAX]),
        ("artifacts", found.artifacts[:_DONE_MAX]),
        ("a failure undoes", found.undoes[:_DONE_MAX]),
    )
    return facts + [(label, ", ".join(each)) for label, each in lists if each]


def _deciding(function: Callable[..., int]) -> Callable[..., int]:
    """Add what all decisions have."""
    for each in (
        target,
        click.option("--reason", default="", help="Why; it stands in the history."),
        click.option("--role", default="", help="The role that you have, for gates with roles."),
        click.option(
            "--as", "who", default="", metavar="NAME", help="Who you are, if not the user."
        ),
        click.argument("name", metavar="[GATE]", required=False, default=""),
        click.argument("run_id", metavar="RUN", required=False, default=""),
    ):
        function = each(function)
    return function


@command(
    "approve",
    examples=(
        ("movant gate approve claim-7", "the only gate that is open"),
        ("movant gate approve claim-7 payout --role finance --reason 'I know them'", "say more"),
        ("movant gate approve --all --workflow claim", "many of them: asks back how many"),
    ),
)
@click.option("--all", "everything", is_flag=True, help="All open gates, but interactive ones.")
@click.option("--workflow", metavar="NAME", help="With --all: only those of this workflow.")
@click.option("--gate", "called", default="", metavar="NAME", help="With --all: of this name.")
@click.option("-y", "--yes", is_flag=True, help="With --all: do not ask back.")
@_deciding
def approve(
    run_id: str,
    name: str,
    to: Target,
    *,
    everything: bool,
    workflow: str | None,
    called: str,
    yes: bool,
    **said: str,
) -> int:
    """Approve at GATE of RUN: it goes on, as soon as enough people have."""
    if everything:
        if run_id:
            raise click.UsageError("--all goes without RUN.")
        return approve_all(to, workflow, called, yes=yes, **said)
    if not run_id or workflow or called or yes:
        raise click.UsageError("name a RUN, or --all with --workflow and --gate.")
    return _decide(to, "approve", run_id, name, **said)


@command(
    "reject",
    examples=(("movant gate reject claim-7 --reason 'too much'", "the gate fails"),),
)
@_deciding
def reject(run_id: str, name: str, to: Target, **said: str) -> int:
    """Reject at GATE of RUN: unless the workflow takes that, the run fails and is undone."""
    return _decide(to, "reject", run_id, name, **said)


@command(
    "modify",
    examples=(
        ("movant gate modify claim-7 -i amount=90", "go on with another amount"),
        ("movant gate modify claim-7 payout -i amount=90 -i to=bob", "several values"),
    ),
)
@click.option("-i", "--value", "pairs", multiple=True, metavar="KEY=VALUE", help="A new value.")
@click.option(
    "-f",
    "--file",
    "file",
    default="",
    metavar="FILE",
    type=click.Path(),
    help="The new values, as JSON.",
)
@_deciding
def modify(
    run_id: str, name: str, to: Target, *, pairs: tuple[str, ...], file: str, **said: str
) -> int:
    """Go on at GATE of RUN with other values; what is changed stands in the history."""
    values = read_value(pairs, file, "")
    return _decide(to, "modify", run_id, name, values=values, **said)


@command(
    "retry",
    examples=(
        ("movant gate retry claim-7 --reason 'the sum is wrong'", "do it once more"),
        ("movant gate retry claim-7 payout --step assess", "from this step on"),
    ),
)
@click.option("--step", default="", metavar="STEP", help="From where; `gate show` lists them.")
@_deciding
def retry(run_id: str, name: str, to: Target, *, step: str, **said: str) -> int:
    """Let work before GATE of RUN be done once more, from STEP on, and be asked again."""
    return _decide(to, "retry", run_id, name, step=step, **said)


@command(
    "delegate",
    examples=(("movant gate delegate claim-7 --to bob --reason 'on leave'", "bob decides"),),
)
@click.option("--to", "other", required=True, metavar="NAME", help="Who decides instead.")
@_deciding
def delegate(run_id: str, name: str, to: Target, *, other: str, **said: str) -> int:
    """Let somebody else decide in your place at GATE of RUN."""
    return _decide(to, "delegate", run_id, name, other=other, **said)


@command(
    "skip",
    examples=(("movant gate skip claim-7 --reason 'paid in cash'", "leave it out"),),
)
@_deciding
def skip(run_id: str, name: str, to: Target, **said: str) -> int:
    """Go on at GATE of RUN without what the gate is for."""
    return _decide(to, "skip", run_id, name, **said)


@command(
    "cancel",
    examples=(("movant gate cancel claim-7 --reason 'wrong customer'", "cancel the run"),),
)
@_deciding
def cancel(run_id: str, name: str, to: Target, **said: str) -> int:
    """Cancel RUN at GATE; what it did is undone."""
    return _decide(to, "cancel", run_id, name, **said)


def _decide(
    to: Target,
    do: Said,
    run_id: str,
    name: str,
    *,
    reason: str,
    role: str,
    who: str,
    values: Any = None,
    other: str = "",
    step: str = "",
) -> int:
    if not run_id:
        raise click.UsageError("Missing argument 'RUN'.")
    by = myself(reason, who)

    async def question(client: Client) -> api.GateDecided:
        run = await full_id(client, run_id)
        return await client.decide(
            run, do, name, values=values, role=role, to=other, step=step, by=by
        )

    found = ask(to, question)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    elif found.delegated:
        write_facts([("run", found.id), ("handed over to", found.delegated)])
        say(f"next:  movant gate show {found.id}")
    elif found.decision is None:
        write_facts([("run", found.id), ("approved", f"{found.approved} of {found.quorum}")])
        say("more people have to approve")
    else:
        write_facts([("run", found.id), ("gate", found.decision.text)])
        say(f"next:  movant run watch {found.id}")
    return OK
