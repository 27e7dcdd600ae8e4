"""Flow: what one daemon knows of one service, and whether a request may go to it now.

    held by hand? -> breaker -> asked to come later? -> concurrency -> rate -> go

One flow is shared by all instances of a daemon. It is pure: the time is an argument, in seconds
on the monotonic clock. A flow that nothing restricts is not *guarded*, and a request to it asks
no more than that.
"""

from __future__ import annotations

from collections.abc import Callable
from math import frexp, inf
from typing import Final

import msgspec

from actors.routing.breaker import Breaker, says_ill
from actors.routing.limits import Bucket, Ramp
from protocols.failure import Failure
from protocols.flow import FLOW_DEFAULTS, FlowSettings, Hold

SAMPLED: Final = 16
"""One of so many ordinary successes is measured: enough for a percentile, too few to cost."""
RETRY_AFTER_S_MAX: Final = 300.0
"""A whole service is not left alone for longer, whatever it asks for: then one is sent again."""
GAIN: Final = 0.05
"""What one answer weighs in the error rate: the last twenty or so count."""
STALE_S: Final = 30.0
"""A measurement that is older does not speak against a service any more."""
QUALITY_UNKNOWN: Final = 1.0 / 0.06
"""Of a service that was never measured, while its first try is under way."""
LATENCY_FLOOR_S: Final = 0.01
"""Below this nobody cares which one is quicker."""
QUALITY_STALE: Final = 1.0 / LATENCY_FLOOR_S
"""Of one that was not measured for long, for a choice: the best there is, so it gets a try."""
BINS: Final = 40
"""Latencies by powers of two, from a microsecond to six days."""
BINNED_MAX: Final = 4_096

_SAMPLE_GAIN: Final = 1.0 - (1.0 - GAIN) ** SAMPLED


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """Why a request may not go now, and when to look again: in seconds, or when told (inf)."""

    reason: str
    wait_s: float


