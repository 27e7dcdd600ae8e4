"""``movant actor tree``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.cli.failures import OK
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import Target, command, target
from runtime.cli.output import write_json, write_line, write_text

if TYPE_CHECKING:
    from protocols import api
    from runtime.client import Client

actor = LazyGroup(
    "actor",
    help="Inspect the daemon's actors.",
    tree={"Commands": {"tree": Leaf("runtime.cli.actor:tree", "Show the supervision tree.")}},
    examples=(("movant actor tree", "who runs, who was restarted, who has a queue"),),
)


@command("tree", examples=(("movant actor tree", "who runs, who was restarted, who has a queue"),))
@target
def tree(to: Target) -> int:
    """Show the supervision tree."""
    from runtime.cli.session import ask  # noqa: PLC0415 - not for --help

    async def question(client: Client) -> api.ActorTree:
        return await client.actor_tree()

    found = ask(to, question)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        roots = [found.root, *found.others]
        lines = [line for root in roots for line in _lines(root, "", "")]
        width = max(len(name) for name, _ in lines)
        write_text("\n".join(f"{name.ljust(width)}  {facts}".rstrip() for name, facts in lines))
    return OK


def _lines(node: api.ActorNode, first: str, rest: str) -> list[tuple[str, str]]:
    facts = [node.state]
    if node.restarts:
        facts.append(f"restarts {node.restarts}")
    if node.queued:
        facts.append(f"queued {node.queued:,}")
    found = [(first + node.name, "  ".join(facts))]
    for number, child in enumerate(node.children, 1):
        last = number == len(node.children)
        branch, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        found += _lines(child, rest + branch, rest + below)
    return found
