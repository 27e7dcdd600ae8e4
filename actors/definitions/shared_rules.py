"""Shared guardrails: put into a definition when it is registered, so that its hash has them too.

    register graph.yaml ──> names that it does not define, and rules for every step
    register orders.py      <── the set that people registered with the daemon

A run goes on with the rules that its definition had, whatever the set says later. A definition
gets new ones when it is registered again. What is data has them in its document; the modules of
a pack have them beside it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec

from actors.definitions.bundle import DocumentEntry, unpack, write
from actors.definitions.loading import of_json
from protocols.definition import Workflow
from protocols.errors import ConfigurationError
from protocols.guardrails.book import no_rules, with_shared
from protocols.guardrails.check import RuleSet, resolved, rules_of
from protocols.guardrails.guardrail import Guardrail

WORD: Final = "guardrails"
"""The argument of a call that names guardrails."""
_NAMING: Final = frozenset(
    {
        *("call", "again", "signal", "child", "directed"),
        *("workflow", "State", "Machine", "GraphStep", "Graph"),
    }
)


class Named(NamedTuple):
    """A guardrail that code names, and where. ``line`` and ``column`` begin at 1."""

    name: str
    module: str
    line: int
    column: int


def encoded(rules: RuleSet) -> bytes:
    """Return a set as it is stored."""
    return msgspec.json.encode(rules, order="deterministic")


def set_hash(data: bytes) -> str:
    """Return the identity of a stored set."""
    return hashlib.sha256(data).hexdigest()[:32]


def with_rules(data: bytes, stored: bytes) -> bytes:
    """Return a packed definition that has the rules of a stored set that are its own.

    Raises BadValueError for a damaged pack.
    """
    if not stored:
        return data
    shared = RuleSet.of(stored).guardrails
    content = unpack(data)
    documents = {name: _with(text, shared) for name, text in content.documents.items()}
    rules = b""
    if content.manifest.entries:
        named = [each.name for each in named_in(content.sources)]
        found = with_shared({}, named, shared)
        rules = encoded(RuleSet(guardrails=found)) if found else b""
    if documents == content.documents and rules == content.rules:
        return data
    entries = tuple(
        DocumentEntry(
            name=each.name, digest=hashlib.sha256(documents[each.name].encode()).hexdigest()
        )
        for each in content.manifest.documents
    )
    digest = hashlib.sha256(rules).hexdigest() if rules else ""
    manifest = msgspec.structs.replace(content.manifest, documents=entries, rules=digest)
    return write(manifest, content.sources, documents, rules)


def check_names(sources: Mapping[str, str], workflows: Iterable[Workflow[Any]]) -> None:
    """Refuse code that names guardrails which nobody has defined. Raises ConfigurationError."""
    known = dict.fromkeys(name for each in workflows for name in own_rules(each))
    for each in named_in(sources):
        if each.name not in known:
            wrong = no_rules([each.name], known)
            where = f"{each.module.replace('.', '/')}.py:{each.line}:{each.column}"
            raise ConfigurationError(f"{where}: {wrong.message}", hint=wrong.hint)


def own_rules(workflow: Workflow[Any]) -> Iterable[str]:
    """Return the names of the guardrails that a workflow has, in whatever form it is written."""
    data = getattr(workflow, "graph", None) or getattr(workflow, "machine", None)
    return workflow.rule_names if data is None else rules_of(data)


def named_in(sources: Mapping[str, str]) -> Iterator[Named]:
    """Yield the guardrails that modules name in so many words, beside steps or for all of them."""
    for module, text in sources.items():
        tree = ast.Module([], [])
        if WORD in text:
            with suppress(SyntaxError, ValueError, RecursionError):  # who loads it tells
                tree = ast.parse(text)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            what = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            given = [each.value for each in node.keywords if each.arg == WORD]
            for value in given if what in _NAMING else ():
                parts = value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
                for part in parts:
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield Named(part.value, module, part.lineno, part.col_offset + 1)


def _with(text: str, shared: dict[str, Guardrail]) -> str:
    definition = of_json(text)
    found = resolved(definition, shared)
    return text if found is definition else msgspec.json.encode(found).decode()
