"""Motions as text, and what is read out of them.

    Title: Lamps for the Harbour Road
    Subject: roads
    By: Ada

    1. The city shall install 12 lamps on Harbour Road.
    2. The city shall pay 800 from the road fund, after clause 1.

A clause begins with its number. What it wants done is the verb behind "shall"; a clause without
one that the city knows is a wish, and nobody can carry it out.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

WORKS: Final = (
    "build",
    "clean",
    "close",
    "forbid",
    "inspect",
    "install",
    "open",
    "plant",
    "repair",
)
PUBLISH: Final = "publish"
PAY: Final = "pay"
REPEAL: Final = "repeal"
VERBS: Final = (*WORKS, PUBLISH, PAY, REPEAL)

_HEAD: Final = re.compile(r"(Title|Subject|By):\s*(\S.*)")
_CLAUSE: Final = re.compile(r"(\d+)\.\s+(\S.*)")
_SHALL: Final = re.compile(rf"\bshall\s+({'|'.join(VERBS)})\b\s*(.*?)(?:,\s*after\b.*)?\.?$")
_AFTER: Final = re.compile(r"\bafter clauses?\s+([\d, and]+)")
_AMOUNT: Final = re.compile(r"\bpay\s+([\d,]*\d)")
_ACT: Final = re.compile(r"\bAct\s+(\d+)\b")


class MalformedError(ValueError):
    """A text that is no motion."""


class Clause(msgspec.Struct, frozen=True):
    """One clause: its words, and what they ask for."""

    number: int
    text: str
    verb: str = ""
    """Empty: a wish."""
    what: str = ""
    after: tuple[int, ...] = ()
    amount: int = 0
    act: int = 0
    """The act that it repeals."""


class Motion(msgspec.Struct, frozen=True):
    """A motion as its text says it."""

    title: str
    subject: str
    by: str
    clauses: tuple[Clause, ...]

    @property
    def words(self) -> list[str]:
        """All its words in small letters, for those who vote by them."""
        text = " ".join((self.title, *(each.text for each in self.clauses)))
        return re.findall(r"[a-z]+", text.lower())


def parse(text: str) -> Motion:
    """Read a motion. Raises MalformedError that says what is missing, and in which line."""
    head: dict[str, str] = {}
    clauses: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words:
            continue
        if found := _HEAD.fullmatch(words):
            head[found[1]] = found[2]
        elif _CLAUSE.fullmatch(words):
            clauses.append(words)
        elif clauses and line[:1].isspace():
            clauses[-1] += f" {words}"
        else:
            raise MalformedError(f"line {number}: neither a heading nor a clause: {words[:60]!r}")
    missing = [name for name in ("Title", "Subject", "By") if name not in head]
    if missing or not clauses:
        raise MalformedError(f"a motion needs {', '.join(missing) or 'a clause'}")
    read = tuple(_clause(each) for each in clauses)
    if [each.number for each in read] != list(range(1, len(read) + 1)):
        raise MalformedError("the clauses are not numbered 1, 2, 3 …")
    return Motion(head["Title"], head["Subject"], head["By"], read)


def _clause(words: str) -> Clause:
    found = _CLAUSE.fullmatch(words)
    assert found is not None
    text = found[2]
    shall, after = _SHALL.search(text), _AFTER.search(text)
    amount, act = _AMOUNT.search(text), _ACT.search(text)
    verb = shall[1] if shall else ""
    return Clause(
        number=int(found[1]),
        text=text,
        verb=verb,
        what=shall[2] if shall else "",
        after=tuple(int(each) for each in re.findall(r"\d+", after[1])) if after else (),
        amount=int(amount[1].replace(",", "")) if amount and verb == PAY else 0,
        act=int(act[1]) if act and verb == REPEAL else 0,
    )
