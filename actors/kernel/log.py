"""Log: the log lines of workflow code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.kernel.ledger import Ledger


class Log:
    """Log lines of workflow code: an event name and facts. Silent while a history is refolded."""

    __slots__ = ("_ledger",)

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def debug(self, event: str, **facts: Any) -> None:
        """Note a detail."""
        self._ledger.log("debug", event, facts)

    def info(self, event: str, **facts: Any) -> None:
        """Note progress."""
        self._ledger.log("info", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        """Note what a person may look at."""
        self._ledger.log("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        """Note what a person has to look at."""
        self._ledger.log("error", event, facts)
