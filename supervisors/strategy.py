"""Which siblings go along when a child is restarted."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import assert_never


class Strategy(StrEnum):
    """OTP's strategies."""

    ONE_FOR_ONE = "one_for_one"
    REST_FOR_ONE = "rest_for_one"
    ONE_FOR_ALL = "one_for_all"


def affected(strategy: Strategy, children: Sequence[str], failed: str) -> Sequence[str]:
    """Return the children to restart, in start order.

    Stop them in the reverse of this order: a child may use those that were started before it,
    never those after.
    """
    index = children.index(failed)
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return children[index : index + 1]
        case Strategy.REST_FOR_ONE:
            return children[index:]
        case Strategy.ONE_FOR_ALL:
            return children
        case _:
            assert_never(strategy)
