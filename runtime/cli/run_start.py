"""``movant run start|signal|cancel|wait``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from protocols.api import runs as api
from protocols.errors import NotFoundError
from runtime.cli.failures import OK, RUN_FAILED, repair, say
from runtime.cli.options import Target, command, decoded, read_text, read_value, target
from runtime.cli.output import (
    Format,
    compact,
    told,
    write_facts,
    write_json,
    write_line,
    write_text,
)
from runtime.cli.run_batch import Many, many_options, over
from runtime.cli.session import ask, full_id, myself, outcome_of, within

if TYPE_CHECKING:
    from protocols.api.errors import ErrorReply
    from runtime.client.client import Client

WAIT_S_MAX = 10 * 365 * 86_400.0


@command(
    "start",
    examples=(
        (
            "movant run start orders -i amount=12 -i customer.name=Ann",
            "input from the command line",
        ),
        (
            "movant run start orders -f order.json --id order-17",
            "with an id of yours: safe to repeat",
        ),
        ("jq .order x.json | movant run start orders -f - --wait", "input from a pipe; wait"),
        ("movant run start orders --ndjson -f orders.jsonl", "one run per line"),
    ),
)
@click.argument("workflow")
@click.option(
    "-i",
    "--input",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Part of the input; VALUE is JSON, or text: n=3 is a number, n='\"3\"' text.",
)
@click.option(
    "-f",
    "--file",
    default="",
    metavar="FILE",
    type=click.Path(),
    help="Input as JSON; - reads standard input.",
)
@click.option("--id", "run_id", metavar="ID", help="Id of the run; default: a fresh one.")
@click.option(
    "--if-exists",
    type=click.Choice(["return", "refuse"]),
    default="return",
    help="When the id is taken: that run, or exit 6.",
)
@click.option(
    "--priority",
    type=click.IntRange(-9, 9),
    default=0,
    help="Who goes first where requests wait: -9 a batch, 9 an emergency.",
)
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    metavar="NAME",
    help="What you may do, for workflows that need it.",
)
@click.option(
    "--profile",
    default="",
    metavar="NAME",
    help="Under which of its profiles it runs; default: as the daemon is set.",
)
@click.option(
    "--traceparent",
    default="",
    envvar="TRACEPARENT",
    metavar="TRACE",
    help="W3C trace context that goes along with all requests; also in TRACEPARENT.",
)
@click.option("--as", "who", default="", metavar="NAME", help="Who starts it, if not the user.")
@click.option("--ndjson", is_flag=True, help="FILE has one input per line; start a run for each.")
@click.option(
    "-w", "--wait", "wants_end", is_flag=True, help="Wait for the end; exit 1 when the run failed."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    default=WAIT_S_MAX,
    metavar="SECONDS",
    help="With --wait: exit 124 after this.",
)
@target
def start(
    workflow: str,
    to: Target,
    *,
    pairs: tuple[str, ...],
    file: str,
    run_id: str | None,
    if_exists: Literal["return", "refuse"],
    timeout_s: float,
    priority: int,
    profile: str,
    traceparent: str,
    who: str,
    permissions: tuple[str, ...],
    ndjson: bool,
    wants_end: bool,
) -> int:
    """Start a run of WORKFLOW."""
    if ndjson:
        if pairs or run_id or wants_end or priority or profile or not file:
            raise click.UsageError("--ndjson goes with -f FILE alone.")
        return _start_many(workflow, file, to, permissions)
    value = read_value(pairs, file)

    async def question(client: Client) -> api.RunStarted | api.RunOutcome:
        started = await client.start(
            workflow,
            value,
            id=run_id,
            if_exists=if_exists,
            priority=priority,
            permissions=permissions,
            profile=profile,
            traceparent=traceparent,
            by=myself("", who),
        )
        if not wants_end:
            return started
        say(f"run {started.id}" + ("" if started.created else " (was there already)"))
        with within(timeout_s):
            return await outcome_of(client, started.id, timeout_s, heard=True)

    found = ask(to, question)
    if isinstance(found, api.RunOutcome):
        return _write_outcome(found, to.form)
    if to.form == "table":
        if not found.created:
            say(f"the id was taken: this is the run that has it, {found.status}")
        write_facts([("run", found.id), ("status", found.status)])
        say(f"next:  movant run watch {found.id}")
    else:
        _write(found, to.form)
    return OK


def _start_many(workflow: str, file: str, to: Target, permissions: tuple[str, ...]) -> int:
    inputs = [
        decoded(line, f"{file}:{number}")
        for number, line in enumerate(read_text(file).splitlines(), 1)
        if line.strip()
    ]

    async def question(client: Client) -> list[api.StartResult]:
        return await client.start_many(workflow, inputs, permissions=permissions, by=myself())

    results = ask(to, question)
    refused = [each for each in results if each.error is not None]
    if to.form == "table":
        for each in results:
            write_text(each.id if each.error is None else f"{each.id}  {_wrong(each.error)}")
        say(f"{len(results) - len(refused)} started, {len(refused)} refused")
    elif to.form == "json":
        write_json(results)
    else:
        for each in results:
            write_line(each)
    return RUN_FAILED if refused else OK


def _wrong(error: ErrorReply) -> str:
    fields = "; ".join(f"{path or 'it'}: {what}" for path, what in error.fields.items())
    return f"{error.message} ({fields})" if fields else error.message


@command(
    "signal",
    examples=(
        ("movant run signal order-17 paid", "a signal without data"),
        ("movant run signal order-17 paid '{\"amount\": 12}'", "with data"),
        ("movant run signal order-17 paid - < paid.json", "with data from a pipe"),
        ("movant run signal --workflow orders --dry-run paid", "which runs it would be"),
    ),
)
@click.argument("words", metavar="[RUN] NAME [DATA]", nargs=-1)
@click.option("--message-id", default="", help="Chosen by you: a repeat with it does nothing.")
@click.option("--reason", default="", help="For people; it stands in the history.")
@many_options()
@target
def signal(words: tuple[str, ...], to: Target, *, many: Many, message_id: str, reason: str) -> int:
    """Send the signal NAME to RUN, or to all runs that the options name.

    To one it may come before the start.
    """
    run_id, *said = words if words and not many else ("", *words)
    if not 1 <= len(said) <= 2:  # noqa: PLR2004 - a name, and data
        raise click.UsageError("Give RUN and NAME, or NAME and which runs: --workflow and so on.")
    many.check(alone=bool(run_id))
    name, value = said[0], read_value((), "", "".join(said[1:]))
    if many:
        if message_id:
            raise click.UsageError("--message-id goes with one run.")
        request = api.RunSignal(id="", name=name, data=value, by=myself(reason))
        return over(to, many, request, f"take the signal {name}")

    async def question(client: Client) -> api.Accepted:
        try:
            chosen = await full_id(client, run_id)
        except NotFoundError:
            chosen = run_id  # its start may still come
        return await client.signal(chosen, name, value, message_id=message_id, by=myself(reason))

    return _accepted(ask(to, question), to.form)


@command(
    "cancel",
    examples=(
        ("movant run cancel order-17 --reason 'customer withdrew'", "ask a run to cancel"),
        ("movant run cancel --workflow orders --status blocked --dry-run", "which would it be?"),
        ("movant run cancel --prefix test- --until 1d --yes", "all that began before yesterday"),
    ),
)
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--reason", default="", help="For people; it stands in the history.")
@many_options()
@target
def cancel(run_id: str | None, to: Target, *, many: Many, reason: str) -> int:
    """Ask RUN, or all runs that the options name, to cancel.

    Clean-up and compensation still run.
    """
    many.check(alone=run_id is not None)
    if run_id is None:
        request = api.RunCancel(id="", reason=reason, by=myself(reason))
        return over(to, many, request, "cancel")

    async def question(client: Client) -> api.Accepted:
        run = await full_id(client, run_id)
        return await client.cancel(run, reason=reason, by=myself(reason))

    return _accepted(ask(to, question), to.form)


@command(
    "wait",
    examples=(
        ("movant run wait order-17", "until it has ended; exit 0 only when it completed"),
        ("movant run wait order-17 --timeout 60", "exit 124 when that takes longer"),
    ),
)
@click.argument("run_id", metavar="RUN")
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    default=WAIT_S_MAX,
    metavar="SECONDS",
    help="Exit 124 after this; the run goes on.",
)
@target
def wait(run_id: str, to: Target, *, timeout_s: float) -> int:
    """Wait until RUN has ended or is blocked, and write its result."""

    async def question(client: Client) -> api.RunOutcome:
        with within(timeout_s):
            return await outcome_of(client, await full_id(client, run_id), timeout_s)

    return _write_outcome(ask(to, question), to.form)


def _accepted(found: api.Accepted, form: Format) -> int:
    if form == "table":
        write_facts([("run", found.id), ("message", str(found.seq))])
        say(f"next:  movant run watch {found.id}")
    else:
        _write(found, form)
    return OK


def _write_outcome(outcome: api.RunOutcome, form: Format) -> int:
    """Write the result to standard output, and what went wrong to standard error."""
    if form != "table":
        _write(outcome, form)
    elif outcome.status == "completed":
        write_json(outcome.result)
    if outcome.status == "completed":
        return OK
    if outcome.status == "blocked":
        say(f"run {outcome.id} is blocked: {outcome.blocked}")
        say(repair(outcome.id))
        return RUN_FAILED
    why = f": {told(outcome.failure)}" if outcome.failure else ""
    say(f"run {outcome.id} {_ENDED.get(outcome.status, f'has {outcome.status}')}{why}")
    for each in outcome.steps:
        if each.fate != "done":
            say(f"{each.fate.replace('_', ' ')}: {each.path}  {each.detail}".rstrip())
    if outcome.failure is not None and outcome.failure.details is not None:
        say(f"details: {compact(outcome.failure.details)}")
    say(f"next:  movant run history {outcome.id}")
    return RUN_FAILED


_ENDED = {
    "cancelled": "was cancelled",
    "compensated": "was undone",
    "compensation_incomplete": "was not undone completely",
}


def _write(value: Any, form: Format) -> None:
    if form == "json":
        write_json(value)
    else:
        write_line(value)
