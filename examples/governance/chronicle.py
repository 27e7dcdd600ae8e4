"""What became of every motion, and whether that is what should have.

The chronicle is made of the orchestrator's events while the demonstration runs; afterwards the
mailboxes tell what was tried again, because a retry is between movant and a service alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec

import movant
from examples.governance.tables import MOTION_ROUTED, ORCHESTRATOR_ERROR, Told
from protocols.api import runs as api
from protocols.directives import DIRECTIVES
from protocols.error_kinds import KINDS, classify
from protocols.failure import TIMEOUT


class Expected(msgspec.Struct, frozen=True):
    """What has to become of a motion. ``because`` is the directive and the error kind."""

    status: str = "completed"
    state: str = "ACKNOWLEDGED"
    because: tuple[tuple[str, str], ...] = ()
    """Directives that have to be followed, with the error kind of each."""


EXPECTED: Final[dict[str, Expected]] = {
    "market-notice": Expected(because=(("retry", "network"), ("fallback", "network"))),
    "charter": Expected(because=(("continue", "over_limit"),)),
    "kind-city": Expected(because=(("return_to_previous", "validation"),)),
    "pure-wishes": Expected("failed", "REJECTED", (("return_to_previous", "validation"),)),
    "tram-fund": Expected(because=(("review", "permission"),)),
    "night-market": Expected(because=(("review", "compliance"),)),
    "list-of-debtors": Expected(
        "compensated", "REJECTED", (("review", "compliance"), ("compensate", "compliance"))
    ),
    "old-act": Expected("compensated", "REJECTED", (("compensate", "refused"),)),
    "harbour-crane": Expected(because=(("halt_and_alert", "system"),)),
    "no-fireworks": Expected("failed", "REJECTED"),
}
"""Of the motions that do not simply go their way."""
SOMEBODY: Final = (("fallback", "no_responders"), ("retry", "timeout"))
"""What happens to whichever motion comes by when the Duke is away, and when the Prince is late."""


class Chronicle:
    """Collects what is told."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.retried: dict[str, set[str]] = defaultdict(set)
        """Motion -> error kinds after which a service was asked again."""

    def take(self, each: Told) -> None:
        """Keep an event."""
        self.told.append(each)

    def of(self, kind: str, motion: str = "") -> list[Told]:
        """Return the events of a kind, of one motion or of all."""
        return [each for each in self.told if each.kind == kind and motion in {"", each.motion_id}]

    def followed(self, motion: str = "") -> set[tuple[str, str]]:
        """Return the directives that were followed, each with its error kind."""
        errors = [each.data for each in self.of(ORCHESTRATOR_ERROR, motion)]
        found = {(each["directive"], each["kind"]) for each in errors if "directive" in each}
        for name, kinds in self.retried.items():
            if motion in {"", name}:
                found |= {("retry", kind) for kind in kinds}
        return found

    def read(self, motion: str, entries: Iterable[api.HistoryEntry]) -> None:
        """Learn from a mailbox what was tried again: what failed and was not the last attempt."""
        failed: dict[tuple[str, int], str] = {}
        last: dict[str, int] = {}
        for each in entries:
            last[each.path] = max(last.get(each.path, 0), each.attempt)
            if each.kind == "owner.timeout":
                failed.setdefault((each.path, each.attempt), TIMEOUT)
            elif each.kind == "reply" and each.failure is not None:
                failed.setdefault((each.path, each.attempt), classify(each.failure))
        again = {kind for (path, attempt), kind in failed.items() if attempt < last[path]}
        self.retried[motion] |= again


def wrong_ends(views: dict[str, api.RunView], chronicle: Chronicle) -> list[str]:
    """Return what is wrong with the end of each motion, and with the way to it."""
    wrong = []
    for motion, view in views.items():
        expected = EXPECTED.get(motion, Expected())
        state = (view.state or {}).get("state", "")
        if (view.status, state) != (expected.status, expected.state):
            wrong.append(
                f"{motion} ended as {view.status} in {state},"
                f" not as {expected.status} in {expected.state}"
            )
        followed = chronicle.followed(motion)
        wrong += [
            f"{motion}: no {do} after {kind}"
            for do, kind in expected.because
            if (do, kind) not in followed
        ]
    return wrong


def not_visited(machine: movant.Machine, chronicle: Chronicle) -> list[str]:
    """Return the states, directives and error kinds that no motion has seen."""
    states = {each.data["to_state"] for each in chronicle.of(MOTION_ROUTED)}
    followed = chronicle.followed()
    missing = [f"state {each}" for each in machine.states if each not in states]
    missing += [
        f"directive {each}" for each in DIRECTIVES if each not in {do for do, _ in followed}
    ]
    missing += [
        f"error kind {each}" for each in KINDS if each not in {kind for _, kind in followed}
    ]
    missing += [f"{do} after {kind}" for do, kind in SOMEBODY if (do, kind) not in followed]
    return missing
