"""RunLists: the part of the Client that lists runs; RunBatch: one action over all that it lists.

    query = movant.RunQuery(workflow="orders", status="blocked")
    batch = client.batch(query, movant.RunCancel(id="", reason="wrong tariff"))
    print(batch.id, (await batch.preview()).total)
    async for each in batch.results():
        print(each.id, each.error)

The loop is here and not in the daemon: each run gets the message that it would get alone, written
by whoever may write it, and there is no state that a daemon could lose. What keeps a batch from
being done twice is its id: it tells when the batch was made and what it does, and every message
has an id made of it and of the run's. Who makes a batch with the same query, action and id once
more goes on with it, and nothing that was done is done again.
"""
# ruff: noqa: A002 - an id is called id, as in the API

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import msgspec
import trio

from protocols import codec
from protocols.api import runs as api
from protocols.blobs import BLOB_BYTES_MAX
from protocols.effects import Status
from protocols.errors import (
    BadValueError,
    ConfigurationError,
    MovantError,
    RefusedError,
    UnavailableError,
    UnknownOutcomeError,
)
from protocols.subjects import check_name
from runtime.client.blobs import LargeValues
from runtime.client.calls import Calls
from runtime.clock import SystemClock

Action = api.RunCancel | api.RunSignal | api.RunUndo
"""A request for one run; its id is left empty."""

RATE: Final = 200.0
"""Runs a second: 100,000 take 8 minutes, and the daemon has time for whatever else comes."""
RATE_MAX: Final = 10_000.0
AT_ONCE: Final = 32
"""Requests under way: each is answered when its message is stored."""
PAGE: Final = 200
"""Runs that are listed at a time, so that a list is a second old when the last of them is sent."""
UNKNOWN_MAX: Final = 16
"""So many runs in a row of which nobody knows what became: then it is not the runs."""
_VERBS: Final = {api.RunCancel: "run.cancel", api.RunSignal: "run.signal", api.RunUndo: "run.undo"}
_ID: Final = re.compile(r"[0-9a-f]{23}\Z")
_TIME_CHARS: Final = 11
_DIGEST_CHARS: Final = 12
_NS_PER_MS: Final = 1_000_000


class BatchResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one run of a batch."""

    id: str
    seq: int = 0
    """Stream sequence of the message that it got; 0: none."""
    run: str = ""
    """The run that undoes what it left, when it had ended."""
    error: api.ErrorReply | None = None
    """Why it got none."""


class RunLists:
    """List runs, and do something with all of them."""

    _calls: Calls

    async def list(
        self,
        *,
        status: Status | None = None,
        workflow: str | None = None,
        late: bool = False,
        active: bool = False,
        definition: str = "",
        prefix: str = "",
        since: int = 0,
        until: int = 0,
        limit: int = 50,
        after: str = "",
    ) -> api.RunPage:
        """Return a page of runs, newest first; pass its ``next`` as ``after`` for more.

        ``late``: only those that have not ended and take longer than they should; ``active``:
        that have not ended; ``definition``, ``prefix``: how its hash and their ids begin;
        ``since``, ``until``: when they started, in nanoseconds since 1970. A run that is there
        all the time is on one page, whatever starts and ends between two.
        """
        query = api.RunQuery(
            status=status,
            workflow=workflow,
            late=late,
            active=active,
            definition=definition,
            prefix=prefix,
            since=since,
            until=until,
        )
        return await _page(self._calls, query, limit, after)

    def batch(
        self, query: api.RunQuery, action: Action, *, id: str = "", at: int = 0, rate: float = RATE
    ) -> RunBatch:
        """Return a batch that is yet to be done: ``action`` for all runs that ``query`` names.

        Without a status these are the ones that have not ended; runs that start after ``at``
        (nanoseconds since 1970; 0: now) are none of them. ``rate``: runs a second, at most.
        ``id``: that of a batch which broke off, to go on with it.

        Raises ConfigurationError for a rate, BadValueError for an id or a value that is none,
        RefusedError when the batch with this id was another one.
        """
        return RunBatch(self._calls, query, action, id=id, at=at, rate=rate)


class RunBatch:
    """One action over many runs."""

    def __init__(
        self, calls: Calls, query: api.RunQuery, action: Action, *, id: str, at: int, rate: float
    ) -> None:
        if not 0 < rate <= RATE_MAX:
            raise ConfigurationError(
                f"rate is {rate:g}", hint=f"up to {RATE_MAX:,.0f} runs a second"
            )
        if isinstance(action, api.RunSignal):
            check_name(action.name, "signal name")
        made_ms = (
            began_at(id) // _NS_PER_MS if id else (at or SystemClock().now_ns()) // _NS_PER_MS
        )
        self.id: Final = f"{made_ms:0{_TIME_CHARS}x}{_digest(query, action)}"
        """When it was made and what it does."""
        if id not in {"", self.id}:
            raise RefusedError(
                f"batch {id} was another one",
                hint="it goes on with the same action for the same runs, as it was given first",
            )
        made_at = made_ms * _NS_PER_MS
        self.query: Final = msgspec.structs.replace(
            query,
            active=query.active or query.status is None,
            until=min(query.until or made_at, made_at),
        )
        """Which runs it is about."""
        self._calls = calls
        self._large = LargeValues(calls)
        self._action = action
        self._rate = rate
        self._unknown = 0

    async def preview(self, limit: int = 50) -> api.RunPage:
        """Return how many runs it is about now, and the newest of them."""
        return await _page(self._calls, self.query, limit, "")

    async def results(self) -> AsyncGenerator[BatchResult, None]:
        """Do it, the newest run first, and yield what became of each.

        A run that refuses does not stop the others. Raises UnavailableError when nobody answers
        any more, UnknownOutcomeError after ``UNKNOWN_MAX`` runs in a row without an answer.
        """
        step = max(1, min(AT_ONCE, int(self._rate)))
        after = ""
        while True:
            page = await _page(self._calls, self.query, PAGE, after)
            for first in range(0, len(page.runs), step):
                rows = page.runs[first : first + step]
                due = trio.current_time() + len(rows) / self._rate
                found, broken = await self._group(rows)
                for each in found:
                    yield each
                if broken is not None:
                    raise broken
                await trio.sleep_until(due)
            after = page.next
            if not after:
                return

    async def _group(
        self, rows: Sequence[api.RunRow]
    ) -> tuple[list[BatchResult], MovantError | None]:
        """Do it for some runs at once; return what became of them, and why it cannot go on."""
        found: dict[str, BatchResult] = {}
        broken: list[MovantError] = []

        async def one(run: str) -> None:
            try:
                found[run] = await self._ask(run)
                self._unknown = 0
            except UnavailableError as error:
                broken.append(error)
            except MovantError as error:
                found[run] = BatchResult(id=run, error=api.error_reply(error))
                lost = isinstance(error, UnknownOutcomeError)
                self._unknown = self._unknown + 1 if lost else 0
                if self._unknown >= UNKNOWN_MAX:
                    broken.append(error)

        async with trio.open_nursery() as nursery:
            for row in rows:
                nursery.start_soon(one, row.id)
        told = [found[row.id] for row in rows if row.id in found]
        return told, broken[0] if broken else None

    async def _ask(self, run: str) -> BatchResult:
        request = msgspec.structs.replace(self._action, id=run, message_id=f"{self.id}-{run}")
        if isinstance(request, api.RunSignal):
            value, blob = await self._large.given(run, request.data)
            request = msgspec.structs.replace(request, data=value, data_blob=blob)
        if isinstance(request, api.RunUndo):
            undone = await self._calls.call("run.undo", request, api.RunUndone)
            return BatchResult(id=run, seq=undone.seq, run=undone.run)
        accepted = await self._calls.call(_VERBS[type(request)], request, api.Accepted)
        return BatchResult(id=run, seq=accepted.seq)


def began_at(id: str) -> int:
    """Return when the batch with this id was made, in nanoseconds since 1970.

    Raises BadValueError for what is no id of a batch.
    """
    if _ID.match(id) is None:
        raise BadValueError(
            f"{id[:40]!r} is no batch", hint="the command told its id when it began"
        )
    return int(id[:_TIME_CHARS], 16) * _NS_PER_MS


def _digest(query: api.RunQuery, action: Action) -> str:
    """Return what tells a batch from others: what it does to which runs, not who and why."""
    said = (action.name, action.data) if isinstance(action, api.RunSignal) else ()
    whole = codec.encode((_VERBS[type(action)], said, query), limit=BLOB_BYTES_MAX)
    return hashlib.sha256(whole).hexdigest()[:_DIGEST_CHARS]


async def _page(calls: Calls, query: api.RunQuery, limit: int, after: str) -> api.RunPage:
    """Return a page of runs. Raises ConfigurationError for a daemon that does not know the query.

    One that is older ignores what it does not know. A run that has ended, or got another
    definition, while it was listed is left out.
    """
    request = api.RunList(**msgspec.structs.asdict(query), limit=limit, after=after)
    found = await calls.call("run.ls", request, api.RunPage)
    for row in found.runs:
        if not query.names(row):
            raise ConfigurationError(
                f"the daemon lists {row.id}, which was not asked for",
                hint="it may be older than this client: compare movant version and status",
            )
    still = [row for row in found.runs if query.stands(row.definition, row.status)]
    return msgspec.structs.replace(found, runs=still)
