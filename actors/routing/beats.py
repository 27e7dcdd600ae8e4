"""Beats: services that work for hours tell that they are alive, and what they have come to.

    service ── movant.beat.<run>.<step>.<attempt>.<token> ──▶ every daemon; the owner takes it
    silence for the step's ``heartbeat_s`` ──▶ the attempt is given up: kind timeout

A beat is a plain message: it is kept in memory, the latest one alone, and never stored. What it
said is written once, with the decision that gives the attempt up, so that the next attempt gets
it. The token is that of the reply: a beat of a former attempt prolongs nothing. A daemon that
takes a run over gives its attempts the whole time anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from actors.owning.workflow import OpenAsk, WorkflowActor
from protocols import codec
from protocols.durations import shown
from protocols.errors import BadValueError, OversizedError
from protocols.failure import TIMEOUT, Failure
from protocols.ports import Clock, Frame
from protocols.service import BEAT_BYTES_MAX
from protocols.subjects import beat_of
from protocols.tokens import KeyRing

CLEANED_MIN: Final = 1_000
"""Attempts that are expected to beat before those that are over are looked for."""


class Beats:
    """Takes the beats of attempts that are open here."""

    def __init__(self, clock: Clock, keys: KeyRing) -> None:
        self._clock = clock
        self._keys = keys
        self._expected: dict[tuple[str, str, int], tuple[WorkflowActor, OpenAsk]] = {}
        self._clean_at = CLEANED_MIN
        self.taken = 0

    def expect(self, actor: WorkflowActor, state: OpenAsk, now: float) -> None:
        """Expect beats of an attempt that is sent; its time of silence begins now, once."""
        wait_s = state.ask.options.heartbeat_s
        if wait_s is None or state.silent_at < inf:
            return
        state.silent_at = now + wait_s
        if len(self._expected) >= self._clean_at:
            self._expected = {
                key: (of, each) for key, (of, each) in self._expected.items() if _open(of, each)
            }
            self._clean_at = max(CLEANED_MIN, 2 * len(self._expected))
        self._expected[actor.id, state.ask.step, state.ask.attempt] = (actor, state)

    def take(self, frames: Sequence[Frame]) -> None:
        """Take beats; one that nobody expects, or that is none, is dropped."""
        for frame in frames if self._expected else ():
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        found = beat_of(frame.subject)
        if found is None or not self._keys.verify(found.token, *found[:3]):
            return
        actor, state = self._expected.get(found[:3], (None, None))
        if actor is None or state is None or len(frame.payload) > BEAT_BYTES_MAX:
            return
        if not _open(actor, state):
            del self._expected[found[:3]]
            return
        try:
            said = codec.decode(frame.payload)
        except (BadValueError, OversizedError):
            return
        self.taken += 1
        wait_s = state.ask.options.heartbeat_s
        assert wait_s is not None
        state.beat_at = self._clock.monotonic()
        state.silent_at = state.beat_at + wait_s
        state.said = state.said if said is None else said


def _open(actor: WorkflowActor, state: OpenAsk) -> bool:
    return not actor.gone and actor.asks.get(state.ask.identity) is state


def given_up(state: OpenAsk, now: float) -> Failure | None:
    """Return the failure of an attempt whose time is over; None where no beats are expected."""
    options = state.ask.options
    if options.heartbeat_s is None:
        return None
    what, wait_s = "reply", options.timeout_s
    if state.silent_at <= now:
        what, wait_s = "heartbeat", options.heartbeat_s
    message = f"no {what} within {shown(wait_s)}"
    return Failure(kind=TIMEOUT, message=message, unknown=True, details=state.said)
