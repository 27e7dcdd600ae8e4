"""Reruns: how often a step may have been asked again, worked out from the mailboxes alone.

An attempt is asked once, and once more for each reason that stands in the streams: a marker
of a higher epoch while it was open (the new owner cannot know whether the old one sent it), a
wake, thirty seconds of silence, and each disruption of server, services or wire that the
campaign itself did in that time. What is asked more often than that is a defect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, Final

import msgspec

from actors.kernel.instance import Instance
from actors.owning.inbound import parse
from actors.owning.letters import Letter
from protocols.effects import Ask
from protocols.mail import Woken
from tests.chaos.services import Record
from tests.chaos.stored import Streams, partition_of
from tests.chaos.verify import valid

REASK_S: Final = 30.0
HOUR_NS: Final = 3.6e12
SLACK_NS: Final = 6_000_000_000
"""What a disruption makes somebody do comes so much later at the most."""
FOLDED_NS: Final = 3_000_000_000
"""So long after it was stored an answer may be on its way to the owner: when the connection is
lost meanwhile, he asks again what is decided already."""
BY_DISRUPTION: Final = 2
"""Its owner's connection comes back, and its service does."""


class Attempt(msgspec.Struct):
    """One attempt at a step, from the message that asked for it to the one that decided it."""

    instance: str
    key: str
    attempt: int
    idempotent: bool
    asked_seq: int
    asked_at: int
    decided_seq: float = inf
    decided_at: float = inf
    wakes: int = 0

    def may_be_asked(
        self, markers: Iterable[tuple[int, int]], disruptions: Iterable[tuple[int, int]]
    ) -> tuple[int, int]:
        """Return how many markers it was open at, and how often it may be asked in all."""
        if not self.idempotent:
            return 0, 1
        highest = over = 0
        for seq, epoch in markers:
            if epoch > highest:
                highest = epoch
                over += self.asked_seq < seq < self.decided_seq
        silent = (min(self.decided_at, self.asked_at + HOUR_NS) - self.asked_at) / 1e9 // REASK_S
        disturbed = BY_DISRUPTION * sum(
            begin <= self.decided_at + FOLDED_NS and self.asked_at <= end + SLACK_NS
            for begin, end in disruptions
        )
        return over, 1 + over + self.wakes + int(silent) + disturbed


class Tally(msgspec.Struct, kw_only=True):
    """What was asked in all."""

    attempts: int = 0
    asked_again: int = 0
    """Requests beyond the first one of an attempt, as the services recorded them."""
    possibly_dispatched: int = 0
    """Attempts open at a marker of a higher epoch, for each such marker."""
    most: int = 0
    """What all reasons together would allow beyond the first requests."""
    findings: list[str] = []


def attempts(streams: Streams, instance: str) -> list[Attempt]:
    """Return all attempts of an instance, by folding its mailbox."""
    fold = Instance(instance, lambda name, digest: streams.workflows[digest][name])
    fold.refolding = True
    found: list[Attempt] = []
    open_: list[tuple[Ask, Attempt]] = []
    for each in valid(streams, instance):
        parsed = parse(each, streams.keys)
        if not isinstance(parsed, Letter):
            continue
        mail = parsed.mail
        effects: Sequence[Any] = fold.fold(mail)
        for ask, one in list(open_):
            one.wakes += type(mail) is Woken
            if not fold.is_open(ask):
                one.decided_seq, one.decided_at = mail.seq, mail.at
                open_.remove((ask, one))
        for ask in effects:
            if type(ask) is Ask:
                one = Attempt(
                    instance, ask.key, ask.attempt, ask.options.idempotent, mail.seq, mail.at
                )
                found.append(one)
                open_.append((ask, one))
    return found


def tally(
    streams: Streams, recorded: Iterable[Record], disruptions: Sequence[tuple[int, int]]
) -> Tally:
    """Compare what the services were asked with what may have been asked."""
    calls = Counter((each.key, each.attempt) for each in recorded if each.what == "call")
    found = Tally()
    known = set()
    for instance in streams.mailboxes:
        markers = streams.markers[partition_of(streams.mailboxes[instance])]
        for one in attempts(streams, instance):
            known.add((one.key, one.attempt))
            asked = calls[one.key, one.attempt]
            over, most = one.may_be_asked(markers, disruptions)
            found.attempts += 1
            found.asked_again += max(0, asked - 1)
            found.possibly_dispatched += over
            found.most += most - 1
            if asked > most:
                found.findings.append(
                    f"{instance}: {one.key} attempt {one.attempt} was asked {asked} times, and"
                    f" may be {most} times; open {one.asked_seq} to {one.decided_seq}, {over}"
                    f" markers, {_after(one, disruptions)}"
                )
    found.findings += [f"{key} was asked and no fold asks for it" for key in calls.keys() - known]
    return found


def _after(one: Attempt, disruptions: Iterable[tuple[int, int]]) -> str:
    """Tell how long after each disruption's end an attempt was asked and decided."""
    times = [
        f"{(one.asked_at - end) / 1e9:.1f} to {(one.decided_at - end) / 1e9:.1f} s"
        for _, end in disruptions
    ]
    return f"{', '.join(times) or 'never'} after disruptions"
