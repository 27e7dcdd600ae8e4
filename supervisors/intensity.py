"""How many restarts are too many: a sliding window."""

from __future__ import annotations

from collections import deque
from typing import Annotated

import msgspec

from protocols.errors import MovantError


class Intensity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most ``restarts_max`` restarts within any ``period_s``; one more escalates."""

    restarts_max: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 5
    period_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0


class RestartIntensityExceededError(MovantError):
    """The children of a supervisor failed too often; ``__cause__`` is the last child's error.

    Restarting has not helped at this level. The supervisor has stopped its children and ends;
    its parent restarts all of it, or escalates further.
    """

    code = "supervision.intensity"

    def __init__(
        self, supervisor: str, child_id: str, *, restarts_max: int, period_s: float
    ) -> None:
        super().__init__(
            f"{supervisor}: more than {restarts_max} restarts in {period_s:g} s, "
            f"the last of {child_id}",
            hint="movant actor tree",
        )
        self.supervisor = supervisor
        self.child_id = child_id
        self.restarts_max = restarts_max
        self.period_s = period_s


class RestartWindow:
    """Counts restarts. It is told the time, which must not step back."""

    def __init__(self, intensity: Intensity) -> None:
        self._intensity = intensity
        self._admitted: deque[float] = deque(maxlen=intensity.restarts_max or 1)

    def admit(self, now: float) -> bool:
        """Count a restart at ``now`` if there is room for it; return whether there was."""
        restarts_max, period_s = self._intensity.restarts_max, self._intensity.period_s
        while self._admitted and now - self._admitted[0] >= period_s:
            self._admitted.popleft()
        if len(self._admitted) >= restarts_max:
            return False
        self._admitted.append(now)
        return True
