"""What has to come of each motion of ``bill.yaml``, worked out without movant's interpreter.

A seed gives every visit of a motion to a state its fate: nothing, or one of nine error kinds, 5 %
each, for some calls. ``Fates`` tells the services what to answer, and ``story`` tells from the
same draws where the motion goes. Both tables are written down here once more, by hand.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any, Final

import msgspec

RETRIED: Final = ("timeout", "network", "no_responders", "over_limit")
GIVEN_UP: Final = ("validation", "permission", "compliance", "refused", "system")
KINDS: Final = (*RETRIED, *GIVEN_UP)
SHARE: Final = 0.05
"""Of all visits, for each kind."""
ATTEMPTS: Final = 3
REVIEWS_MAX: Final = 3
RETURNS_MAX: Final = {"validation": 2, "permission": 3}
HALT: Final = "halt_and_alert"

THEN: Final = {
    "timeout": ("retry", HALT),
    "network": ("retry", "fallback", HALT),
    "no_responders": ("retry", "continue"),
    "over_limit": ("retry", "review", HALT),
    "validation": ("return_to_previous", HALT),
    "permission": ("review", "return_to_previous", HALT),
    "compliance": ("review", HALT),
    "refused": ("continue",),
    "system": (HALT,),
}
"""The directives of each kind, one after the other."""

WITHOUT: Final = {
    "FILED": "DELIBERATED",
    "DELIBERATED": "DENIED",
    "PLANNED": "IN_COUNTY",
    "IN_DUCHY": "JUDGED",
    "IN_COUNTY": "JUDGED",
    "JUDGED": "PLANNED",
    "WITNESSED": "PASSED",
}
"""Where each state leads whose work gave nothing; a reviewer sends a motion there as well."""

OWNERS: Final = {
    "FILED": "king",
    "DELIBERATED": "conclave",
    "PLANNED": "president",
    "IN_DUCHY": "duke",
    "IN_COUNTY": "earl",
    "JUDGED": "prince",
    "WITNESSED": "knight",
}


class Fates:
    """Draws from a seed, the same for whoever asks."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def chance(self, *what: object) -> float:
        """Return a number from 0 to 1 that belongs to what is asked about."""
        text = "/".join(map(str, (self._seed, *what)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48

    def trouble(self, motion: str, state: str, entry: int) -> tuple[str, int]:
        """Return which kind of failure a visit meets, or none, and for how many calls."""
        which = int(self.chance(motion, state, entry, "kind") / SHARE)
        if which >= len(KINDS):
            return "", 0
        most = 5 if KINDS[which] in RETRIED else 2
        return KINDS[which], 1 + int(most * self.chance(motion, state, entry, "calls"))

    def answer(self, motion: str, state: str, entry: int) -> Any:
        """Return what the owner of a state says when nothing is wrong."""
        luck = self.chance(motion, state, entry, "answer")
        match state:
            case "DELIBERATED":
                return {"ayes": 3, "noes": 1} if luck < 0.9 else {"ayes": 1, "noes": 3}
            case "PLANNED":
                return {"tasks": 1 + int(6 * luck)}
            case "JUDGED":
                return {"compliant": luck < 0.8}
            case _:
                return state.lower()

    def deputy_fails(self, motion: str, state: str, entry: int, call: int) -> bool:
        """Tell whether who is asked in an owner's place fails as well."""
        return self.chance(motion, state, entry, "deputy", call) < 0.3

    def ruling(self, motion: str, state: str, entry: int, call: int) -> Any:
        """Return what the reviewer says."""
        luck = self.chance(motion, state, entry, "ruling", call)
        if luck < 0.4:
            return "retry"
        if luck < 0.6:
            return "return_to_previous"
        return {"to": WITHOUT[state]} if luck < 0.8 else "halt"

    def resumes(self, motion: str, halt: int) -> bool:
        """Tell whether the operator has a motion go on that is halted for the how many-th time."""
        return self.chance(motion, "halt", halt) < 0.7


class Story(msgspec.Struct):
    """What becomes of one motion."""

    way: list[tuple[str, str, str]] = []
    """From, to and cause of each transition."""
    directives: list[tuple[str, str, str]] = []
    """State, kind and directive."""
    halts: int = 0
    end: str = ""
    """``completed``, ``failed``, or ``halted``: until an operator resumes."""


def story(fates: Fates, motion: str) -> Story:
    """Return what has to become of a motion."""
    return _Telling(fates, motion).run()


class _Telling:
    def __init__(self, fates: Fates, motion: str) -> None:
        self.fates = fates
        self.motion = motion
        self.told = Story()
        self.state = ""
        self.came_from: dict[str, str] = {}
        self.entries: Counter[str] = Counter()
        self.calls: Counter[tuple[str, str, int]] = Counter()
        self.times: Counter[tuple[str, str]] = Counter()
        """How often a directive was followed in a state since its work was last done."""

    def run(self) -> Story:
        self._go("FILED", "submitted")
        while self.state in OWNERS and not self.told.end:
            kind = self._ask()
            while kind and kind != "left":
                kind = self._follow(kind)
            if not kind and not self.told.end:
                self._complete()
        self.told.end = self.told.end or {"PASSED": "completed", "DENIED": "failed"}[self.state]
        return self.told

    def _go(self, to: str, cause: str, *, back: bool = False) -> None:
        self.told.way.append((self.state, to, cause))
        if cause == "completed":
            self._forget()
        if not back:
            self.came_from[to] = self.state
        self.state = to
        self.entries[to] += 1

    def _forget(self) -> None:
        for key in [key for key in self.times if key[0] == self.state]:
            del self.times[key]

    @property
    def _visit(self) -> tuple[str, str, int]:
        return self.motion, self.state, self.entries[self.state]

    def _calls(self, service: str) -> int:
        """Count a call in this visit; return how many there were before."""
        key = (service, self.state, self.entries[self.state])
        self.calls[key] += 1
        return self.calls[key] - 1

    def _ask(self) -> str:
        """Ask the owner; return the kind of the failure, or nothing."""
        kind, failing = self.fates.trouble(*self._visit)
        for _ in range(ATTEMPTS if kind in RETRIED else 1):
            if self._calls("owner") >= failing:
                return ""
        return kind

    def _complete(self) -> None:
        answer = self.fates.answer(*self._visit)
        to = WITHOUT[self.state]
        if self.state == "DELIBERATED" and answer["ayes"] > answer["noes"]:
            to = "PLANNED"
        elif self.state == "PLANNED" and answer["tasks"] > 3:
            to = "IN_DUCHY"
        elif self.state == "JUDGED" and answer["compliant"]:
            to = "WITNESSED"
        self._go(to, "completed")

    def _follow(self, kind: str) -> str:
        """Follow the directives of a failure.

        Returns nothing when the work is done, ``left`` when the state is, or it has ended, and
        otherwise the kind of the failure that the next ones are followed for.
        """
        failure = kind
        for directive in THEN[kind]:
            self.told.directives.append((self.state, failure, directive))
            found = self._do(directive, kind)
            if found is not None:
                return found
            if directive == "fallback":
                failure = "system"  # that of the deputy, from here on
        raise AssertionError("a halt is the end of every list")

    def _do(self, directive: str, kind: str) -> str | None:
        match directive:
            case "fallback":
                if not self.fates.deputy_fails(*self._visit, self._calls("deputy")):
                    return ""
            case "continue":
                self._go(WITHOUT[self.state], "continued")
                return "left"
            case "return_to_previous":
                if self.came_from[self.state] and self._once_more(directive, RETURNS_MAX[kind]):
                    self._go(self.came_from[self.state], "returned", back=True)
                    return "left"
            case "review" if self._once_more(directive, REVIEWS_MAX):
                return self._review()
            case "halt_and_alert":
                return self._halt()
            case _:
                pass  # it cannot help
        return None

    def _review(self) -> str | None:
        word = self.fates.ruling(*self._visit, self._calls("auditor"))
        before = self.came_from[self.state]
        if word == "retry":
            return self._ask()
        if isinstance(word, dict):
            self._go(word["to"], "reviewed")
            return "left"
        if word == "return_to_previous" and before:
            self._go(before, "reviewed", back=True)
            return "left"
        return None

    def _halt(self) -> str:
        self.told.halts += 1
        if self.fates.resumes(self.motion, self.told.halts):
            self._forget()
            return self._ask()
        self.told.end = "halted"
        return "left"

    def _once_more(self, directive: str, most: int) -> bool:
        self.times[self.state, directive] += 1
        return self.times[self.state, directive] <= most
