"""Routing tables in YAML or JSON files, read with every mistake at its place."""

from __future__ import annotations

from pathlib import Path

import yaml

from actors.files import yaml_struct
from actors.files.yaml_struct import Document
from protocols.routes import RoutingTable, brief, check


def parse(text: bytes) -> Document[RoutingTable]:
    """Read the text of a file. Never raises for what is wrong with it."""
    return yaml_struct.parse(text, RoutingTable, check)


def load_document(source: Path | str) -> Document[RoutingTable]:
    """Read a file. Raises NotFoundError when there is none."""
    return yaml_struct.load(source, parse)


def load_table(source: Path | str) -> RoutingTable:
    """Return the table in a file. Raises NotFoundError, or ConfigurationError with the place."""
    return yaml_struct.value_of(load_document(source), source, "movant route validate")


def as_yaml(table: RoutingTable) -> str:
    """Return a table as a file that ``load_table`` reads."""
    return yaml.safe_dump(brief(table), sort_keys=False, default_flow_style=None)
