"""Started: small adapters between trio's and a supervisor's word for "it is up"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from supervisors.child import ChildStatus


class WhenUp:
    """What the root supervisor reports to."""

    def __init__(self, up: Callable[[], None]) -> None:
        self._up = up

    def started(self, value: Any = None, *, stop: Callable[[], Any] | None = None) -> None:
        """Call ``up``."""
        del value, stop
        self._up()


class Looking:
    """A trio TaskStatus that looks at the value before it passes it on."""

    def __init__(self, told: ChildStatus, look: Callable[[str], None]) -> None:
        self._told = told
        self._look = look

    def started(self, value: str = "") -> None:
        """Look at the value, then report it."""
        self._look(value)
        self._told.started(value)
