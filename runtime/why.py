"""Why: one sentence about a run, from its view.

    what it waits for, since when  ·  who or what wakes it  ·  what happens if not

Pure: it takes the time, and asks nobody.
"""

from __future__ import annotations

from typing import Final

import msgspec

from protocols.api.runs import RunView
from protocols.effects import Waiting
from runtime.cli.output import between, clock_time, compact, duration, told

_NS: Final = 1_000_000_000
_LOCAL: Final = "_local."
_DAEMON: Final = "daemon: "
BEAT_CHARS_MAX: Final = 80


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run stands where it stands. Times are nanoseconds since 1970; 0: there is none.

    ``kind`` is what it waits for: ``step``, ``backoff``, ``parked``, ``timer``, ``signal``,
    ``child``, ``pin``, ``turn`` and so on, or its status when it waits for nothing.
    """

    id: str
    status: str
    kind: str
    sentence: str
    since: int = 0
    until: int = 0
    """When the wait ends by itself, as far as anybody knows."""
    wakes: str = ""
    """Who or what wakes it."""
    otherwise: str = ""
    """What happens if not."""
    others: int = 0
    """How many more things it waits for at the same time."""


class _Wait(msgspec.Struct, kw_only=True):
    """The parts of a sentence."""

    kind: str
    what: str
    wakes: str
    otherwise: str
    until: int = 0


def why(view: RunView, now: int) -> Why:
    """Return why a run stands where it stands; ``now`` in nanoseconds since 1970."""
    if view.status == "blocked" or view.blocked.startswith(_DAEMON):
        return _blocked(view)
    if view.finished_at or view.status in {"completed", "failed", "cancelled"}:
        return _ended(view)
    deadlines = [each for each in view.waiting if _is_deadline(each)]
    waits = [each for each in view.waiting if not _is_deadline(each)]
    if not waits:
        return _at_work(view)
    first = min(waits, key=lambda each: _rank(each, now))
    wait = _wait(view, first, now)
    deadline = min(deadlines, key=lambda each: each.due, default=None)
    if deadline is not None and (not wait.until or deadline.due < wait.until):
        wait.until = deadline.due
        wait.otherwise = (
            f"if that has not happened by {_time(deadline.due, now)},"
            f" the timeout {deadline.path} cancels the wait"
        )
    others = len(waits) - 1
    more = f" (and for {others} more)" if others else ""
    since = f", since {_past(first.since, now)}" if first.since else ""
    return Why(
        id=view.id,
        status=view.status,
        kind=wait.kind,
        sentence=f"{view.id} {wait.what}{more}{since}: {wait.wakes}; {wait.otherwise}.",
        since=first.since,
        until=wait.until,
        wakes=wait.wakes,
        otherwise=wait.otherwise,
        others=others,
    )


def _is_deadline(each: Waiting) -> bool:
    return each.kind == "timer" and each.detail == "timeout"


def _rank(each: Waiting, now: int) -> tuple[bool, int]:
    """Return how much a wait is worth telling: what nobody works on first, then the oldest."""
    held = each.kind == "step" and ": " in each.detail
    return (not held, each.since or now)


def _wait(view: RunView, each: Waiting, now: int) -> _Wait:
    match each.kind:
        case "step":
            return _step(each, now)
        case "review":
            return _Wait(
                kind="review",
                what=f"waits for a person's word whether {each.path} was done at {each.detail}",
                wakes=f"movant run review {view.id} {each.path} --done or --not-done wakes it",
                otherwise="it has no time limit; an answer of the service counts, too",
            )
        case "gate":
            return _Wait(
                kind="gate",
                what=f"waits at {each.path} for a person's decision ({each.detail})",
                wakes=f"movant gate show {view.id} says what can be decided, and by whom",
                otherwise=f"its time is over {_time(each.due, now)}"
                if each.due
                else "it has no time limit",
                until=each.due,
            )
        case "timer":
            return _Wait(
                kind="timer",
                what=f"sleeps at {each.path} until {_time(each.due, now)}",
                wakes="a durable timer wakes it",
                otherwise="it needs nobody; a daemon that is away then wakes it when it is back",
                until=each.due,
            )
        case "signal" | "update" as kind:
            return _Wait(
                kind=kind,
                what=f"waits at {each.path} for the {kind} {each.detail!r}",
                wakes=f"whoever sends it (movant run {kind} {view.id} {each.detail}) wakes it",
                otherwise="it has no time limit and waits for ever",
            )
        case "child":
            workflow, _, child = each.detail.rpartition(" ")
            of = f" ({workflow})" if workflow else ""
            return _Wait(
                kind="child",
                what=f"waits at {each.path} for its child {child}{of} to end",
                wakes=f"the child's end wakes it, whatever it is (movant why {child})",
                otherwise="it has no time limit and waits as long as the child takes",
            )
        case "turn":
            return _Wait(
                kind="turn",
                what=f"waits for its turn ({each.detail or 'others of its workflow are active'})",
                wakes="the end of a run that is active lets the next one begin",
                otherwise="it has no time limit; a cancel takes it out of the queue",
            )
        case "pin":
            return _Wait(
                kind="pin",
                what=f"waits for a workflow named {each.detail!r}",
                wakes="whoever registers one (movant workflow register FILE) starts it",
                otherwise="it stays pending for ever",
            )
        case kind:
            detail = f" ({each.detail})" if each.detail else ""
            return _Wait(
                kind=kind,
                what=f"waits at {each.path} for a {kind}{detail}",
                wakes=f"the {kind} wakes it",
                otherwise=f"it ends {_time(each.due, now)}" if each.due else "it waits for ever",
                until=each.due,
            )


def _step(each: Waiting, now: int) -> _Wait:
    """Return the parts of a sentence about a step: parked, delayed, or at its service."""
    target, held, reason = each.detail.partition(": ")
    number = f", attempt {each.attempt} of {each.attempts}" if each.attempts > 1 else ""
    if held:
        return _Wait(
            kind="parked",
            what=f"cannot ask {target} for {each.path}{number}, because {reason}",
            wakes="the request is sent as soon as that is over",
            otherwise="its time does not run meanwhile, and it waits for ever",
        )
    if each.due > now:
        failed = f", after {each.failed}" if each.failed else ""
        return _Wait(
            kind="backoff",
            what=f"asks {target} for {each.path} again at {_time(each.due, now)}{number}{failed}",
            wakes="the daemon sends the request by itself",
            otherwise="it needs nobody",
            until=each.due,
        )
    who = (
        f"its own function {target.removeprefix(_LOCAL)}" if target.startswith(_LOCAL) else target
    )
    until = max(each.due, each.since) + round(each.timeout_s * _NS) if each.timeout_s else 0
    beats = f" or within {duration(each.heartbeat_s)} of a heartbeat" if each.heartbeat_s else ""
    if each.beat_at:
        said = "" if each.beat is None else f": {compact(each.beat, BEAT_CHARS_MAX)}"
        beats += f" (the last one came {_past(each.beat_at, now)}{said})"
    then = "it is asked again" if each.again else "the step fails"
    return _Wait(
        kind="step",
        what=f"waits at {each.path} for {who} to answer{number}",
        wakes="the answer wakes it",
        otherwise=f"without one within {duration(each.timeout_s)} of being asked{beats} {then}"
        if until
        else "it has no time limit",
        until=until,
    )


def _blocked(view: RunView) -> Why:
    if view.blocked.startswith(_DAEMON):
        what = f"the daemon failed when it folded {view.id} ({view.blocked.removeprefix(_DAEMON)})"
        wakes = "its next message, or a restart of the daemon, tries again"
        otherwise = "it stays where it is"
    elif view.blocked_at:
        what = f"{view.id} is blocked ({view.blocked})"
        wakes = (
            f"whoever has the value wakes it (movant run supply {view.id} FILE), or"
            f" who gives it up (movant run discard {view.id} {view.blocked_at})"
        )
        otherwise = f"it stays as it is until then, or until movant run cancel {view.id}"
    else:
        what = f"{view.id} is blocked ({view.blocked or 'no reason is known'})"
        wakes = f"repaired code wakes it (movant workflow register FILE, run migrate {view.id})"
        otherwise = f"it stays as it is until then, or until movant run cancel {view.id}"
    return Why(
        id=view.id,
        status=view.status,
        kind="blocked",
        sentence=f"{what}: {wakes}; {otherwise}.",
        wakes=wakes,
        otherwise=otherwise,
    )


def _ended(view: RunView) -> Why:
    took = between(view.started_at, view.finished_at)
    after = f" after {took}" if view.finished_at else ""
    reason = f" ({told(view.failure)})" if view.failure is not None else ""
    verb = {"completed": "has completed", "failed": "has failed"}.get(
        view.status, f"was {view.status}"
    )
    at = f" at {clock_time(view.finished_at, 'seconds')}" if view.finished_at else ""
    return Why(
        id=view.id,
        status=view.status,
        kind=view.status,
        sentence=f"{view.id} {verb}{at}{after}{reason}: it waits for nothing.",
        since=view.finished_at,
    )


def _at_work(view: RunView) -> Why:
    if view.status == "pending" and not view.started_at:
        wakes = "a start wakes it"
        otherwise = "what was sent to it becomes dead letters after a day"
        sentence = f"{view.id} was never started: {wakes}; {otherwise}."
        return Why(
            id=view.id,
            status=view.status,
            kind="pending",
            sentence=sentence,
            wakes=wakes,
            otherwise=otherwise,
        )
    return Why(
        id=view.id,
        status=view.status,
        kind=view.status,
        sentence=f"{view.id} waits for nothing: a message is being folded, ask again in a moment.",
    )


def _time(at: int, now: int) -> str:
    """Return a moment, and how far away it is."""
    if at <= now:
        return f"{clock_time(at, 'seconds')} (now)"
    return f"{clock_time(at, 'seconds')} (in {between(now, at)})"


def _past(at: int, now: int) -> str:
    return f"{clock_time(at, 'seconds')} ({between(at, max(now, at))} ago)"
