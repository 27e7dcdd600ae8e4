"""``movant run update|answer``: to send a signal that is answered, and to ask for its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from protocols.updates import is_over
from runtime.cli.failures import OK, RUN_FAILED, TIMED_OUT, repair, say
from runtime.cli.options import Target, command, read_value, target
from runtime.cli.output import told, write_json, write_line
from runtime.cli.session import ask, full_id, myself

if TYPE_CHECKING:
    from protocols.api.updates import RunUpdated
    from protocols.updates import Until
    from runtime.client.client import Client

TIMEOUT_S = 60.0


@command(
    "update",
    examples=(
        ("movant run update order-17 add -i item=nut", "send it; until the workflow accepts it"),
        ("movant run update order-17 add -i item=nut --wait", "until it is answered"),
        ("movant run update order-17 add --message-id m-7 -w", "safe to repeat: it counts once"),
    ),
)
@click.argument("run_id", metavar="RUN")
@click.argument("name")
@click.option(
    "-i",
    "--input",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Part of the data; VALUE is JSON or text.",
)
@click.option(
    "-f", "--file", default="", metavar="FILE", help="Data as JSON; - reads standard input."
)
@click.option("-w", "--wait", "wants_answer", is_flag=True, help="Wait until it is answered.")
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    default=TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="Exit 124 after this; the update stands.",
)
@click.option("--message-id", default="", help="Chosen by you: a repeat with it does nothing.")
@click.option("--reason", default="", help="For people; it stands in the history.")
@target
def update(
    run_id: str,
    name: str,
    to: Target,
    *,
    pairs: tuple[str, ...],
    file: str,
    wants_answer: bool,
    timeout_s: float,
    message_id: str,
    reason: str,
) -> int:
    """Send the update NAME to RUN: a signal that the workflow accepts or rejects, and answers."""
    value = read_value(pairs, file)

    async def question(client: Client) -> RunUpdated:
        return await client.update(
            await full_id(client, run_id),
            name,
            value,
            until=_until(wants_answer),
            timeout_s=timeout_s,
            message_id=message_id,
            by=myself(reason),
        )

    found = ask(to, question)
    return _write(found, to, late=not is_over(found.status, _until(wants_answer)))


@command(
    "answer",
    examples=(
        ("movant run answer order-17 m-7", "how it stands"),
        ("movant run answer order-17 m-7 --wait", "until it is answered"),
    ),
)
@click.argument("run_id", metavar="RUN")
@click.argument("message_id", metavar="MESSAGE_ID")
@click.option("-w", "--wait", "wants_answer", is_flag=True, help="Wait until it is answered.")
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    default=TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="With --wait: exit 124 after this.",
)
@target
def answer(
    run_id: str, message_id: str, to: Target, *, wants_answer: bool, timeout_s: float
) -> int:
    """Tell what has become of an update that was sent to RUN, also long ago."""

    async def question(client: Client) -> RunUpdated:
        run = await full_id(client, run_id)
        return await client.answer(run, message_id, timeout_s=timeout_s if wants_answer else 0.0)

    found = ask(to, question)
    return _write(found, to, late=wants_answer and not is_over(found.status, "answered"))


def _until(wants_answer: bool) -> Until:  # noqa: FBT001 - a flag of the command line
    return "answered" if wants_answer else "accepted"


def _write(found: RunUpdated, to: Target, *, late: bool) -> int:
    """Write the result to standard output, and how it stands to standard error."""
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    elif found.status == "completed":
        write_json(found.result)
    if found.status == "completed":
        return OK
    why = f": {told(found.failure)}" if found.failure is not None else ""
    say(f"update {found.message_id} is {found.status}{why}")
    if found.status in {"rejected", "failed"}:
        return RUN_FAILED
    if found.blocked:
        say(f"run {found.id} is blocked: {found.blocked}")
        say(repair(found.id))
        return RUN_FAILED
    say(f"next:  movant run answer {found.id} {found.message_id} --wait")
    return TIMED_OUT if late else OK
