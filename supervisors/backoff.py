"""How long to wait before a restart: exponential, bounded, with seeded jitter."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from protocols.rng import Rng

Seconds = Annotated[float, msgspec.Meta(ge=0)]

_EXPONENT_MAX: Final = 60  # 2.0**60 is beyond every sensible max_delay_s and no overflow


class Backoff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``delay_s``, doubled with each failure in a row, up to ``max_delay_s``.

    Jitter takes away up to that share of a delay, so that many children that lost the same
    peer do not come back in one instant.
    """

    delay_s: Seconds = 0.1
    max_delay_s: Seconds = 30.0
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2

    def before(self, failures: int, seed: str) -> float:
        """Return the seconds to wait after so many failures in a row (1 is the first)."""
        assert failures >= 1
        delay = min(self.delay_s * 2.0 ** min(failures - 1, _EXPONENT_MAX), self.max_delay_s)
        return delay * (1 - self.jitter * Rng(f"{seed}/backoff/{failures}").random())

    def least_total_s(self, failures: int) -> float:
        """Return the shortest time in which so many failures in a row can be restarted."""
        return sum(
            min(self.delay_s * 2.0 ** min(index, _EXPONENT_MAX), self.max_delay_s)
            * (1 - self.jitter)
            for index in range(failures)
        )


NO_BACKOFF: Final = Backoff(delay_s=0, jitter=0)


def failures_in_a_row(before: int, ran_s: float, reset_after_s: float) -> int:
    """Return the count after one more failure; a child that ran long enough begins anew."""
    return 1 if ran_s >= reset_after_s else before + 1
