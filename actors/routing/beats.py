"""Beats: services that work for hours tell that they are alive, and what they have come to.

    service ── movant.beat.<run>.<step>.<attempt>.<token> ──▶ every daemon; the owner takes it
    silence for the step's ``heartbeat_s`` ──▶ the attempt is given up: kind timeout

A beat is a plain message: it is kept in memory, the latest one alone, and never stored. What it
said is written once, with the decision that gives the attempt up, so that the next attempt gets
it. The token is that of the reply: a beat of a former attempt prolongs nothing. A daemon that
takes a run over, or was cut off from the server, gives attempts the whole time anew; a run that
it has out of memory comes back with its first beat, and stays for as long as it is beaten for.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Final, Protocol

from actors.owning.workflow import OpenAsk, WorkflowActor
from protocols import codec
from protocols.durations import shown
from protocols.errors import BadValueError, OversizedError
from protocols.failure import TIMEOUT, Failure
from protocols.headers import BEAT_BYTES_MAX
from protocols.ports import Clock, Frame
from protocols.subjects import beat_of
from protocols.tokens import KeyRing

CLEANED_MIN: Final = 1_000
"""Attempts that are expected to beat before those that are over are looked for."""
TRIES_MAX: Final = 20
"""How often a run that is brought to memory is looked for: one that has ended is not there."""
DEAF_MAX: Final = 10_000
"""Attempts that nobody waits for and whose services beat on; then they are forgotten."""


class Hear(Protocol):
    """Returns a run in memory, if it is there; ``bring``: brings it there, if it is ours."""

    def __call__(self, instance: str, *, bring: bool) -> WorkflowActor | None: ...  # noqa: D102


_Key = tuple[str, str, int]
"""Run, step and attempt."""


class Beats:
    """Takes the beats of attempts that are open here. ``hear`` brings a run of ours to memory."""

    def __init__(self, clock: Clock, keys: KeyRing, hear: Hear) -> None:
        self._clock = clock
        self._keys = keys
        self._hear = hear
        self._expected: dict[_Key, tuple[WorkflowActor, OpenAsk]] = {}
        self._clean_at = CLEANED_MIN
        self._coming: dict[_Key, tuple[Any, int]] = {}
        """Attempts whose run may be out of memory: what was said, and how often we looked."""
        self._deaf: set[_Key] = set()

    def expect(self, actor: WorkflowActor, state: OpenAsk, now: float) -> None:
        """Expect beats of an attempt that is sent; its time of silence begins now, once."""
        wait_s = state.ask.options.heartbeat_s
        if wait_s is None or state.silent_at < inf or state.ask.local is not None:
            return
        state.silent_at = now + wait_s
        actor.attend_at = min(actor.attend_at, state.silent_at)
        if len(self._expected) >= self._clean_at:
            self._expected = {key: each for key, each in self._expected.items() if _open(*each)}
            self._clean_at = max(CLEANED_MIN, 2 * len(self._expected))
        self._expected[actor.id, state.ask.step, state.ask.attempt] = (actor, state)

    def anew(self) -> None:
        """Give all the whole time anew: nobody could be heard meanwhile."""
        now = self._clock.monotonic()
        for actor, state in self._expected.values():
            state.silent_at = now + (state.ask.options.heartbeat_s or inf)
            actor.attend_at = 0.0

    def delay(self, late_s: float) -> None:
        """Count no time in which this daemon stood still: it could hear nobody."""
        for _, state in self._expected.values():
            state.silent_at += late_s

    def look(self) -> None:
        """Expect more beats of those whose run has come to memory."""
        for key, (said, tries) in list(self._coming.items()):
            actor = self._hear(key[0], bring=tries < TRIES_MAX)
            if actor is not None and (actor.activating or actor.behind):
                self._coming[key] = (said, tries + actor.activating)
                continue
            del self._coming[key]
            state = None if actor is None else actor.asks.get(("ask", *key[1:]))
            if actor is not None and state is not None:
                self.expect(actor, state, self._clock.monotonic())
                self._beat(state, said)
            elif actor is not None or tries:  # else it is another daemon's
                if len(self._deaf) >= DEAF_MAX:
                    self._deaf.clear()
                self._deaf.add(key)

    def take(self, frames: Sequence[Frame]) -> None:
        """Take beats; what is none, or none of ours, is dropped."""
        for frame in frames:
            found = beat_of(frame.subject)
            if found is None or len(frame.payload) > BEAT_BYTES_MAX or found[:3] in self._deaf:
                continue
            if not self._keys.verify(found.token, *found[:3]):
                continue
            try:
                said = codec.decode(frame.payload)
            except (BadValueError, OversizedError):
                continue
            expected = self._expected.get(found[:3])
            if expected is not None and _open(*expected):
                self._beat(expected[1], said)
            elif len(self._coming) < CLEANED_MIN:
                self._coming.setdefault(found[:3], (said, 0))

    def _beat(self, state: OpenAsk, said: Any) -> None:
        if state.ask.options.heartbeat_s is None:
            return  # nobody has asked for it
        state.beat_at = self._clock.monotonic()
        state.silent_at = state.beat_at + state.ask.options.heartbeat_s
        state.said = state.said if said is None else said


def _open(actor: WorkflowActor, state: OpenAsk) -> bool:
    return not actor.gone and actor.asks.get(state.ask.identity) is state


def given_up(state: OpenAsk, now: float) -> Failure | None:
    """Return the failure of an attempt whose time is over; None where no beats are expected."""
    options = state.ask.options
    if options.heartbeat_s is None or state.silent_at == inf:
        return None
    what, wait_s = "reply", options.timeout_s
    if state.silent_at <= now:
        what, wait_s = "heartbeat", options.heartbeat_s
    message = f"no {what} within {shown(wait_s)}"
    return Failure(kind=TIMEOUT, message=message, unknown=True, details=state.said)
