"""Budget accounts: what all runs share of a budget, kept by compare-and-set in a bucket.

    reserve -> account of the window that is now: enough left? -> open[step] -> granted
    settle  -> open[step] replaced by what was used
    use     -> both at once, for what only counts calls
    released -> an event: nobody needs open[step], as its step was cut short before it was asked

Every daemon hosts the service; an account is one value, so whoever writes second reads again. A
request carries the key of its step, and an account remembers keys: a repeat after a lost answer,
or after kill -9 between the write and the answer, reserves nothing more. What is reserved and
never settled (the run was cancelled while it was done, or the window has changed between a
request and its repeat) counts as used until the window ends: too much may be counted, never too
little.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
import trio

from actors.services.large_answers import LargeAnswers
from actors.services.service import ServiceActor
from actors.store.blobs import Blobs
from actors.store.kv import Kv
from protocols import subjects
from protocols.errors import AlreadyExistsError, UnavailableError, UnknownOutcomeError
from protocols.failure import VALIDATION
from protocols.guardrails.budgets import (
    BUCKET,
    RELEASED,
    SERVICE,
    WINDOW_S_MAX,
    Account,
    Asking,
    Released,
    Use,
    account_key,
    begins_at,
)
from protocols.service import Call, Failed, Refused, Service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocols.ports import Clock, Frame, Transport
    from runtime.daemon import Daemon
    from supervisors.child import ChildStatus

TRIES: Final = 20
CACHED_MAX: Final = 1_000
"""Accounts with their revisions in memory: it saves a read as long as nobody else writes."""
QUEUE_GROUP: Final = "movant"
_BUSY: Final = "unavailable"
_RUN: Final = 3
"""Which token of an event's subject is its run."""

log = structlog.get_logger()

_decoder: Final = msgspec.json.Decoder(Account)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: which budget, and how much of it."""

    name: str
    key: str = ""
    window_s: float
    limits: Use
    wanted: Use = {}
    force: bool = False


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What was used of what is reserved; ``account`` is what the reservation said."""

    account: str
    used: Use = {}


