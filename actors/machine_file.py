"""Machines in YAML files: read with every mistake at its place, and packed as data.

    permit.yaml --parse--> Document {Machine, what is wrong} --pack--> Packed

What is stored is the machine, not the text: comments and layout are no part of its hash.
"""

from __future__ import annotations

from pathlib import Path

from actors import yaml_struct
from actors.bundle import Packed
from actors.definition_file import pack_data
from actors.yaml_struct import Document
from protocols.machine import Machine
from protocols.machine_check import check


def parse(text: bytes) -> Document[Machine]:
    """Read the text of a file. Never raises for what is wrong with it."""
    return yaml_struct.parse(text, Machine, check)


def load_document(source: Path | str) -> Document[Machine]:
    """Read a file. Raises NotFoundError when there is none."""
    return yaml_struct.load(source, parse)


def pack_document(source: Path | str) -> Packed:
    """Pack a YAML file. Raises NotFoundError, and ConfigurationError with file, line, column."""
    document = load_document(source)
    return pack_machine(yaml_struct.value_of(document, source, "movant workflow validate"))


def pack_machine(machine: Machine) -> Packed:
    """Pack a machine as data: one document, no module."""
    return pack_data(machine)
