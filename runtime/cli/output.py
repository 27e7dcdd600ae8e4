"""Results as a table, as one JSON document, or as one JSON line per row.

A table is for people. On a terminal rich draws it; elsewhere it is aligned text, in which
nothing is cut or coloured. JSON is what the API answered, for programs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from runtime.cli.failures import plain

if TYPE_CHECKING:
    from pathlib import Path

    from protocols.api.runs import RunRow
    from protocols.failure import Failure
    from protocols.witness import Operator

Format = Literal["table", "json", "jsonl"]
Row = Sequence[str]

_NS: Final = 1_000_000_000
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400
_LAST_CHARS_MIN: Final = 20
"""What the last column of a table keeps, also where the terminal is too narrow."""
_STATES: Final = frozenset({"STATUS", "STATE", "VERDICT"})
"""Columns and facts whose words are coloured; elsewhere the same word may be a name."""
_STYLES: Final = {
    "ok": "green",
    "error": "red",
    "warning": "yellow",
    "completed": "green",
    "ready": "green",
    "up": "green",
    "running": "cyan",
    "pending": "cyan",
    "queued": "cyan",
    "failed": "red",
    "blocked": "bold red",
    "open": "red",
    "absent": "yellow",
    "cancelled": "yellow",
    "compensated": "yellow",
    "compensation_incomplete": "bold red",
    "degraded": "yellow",
    "silent": "red",
    "draining": "yellow",
}


class ReaderGoneError(Exception):
    """Who read our output has gone, as ``head`` does. No OSError: click would exit with 1."""


def write_json(value: Any) -> None:
    """Write a value as one indented JSON document."""
    _write(_indented(value) + b"\n")


def write_jsonl(rows: Sequence[Any]) -> None:
    """Write one JSON line per row."""
    _write(b"".join(_encoded(row) + b"\n" for row in rows))


def write_line(value: Any) -> None:
    """Write one JSON line now, for who follows a stream."""
    _write(_encoded(value) + b"\n")


def write_text(text: str) -> None:
    """Write lines of text."""
    _write(text.encode("utf-8", "backslashreplace") + (b"" if text.endswith("\n") else b"\n"))


def write_bytes(data: bytes) -> None:
    """Write bytes as they are."""
    _write(data)


def write_file(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all. Raises ConfigurationError when that cannot be."""
    from protocols.errors import ConfigurationError  # noqa: PLC0415 - as msgspec: when needed

    # What is no file, such as /dev/stdout, is written to and not replaced.
    part = path if path.exists() and not path.is_file() else path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        if part != path:
            part.replace(path)
    except OSError as error:
        if part != path:
            with suppress(OSError):
                part.unlink()
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}", hint="choose another file"
        ) from error


def write_rows(form: Format, rows: Sequence[Any], columns: Row, cells: Sequence[Row]) -> None:
    """Write rows in one of the three forms; ``cells`` are the texts of the table."""
    if form == "json":
        write_json(rows)
    elif form == "jsonl":
        write_jsonl(rows)
    else:
        write_table(columns, cells)


def write_table(columns: Row, cells: Sequence[Row]) -> None:
    """Write a table: drawn on a terminal, aligned elsewhere."""
    cells = [tuple(plain(cell).replace("\n", "\\n") for cell in row) for row in cells]
    if _is_terminal():
        _draw(columns, cells)
        return
    write_text("\n".join(aligned(columns, cells)))


def write_runs(rows: Sequence[RunRow], *, late: bool = False) -> None:
    """Write a table of runs; ``late``: with why they take too long."""
    now = time.time_ns()
    write_table(
        ("RUN", "WORKFLOW", "STATUS", "AGE", "TOOK", "LATE" if late else "WAITING FOR"),
        [
            (
                row.id,
                row.workflow,
                row.status,
                between(row.started_at, now),
                between(row.started_at, row.finished_at),
                row.late
                if late
                else row.waiting or ("asleep" if row.status == "running" else "-"),
            )
            for row in rows
        ],
    )


def aligned(columns: Row, cells: Sequence[Row]) -> list[str]:
    """Return the lines of a table as aligned text."""
    widths = [
        max(len(column), *(len(row[index]) for row in cells)) if cells else len(column)
        for index, column in enumerate(columns)
    ]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (columns, *cells)
    ]


