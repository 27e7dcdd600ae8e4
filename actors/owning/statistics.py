"""What an owner has in memory and has done, as numbers."""

from __future__ import annotations

import msgspec


class OwnerStatistics(msgspec.Struct, frozen=True):
    """What an owner has in memory and has done since its start."""

    live: int
    backlog: int
    position: int
    folded: int
    activations: int
    passivations: int
    wakes: int
    late: int
    crashed: int
