"""``movant connector run|ls|test|validate|schema``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.failures import OK, RUN_FAILED
from runtime.cli.findings import report
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.options import command, output_option
from runtime.cli.output import Format, write_json, write_jsonl, write_rows, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocols.connectors.connector import Connector
    from runtime.connectors.frame import Check

connector = LazyGroup(
    "connector",
    help="Connectors: services that a file declares, in YAML or TOML.",
    tree={
        "Commands": {
            "run": Leaf("runtime.cli.connector:run", "Host connectors, until told to stop."),
            "ls": Leaf("runtime.cli.connector:ls", "List the connectors of a file."),
            "test": Leaf("runtime.cli.connector:test", "Look whether its system is there."),
            "validate": Leaf("runtime.cli.connector:validate", "Check files, and ask nobody."),
            "schema": Leaf("runtime.cli.connector:schema", "JSON Schema of the file."),
        }
    },
    examples=(
        ("movant connector validate connectors.yaml", "every mistake at its place"),
        ("movant connector test crm connectors.yaml", "is it there, does it know us"),
        ("movant connector run connectors.yaml", "as a process of its own"),
    ),
)


@command(
    "run",
    examples=(
        ("movant connector run connectors.yaml", "all that the file has"),
        ("movant connector run connectors.yaml crm mail", "two of them"),
    ),
)
@click.argument("file", type=click.Path())
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--nats", "url", metavar="URL", help="NATS server.")
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="Store directory of the daemon whose server is used.",
)
def run(file: str, names: tuple[str, ...], url: str | None, store: Path | None) -> int:
    """Host the connectors in FILE, or those with a NAME; SIGTERM drains them."""
    from runtime.client.discovery import find  # noqa: PLC0415 - not for --help
    from runtime.connectors.hosting import chosen, run_connectors  # noqa: PLC0415
    from runtime.telemetry import configure  # noqa: PLC0415

    chosen(file, names)  # what is wrong with the file is told before a server is looked for
    configure()
    found = find(url or "", store, user="service").url
    run_connectors(file, names, nats=found, store=store)
    return OK


@command("ls", examples=(("movant connector ls connectors.yaml", "names, kinds, secrets"),))
@click.argument("file", type=click.Path())
@output_option
def ls(file: str, form: Format) -> int:
    """List the connectors in FILE, and whether their secrets are there."""
    from runtime.connectors.hosting import chosen  # noqa: PLC0415 - not for --help

    rows = [
        _facts(name, settings, Path(file).absolute().parent)
        for name, settings in chosen(file).items()
    ]
    write_rows(
        form,
        rows,
        ("CONNECTOR", "KIND", "AT ONCE", "PER S", "SECRETS", "DESCRIPTION"),
        [
            (
                str(each["name"]),
                str(each["kind"]),
                str(each["concurrency_max"]),
                f"{each['rate_per_s']:g}" if each["rate_per_s"] else "-",
                str(each["missing"] or each["secrets"]),
                str(each["description"]) or "-",
            )
            for each in rows
        ],
    )
    return RUN_FAILED if any(each["missing"] for each in rows) else OK


def _facts(name: str, settings: Connector, base: Path) -> dict[str, object]:
    from protocols.connectors.connector import references  # noqa: PLC0415
    from protocols.connectors.kinds import kind_of  # noqa: PLC0415 - see ls
    from protocols.errors import ConfigurationError  # noqa: PLC0415
    from runtime.connectors.secrets import Secrets  # noqa: PLC0415

    missing = ""
    try:
        Secrets(base).check(settings)
    except ConfigurationError as error:
        missing = error.message
    return {
        "name": name,
        "kind": kind_of(settings),
        "description": settings.description,
        "concurrency_max": settings.concurrency_max,
        "rate_per_s": settings.rate_per_s,
        "timeout_s": settings.timeout_s,
        "secrets": len({str(each) for each in references(settings)}),
        "missing": missing,
    }


@command(
    "test",
    examples=(("movant connector test crm connectors.yaml", "exit 0 when all is as it should"),),
)
@click.argument("name")
@click.argument("file", type=click.Path())
@output_option
def test(name: str, file: str, form: Format) -> int:
    """Open the connector NAME of FILE and look whether its system is there; change nothing."""
    import trio  # noqa: PLC0415 - not for --help

    from runtime.connectors.hosting import chosen  # noqa: PLC0415

    settings = chosen(file, (name,))[name]
    found = trio.run(_checked, name, settings, Path(file).absolute().parent)
    if form == "json":
        write_json(found)
    elif form == "jsonl":
        write_jsonl(found)
    else:
        write_table(
            ("CHECK", "STATE", "SECONDS", "DETAIL"),
            [
                (each.what, "ok" if each.ok else "failed", f"{each.took_s:.3f}", each.detail)
                for each in found
            ],
        )
    return OK if all(each.ok for each in found) else RUN_FAILED


async def _checked(name: str, settings: Connector, base: Path) -> Sequence[Check]:
    from protocols.errors import MovantError  # noqa: PLC0415 - see test
    from runtime.connectors.frame import Check, opened  # noqa: PLC0415
    from runtime.connectors.secrets import Secrets  # noqa: PLC0415

    secrets = Secrets(base)
    try:
        async with opened(name, settings, secrets) as found:
            return await found.check()
    except MovantError as error:
        said = error.message
    except Exception as error:  # noqa: BLE001 - whatever its library raises is the finding
        said = f"{type(error).__name__}: {error}"
    return [Check(what="open", ok=False, detail=secrets.hidden(said))]


@command(
    "validate",
    examples=(
        ("movant connector validate connectors.yaml", "exit 1 when something is wrong"),
        ("movant connector validate *.toml -o jsonl", "for editors"),
    ),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@output_option
def validate(files: tuple[str, ...], form: Format) -> int:
    """Check files of connectors: kinds, keys, values, no secret written out. Nobody is asked."""
    from actors.definitions.validation import problems_of  # noqa: PLC0415
    from actors.files.connectors import load_document  # noqa: PLC0415 - not for --help

    return report([each for file in files for each in problems_of(file, load_document)], form)


@command(
    "schema",
    examples=(("movant connector schema > connectors.schema.json", "for editors of YAML"),),
)
def schema() -> int:
    """Print the JSON Schema of a file of connectors."""
    import msgspec  # noqa: PLC0415 - not for --help

    from protocols.connectors.kinds import ConnectorFile  # noqa: PLC0415

    write_json(msgspec.json.schema(ConnectorFile))
    return OK
