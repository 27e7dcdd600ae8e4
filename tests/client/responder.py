"""A responder: answers ``movant.api.*`` on a real server with what a test says.

It stands for the daemon where only the client's side is looked at: rendering, exit codes,
retries. It runs in a thread with a trio loop of its own, so that blocking tests can use it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import msgspec
import trio

from protocols import headers
from protocols.api import runs as api
from protocols.errors import MovantError
from protocols.ports import Frame, Outgoing, Transport
from runtime.bridge import connect

Answer = api.Message | MovantError | Callable[[Any], api.Message | MovantError | None]
READY_S = 10.0


class Responder:
    """Canned answers by verb; ``asked`` collects what came. None is no answer at all."""

    def __init__(self, url: str, answers: dict[str, Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []
        self.url = url
        self._ready = threading.Event()
        self._stop: trio.Event | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread = threading.Thread(target=partial(trio.run, self._main), daemon=True)
        self._transport: Transport | None = None

    def publish(self, subject: str, lines: dict[str, str], payload: bytes) -> None:
        """Publish a message, from any thread."""
        assert self._token is not None
        assert self._transport is not None
        message = Outgoing(subject, payload, headers.encode(lines))
        self._token.run_sync_soon(self._transport.publish, message)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(READY_S), "the responder did not start"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._token is not None
        assert self._stop is not None
        self._token.run_sync_soon(self._stop.set)
        self._thread.join(READY_S)

    async def _main(self) -> None:
        self._stop = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        async with connect(self.url, name="responder") as transport:
            self._transport = transport
            await transport.subscribe("movant.api.>", partial(self._take, transport))
            self._ready.set()
            await self._stop.wait()

    def _take(self, transport: Transport, frames: Sequence[Frame]) -> None:
        for frame in frames:
            verb = frame.subject.removeprefix("movant.api.").removeprefix("again.")
            request = msgspec.json.decode(frame.payload, type=api.VERBS[verb].request)
            self.asked.append((verb, request))
            answer = self.answers.get(verb)
            told = answer(request) if callable(answer) else answer
            if told is None:
                continue
            if isinstance(told, MovantError):
                lines, payload = (
                    api.error_headers(told),
                    msgspec.json.encode(api.error_reply(told)),
                )
            else:
                lines, payload = {}, msgspec.json.encode(told)
            transport.publish(Outgoing(frame.reply, payload, headers.encode(lines)))
