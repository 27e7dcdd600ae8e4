"""News: what becomes of an open gate, for code beside it that tells people.

    news = ctx.gate_news(wait)
    event, facts = await news.next()

Nothing is lost between two looks; when the gate is decided, who waits here is cancelled by the
code around both.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from actors.kernel.operations import Operation

if TYPE_CHECKING:
    from actors.kernel.ledger import Ledger
    from actors.kernel.tasks import Task

Told = tuple[str, dict[str, Any]]
"""The kind of an event, and its data."""


class News:
    """What was not told yet, and who waits for more."""

    __slots__ = ("_ledger", "kept", "waits")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.kept: deque[Told] = deque()
        self.waits: NewsWait | None = None

    def tell(self, event: str, facts: dict[str, Any]) -> None:
        """Keep one, and let go on who waits for it."""
        self.kept.append((event, facts))
        if self.waits is not None:
            wait, self.waits = self.waits, None
            self._ledger.scheduler.resume(wait, self.kept.popleft())

    def next(self) -> NewsWait:
        """Wait for the next one."""
        return NewsWait(self._ledger, self)


class NewsWait(Operation[Told]):
    """Wait for the next news of a gate."""

    __slots__ = ("news",)

    def __init__(self, ledger: Ledger, news: News) -> None:
        super().__init__(ledger)
        self.news = news

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        self.path = task.frame.path("news")
        if self.news.kept:
            return True
        self.news.waits = self
        return False

    def at_once(self) -> Told:  # noqa: D102 - as in Operation
        return self.news.kept.popleft()

    def abandon(self) -> bool:  # noqa: D102 - as in Wait
        self.news.waits = None
        return True
