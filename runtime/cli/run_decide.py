"""``movant run decide``: the word of a person in a review, or of an operator at a halt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from protocols.api import runs as api
from protocols.errors import RefusedError
from protocols.machines.machine import RESUME, REVIEW
from runtime.cli.failures import OK, say
from runtime.cli.options import Target, command, read_value, target
from runtime.cli.output import write_facts, write_json, write_line
from runtime.cli.session import ask, full_id, myself

if TYPE_CHECKING:
    from runtime.client.client import Client

WORDS = {"retry": "retry", "back": "return_to_previous", "halt": "halt"}


@command(
    "decide",
    examples=(
        ("movant run decide e-1 retry", "ask the owner again, with the same key"),
        ("movant run decide e-1 PAYMENT --reason 'I know them'", "on to a state that may follow"),
        ("movant run decide e-1 back", "back to the state before"),
        ("movant run decide e-1 halt", "what comes 'then'; by default to halt"),
    ),
)
@click.argument("run_id", metavar="RUN")
@click.argument("word", metavar="WORD")
@click.option("--result", default="", help="JSON in place of the owner's output, with a state.")
@click.option("--reason", default="", help="Why; it stands in the history, with who and where.")
@target
def decide(run_id: str, word: str, to: Target, *, result: str, reason: str) -> int:
    """Decide where RUN, a motion, waits for a review by a person, or is halted.

    WORD is 'retry', 'back', 'halt', or the name of a state that may follow.
    """
    decision: dict[str, Any] = {"do": WORDS[word]} if word in WORDS else {"to": word}
    if result:
        decision["result"] = read_value((), "", result)
    by = myself(reason)
    decision |= {"who": by.who, "why": by.why}

    async def question(client: Client) -> api.Accepted:
        run = await full_id(client, run_id)
        asked = {each.detail for each in (await client.show(run)).waiting} & {RESUME, REVIEW}
        if not asked:
            raise RefusedError(
                f"run {run} waits for nobody's decision",
                hint=f"movant why {run} says what it waits for",
            )
        return await client.signal(run, asked.pop(), decision, by=by)

    found = ask(to, question)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        write_facts([("run", found.id), ("message", str(found.seq))])
        say(f"next:  movant run show {found.id}")
    return OK
