"""Choosing: lets the owner say who serves an attempt, before anybody is asked.

    not decided -> ranked, or its candidate cannot be asked -> best candidate -> owner.routed
                                                       '-> nobody can be asked: parked

The choice is a message, and acts when it is folded: then the fold asks for the attempt again,
at the service that was chosen. So a daemon that takes over knows whom a former owner may have
asked. An attempt that somebody may have sent keeps its service (hazard F4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from actors.owning.workflow import OpenAsk, WorkflowActor
from actors.routing.parking import Parking
from actors.routing.ranking import Option, best, first, options_of, told
from actors.routing.router import Presence, Route, Router
from protocols.effects import Ask, AskRoute
from protocols.ports import Clock
from protocols.routes import Choices, Scored

OPTIONS_MAX: Final = 1_000
"""Routes whose candidates are looked at all the time; beyond it all begin anew."""
GO_MAX: Final = 500
"""Requests that choose again at one look, four times a second."""

Routed = Callable[[WorkflowActor, OpenAsk, str, tuple[Scored, ...], str], None]
"""Write the owner's choice: who it is, among whom, and why."""
Key = tuple[Choices, str]


class Choosing:
    """Chooses for one owner."""

    def __init__(
        self, router: Router, clock: Clock, parking: Parking, routed: Routed, locality: str = ""
    ) -> None:
        self._router = router
        self._clock = clock
        self._parking = parking
        self._routed = routed
        self._locality = locality
        self._options: dict[Key, tuple[Option, ...]] = {}
        self._lots: dict[Key, None] = {}
        """Routes that have requests of which nobody can be asked."""
        self.decisions = 0

    def stops(self, actor: WorkflowActor, state: OpenAsk, route: AskRoute, now: float) -> bool:
        """Tell whether a request must not be sent now: its service is being chosen, or nobody is.

        One whose service is decided goes on, and one that may have been sent.
        """
        ask, ranked = state.ask, route.choices.ranked
        if route.decided or state.sent_at or (state.suspect and not ranked):
            return False
        options = self._options_of(ask, route)
        unknown = {each.service for each in options if each.route.presence is Presence.UNKNOWN}
        if not ranked and ask.service in unknown:
            return False  # it waits for the first look at its own service
        if ranked:
            chosen = -1 if unknown else best(options, now, route.failed)
        else:
            chosen = first(options, now, ask.service)
        if chosen < 0:
            key = (route.choices, ask.operation)
            self._lots[key] = None
            self._parking.park(actor, state, self._router.flow(ask.service), key)
            return True
        service = options[chosen].service
        if not ranked and service == ask.service:
            return False
        scores = told(options, now, route.failed)
        reason = "best score" if ranked else _why_not(ask.service, scores)
        if state.ticket is not None:
            state.ticket.close()
        state.parked = state.closing = True
        self.decisions += 1
        options[chosen].route.flow.tried(now)
        self._routed(actor, state, service, scores, reason)
        return True

    def better(self, state: OpenAsk, route: AskRoute) -> bool:
        """Tell whether a chosen service that went away is to be given up for another one."""
        if not route.decided or route.bound or state.sent_at or state.suspect:
            return False
        now = self._clock.monotonic()
        return first(self._options_of(state.ask, route), now, state.ask.service) >= 0

    def came(self, route: Route) -> None:
        """Let those choose again who may have waited for news of a service."""
        for key in [each for each in self._lots if each[0].index(route.service) >= 0]:
            self._again(key)

    def look(self, now: float) -> None:
        """Let those choose again who waited until somebody can be asked."""
        for key in list(self._lots):
            if first(self._options.get(key, ()), now, "") >= 0:
                self._again(key)

    def _again(self, key: Key) -> None:
        self._parking.let_go(key, GO_MAX)
        if not self._parking.holds(key):
            self._lots.pop(key, None)

    def _options_of(self, ask: Ask, route: AskRoute) -> tuple[Option, ...]:
        key = (route.choices, ask.operation)
        found = self._options.get(key)
        if found is None:
            if len(self._options) >= OPTIONS_MAX:
                self._forget()
            routes = [
                self._router.route(each.service, ask.operation)
                for each in route.choices.candidates
            ]
            for each in routes:
                each.users += 1  # so that it is known who is there
                each.flow.ranked |= route.choices.ranked
            found = self._options[key] = options_of(route.choices, routes, self._locality)
        return found

    def _forget(self) -> None:
        for options in self._options.values():
            for each in options:
                each.route.users -= 1
        self._options.clear()


def _why_not(wanted: str, scores: tuple[Scored, ...]) -> str:
    state = next((each.state for each in scores if each.service == wanted), "")
    return f"{wanted} is {state or Presence.UNKNOWN.value}"
