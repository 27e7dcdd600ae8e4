"""Secrets: found at the last moment, by reference, and hidden in everything that is said.

A value is read anew each time it is needed, so that a changed file counts at once. What was
read is remembered only to be found again in results and errors, where it becomes ``***``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import quote

import msgspec

from protocols.blobs import Result
from protocols.connectors.connector import Reference, references, split
from protocols.errors import ConfigurationError

HIDDEN: Final = "***"
HIDE_CHARS_MIN: Final = 6
"""A shorter secret is not looked for in what is said: it would be found everywhere."""
VALUES_MAX: Final = 256
"""Values that are looked for; with more of them the oldest are forgotten."""
SECRET_BYTES_MAX: Final = 64 * 1024


class Secret:
    """A value that shows nothing of itself: not as text, not encoded, not pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value: only for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return HIDDEN

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not stored")


class Secrets:
    """Finds the secrets of one connector, and hides their values.

    ``base`` is the directory from which relative paths count.
    """

    def __init__(self, base: Path = Path(), environment: Mapping[str, str] | None = None) -> None:
        self.base: Final = base
        self._environment = os.environ if environment is None else environment
        self._values: dict[str, None] = {}
        self._longest: list[str] = []

    def check(self, settings: msgspec.Struct) -> None:
        """Find every reference in some settings. Raises ConfigurationError for what is missing."""
        for each in references(settings):
            self._find(each)

    def reveal(self, text: str) -> Secret:
        """Return a text with its references replaced. Raises ConfigurationError."""
        parts = [self._find(each) if isinstance(each, Reference) else each for each in split(text)]
        for found, each in zip(parts, split(text), strict=True):
            if isinstance(each, Reference):
                self.hide(found)
        return Secret("".join(parts))

    def plain(self, text: str) -> str:
        """Return a text whose references are no secrets, such as an address that differs.

        Raises ConfigurationError.
        """
        return "".join(
            self._find(each) if isinstance(each, Reference) else each for each in split(text)
        )

    def hide(self, value: str) -> None:
        """Hide one more value: what was made of a secret, such as a header."""
        forms = {each for each in (value, quote(value, safe="")) if len(each) >= HIDE_CHARS_MIN}
        fresh = forms - self._values.keys()
        for each in forms:
            self._values.pop(each, None)
            self._values[each] = None
        if not fresh:
            return
        while len(self._values) > VALUES_MAX:
            self._values.pop(next(iter(self._values)), None)
        # One may begin with another one, and its rest must not stay.
        self._longest = sorted(self._values, key=len, reverse=True)

    def hidden(self, value: Any) -> Any:
        """Return a value without the secrets that stand in its texts; keys count as well.

        Files that go along with it stay as they are.
        """
        if not self._values:
            return value
        if isinstance(value, Result):
            return msgspec.structs.replace(value, value=self.hidden(value.value))
        if isinstance(value, msgspec.Struct):
            value = msgspec.to_builtins(value)
        return self._hidden(value)

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, str):
            for each in self._longest:
                if each in value:
                    value = value.replace(each, HIDDEN)
            return value
        if isinstance(value, dict):
            return {self._hidden(key): self._hidden(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._hidden(each) for each in value]
        return value

    def _find(self, reference: Reference) -> str:
        if reference.source == "env":
            value = self._environment.get(reference.name, "")
            if not value:
                raise ConfigurationError(
                    f"{reference}: the variable is not set", hint=f"set {reference.name}"
                )
            return value
        if reference.source == "credential":
            directory = self._environment.get("CREDENTIALS_DIRECTORY", "")
            if not directory:
                raise ConfigurationError(
                    f"{reference}: CREDENTIALS_DIRECTORY is not set",
                    hint="a service manager sets it (LoadCredential=), or use ${file:PATH}",
                )
            return _read(Path(directory) / reference.name, reference)
        return _read(self.base / Path(reference.name).expanduser(), reference)


def _read(path: Path, reference: Reference) -> str:
    try:
        with path.open("rb") as handle:
            value = handle.read(SECRET_BYTES_MAX).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", "") or "it is no text"
        raise ConfigurationError(
            f"{reference}: {path} cannot be read: {said}", hint="check path and permissions"
        ) from error
    if not value:
        raise ConfigurationError(f"{reference}: {path} is empty", hint="write the secret into it")
    return value
