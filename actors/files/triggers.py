"""Triggers in YAML or JSON files, read with every mistake at its place."""

from __future__ import annotations

from pathlib import Path

from actors.files import yaml_struct
from actors.files.trigger_check import check_file
from actors.files.yaml_struct import Document
from protocols.triggers import TriggerFile


def parse(text: bytes) -> Document[TriggerFile]:
    """Read the text of a file. Never raises for what is wrong with it."""
    return yaml_struct.parse(text, TriggerFile, check_file)


def load_document(source: Path | str) -> Document[TriggerFile]:
    """Read a file. Raises NotFoundError when there is none."""
    return yaml_struct.load(source, parse)


def load_triggers(source: Path | str) -> TriggerFile:
    """Return what a file says. Raises NotFoundError, or ConfigurationError with the place."""
    return yaml_struct.value_of(load_document(source), source, "movant trigger validate")