class Accounts:
    """The accounts in their bucket."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._kv = Kv(transport, BUCKET)
        self._clock = clock
        self._known: OrderedDict[str, tuple[int, Account]] = OrderedDict()
        self._locks: dict[str, tuple[trio.Lock, int]] = {}

    def service(self) -> Service:
        """Return the service that runs ask."""
        found = Service(SERVICE, version="1.0.0", description="Budgets that all runs share.")

        @found.operation("reserve")
        async def reserve(request: Wanted, call: Call) -> dict[str, Any]:
            return await self.reserve(request, call.key, at_once=False)

        @found.operation("use")
        async def use(request: Wanted, call: Call) -> dict[str, Any]:
            return await self.reserve(request, call.key, at_once=True)

        @found.operation("settle")
        async def settle(request: Settled, call: Call) -> dict[str, Any]:
            return await self.settle(request, call.key)

        return found

    async def reserve(self, request: Wanted, step: str, *, at_once: bool) -> dict[str, Any]:
        """Reserve for a step, or with ``at_once`` count what it uses; tell whether it may.

        Raises Refused for what makes no sense, Failed when the bucket does not answer.
        """
        if not (step and request.limits and 0 < request.window_s <= WINDOW_S_MAX):
            raise Refused(VALIDATION, "a reservation has a key, limits and a window")
        now_s = self._clock.now_ns() / 1e9
        begins = begins_at(now_s, request.window_s)
        where = account_key(request.name, request.key, request.window_s, begins)
        left_s = begins + request.window_s - now_s

        def change(account: Account) -> str:
            account.name, account.key = request.name, request.key
            account.begins, account.window_s = begins, request.window_s
            account.limits = request.limits
            why = account.reserve(step, request.wanted, force=request.force)
            if not why and at_once:
                account.settle(step, request.wanted)
            return why

        why = await self._change(where, change)
        if why:
            return {"granted": False, "why": why, "retry_after_s": round(left_s, 3)}
        # The account that settles it is named, so that it is the one of this window.
        return {"granted": True, "account": f"{where}/{step}"}

    async def settle(self, request: Settled, step: str) -> dict[str, Any]:
        """Replace what was reserved by what was used; a repeat changes nothing."""
        where, _, reservation = request.account.partition("/")
        if not (step and where and reservation):
            raise Refused(VALIDATION, "a settlement names its account")
        found: dict[str, Any] = {}

        def change(account: Account) -> str:
            account.settle(reservation, request.used)
            found["used"] = {unit: account.spent(unit) for unit in account.limits}
            return ""

        await self._change(where, change)
        return found

    async def release(self, run: str, released: Released) -> None:
        """Free what a run has reserved and does not need, also what it may yet be granted.

        Nothing of other runs. Raises Failed when the bucket does not answer.
        """
        for each in released.accounts:
            where, _, step = each.partition("/")
            if step.startswith(f"{run}/"):
                await self._change(where, partial(_freed, step, None, 0))
        for asked in released.asked:
            if not asked.step.startswith(f"{run}/") or not 0 < asked.window_s <= WINDOW_S_MAX:
                continue
            now = begins_at(self._clock.now_ns() / 1e9, asked.window_s)
            for begins in (now, now - int(asked.window_s)):
                where = account_key(asked.name, asked.key, asked.window_s, begins)
                new = asked if begins == now else None  # of before only what is there
                await self._change(where, partial(_freed, asked.step, new, begins))

    async def all(self) -> list[Account]:
        """Return all accounts that are kept, in no order."""
        return [_decoder.decode(each.value) for each in await self._kv.all(">")]

    async def _change(self, where: str, change: Any) -> str:
        """Change an account and store it; asked again when another daemon was quicker."""
        lock, users = self._locks.get(where, (trio.Lock(), 0))
        self._locks[where] = (lock, users + 1)
        try:
            async with lock:
                return await self._store(where, change)
        except (UnavailableError, UnknownOutcomeError) as error:
            # Stored or not: the same step asks again, and finds itself there if it was.
            self._known.pop(where, None)
            raise Failed(_BUSY, error.message) from error
        finally:
            lock, users = self._locks.pop(where)
            if users > 1:
                self._locks[where] = (lock, users - 1)

    async def _store(self, where: str, change: Any) -> str:
        for _ in range(TRIES):
            cached = where in self._known
            revision, account = await self._read(where)
            before = msgspec.json.encode(account)
            why: str = change(account)
            value = msgspec.json.encode(account)
            if why and cached:
                continue  # others may have settled meanwhile: it is read anew
            if why or value == before:
                return why
            try:
                revision = await self._kv.put(where, value, revision=revision)
            except AlreadyExistsError:
                self._known.pop(where, None)
                continue
            self._known[where] = (revision, account)
            self._known.move_to_end(where)
            if len(self._known) > CACHED_MAX:
                self._known.popitem(last=False)
            return ""
        raise UnavailableError("others change this account all the time")

    async def _read(self, where: str) -> tuple[int, Account]:
        known = self._known.pop(where, None)
        if known is not None:
            return known
        entry = await self._kv.leader(where)
        if entry is None:
            return 0, Account()
        return entry.revision, _decoder.decode(entry.value)


async def serve_accounts(daemon: Daemon, *, task_status: ChildStatus) -> None:
    """Host the service of budgets until cancelled."""
    parts = daemon.parts
    accounts = Accounts(parts.transport, daemon.clock)
    service = accounts.service()
    ref = parts.system.start(
        ServiceActor,
        service,
        parts.transport,
        parts.writer,
        daemon.clock,
        LargeAnswers(Blobs(parts.transport, alone=True)),
    )

    def take(frames: Sequence[Frame]) -> None:
        for frame in frames:
            ref.tell(frame)

    async def release(frame: Frame) -> None:
        try:
            released = msgspec.json.decode(frame.payload, type=Released)
            await accounts.release(frame.subject.split(".")[_RUN], released)
        except (msgspec.DecodeError, Failed) as error:
            log.warning("budget.not_released", subject=frame.subject, reason=str(error))

    def hear(frames: Sequence[Frame]) -> None:
        for frame in frames:
            nursery.start_soon(release, frame)

    subscriptions = [
        await parts.transport.subscribe(
            f"movant.svc.{SERVICE}.{operation}", take, queue=QUEUE_GROUP
        )
        for operation in service.operations
    ]
    try:
        async with trio.open_nursery() as nursery:
            subscriptions.append(
                await parts.transport.subscribe(
                    subjects.event("*", "*", RELEASED), hear, queue=QUEUE_GROUP
                )
            )
            task_status.started()
            await trio.sleep_forever()
    finally:
        for each in subscriptions:
            each.unsubscribe()
        parts.system.kill(ref)


def _freed(step: str, new: Asking | None, begins: int, account: Account) -> str:
    """Settle a reservation with nothing; one that comes later finds that and counts nothing."""
    if new is not None:
        account.name, account.key, account.limits = new.name, new.key, new.limits
        account.begins, account.window_s = begins, new.window_s
    if account.name:
        account.settle(step, {})
    return ""
