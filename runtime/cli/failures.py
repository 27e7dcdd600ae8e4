"""What is told when something fails: what, where, the next command; and an exit code."""

from __future__ import annotations

import re
import sys
import traceback
from typing import Final

from protocols.errors import (
    BadValueError,
    ConfigurationError,
    InternalError,
    InvalidIdError,
    InvalidInputError,
    MovantError,
    NotFoundError,
    OversizedError,
    RefusedError,
    SchemaVersionError,
    UnavailableError,
    UnknownOutcomeError,
)

OK: Final = 0
RUN_FAILED: Final = 1
USAGE: Final = 2
DEGRADED: Final = 3
UNREACHABLE: Final = 4
NOT_FOUND: Final = 5
REFUSED: Final = 6
DEFECT: Final = 70
TIMED_OUT: Final = 124
INTERRUPTED: Final = 130
"""What a shell reports for a program that Ctrl-C has ended."""
READER_GONE: Final = 141
"""What a shell reports for a program that SIGPIPE has ended."""

EXIT_CODES: Final = (
    "Exit codes: 0 ok, 1 the run failed, 2 usage or configuration, 3 degraded,\n"
    "4 unreachable, 5 not found, 6 refused, 70 a defect of movant,\n"
    "124 wait timed out."
)

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SUPERVISION: Final = "supervision."
_WHOLE: Final = "(input)"
"""Where a person reads what is wrong with an input as a whole."""
_CODES: Final[tuple[tuple[type[MovantError], int], ...]] = (
    (NotFoundError, NOT_FOUND),
    (InvalidIdError, USAGE),
    (BadValueError, USAGE),
    (InvalidInputError, USAGE),
    (OversizedError, USAGE),
    (SchemaVersionError, USAGE),
    (ConfigurationError, USAGE),
    (RefusedError, REFUSED),
    (UnavailableError, UNREACHABLE),
    (UnknownOutcomeError, UNREACHABLE),
    (InternalError, DEFECT),
)


def exit_code(error: MovantError) -> int:
    """Return the exit code of an error."""
    if error.code == "unknown.wait":
        return TIMED_OUT
    return next((code for kind, code in _CODES if isinstance(error, kind)), DEFECT)


def explain(error: BaseException) -> int:
    """Tell a person about an error; return the exit code. A defect is shown whole."""
    told = _expected(error)
    if told is None:
        traceback.print_exception(error)
        say("next:  this is a defect of movant, or of code that it has loaded; please report it")
        return DEFECT
    tell_error(told)
    return exit_code(told)


def tell_error(error: MovantError) -> None:
    """Write what is wrong and the next thing to do."""
    lines = [f"error: {error.message}"]
    if isinstance(error, InvalidInputError):
        width = max((len(path or _WHOLE) for path in error.fields), default=0)
        lines += [
            f"  {(path or _WHOLE).ljust(width)}  {what}" for path, what in error.fields.items()
        ]
    hint = error.hint
    if isinstance(error, InvalidInputError) and hint == "; ".join(
        f"{path}: {what}" for path, what in error.fields.items()
    ):
        name = error.message.rpartition(" workflow ")[2]
        hint = f"movant workflow show {name} has the schema of its input"
    if hint:
        lines.append(f"next:  {hint}")
    say("\n".join(lines))


def repair(run: str, missing: int = 0) -> str:
    """Return what to do about a blocked run: it keeps its code until it is given another.

    ``missing``: the message whose value is missing, by sequence.
    """
    if missing:
        return (
            f"next:  movant run supply {run} FILE puts the value back\n"
            f"       movant run discard {run} {missing} gives it up"
        )
    return (
        f"next:  mend its code, movant workflow register FILE, movant run migrate {run}\n"
        f"       or movant run cancel {run}"
    )


def say(text: str) -> None:
    """Write a line of talk; data goes to standard output instead."""
    sys.stderr.write(plain(text) + "\n")


def plain(text: str) -> str:
    """Return a text for a terminal: control characters, which it would obey, are escaped.

    Names, messages and results come from anybody. Line breaks and tabs stay.
    """
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _expected(error: BaseException | None) -> MovantError | None:
    """Return the error to tell, None when there is a defect behind it."""
    if isinstance(error, BaseExceptionGroup):
        found = [_expected(each) for each in error.exceptions]
        return None if None in found else found[0]
    if not isinstance(error, MovantError):
        return None
    if error.code.startswith(_SUPERVISION) and error.__cause__ is not None:
        return _expected(error.__cause__)  # what the child said, not that it did not start
    return error
