"""Definitions in YAML files: read with every mistake at its place, and packed as data.

    permit.yaml --read--> nodes --build--> Machine or Graph --check--> findings --pack--> Packed

A file with ``steps`` is a graph, one with ``states`` a state machine. What is stored is the
definition, not the text: comments and layout are no part of its hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec

from actors.bundle import DocumentEntry, Manifest, Packed, write
from actors.graph_notation import normalise
from actors.yaml_builder import Builder, Located, located
from actors.yaml_nodes import Node, YamlProblem, read
from protocols import graph_check, machine_check
from protocols.errors import ConfigurationError, NotFoundError
from protocols.findings import Finding
from protocols.graph import Graph
from protocols.machine import Machine

Definition = Machine | Graph


class Document(NamedTuple):
    """A file as far as it could be read: its definition, when it has one, and what is wrong."""

    text: str
    definition: Definition | None
    problems: list[Located]

    @property
    def machine(self) -> Machine | None:
        """The definition, when it is a state machine."""
        return self.definition if isinstance(self.definition, Machine) else None

    @property
    def graph(self) -> Graph | None:
        """The definition, when it is a graph."""
        return self.definition if isinstance(self.definition, Graph) else None

    def excerpt(self, problem: Located) -> str:
        """Return the line of a problem, and below it a caret."""
        lines = self.text.split("\n")
        if not 1 <= problem.line <= len(lines):
            return ""
        line = lines[problem.line - 1].replace("\t", " ")
        number = f"{problem.line:>6} | "
        room = max(1, min(problem.width, len(line) - problem.column + 1))
        return f"{number}{line}\n{'':>6} | {' ' * (problem.column - 1)}{'^' * room}"


def parse(text: bytes) -> Document:
    """Read the text of a file. Never raises for what is wrong with it."""
    shown = text.decode("utf-8", "replace")
    try:
        top = read(text)
    except YamlProblem as problem:
        wrong = Located(problem.line, problem.column, problem.message, problem.hint)
        return Document(shown, None, [wrong])
    kind = _kind(top)
    builder = Builder()
    if kind is Graph:
        normalise(top, builder)
    definition = builder.build(top, kind)
    problems = builder.problems
    if problems or not isinstance(definition, Definition):
        return Document(shown, None, sorted(problems))
    problems = [located(top, finding) for finding in check(definition)]
    problems.sort(key=lambda each: (each.severity, each.line, each.column))
    return Document(shown, definition, problems)


def check(definition: Definition) -> list[Finding]:
    """Return everything that is wrong with a definition as a whole."""
    if isinstance(definition, Graph):
        return graph_check.check(definition)
    return machine_check.check(definition)


def pack_document(source: Path | str) -> Packed:
    """Pack a YAML file. Raises NotFoundError, and ConfigurationError with file, line, column."""
    document = load_document(source)
    errors = [each for each in document.problems if each.severity == "error"]
    if errors or document.definition is None:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ConfigurationError(
            f"{source}:{first.line}:{first.column}: {first.message}{more}",
            hint=first.hint or f"movant workflow validate {source} shows every mistake",
        )
    return pack_data(document.definition)


def load_document(source: Path | str) -> Document:
    """Read a file. Raises NotFoundError when there is none."""
    path = Path(source)
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist", hint="name a YAML file or a Python file")
    return parse(path.read_bytes())


def pack_data(definition: Definition) -> Packed:
    """Pack a machine or a graph as data: one document, no module."""
    text = msgspec.json.encode(definition).decode()
    digest = hashlib.sha256(text.encode()).hexdigest()
    entry = DocumentEntry(name=definition.name, digest=digest)
    manifest = Manifest(entries=(), modules=(), documents=(entry,))
    return Packed(
        hash=manifest.hash,
        data=write(manifest, {}, {definition.name: text}),
        workflows=(definition.name,),
        modules=(),
    )


def _kind(top: Node) -> type[Definition]:
    """Tell what a file holds; without a sign of a state machine it is meant to be a graph."""
    keys = set(top.entries or {})
    return Machine if keys & {"states", "initial"} and "steps" not in keys else Graph
