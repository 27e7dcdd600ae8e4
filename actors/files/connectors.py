"""Connectors in YAML, JSON or TOML files, read with every mistake at its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.files import toml_nodes, yaml_nodes, yaml_struct
from actors.files.yaml_nodes import Node
from actors.files.yaml_struct import Builder, Document
from protocols.connectors.connector import Connector
from protocols.connectors.kinds import KINDS, ConnectorFile, findings
from protocols.findings import did_you_mean

CHECKER = "movant connector validate"


def parse(text: bytes, *, toml: bool = False) -> Document[ConnectorFile]:
    """Read the text of a file. Never raises for what is wrong with it."""
    reader = toml_nodes.read if toml else yaml_nodes.read
    return yaml_struct.parse_nodes(text, _build, findings, reader)


def load_document(source: Path | str) -> Document[ConnectorFile]:
    """Read a file. Raises NotFoundError when there is none."""
    toml = Path(source).suffix == ".toml"
    return yaml_struct.load(source, lambda text: parse(text, toml=toml))


def load_connectors(source: Path | str) -> dict[str, Connector]:
    """Return the connectors of a file by name.

    Raises NotFoundError, and ConfigurationError with file, line and column.
    """
    return dict(yaml_struct.value_of(load_document(source), source, CHECKER).connectors)


def _build(top: Node, builder: Builder) -> ConnectorFile | None:
    found = (top.entries or {}).get("connectors")
    if top.entries is None or found is None:
        hint = "write 'connectors:', and below it a name for each"
        builder.wrong(top, "'connectors' is missing", hint)
        return None
    for key, (at, _) in top.entries.items():
        if key != "connectors":
            builder.wrong(at, f"{key[:60]!r} is not known here", did_you_mean(key, ["connectors"]))
    inner = found[1]
    if inner.entries is None:
        builder.wrong(inner, f"a mapping is expected here, not {inner.kind}")
        return None
    built = {name: _connector(node, builder) for name, (_, node) in inner.entries.items()}
    if builder.problems:
        return None
    return ConnectorFile(connectors=built)


def _connector(node: Node, builder: Builder) -> Any:
    """Build one connector as what its kind says that it is."""
    if node.entries is None:
        builder.wrong(node, f"a mapping is expected here, not {node.kind}")
        return None
    _, kind = node.entries.pop("kind", (None, None))
    if kind is None:
        builder.wrong(node, "'kind' is missing", f"one of: {', '.join(KINDS)}")
        return None
    if not isinstance(kind.value, str):
        builder.wrong(kind, f"a text is expected here, not {kind.kind}")
        return None
    if kind.value not in KINDS:
        builder.wrong(kind, f"{kind.value[:60]!r} is no kind", did_you_mean(kind.value, KINDS))
        return None
    return builder.build(node, KINDS[kind.value])
