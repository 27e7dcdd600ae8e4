"""Frame: what every connector has around its operations, whatever its kind.

    request -> rate -> a free place -> operation, in time -> secrets hidden -> answer

The module of a kind gives ``opened(name, settings, secrets)``: an async context manager that
yields Opened. It is entered again after each failure, so it may raise whatever its library does.
"""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import import_module
from math import inf
from typing import Any, Final, NamedTuple, Protocol, cast

import msgspec
import structlog
import trio

from actors.routing.limits import Bucket
from protocols.connectors.connector import Connector
from protocols.connectors.kinds import kind_of
from protocols.error_kinds import OVER_LIMIT, SYSTEM
from protocols.errors import ConfigurationError, MovantError
from protocols.failure import TIMEOUT
from protocols.service import Call, Failed, Operation, Refused, Service, Unknown
from runtime.connectors.secrets import Secrets

GRACE_S: Final = 1.0
"""How much longer than its time an operation may take: its own end of time says more."""
CHECK_S: Final = 30.0
"""How long a look at a system may take: one that never answers must not stay unnoticed."""
EXTRAS: Final = {"mcp": "mcp", "psycopg": "postgres", "playwright": "browser"}
"""Optional libraries, and the extra of movant that installs each."""

log = structlog.get_logger()


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at, and how it stands. ``took_s`` is in seconds."""

    what: str
    ok: bool
    detail: str = ""
    took_s: float = 0.0


class Opened(NamedTuple):
    """A connector that can be used: its service, and a way to look whether its system is there.

    ``check`` changes nothing out there, and does not raise for what it finds.
    """

    service: Service
    check: Callable[[], Awaitable[Sequence[Check]]]


class _Kind(Protocol):
    def opened(
        self, name: str, settings: Any, secrets: Secrets
    ) -> AbstractAsyncContextManager[Opened]: ...


@asynccontextmanager
async def opened(name: str, settings: Connector, secrets: Secrets) -> AsyncIterator[Opened]:
    """Open a connector: its service has limits, and hides secrets.

    Raises ConfigurationError for a secret or a library that is missing, and what the kind raises.
    """
    kind = kind_of(settings)
    try:
        # In a thread: some libraries take a second, in which a daemon has other things to do.
        name_of = f"runtime.connectors.{kind}"
        module = cast("_Kind", await trio.to_thread.run_sync(import_module, name_of))
    except ImportError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        raise ConfigurationError(
            f"connector {name} of kind {kind} cannot be loaded: {error}",
            hint=f"install movant[{extra}]" if extra else "install what is missing",
        ) from error
    secrets.check(settings)
    async with module.opened(name, settings, secrets) as found:
        _guard(found.service, settings, secrets)
        yield found._replace(check=partial(_checked, found.check, secrets))


async def _checked(
    check: Callable[[], Awaitable[Sequence[Check]]], secrets: Secrets
) -> Sequence[Check]:
    """Look as a kind does, not for longer than that may take, and show no secret."""
    checks: Sequence[Check] = [Check(what="check", ok=False, detail=f"not in {CHECK_S:g} s")]
    with trio.move_on_after(CHECK_S):
        try:
            checks = await check()
        except (Refused, Failed, Unknown, MovantError) as error:
            checks = [Check(what="check", ok=False, detail=error.message)]
        except Exception as error:  # noqa: BLE001 - whatever its library raises is the finding
            checks = [Check(what="check", ok=False, detail=f"{type(error).__name__}: {error}")]
    hidden = secrets.hidden
    return [
        msgspec.structs.replace(each, what=hidden(each.what), detail=hidden(each.detail))
        for each in checks
    ]


def _guard(service: Service, settings: Connector, secrets: Secrets) -> None:
    """Put the limits around each operation, once."""
    limits = _Limits(settings)
    for name, operation in service.operations.items():
        assert not operation.blocking, "an operation of a connector is an async def"
        service.operations[name] = msgspec.structs.replace(
            operation,
            function=_Guarded(operation, limits, secrets),
            takes_call=True,
            concurrency=settings.concurrency_max,
        )


class _Limits:
    """How many requests at once, and how many a second."""

    def __init__(self, settings: Connector) -> None:
        self.timeout_s = settings.timeout_s
        self._places = trio.CapacityLimiter(settings.concurrency_max)
        rate = settings.rate_per_s
        self._bucket = Bucket(rate, settings.burst) if rate else None

    @asynccontextmanager
    async def place(self, until: float) -> AsyncIterator[None]:
        """Wait for a turn. Raises Failed when there is none in time: nothing was done."""
        if self._bucket is not None:
            now = trio.current_time()
            wait_s = self._bucket.wait_s(now)
            if now + wait_s >= until:
                raise Failed(OVER_LIMIT, "too many requests a second", retry_after_s=wait_s)
            self._bucket.take(now)
            await trio.sleep(wait_s)
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:
            with trio.move_on_at(until) as scope:
                await self._places.acquire()
            if scope.cancelled_caught:
                raise Failed(OVER_LIMIT, "too many requests at once", retry_after_s=1.0) from None
        try:
            yield
        finally:
            self._places.release()


class _Guarded:
    """An operation with its limits. It is a coroutine function to whoever calls it."""

    def __init__(self, operation: Operation, limits: _Limits, secrets: Secrets) -> None:
        self._operation = operation
        self._limits = limits
        self._secrets = secrets

    async def __call__(self, *arguments: Any) -> Any:
        call: Call = arguments[-1]
        began = trio.current_time()
        until = began + min(call.timeout_s or inf, self._limits.timeout_s)
        outcome = "ok"
        try:
            async with self._limits.place(until):
                left = Call(
                    **{**msgspec.structs.asdict(call), "timeout_s": until - trio.current_time()}
                )
                inner = (*arguments[:-1], left) if self._operation.takes_call else arguments[:-1]
                return self._secrets.hidden(await self._in_time(inner, began, until))
        except (Refused, Failed, Unknown) as error:
            outcome = error.kind
            raise self._hidden(error) from None
        except ConfigurationError as error:  # a secret is gone: nothing was asked yet
            outcome = SYSTEM
            raise Failed(SYSTEM, self._secrets.hidden(error.message)) from None
        except Exception as error:  # noqa: BLE001 - told, without its secrets
            outcome = SYSTEM
            # Not raised as it is: texts of libraries and their tracebacks may show a secret.
            told = self._secrets.hidden("".join(traceback.format_exception(error)))
            log.error("connector.broke", **self._facts(call), exception=told)
            said = self._secrets.hidden(f"{type(error).__name__}: {error}")
            raise Unknown(SYSTEM, said) from None
        finally:
            log.debug(
                "connector.answered",
                **self._facts(call),
                outcome=outcome,
                took_s=round(trio.current_time() - began, 6),
            )

    async def _in_time(self, arguments: tuple[Any, ...], began: float, until: float) -> Any:
        with trio.move_on_at(until + GRACE_S):
            return await self._operation.function(*arguments)
        raise Unknown(TIMEOUT, f"no result after {until - began:g} s")

    def _hidden(self, error: Refused | Failed | Unknown) -> Refused | Failed | Unknown:
        error.message = self._secrets.hidden(error.message)
        error.details = self._secrets.hidden(error.details)
        error.args = (error.message,)
        return error

    def _facts(self, call: Call) -> dict[str, str]:
        return {
            "connector": call.service,
            "operation": call.operation,
            "key": call.key,
            "traceparent": call.traceparent,
        }
