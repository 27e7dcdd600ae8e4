"""Options that many commands share, and values given on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

import click

from runtime.cli.lazy import Command, Examples
from runtime.cli.output import Format

F = TypeVar("F", bound=Callable[..., Any])

SETTINGS: Final = {"help_option_names": ["-h", "--help"]}
_INPUT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Far above what a run takes: the daemon refuses with a better message than we could."""


def command(name: str, *, examples: Examples, **more: Any) -> Callable[[F], Command]:
    """Declare a command; its help ends with examples."""
    decorate: Callable[[F], Command] = click.command(
        name, cls=Command, examples=examples, context_settings=SETTINGS, **more
    )
    return decorate


class Target(NamedTuple):
    """Which daemon is asked, and in which form its answer is written."""

    url: str | None
    store: Path | None
    form: Format


def target(function: F) -> F:
    """Add ``--nats``, ``--store`` and ``-o``; the function gets them as ``to``."""

    @wraps(function)
    def called(*args: Any, url: str | None, store: Path | None, form: Format, **more: Any) -> Any:
        return function(*args, to=Target(url, store, form), **more)

    decorated = output_option(called)
    decorated = click.option(
        "--store",
        type=click.Path(path_type=Path, file_okay=False),
        help="Ask the daemon that serves this store directory.",
    )(decorated)
    decorated = click.option("--nats", "url", metavar="URL", help="NATS server of the daemon.")(
        decorated
    )
    return cast("F", decorated)


def raw_option(function: F) -> F:
    """Add ``--raw``."""
    return click.option(
        "--raw", is_flag=True, help="Do not mask what is sensitive; the daemon logs who asks."
    )(function)


def output_option(function: F) -> F:
    """Add ``-o``."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(["table", "json", "jsonl"]),
        default="table",
        help="Form of the result; default: table.",
    )(function)


def moment(text: str) -> int:
    """Return the nanoseconds since 1970 of a time that was written. Raises UsageError."""
    from protocols.errors import BadValueError  # noqa: PLC0415 - see read_value
    from protocols.events import from_time  # noqa: PLC0415

    try:
        return from_time(text)
    except BadValueError as error:
        raise click.UsageError(
            f"{text!r} is no time; write one such as 2026-01-31T18:00:00Z"
        ) from error


def read_value(pairs: Sequence[str], file: str, text: str = "") -> Any:
    """Return the input of a run: ``-i key=value`` over ``-f file`` (``-``: standard input).

    A value that is JSON is that value, everything else is text: ``-i n=3`` is a number,
    ``-i name=Ann`` is text, ``-i id='"3"'`` is text again. A dot in a key makes a map.
    """
    value: Any = None
    if file:
        value = decoded(_read(file), _name_of(file))
    elif text:
        value = (
            decoded(_read("-"), _name_of("-")) if text == "-" else decoded(text.encode(), "DATA")
        )
    for pair in pairs:
        key, equals, written = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"-i {pair!r} is not of the form key=value.")
        if value is None:
            value = {}
        _put(value, key.split("."), _parsed(written), pair)
    return value


def decoded(data: bytes, where: str) -> Any:
    """Return the value of some JSON. Raises BadValueError, which says where it stood."""
    from protocols.blobs import LARGE  # noqa: PLC0415 - msgspec is not needed for help
    from protocols.codec import decode  # noqa: PLC0415
    from protocols.errors import BadValueError  # noqa: PLC0415

    try:
        return decode(data, LARGE)
    except BadValueError as error:
        raise BadValueError(
            f"{where}: {error.message}", hint=error.hint or "it has to be one JSON value, in UTF-8"
        ) from error


def read_text(path: str) -> bytes:
    """Return the bytes of a file, or of standard input for ``-``."""
    return _read(path)


def _put(value: Any, keys: list[str], item: Any, pair: str) -> None:
    for key in keys[:-1]:
        if not isinstance(value, dict):
            break
        value = value.setdefault(key, {})
    if not isinstance(value, dict):
        raise click.UsageError(f"-i {pair!r}: there is no map to put it into.")
    value[keys[-1]] = item


def _parsed(written: str) -> Any:
    from protocols.codec import decode  # noqa: PLC0415 - see read_value
    from protocols.errors import BadValueError  # noqa: PLC0415

    try:
        return decode(written.encode()) if written else ""
    except BadValueError:
        return written


def _name_of(path: str) -> str:
    return "standard input" if path == "-" else path


def _read(path: str) -> bytes:
    from protocols.errors import NotFoundError, OversizedError  # noqa: PLC0415 - see read_value

    try:
        if path == "-":
            data = sys.stdin.buffer.read(_INPUT_BYTES_MAX + 1)
        else:
            with Path(path).open("rb") as handle:
                data = handle.read(_INPUT_BYTES_MAX + 1)
    except OSError as error:
        raise NotFoundError(
            f"{path} cannot be read: {error.strerror}", hint="check the path; - is standard input"
        ) from error
    if len(data) > _INPUT_BYTES_MAX:
        raise OversizedError(
            f"{path} has more than {_INPUT_BYTES_MAX:,} bytes",
            hint="keep large data elsewhere and pass its name",
        )
    return data
