"""Definitions in YAML files: graphs and state machines, read as such and packed as data.

    permit.yaml --parse--> Document {Machine or Graph, what is wrong} --pack--> Packed

A file with ``steps`` is a graph, one with ``states`` a state machine. What is stored is the
definition, not the text: comments and layout are no part of its hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec
import yaml

from actors import trigger_check, yaml_struct
from actors.bundle import KERNEL, DocumentEntry, Manifest, Packed, write
from actors.graph_notation import normalise
from actors.yaml_nodes import Node
from actors.yaml_struct import Builder, Document
from protocols import graph_check, machine_check
from protocols.findings import Finding
from protocols.graph import Graph
from protocols.machine import Machine

Definition = Machine | Graph
WHOLE_MAX: Final = 1e15
"""Below it a whole number keeps all its digits as a float."""


def parse(text: bytes) -> Document[Definition]:
    """Read the text of a file. Never raises for what is wrong with it."""
    return yaml_struct.parse_nodes(text, build, check)


def load_document(source: Path | str) -> Document[Definition]:
    """Read a file. Raises NotFoundError when there is none."""
    return yaml_struct.load(source, parse)


def pack_document(source: Path | str) -> Packed:
    """Pack a YAML file. Raises NotFoundError, and ConfigurationError with file, line, column."""
    document = load_document(source)
    return pack_data(yaml_struct.value_of(document, source, "movant workflow validate"))


def pack_data(definition: Definition) -> Packed:
    """Pack a machine or a graph as data: one document, no module."""
    text = msgspec.json.encode(definition).decode()
    digest = hashlib.sha256(text.encode()).hexdigest()
    entry = DocumentEntry(name=definition.name, digest=digest)
    manifest = Manifest(entries=(), modules=(), documents=(entry,), kernel=KERNEL)
    return Packed(
        hash=manifest.hash,
        data=write(manifest, {}, {definition.name: text}),
        workflows=(definition.name,),
        modules=(),
    )


def as_yaml(definition: Definition) -> str:
    """Return a definition as the text of a file: the one form, whatever it was written in."""
    facts = msgspec.to_builtins(definition)
    if not facts.get("defaults", True):
        del facts["defaults"]
    parts = {key: facts.pop(key) for key in ("steps", "states", "outputs") if key in facts}
    return yaml.dump(
        {**facts, **parts}, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=99
    )


class _Plain(yaml.SafeDumper):
    """Writes what the reader takes: no anchors, and whole numbers without a fraction."""

    def ignore_aliases(self, data: object) -> bool:
        """Write a value as often as it stands there."""
        del data
        return True


def _number(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    whole = value.is_integer() and abs(value) < WHOLE_MAX
    return dumper.represent_int(int(value)) if whole else dumper.represent_float(value)


_Plain.add_representer(float, _number)
_Plain.add_representer(tuple, yaml.SafeDumper.represent_list)


def check(definition: Definition) -> list[Finding]:
    """Return everything that is wrong with a definition as a whole."""
    if isinstance(definition, Graph):
        found = graph_check.check(definition)
        return [*found, *trigger_check.check(definition.name, definition.triggers)]
    return machine_check.check(definition)


def graph_of(document: Document[Definition]) -> Graph | None:
    """Return the graph of a document, when it is one."""
    return document.value if isinstance(document.value, Graph) else None


def build(top: Node, builder: Builder) -> Definition | None:
    """Build what a file holds; without a sign of a state machine it is meant to be a graph."""
    keys = set(top.entries or {})
    if "template" in keys and "parameters" in keys:
        builder.wrong(top, "this is a template", "movant template register registers it")
        return None
    kind = Machine if keys & {"states", "initial"} and "steps" not in keys else Graph
    if kind is Graph:
        normalise(top, builder)
    value = builder.build(top, kind)
    return value if isinstance(value, kind) else None