def write_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Write names and values, one fact a line; a value with several lines is indented."""
    width = max((len(name) for name, _ in facts), default=0)
    lines: list[str] = []
    for name, value in facts:
        first, *rest = plain(value).splitlines() or [""]
        shown = _styled(first) if name.upper() in _STATES else first
        lines.append(f"{name.ljust(width)}  {shown}".rstrip())
        lines += [f"{'':{width}}  {line}" for line in rest]
    write_text("\n".join(lines))


def compact(value: Any, width: int = 0) -> str:
    """Return a value as one line of JSON, cut with an ellipsis where a width is given."""
    text = _encoded(value).decode()
    return text if not width or len(text) <= width else text[: width - 1] + "…"


def pretty(value: Any) -> str:
    """Return a value as indented JSON; text and short values stay on their line."""
    if isinstance(value, str):
        return value
    return _indented(value).decode()


def clock_time(at: int, timespec: Literal["seconds", "milliseconds"] = "milliseconds") -> str:
    """Return nanoseconds since 1970 as a local time with its offset, or a dash."""
    if not at:
        return "-"
    moment = datetime.fromtimestamp(at / _NS, tz=UTC).astimezone()
    return moment.isoformat(sep=" ", timespec=timespec)


def duration(seconds: float) -> str:
    """Return a duration as people say it: 350ms, 4.2s, 12m, 3h05m, 2d4h."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f}ms"
    if seconds < _MINUTE_S:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}m{whole % _MINUTE_S:02}s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S}h{whole % _HOUR_S // _MINUTE_S:02}m"
    return f"{whole // _DAY_S}d{whole % _DAY_S // _HOUR_S}h"


def between(begin: int, end: int) -> str:
    """Return the time between two moments in nanoseconds, or a dash."""
    return duration((end - begin) / _NS) if begin and end else "-"


def by_hand(operator: Operator) -> str:
    """Return who did something, from where and why, on one line."""
    text = operator.who or "somebody"
    if operator.where:
        text += f" on {operator.where}"
    return f"{text}: {operator.why}" if operator.why else text


def told(failure: Failure) -> str:
    """Return why a run did not complete; that a cancelled one was cancelled is known."""
    if failure.kind == "cancelled":
        return failure.message or failure.kind
    return f"{failure.kind}: {failure.message}" if failure.message else failure.kind


def has_colors() -> bool:
    """Tell whether standard output wants colours: https://no-color.org, and FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or _is_terminal()


def _encoded(value: Any) -> bytes:
    import msgspec  # noqa: PLC0415 - version and help write no JSON

    return msgspec.json.encode(value)


def _indented(value: Any) -> bytes:
    import msgspec  # noqa: PLC0415 - see above

    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def _styled(text: str) -> str:
    style = _STYLES.get(text)
    if style is None or not has_colors():
        return text
    import click  # noqa: PLC0415 - only for colours

    return click.style(text, fg=style.split()[-1], bold=style.startswith("bold"))


def _draw(columns: Row, cells: Sequence[Row]) -> None:
    from rich.cells import cell_len  # noqa: PLC0415 - 40 ms that only tables pay
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    widths = [
        max(cell_len(column), *(cell_len(row[index]) for row in cells)) if cells else len(column)
        for index, column in enumerate(columns)
    ]
    # Only the last column is cut: the others are what the next command needs. Where that
    # is not enough lines are longer than the terminal: rich would take what is missing from every
    # column alike, and the short first ones, ids and numbers, would be gone.
    before = sum(widths[:-1]) + 2 * (len(widths) - 1)
    widths[-1] = min(widths[-1], max(console.width - before, _LAST_CHARS_MIN))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, no_wrap=True, overflow="ellipsis", width=width)
    for row in cells:
        table.add_row(
            *(
                Text(cell, style=_STYLES.get(cell, "") if column in _STATES else "")
                for column, cell in zip(columns, row, strict=True)
            )
        )
    console.width = before + widths[-1]
    console.print(table)


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _write(data: bytes) -> None:
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGoneError from error
