"""Firing: from what has come to a run: condition, id, input, start or signal, event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import structlog

from protocols import events, subjects
from protocols import headers as h
from protocols.api import runs as api
from protocols.conditions import Condition, ConditionError
from protocols.errors import BadValueError, MovantError, OverloadedError
from protocols.events import Event, to_time
from protocols.ports import Outgoing
from protocols.references import Template, WrongReference, as_text
from protocols.triggers import Armed, Last, Names
from protocols.witness import Operator

if TYPE_CHECKING:
    from runtime.api.runs import RunCommands
    from runtime.daemon import Daemon

REFUSALS_S: Final = 1.0
"""One event for the refusals of so long: a flood of forged requests is no flood of events."""

SECRET_HEADERS: Final = frozenset(
    {"authorization", "cookie", "proxy-authorization", "webhook-signature"}
)
"""Headers that no reference sees: what proves who somebody is stands in no history."""

log = structlog.get_logger()


class Fired(NamedTuple):
    """The run of a firing; ``created`` is false when it was there already."""

    run: str
    created: bool


class Firing:
    """Starts runs for triggers, and tells of it."""

    def __init__(self, daemon: Daemon, commands: RunCommands) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._commands = commands
        self._refused: dict[str, float] = {}

    def names(self, armed: Armed, at: int, **come: Any) -> dict[str, Any]:
        """Return what references of a trigger look at; ``at`` is when it fired."""
        trigger = {"name": armed.key, "workflow": armed.workflow, "at": to_time(at)}
        more = come.pop("trigger", {})
        return {"trigger": {**trigger, **more}, **come}

    async def fire(
        self, armed: Armed, run: str, names: Names, *, message_id: str = "", given: Any = None
    ) -> Fired:
        """Start a run, or signal one. ``given`` is the input of a trigger that names none.

        The same ``run`` and ``message_id`` again do nothing more. Raises RefusedError for what
        does not fit, UnavailableError, UnknownOutcomeError.
        """
        trigger = armed.trigger
        try:
            value = given
            if trigger.input is not msgspec.UNSET:
                value = Template(trigger.input).fill(names)
            if trigger.id:
                run = as_text(Template(trigger.id).fill(names))
        except WrongReference as error:
            raise BadValueError(f"{armed.key}: {error.message}") from error
        created = True
        by = Operator(who=f"trigger {armed.key}")
        if not trigger.signal or trigger.or_start:
            request = api.RunStart(workflow=armed.workflow, input=value, id=run, by=by)
            started = await self._commands.start(request)
            assert isinstance(started, api.RunStarted)
            created = started.created
        if trigger.signal:
            signal = api.RunSignal(
                id=run, name=trigger.signal, data=value, message_id=message_id, by=by
            )
            await self._commands.signal(signal)
        return Fired(run, created)

    @staticmethod
    def wanted(armed: Armed, names: Names) -> bool:
        """Tell whether the condition of a trigger holds. Raises BadValueError: nobody can say."""
        if not armed.trigger.when:
            return True
        try:
            return Condition(armed.trigger.when).holds(names)
        except ConditionError as error:
            raise BadValueError(f"{armed.key}: when: {error.message}") from error

    def tell(
        self, armed: Armed, last: Last, identity: str = "", *, every: bool = False, **more: Any
    ) -> None:
        """Publish the event of what a trigger did, and log it.

        The same identity gives the same event, so that who listens can drop repeats. Of
        refusals at most one a second is told, or ``every`` one.
        """
        if last.outcome == "refused" and not every:
            now = self._daemon.clock.monotonic()
            if now - self._refused.get(armed.key, -REFUSALS_S) < REFUSALS_S:
                return
            self._refused[armed.key] = now
        kind = events.TRIGGER_KINDS[last.outcome]
        instance = last.run or armed.key
        data = {"trigger": armed.key, "kind": armed.trigger.kind, **more}
        if last.due:
            data["due"] = to_time(last.due)
        if last.reason:
            data["reason"] = last.reason
        if last.outcome != "fired":  # those there may be many of, and each has an event
            log.info("trigger.told", trigger=armed.key, outcome=last.outcome, **_brief(last))
        try:
            event = Event(
                id=f"{armed.key}-{kind}-{identity or last.due or last.at}",
                kind=kind,
                workflow=armed.workflow,
                instance=instance,
                at=last.at,
                data=data,
            )
            headers, payload = events.to_wire(event)
            message = Outgoing(
                subjects.event(armed.workflow, instance, kind), payload, h.encode(headers)
            )
            self._parts.writers["EVENTS"].write(message, _told)
        except (OverloadedError, MovantError) as error:
            log.warning("event.lost", reason=str(error))


def _brief(last: Last) -> dict[str, Any]:
    found: dict[str, Any] = {"run": last.run} if last.run else {}
    if last.due:
        found["due"] = to_time(last.due)
    if last.reason:
        found["reason"] = last.reason
    return found


def _told(_: int, error: MovantError | None) -> None:
    if error is not None:
        log.warning("event.lost", reason=str(error))
