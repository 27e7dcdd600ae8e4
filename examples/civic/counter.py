"""An office's counter: take a request, work on it for a while, decide and record once.

Both ways of serving, ``hosted`` and ``plain``, stand behind this counter. It blocks: it is
called from a thread that may wait.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from examples.civic.records import Answer, Records
from examples.civic.ruling import Operation


class Counter:
    """The way from a request to a recorded answer.

    ``work_s`` is the time that the office takes for a new request. It is spent before the
    transaction: a process that is killed meanwhile has done nothing.
    """

    def __init__(
        self, records: Records, *, work_s: float = 0.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._records = records
        self._work_s = work_s
        self._clock = clock

    def serve(
        self,
        key: str,
        operation: Operation,
        request: msgspec.Struct,
    ) -> Answer:
        """Return the one answer that ``key`` has, now or from before.

        A request without a key is a request of its own: nobody can ask for its answer again.
        """
        key = key or uuid.uuid4().hex
        self._records.count_request(key, operation.name)
        if self._records.find(key) is None:
            threading.Event().wait(self._work_s)
        return self._records.answer(
            key,
            operation.name,
            msgspec.json.encode(request),
            self._now(),
            lambda case: operation.decide(request, case),
        )

    def withdraw(self, undoes: str) -> bool:
        """Withdraw what was issued under a key; tell whether there was anything."""
        return self._records.withdraw(undoes, self._now())

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), tz=UTC)
