"""Pings: is anybody behind a service awake? NATS micro's own question, asked of those in use.

    $SRV.PING.<service>  --> an answer          it is awake, which says nothing of its work
                         --> no responders      it does not speak micro: nothing is known
                         --> silence            one more failure for its breaker

A subscription proves that a process was there, not that it runs: one that hangs keeps its own
until the server gives up its connection, by default minutes later. Silence is never held against
a service that never answered a ping, and one that answers but fails is the breaker's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import trio

from actors.routing.flow import Flow
from protocols.errors import MovantError, NoRespondersError
from protocols.ports import Clock, Frame, Outgoing, Transport

PING_S: Final = 2.0
"""Ten silences open a breaker by default: a service that hangs is left alone after 20 s."""
PING_ANSWER_S: Final = 1.5
PINGS_PER_S: Final = 100
"""With very many services in use each is asked more rarely."""
SUBJECT: Final = "$SRV.PING."


class Pings:
    """Asks for one daemon. Run ``run``."""

    def __init__(
        self, transport: Transport, clock: Clock, in_use: Callable[[], Iterable[Flow]]
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._in_use = in_use

    async def run(self) -> None:
        """Ask all services in use, again and again, until cancelled."""
        while True:
            flows = list(self._in_use())
            for flow in flows:
                self._ask(flow)
            await trio.sleep(max(PING_S, len(flows) / PINGS_PER_S))

    def _ask(self, flow: Flow) -> None:
        asked_at = self._clock.monotonic()
        try:
            self._transport.request_soon(
                Outgoing(SUBJECT + flow.service, b""),
                PING_ANSWER_S,
                partial(self._told, flow, asked_at),
            )
        except MovantError:
            return  # not connected, or too busy: it says nothing about the service

    def _told(self, flow: Flow, asked_at: float, answer: Frame | MovantError) -> None:
        now = self._clock.monotonic()
        if isinstance(answer, Frame):
            flow.pinged(now - asked_at, now)
        elif isinstance(answer, NoRespondersError):
            flow.speaks = False
        elif self._transport.connected:
            flow.silent(asked_at, now)
