"""What analysts, architects and searchers say: rules over words and over files of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from examples.forge.spec import entities_in, title_of, wants_token
from movant import Failed

FOUND_MAX: Final = 3
MANY: Final = 5
"""From so many entities on the parts of an application are apart."""
_WORD: Final = re.compile(r"[a-z]{4,}")
_COMMON: Final = frozenset({"build", "create", "that", "with", "them", "from", "text", "unique"})


def analysis(requirements: str) -> dict[str, Any]:
    """Return what requirements ask for. Raises Refused when they name nothing."""
    entities = entities_in(requirements)
    fields = sum(len(each.fields) for each in entities)
    open_points = [
        f"{each.name}: nothing tells two of them apart"
        for each in entities
        if not any(field.unique for field in each.fields)
    ]
    return {
        "goal": title_of(requirements),
        "entities": [each.name for each in entities],
        "operations": 5 * len(entities),
        "token": wants_token(requirements),
        "effort_days": round(0.5 * len(entities) + 0.1 * fields + wants_token(requirements), 1),
        "open_points": open_points,
    }


def architecture(requirements: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of an application, and why they are so."""
    entities = entities_in(requirements)
    apart = len(entities) >= MANY
    decisions = ["what keeps data knows nothing of HTTP"]
    decisions.append("one service for each entity" if apart else "one process for all")
    if wants_token(requirements):
        decisions.append("a filter asks for the token before all else")
    if config.get("enterprise_features"):
        decisions.append("a health check, and an image that runs without root")
    return {
        "style": "services" if apart else "layers",
        "modules": [f"{each.name}-{part}" for each in entities for part in ("domain", "web")],
        "decisions": decisions,
    }


def search(index: Path, requirements: str) -> dict[str, Any]:
    """Return the entries of an index that share most words with the requirements.

    Raises Failed while there is no index that can be read: somebody may still put it there.
    """
    try:
        entries = json.loads(index.read_text())
    except (OSError, ValueError) as error:
        raise Failed("index_missing", f"{index.name} cannot be read") from error
    wanted = _words(requirements)
    ranked = sorted(entries, key=lambda each: (-len(wanted & _words(_text(each))), each["title"]))
    found = [each for each in ranked if wanted & _words(_text(each))][:FOUND_MAX]
    return {"found": found, "searched": len(entries)}


def _text(entry: dict[str, Any]) -> str:
    return f"{entry['title']} {entry['text']}"


def _words(text: str) -> set[str]:
    """Return the words of a text that mean something, without the s of many."""
    return {each.rstrip("s") for each in _WORD.findall(text.lower())} - _COMMON
