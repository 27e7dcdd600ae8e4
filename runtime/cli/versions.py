"""``movant workflow versions|rollback|diff|source``."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from runtime.cli.failures import OK, say
from runtime.cli.options import Target, command, target
from runtime.cli.output import (
    by_hand,
    clock_time,
    write_facts,
    write_json,
    write_line,
    write_rows,
    write_text,
)
from runtime.cli.session import ask, myself

if TYPE_CHECKING:
    from actors.definitions.bundle import Unpacked
    from protocols.api import runs as api
    from protocols.graphs.graph import Graph
    from protocols.machines.machine import Machine
    from runtime.client.client import Client

_HASH_CHARS: Final = 12
"""As many as a person compares; commands take a beginning, and JSON has the whole."""
CHANGED: Final = 1
"""Exit code of a difference, as of ``diff``."""


@command(
    "versions",
    examples=(
        ("movant workflow versions orders", "which definitions it has had, and who runs on each"),
        ("movant workflow versions orders -o json", "for programs"),
    ),
)
@click.argument("name")
@target
def versions(name: str, to: Target) -> int:
    """List how the workflow NAME came to its definitions, the newest first."""

    async def question(client: Client) -> api.WorkflowVersions:
        return await client.versions(name)

    rows = ask(to, question).versions
    write_rows(
        to.form,
        rows,
        ("DEFINITION", "SINCE", "HOW", "ACTIVE", "FROM", "BY"),
        [
            (
                row.definition[:_HASH_CHARS] + (" *" if row.current else ""),
                clock_time(row.at, "seconds") if row.at else "-",
                row.what.replace("_", " "),
                str(row.active),
                row.source or "-",
                by_hand(row.by) if row.by is not None else "-",
            )
            for row in rows
        ],
    )
    if to.form == "table":
        say("* new runs start with it")
        if len(rows) > 1:
            last, before = rows[0].definition[:8], rows[1].definition[:8]
            say(f"next:  movant workflow diff {name} {before} {last}")
    return OK


@command(
    "rollback",
    examples=(
        ("movant workflow rollback orders --reason 'wrong prices'", "to the one before"),
        ("movant workflow rollback orders --to 9f2c", "to any earlier one"),
    ),
)
@click.argument("name")
@click.option("--to", "wanted", default="", help="Hash of a definition, or how it begins.")
@click.option("--reason", default="", help="For people; it stands in the list of versions.")
@target
def rollback(name: str, to: Target, *, wanted: str, reason: str) -> int:
    """Let new runs of the workflow NAME start with an earlier definition.

    Runs that have started keep theirs; ``movant run migrate`` moves them.
    """

    async def question(client: Client) -> api.WorkflowRolledBack:
        return await client.roll_back(name, to=wanted, by=myself(reason))

    found = ask(to, question)
    if to.form == "json":
        write_json(found)
    elif to.form == "jsonl":
        write_line(found)
    else:
        write_facts(
            [
                ("workflow", found.name),
                ("definition", found.definition),
                ("replaced", found.replaced),
            ]
        )
        say(f"next:  movant run migrate --workflow {name} --from {found.replaced[:8]} --dry-run")
    return OK


@command(
    "diff",
    examples=(
        ("movant workflow diff orders orders.yaml", "what a deployment of the file would change"),
        ("movant workflow diff orders 77ab 9f2c", "between two versions"),
        ("movant workflow diff orders 77ab -o json", "between a version and the latest"),
    ),
)
@click.argument("name")
@click.argument("first", metavar="FILE|HASH")
@click.argument("second", metavar="[HASH]", required=False)
@target
def diff(name: str, first: str, second: str | None, to: Target) -> int:
    """Show how definitions of the workflow NAME differ, by meaning; of code, as text.

    A file is compared with the latest definition, a hash with another hash or with the latest.
    Exit 1 when there is a difference.
    """
    from actors.definitions.bundle import unpack  # noqa: PLC0415 - not for --help

    if Path(first).exists() and second is None:
        from actors.definitions.packing import pack  # noqa: PLC0415

        packed = pack(first)
        new_hash, new = packed.hash, unpack(packed.data)
        old_hash, data = ask(to, lambda client: _fetched(client, name, ""))
        old = unpack(data)
    else:

        async def both(client: Client) -> list[tuple[str, bytes]]:
            return [await _fetched(client, name, each) for each in (first, second or "")]

        (old_hash, old_data), (new_hash, new_data) = ask(to, both)
        old, new = unpack(old_data), unpack(new_data)
    say(f"--- {old_hash}\n+++ {new_hash}")
    return _write_diff(name, old, new, to)


@command(
    "source",
    examples=(
        ("movant workflow source orders", "the text that its latest definition is"),
        ("movant workflow source orders@9f2c > orders.py", "that of another version"),
    ),
)
@click.argument("name", metavar="NAME[@HASH]")
@target
def source(name: str, to: Target) -> int:
    """Write the source of a definition: modules of code, or YAML."""
    from actors.definitions.bundle import unpack  # noqa: PLC0415 - not for --help

    called, _, digest = name.partition("@")
    _, data = ask(to, lambda client: _fetched(client, called, digest))
    texts = _texts(unpack(data))
    if to.form == "json":
        write_json(texts)
    elif to.form == "jsonl":
        write_line(texts)
    elif len(texts) == 1:
        write_text(next(iter(texts.values())).rstrip("\n"))
    else:
        write_text("\n".join(f"# --- {path}\n{text}" for path, text in texts.items()).rstrip("\n"))
    return OK


async def _fetched(client: Client, name: str, digest: str) -> tuple[str, bytes]:
    """Return hash and bytes of a definition; without a hash, of the latest."""
    view = await client.workflow(name, hash=digest)
    return view.definition, await client.packed(view.definition)


def _documents(unpacked: Unpacked) -> dict[str, Graph | Machine]:
    from actors.definitions.loading import of_json  # noqa: PLC0415 - not for --help

    return {name: of_json(text) for name, text in unpacked.documents.items()}


def _texts(unpacked: Unpacked) -> dict[str, str]:
    """Return the texts of a definition by their paths; data as YAML."""
    from actors.files.definitions import as_yaml  # noqa: PLC0415 - not for --help

    found = {
        module.path.removeprefix("src/"): unpacked.sources[module.name]
        for module in unpacked.manifest.modules
    }
    for name, document in _documents(unpacked).items():
        found[f"{name}.yaml"] = as_yaml(document)
    return found


def _write_diff(name: str, old: Unpacked, new: Unpacked, to: Target) -> int:
    from protocols.changes import as_lines, changes  # noqa: PLC0415 - not for --help

    before, after = _documents(old).get(name), _documents(new).get(name)
    if before is not None and after is not None:
        found = changes(before, after)
        if to.form == "json":
            write_json(found)
        elif to.form == "jsonl":
            for each in found:
                write_line(each)
        elif found:
            write_text("\n".join(as_lines(found)))
        return CHANGED if found else OK
    one, two = _texts(old), _texts(new)
    lines: list[str] = []
    for path in {**one, **two}:
        lines += difflib.unified_diff(
            one.get(path, "").splitlines(), two.get(path, "").splitlines(), path, path, lineterm=""
        )
    if to.form == "json":
        write_json(lines)
    elif lines:
        write_text("\n".join(lines))
    return CHANGED if lines else OK
