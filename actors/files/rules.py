"""Sets of guardrails in YAML files, which graphs share. JSON is YAML: it is read as well."""

from __future__ import annotations

from pathlib import Path

from actors.files import yaml_struct
from actors.files.yaml_struct import Document
from protocols.guardrails.check import RuleSet, check_set


def parse(text: bytes) -> Document[RuleSet]:
    """Read the text of a file. Never raises for what is wrong with it."""
    return yaml_struct.parse(text, RuleSet, check_set)


def load_document(source: Path | str) -> Document[RuleSet]:
    """Read a file. Raises NotFoundError when there is none."""
    return yaml_struct.load(source, parse)


def load_rules(source: Path | str) -> RuleSet:
    """Read a file that has to be right. Raises ConfigurationError with file, line and column."""
    return yaml_struct.value_of(load_document(source), source, "movant guardrail validate")
