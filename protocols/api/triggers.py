"""What the API says about triggers: which there are, what they did, and what people do to them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from protocols.api.base import At, By, Empty, Id, Message, MessageId, WorkflowName
from protocols.triggers import KINDS, Last, Trigger

NEXT_MAX: Final = 1_000
BACKFILL_MAX: Final = 1_000
"""Runs of one backfill: whoever means more says so again."""

Name = Annotated[str, Meta(description="The trigger's name: that of its workflow, '-', its own.")]
Due = Annotated[int, Meta(description="Due time, in ns since 1970.")]


class TriggerList(Message, frozen=True, kw_only=True):
    """List the triggers of all workflows."""

    workflow: Annotated[WorkflowName | None, Meta(description="Only those of this workflow.")] = (
        None
    )
    kind: Annotated[str, Meta(description=f"Only these: {', '.join(KINDS)}.")] = ""


class TriggerRow(Message, frozen=True, kw_only=True):
    """One trigger, and how it stands."""

    name: Name
    workflow: WorkflowName
    kind: Annotated[str, Meta(description="What makes it fire.")]
    text: Annotated[str, Meta(description="The same in a few words: times, path, subject.")]
    stored: Annotated[
        bool, Meta(description="Whether it was added beside the definition of its workflow.")
    ] = False
    problem: Annotated[str, Meta(description="Why it does nothing, when it cannot.")] = ""
    paused: Annotated[str, Meta(description="Who has paused it, and why.")] = ""
    next: At = 0
    last: Annotated[Last | None, Meta(description="What it did last.")] = None
    result: Annotated[
        str, Meta(description="Where the run stands that it started last; empty: none.")
    ] = ""
    queued: Annotated[int, Meta(description="Due time that waits for a run to end.")] = 0
    fired: Annotated[int, Meta(description="How often it started or signalled a run.")] = 0
    skipped: Annotated[int, Meta(description="How often it did nothing, or was refused.")] = 0


class TriggerPage(Message, frozen=True, kw_only=True):
    """The triggers, by name."""

    triggers: Annotated[list[TriggerRow], Meta(description="The rows.")]
    server_time: At = 0


class TriggerShow(Message, frozen=True, kw_only=True):
    """Show one trigger."""

    name: Name


class TriggerView(Message, frozen=True, kw_only=True):
    """A trigger with all that it says."""

    row: Annotated[TriggerRow, Meta(description="How it stands.")]
    trigger: Annotated[Trigger, Meta(description="What it says.")]
    hash: Annotated[str, Meta(description="Digest of what it says.")]


class TriggerAdd(Message, frozen=True, kw_only=True):
    """Add triggers to a workflow; those of the same names are replaced, in one write."""

    workflow: WorkflowName
    triggers: Annotated[tuple[Trigger, ...], Meta(description="The triggers.")]


class TriggerAdded(Message, frozen=True, kw_only=True):
    """The triggers that were added to a workflow so far."""

    names: Annotated[list[str], Meta(description="Their names.")]


class TriggerRemove(Message, frozen=True, kw_only=True):
    """Remove a trigger that was added."""

    name: Name


class TriggerPause(Message, frozen=True, kw_only=True):
    """Let a trigger do nothing, until it is resumed."""

    name: Name
    by: By = None


class TriggerResume(Message, frozen=True, kw_only=True):
    """Let a trigger fire again. What was due meanwhile is not made up for."""

    name: Name
    by: By = None


class TriggerFire(Message, frozen=True, kw_only=True):
    """Start the run of a schedule now."""

    name: Name
    message_id: MessageId = ""
    by: By = None


class TriggerFired(Message, frozen=True, kw_only=True):
    """The run that was started."""

    run: Id


class TriggerNext(Message, frozen=True, kw_only=True):
    """Tell when a schedule is due."""

    name: Name
    count: Annotated[int, Meta(description="How many times.", ge=1, le=NEXT_MAX)] = 5
    after: Annotated[int, Meta(description="Behind this time, in ns; 0: from now on.")] = 0


class TriggerTime(Message, frozen=True, kw_only=True):
    """One due time."""

    due: Due
    fires: Annotated[int, Meta(description="When it fires, with its jitter.")]
    run: Id


class TriggerTimes(Message, frozen=True, kw_only=True):
    """The next due times, in order."""

    name: Name
    zone: Annotated[str, Meta(description="The time zone of the schedule.")]
    text: Annotated[str, Meta(description="The schedule in words.")]
    times: Annotated[list[TriggerTime], Meta(description="The times.")]


class TriggerBackfill(Message, frozen=True, kw_only=True):
    """Start the runs of the times in the past that a schedule has, or would have had."""

    name: Name
    begin: Annotated[int, Meta(description="From this time on, in ns since 1970.")]
    end: Annotated[int, Meta(description="Up to this time, which is not part of it.")]
    by: By = None


class BackfilledRun(Message, frozen=True, kw_only=True):
    """What became of one due time."""

    due: Due
    run: Id
    outcome: Annotated[str, Meta(description="fired, skipped or refused.")]
    reason: Annotated[str, Meta(description="Why not.")] = ""


class TriggerBackfilled(Message, frozen=True, kw_only=True):
    """The runs; one that was there already is that run."""

    runs: Annotated[list[BackfilledRun], Meta(description="By due time.")]


TRIGGERS: Final[dict[str, tuple[str, type[Message], type[Message]]]] = {
    "trigger.ls": ("List triggers", TriggerList, TriggerPage),
    "trigger.show": ("Show a trigger", TriggerShow, TriggerView),
    "trigger.add": ("Add triggers to a workflow", TriggerAdd, TriggerAdded),
    "trigger.rm": ("Remove an added trigger", TriggerRemove, Empty),
    "trigger.pause": ("Let a trigger do nothing", TriggerPause, TriggerRow),
    "trigger.resume": ("Let a trigger fire again", TriggerResume, TriggerRow),
    "trigger.fire": ("Start the run of a schedule now", TriggerFire, TriggerFired),
    "trigger.next": ("Tell when a schedule is due", TriggerNext, TriggerTimes),
    "trigger.backfill": ("Start runs of past times", TriggerBackfill, TriggerBackfilled),
}
"""The verbs, each with what it does, its request and its result."""

_AT: Final = 1_767_225_600_000_000_000
_DAY: Final = 86_400_000_000_000
_NAME: Final = "report-nightly"
_RUN: Final = "report-nightly-20260101T000000Z"
_ROW: Final = {
    "name": _NAME,
    "workflow": "report",
    "kind": "schedule",
    "text": "0 0 * * * UTC",
    "next": _AT + _DAY,
    "last": {"at": _AT, "outcome": "fired", "due": _AT, "run": _RUN},
    "result": "completed",
    "fired": 7,
}
_TRIGGER: Final = {"name": "nightly", "schedule": {"cron": "0 0 * * *", "catch_up": 2}}
_BY: Final = {"who": "ann", "where": "desk 4", "why": "wrong data"}

EXAMPLES: Final[dict[str, tuple[Any, Any]]] = {
    "trigger.ls": ({"workflow": "report"}, {"triggers": [_ROW], "server_time": _AT}),
    "trigger.show": ({"name": _NAME}, {"row": _ROW, "trigger": _TRIGGER, "hash": "9f2c"}),
    "trigger.add": ({"workflow": "report", "triggers": [_TRIGGER]}, {"names": [_NAME]}),
    "trigger.rm": ({"name": _NAME}, {}),
    "trigger.pause": ({"name": _NAME, "by": _BY}, {**_ROW, "paused": "by ann: wrong data"}),
    "trigger.resume": ({"name": _NAME, "by": _BY}, _ROW),
    "trigger.fire": ({"name": _NAME, "message_id": "5f20"}, {"run": "report-nightly-5f20"}),
    "trigger.next": (
        {"name": _NAME, "count": 1},
        {
            "name": _NAME,
            "zone": "UTC",
            "text": "at 00:00 every day",
            "times": [{"due": _AT, "fires": _AT, "run": _RUN}],
        },
    ),
    "trigger.backfill": (
        {"name": _NAME, "begin": _AT, "end": _AT + _DAY, "by": _BY},
        {"runs": [{"due": _AT, "run": _RUN, "outcome": "fired"}]},
    ),
}
"""For the catalogue: a request and its answer by verb."""
