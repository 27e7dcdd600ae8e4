"""Definitions in YAML files: graphs and state machines, read as such and packed as data.

    permit.yaml --parse--> Document {Machine or Graph, what is wrong} --pack--> Packed

A file with ``steps`` is a graph, one with ``states`` a state machine. What is stored is the
definition, not the text: comments and layout are no part of its hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Final

import msgspec
import yaml

from actors.definitions.bundle import DocumentEntry, Manifest, ModuleEntry, Packed, write
from actors.definitions.imports import closure, find
from actors.definitions.packing import open_pack
from actors.files import trigger_check, yaml_struct
from actors.files.calendars import pinned
from actors.files.graph_notation import normalise
from actors.files.yaml_nodes import Node, YamlProblem, read_plain
from actors.files.yaml_struct import Builder, Document
from protocols.errors import NotFoundError
from protocols.findings import Finding
from protocols.graphs import check as graph_check
from protocols.graphs.clashes import never
from protocols.graphs.graph import Graph
from protocols.guardrails.check import rules_of
from protocols.machines import check as machine_check
from protocols.machines.machine import Machine
from protocols.mail import KERNEL

Definition = Machine | Graph
WHOLE_MAX: Final = 1e15
"""Below it a whole number keeps all its digits as a float."""


def parse(text: bytes) -> Document[Definition]:
    """Read the text of a file. Never raises for what is wrong with it.

    Most files are in the one form, and right: they are read without places, for nobody asks where
    something stands in them. All others are read again.
    """
    try:
        found = read_plain(text)
        kind = _kind(found if isinstance(found, dict) else ())
        value = _with_offsets(msgspec.convert(found, kind))
    except (YamlProblem, msgspec.ValidationError):
        return yaml_struct.parse_nodes(text, build, check)
    findings = check(value)
    if findings:
        return yaml_struct.parse_nodes(text, lambda *_: value, lambda _: findings)
    return Document(text.decode("utf-8-sig"), value, [])


def _kind(keys: Container[str]) -> type[Definition]:
    """Return what a file with these keys is meant to be; without a sign of a machine a graph."""
    machine = ("states" in keys or "initial" in keys) and "steps" not in keys
    return Machine if machine else Graph


def load_document(source: Path | str) -> Document[Definition]:
    """Read a file. Raises NotFoundError when there is none."""
    return yaml_struct.load(source, parse)


def pack_document(source: Path | str) -> Packed:
    """Pack a YAML file. Raises NotFoundError, and ConfigurationError with file, line, column."""
    document = load_document(source)
    definition = yaml_struct.value_of(document, source, "movant workflow validate")
    if functions := functions_of(definition):
        return _with_modules(definition, functions, Path(source))
    return pack_data(definition)


def pack_data(definition: Definition) -> Packed:
    """Pack a machine or a graph as data: one document, no module."""
    return _packed(definition, (), {})


def functions_of(definition: Definition) -> dict[str, str]:
    """Return the functions of guardrails, each with the name of its rule."""
    return {rule.function: name for name, rule in rules_of(definition).items() if rule.function}


def _with_modules(definition: Definition, functions: Mapping[str, str], source: Path) -> Packed:
    """Pack a definition with the modules of its guardrails' functions, which stand beside it.

    Raises NotFoundError for a module that is not there, ConfigurationError for a function.
    """
    base = source.resolve().parent
    modules = sorted({each.partition(":")[0] for each in functions})
    for name in modules:
        if find(name, [base]) is None:
            rule = next(rule for each, rule in functions.items() if each.startswith(f"{name}:"))
            raise NotFoundError(
                f"{source}: guardrails.{rule}.function: there is no module {name!r}",
                hint=f"it is looked for in {base}",
            )
    found = closure(modules, [base]).modules
    entries = tuple(
        ModuleEntry(
            name=each.name,
            digest=hashlib.sha256(each.text.encode()).hexdigest(),
            package=each.package,
        )
        for each in found.values()
    )
    packed = _packed(definition, entries, {name: each.text for name, each in found.items()})
    return open_pack(packed.data)  # loaded once: what it names has to be there


def _packed(
    definition: Definition,
    modules: tuple[ModuleEntry, ...],
    texts: Mapping[str, str],
) -> Packed:
    text = msgspec.json.encode(definition).decode()
    digest = hashlib.sha256(text.encode()).hexdigest()
    entry = DocumentEntry(name=definition.name, digest=digest)
    manifest = Manifest(entries=(), modules=modules, documents=(entry,), kernel=KERNEL)
    return Packed(
        hash=manifest.hash,
        data=write(manifest, texts, {definition.name: text}),
        workflows=(definition.name,),
        modules=tuple(each.name for each in modules),
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
        triggers = trigger_check.check(definition.name, definition.triggers)
        return [*found, *never(definition), *triggers]
    return [*machine_check.check(definition), *machine_check.never(definition)]


def graph_of(document: Document[Definition]) -> Graph | None:
    """Return the graph of a document, when it is one."""
    return document.value if isinstance(document.value, Graph) else None


def build(top: Node, builder: Builder) -> Definition | None:
    """Build what a file holds."""
    if top.entries is None:
        hint = "begin with 'name: …', and write 'steps:' or 'states:' below it"
        builder.wrong(top, f"a mapping is expected here, not {top.kind}", hint)
        return None
    keys = set(top.entries)
    if "template" in keys and "parameters" in keys:
        builder.wrong(top, "this is a template", "movant template register registers it")
        return None
    kind = _kind(keys)
    if kind is Graph:
        normalise(top, builder)
    value = builder.build(top, kind)
    return _with_offsets(value) if isinstance(value, kind) else None


def _with_offsets(definition: Definition) -> Definition:
    """Return a definition that does not depend on what a machine knows of time zones."""
    if not isinstance(definition, Graph) or not definition.calendars:
        return definition
    return msgspec.structs.replace(definition, calendars=pinned(definition.calendars))
