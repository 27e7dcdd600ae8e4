"""Files that a configuration is read from: TOML with the lines of its keys, and secrets."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

from protocols.errors import ConfigurationError

_FILE_BYTES_MAX: Final = 1024 * 1024
_SECRET_BYTES_MAX: Final = 64 * 1024


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a TOML file, and what it says. Raises ConfigurationError."""
    try:
        with path.open("rb") as handle:
            data = handle.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(
            f"the configuration {path} cannot be read: {error.strerror}",
            hint="check the path given with --config or MOVANT_CONFIG",
        ) from error
    if len(data) > _FILE_BYTES_MAX:
        raise ConfigurationError(
            f"{path}: more than {_FILE_BYTES_MAX} bytes", hint="name the daemon's own file"
        )
    try:
        text = data.decode("utf-8-sig")
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise ConfigurationError(f"{path}: {error}", hint="the file has to be TOML") from error


def line_of(text: str, section: str, key: str) -> int:
    """Return the line of a key, or of its section when the key is written another way."""
    current, at = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            current = stripped.strip("[] ").partition("#")[0].strip("[] ")
            current = current.replace('"', "").replace("'", "")
            at = number if current == (section or key) else at
        name = stripped.partition("=")[0].strip().strip("\"'")
        if (current == section and name == key) or (section and name == f"{section}.{key}"):
            return number
    return at


def secret(path: Path, variable: str) -> str:
    """Return the secret in a file that a variable names. Raises ConfigurationError."""
    try:
        with path.open("rb") as handle:
            return handle.read(_SECRET_BYTES_MAX).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{variable}: the secret {path} cannot be read: {error}",
            hint="check the path and who may read it",
        ) from error