class Flow:
    """Requests to one service. ``stirred`` is told when what waits may go again."""

    __slots__ = (
        "_latencies",
        "_limited",
        "_not_before",
        "_ramp",
        "_ramping",
        "_rate",
        "_stirred",
        "answers",
        "breaker",
        "error_share",
        "failures",
        "guarded",
        "hold",
        "in_flight",
        "latency_s",
        "measured_at",
        "parked",
        "ping_s",
        "quality",
        "ranked",
        "service",
        "settings",
        "silent_since",
        "speaks",
    )

    def __init__(
        self,
        service: str,
        settings: FlowSettings = FLOW_DEFAULTS,
        stirred: Callable[[Flow], None] = lambda _: None,
    ) -> None:
        self.service = service
        self.settings = settings
        self.breaker = Breaker(settings)
        self._stirred = stirred
        self._rate = Bucket(settings.rate_per_s, settings.burst) if settings.rate_per_s else None
        self._ramp = Ramp(settings.release_per_s)
        self._ramping = False
        self._limited = bool(settings.rate_per_s or settings.concurrency_max)
        self._not_before = 0.0
        self._latencies = [0] * BINS
        self.hold: Hold | None = None
        """What a person said: it is paused."""
        self.parked = 0
        """Requests that wait here, in memory or not."""
        self.in_flight = 0
        """Sent and not answered; counted only while there is a limit."""
        self.answers = self.failures = 0
        self.error_share = 0.0
        self.latency_s = 0.0
        self.measured_at = -inf
        self.quality = QUALITY_UNKNOWN
        """For a choice among services: how often it succeeds, by how long it takes."""
        self.ranked = False
        """Every answer is measured, because somebody chooses by it."""
        self.speaks = False
        """It has answered a ping (see ``actors.routing.pings``), so silence says something."""
        self.ping_s = 0.0
        self.silent_since = inf
        self.guarded = self._limited

    def look(self) -> None:
        """See again whether anything restricts this service."""
        self.guarded = bool(
            self._limited or self.parked or self.hold or self._not_before or not self.breaker.calm
        )

    # May a request go?

    def verdict(self, now: float) -> Verdict | None:
        """Return why the next request may not go now; None: it may."""
        found = self._closed(now)
        if found is not None:
            return found
        settings = self.settings
        if settings.concurrency_max and self.in_flight >= settings.concurrency_max:
            return Verdict(f"{self.in_flight} requests are under way, the limit", inf)
        if self._rate is not None and (wait_s := self._rate.wait_s(now)):
            return Verdict(f"at most {settings.rate_per_s:g} requests a second", wait_s)
        if self._ramping and (wait_s := self._ramp.wait_s(now)):
            return Verdict("what was parked goes one after the other", wait_s)
        return None

    def closed(self, now: float) -> bool:
        """Tell whether nobody may ask, not even again for an answer that has not come."""
        return self._closed(now) is not None

    def _closed(self, now: float) -> Verdict | None:
        if self.hold is not None:
            return Verdict(self.hold.text(), inf)
        if wait_s := self.breaker.wait_s(now):
            quiet = now - self.silent_since if self.speaks else 0.0
            since = f", no ping was answered for {quiet:.3g} s" if quiet > 0 else ""
            return Verdict(f"breaker is {self.breaker.shown()}{since}", wait_s)
        if self._not_before > now:
            return Verdict(
                f"it asked to be left alone for {self._not_before - now:.3g} s more",
                self._not_before - now,
            )
        if self._not_before:
            self._not_before = 0.0
            self.look()
        return None

    def usable(self, now: float) -> bool:
        """Tell whether it makes sense to choose this service."""
        return not self.guarded or self._closed(now) is None

    def went(self, now: float, *, again: bool = False) -> None:
        """Note that a request was sent; ``again`` for one that has its place already."""
        self.breaker.went(now)
        if self._rate is not None:
            self._rate.take(now)
        if self._ramping:
            self._ramp.take(now)
        if not again:
            self.in_flight += 1

    def left(self) -> None:
        """Note that a request that was counted is decided, or nobody waits for it any more."""
        self.in_flight -= 1
        if self.parked:
            self._stirred(self)

    # Parked requests.

    def park(self) -> None:
        """Note one more request that waits."""
        self.parked += 1
        self.guarded = True

    def unpark(self) -> None:
        """Note that a request waits no more."""
        self.parked -= 1
        if not self.parked:
            self._ramping = False
            self.look()

    def begin_release(self, now: float) -> None:
        """Let what is parked go, at a limited rate."""
        if self.parked:
            self._ramping = True
            self._ramp.begin(now)
        self.look()
        self._stirred(self)

    # What is said by hand.

    def say(self, hold: Hold | None, now: float) -> None:
        """Take what a person said about this service: paused, or (None) no longer."""
        self.hold = hold
        self.begin_release(now)

    def force(self, hold: Hold | None, now: float) -> None:
        """Take what a person said about its breaker; one that is set free begins as closed."""
        self.breaker.forced = "" if hold is None else hold.forced
        if self.breaker.forced != "open":
            self.breaker.close()
        self.begin_release(now)

    # What came back.

    def answered(self, failure: Failure | None, sent_at: float, now: float) -> None:
        """Learn from an answer, or from a timeout as a failure of that kind."""
        ordinary = failure is None and not self.ranked and not self.guarded
        if failure is None:
            if not self.breaker.calm:
                if self.breaker.succeeded(sent_at, now):
                    self.begin_release(now)
                self.look()
            self._measure(now, sent_at, _SAMPLE_GAIN if ordinary else GAIN)
            return
        self.failures += 1
        if failure.retryable and failure.retry_after_s:
            self._leave_alone(now + min(failure.retry_after_s, RETRY_AFTER_S_MAX), now)
        elif says_ill(failure):
            self.error_share += GAIN * (1.0 - self.error_share)
            self._rate_quality(now)
            if self.breaker.failed(sent_at, now):
                self._stirred(self)  # the time to look again is known now
            self.look()
        elif not self.breaker.calm:  # a refusal is an answer of a healthy service
            if self.breaker.succeeded(sent_at, now):
                self.begin_release(now)
            self.look()

    def pinged(self, took_s: float, now: float) -> None:
        """Learn that it is awake; one that was silent may be tried at once.

        It is no success: who answers pings and fails is ill.
        """
        self.speaks = True
        self.ping_s = took_s
        if self.silent_since < inf:
            self.silent_since = inf
            self.breaker.hurry(now)
            self._stirred(self)

    def silent(self, asked_at: float, now: float) -> None:
        """Learn that a ping was not answered: a failure, where the breaker is closed.

        Beyond that only requests count, or a service whose work is done, but whose pings are
        not answered, would never be asked again.
        """
        if not self.speaks:
            return
        self.silent_since = min(self.silent_since, asked_at)
        if self.breaker.state == "closed":
            if self.breaker.failed(asked_at, now):
                self._stirred(self)
            self.look()

    def tried(self, now: float) -> None:
        """Note that it was chosen: one try is enough until that is answered."""
        if self.measured_at < now - STALE_S:
            self.measured_at = now

    def _leave_alone(self, until: float, now: float) -> None:
        if until > self._not_before:
            self._not_before = until
            self.guarded = True
        if self.parked and not self._ramping:
            self._ramping = True
            self._ramp.begin(now)

    def _measure(self, now: float, sent_at: float, gain: float) -> None:
        latency_s = max(now - sent_at, 0.0)
        self.error_share -= gain * self.error_share
        if not self.latency_s:
            self.latency_s = latency_s
        self.latency_s += GAIN * (latency_s - self.latency_s)
        self._latencies[min(max(frexp(latency_s * 1e6)[1], 0), BINS - 1)] += 1
        self._rate_quality(now)

    def _rate_quality(self, now: float) -> None:
        self.measured_at = now
        self.quality = (1.0 - self.error_share) / (self.latency_s + LATENCY_FLOOR_S)

    def percentile_s(self, share: float) -> float:
        """Return below which latency this share of the answers was: a power of two; 0: none."""
        total = sum(self._latencies)
        if total > BINNED_MAX:
            self._latencies = [each // 2 for each in self._latencies]
            total = sum(self._latencies)
        seen = 0
        for bin_, count in enumerate(self._latencies):
            seen += count
            if count and seen >= share * total:
                return 2.0**bin_ / 1e6
        return 0.0

    # For people.

    def state(self, now: float) -> str:
        """Return why nobody may ask it now, in a word (paused, open, busy) or nothing."""
        if self.hold is not None:
            return "paused"
        if self.breaker.forced == "open" or (
            not self.breaker.forced and self.breaker.state != "closed"
        ):
            return self.breaker.state.replace("_", " ") if not self.breaker.forced else "open"
        return "busy" if self._not_before > now else ""
