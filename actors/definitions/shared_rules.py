"""Shared guardrails: put into a graph when it is registered, so that its hash has them too.

    register graph.yaml ──> names that it does not define, and rules for every step
                            <── the set that people registered with the daemon

A run goes on with the rules that its definition had, whatever the set says later. A graph gets
new ones when it is registered again.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from actors.definitions.bundle import DocumentEntry, unpack, write
from protocols.graphs.graph import Graph
from protocols.guardrails.check import RuleSet, resolved


def encoded(rules: RuleSet) -> bytes:
    """Return a set as it is stored."""
    return msgspec.json.encode(rules, order="deterministic")


def set_hash(data: bytes) -> str:
    """Return the identity of a stored set."""
    return hashlib.sha256(data).hexdigest()[:32]


def with_rules(data: bytes, stored: bytes) -> bytes:
    """Return a packed definition whose graphs have the rules of a stored set that are theirs.

    Raises BadValueError for a damaged pack.
    """
    if not stored:
        return data
    shared = RuleSet.of(stored).guardrails
    content = unpack(data)
    documents = {name: _with(text, shared) for name, text in content.documents.items()}
    if documents == content.documents:
        return data
    entries = tuple(
        DocumentEntry(
            name=each.name, digest=hashlib.sha256(documents[each.name].encode()).hexdigest()
        )
        for each in content.manifest.documents
    )
    manifest = msgspec.structs.replace(content.manifest, documents=entries)
    return write(manifest, content.sources, documents)


def _with(text: str, shared: dict[str, Any]) -> str:
    if "steps" not in msgspec.json.decode(text, type=dict[str, msgspec.Raw]):
        return text
    graph = msgspec.json.decode(text, type=Graph)
    found = resolved(graph, shared)
    return text if found is graph else msgspec.json.encode(found).decode()
