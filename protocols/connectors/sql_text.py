"""SQL text with named parameters: ``:name`` outside of literals, comments and casts.

    update account set balance = balance - :amount where id = :account

A value never becomes part of the text: it is bound by the database. So the same text serves
every value, and there is nothing to escape.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from protocols.errors import ConfigurationError

_TOKEN: Final = re.compile(
    r"""
      (?P<literal>(?<![A-Za-z0-9_])[eE]'(?:[^'\\]|\\.|'')*'  # PostgreSQL's text with escapes
        | '(?:[^']|'')*'
        | "(?:[^"]|"")*"
        | `(?:[^`]|``)*`
        | (?P<tag>\$(?:[A-Za-z_][A-Za-z0-9_]*)?\$).*?(?P=tag))
    | (?P<comment>--[^\n]* | /\*.*?\*/)
    | (?P<cast>::)
    | (?P<name>(?<![A-Za-z0-9_\]]):[A-Za-z_][A-Za-z0-9_]*)
    | (?P<stop>;)
    | (?P<mark>[?'"`] | \$[0-9] | /\*)
    """,
    re.VERBOSE | re.DOTALL,
)


class SqlText(msgspec.Struct, frozen=True):
    """One statement: its pieces, text and the name of a parameter by turns."""

    pieces: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters it binds, each once, in order."""
        return tuple(dict.fromkeys(self.pieces[1::2]))

    def named(self) -> str:
        """Return it with ``:name``, as SQLite binds."""
        return "".join(f":{each}" if at % 2 else each for at, each in enumerate(self.pieces))

    def pyformat(self) -> str:
        """Return it with ``%(name)s``, as psycopg binds; a percent sign is doubled."""
        return "".join(
            f"%({each})s" if at % 2 else each.replace("%", "%%")
            for at, each in enumerate(self.pieces)
        )


def parse(text: str) -> SqlText:
    """Return the statement. Raises ConfigurationError for what is none, or more than one."""
    pieces: list[str] = []
    begin = 0
    for found in _TOKEN.finditer(text):
        kind, where = found.lastgroup, found.start()
        if kind == "name":
            pieces += [text[begin:where], found["name"][1:]]
            begin = found.end()
        elif kind == "stop" and _says_something(text[found.end() :]):
            raise ConfigurationError(
                f"more than one statement, at {text[where : where + 30]!r}",
                hint="one statement each; several are a transaction: a list of statements",
            )
        elif kind == "mark":
            raise ConfigurationError(
                f"unexpected {found[0]!r} at {text[where : where + 30]!r}",
                hint="parameters are named, as :name; literals and comments have to be closed",
            )
    if not _says_something(text):
        raise ConfigurationError("an empty statement")
    return SqlText((*pieces, text[begin:]))


def _says_something(text: str) -> bool:
    """Tell whether there is anything but space, comments and semicolons."""
    return bool(re.sub(r"--[^\n]*|/\*.*?\*/|[\s;]", "", text, flags=re.DOTALL))
