"""Triggers: what starts a run, or sends it a signal, without anybody at a keyboard. Data only.

    triggers:
      - schedule: "0 9 * * *"                       at these times
      - webhook: /orders                            when somebody posts there
      - message: orders.placed                      when somebody publishes there
      - manual: orders:execute                      by hand, with this permission

In a graph they stand under ``triggers``; for any other workflow in a file of their own
(``TriggerFile``). When a schedule is due is told by ``actors.schedule``; whether a trigger makes
sense by ``actors.files.trigger_check``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.durations import seconds
from protocols.graphs.field import Part, Seconds, durations, put
from protocols.witness import Operator

KINDS: Final = ("schedule", "webhook", "message", "manual")
"""What makes a trigger fire: the one of these keys that it has."""
NAME_CHARS_MAX: Final = 64
KEY_CHARS_MAX: Final = 96
"""Of workflow and name together: a run's id begins with both, and has 128 characters."""
TRIGGERS_MAX: Final = 50
"""Of one workflow."""
CATCH_UP_MAX: Final = 100
WINDOW_S_MAX: Final = 7 * 86_400.0
"""A schedule looks so far back for what it missed: its times have to be counted one by one."""
BODY_BYTES: Final = 256 * 1024
BODY_BYTES_MAX: Final = 512 * 1024
"""Of a webhook: a run's input has to fit into one message with its headers."""

Overlap = Literal["skip", "queue", "allow", "cancel"]


class Dst(Part, frozen=True, kw_only=True):
    """What happens in the two nights when clocks are changed.

    It concerns schedules with a time of the day; one whose minutes or hours begin with ``*``
    goes by time as it passes.
    """

    forward: Annotated[
        Literal["shift", "skip"],
        Meta(description="A time that does not exist: `shift` to the change itself, or `skip`."),
    ] = "shift"
    back: Annotated[
        Literal["once", "both"],
        Meta(description="A time that comes twice: the first, or `both`."),
    ] = "once"


class Schedule(Part, frozen=True, kw_only=True):
    """When a trigger is due. Cron may stand alone: ``schedule: "0 9 * * *"``."""

    cron: Annotated[
        str,
        Meta(
            description="Minute, hour, day, month, weekday; or `@hourly`, `@daily`, `@weekly`, "
            "`@monthly`, `@yearly`."
        ),
    ] = ""
    every: Annotated[
        Seconds | None,
        Meta(description="In place of `cron`: whole multiples of this since 1970, UTC; 1 s up."),
    ] = None
    zone: Annotated[
        str, Meta(description="IANA time zone of `cron`, such as `Europe/Zurich`.")
    ] = "UTC"
    dst: Annotated[Dst, Meta(description="What happens when clocks are changed.")] = Dst()
    overlap: Annotated[
        Overlap,
        Meta(
            description="When the run before has not ended: `skip` this time, `queue` one, "
            "`allow` both, or `cancel` it and start when it has ended."
        ),
    ] = "skip"
    catch_up: Annotated[
        Annotated[int, Meta(ge=0, le=CATCH_UP_MAX)],
        Meta(description="How many missed times, the newest, start late after an outage."),
    ] = 1
    window: Annotated[
        Seconds, Meta(description="Missed times that are older are left out; at most `7d`.")
    ] = 86_400.0
    jitter: Annotated[
        Seconds | None,
        Meta(description="Starts are spread over so long; always the same for one time."),
    ] = None
    until: Annotated[
        str, Meta(description="The last moment, as `2026-12-31` or `2026-12-31T18:00:00Z`.")
    ] = ""

    def __post_init__(self) -> None:
        """Read the durations. Raises ValueError for what is out of range."""
        durations(self, "every", "jitter")
        put(self, "window", seconds(self.window, "window"))
        if bool(self.cron) == (self.every is not None):
            raise ValueError("cron or every: a schedule has one of the two")
        if self.every is not None and (float(self.every) < 1 or float(self.every) % 1):
            raise ValueError("every has to be whole seconds, at least one")
        if float(self.window) > WINDOW_S_MAX:
            raise ValueError(f"window is at most {WINDOW_S_MAX / 86_400:g} days")


class Webhook(Part, frozen=True, kw_only=True):
    """Where others post. The path may stand alone: ``webhook: /orders``."""

    path: Annotated[str, Meta(description="The path, such as `/orders`.")]
    secret: Annotated[
        str,
        Meta(
            description="Where the secret of its signatures is: `env:NAME` or `file:/path`; "
            "never the secret itself."
        ),
    ] = ""
    token: Annotated[
        str,
        Meta(
            description="Where its bearer token is, in place of `secret`; without both it is "
            "`env:MOVANT_WEBHOOK_TOKEN`."
        ),
    ] = ""
    tolerance: Annotated[
        Seconds, Meta(description="How far the time of a signature may be off.")
    ] = 300.0
    rate: Annotated[
        Annotated[float, Meta(gt=0, le=10_000)],
        Meta(description="Requests per second in the long run, at each daemon."),
    ] = 20.0
    body_max: Annotated[
        Annotated[int, Meta(ge=1, le=BODY_BYTES_MAX)], Meta(description="Bytes of a body.")
    ] = BODY_BYTES

    def __post_init__(self) -> None:
        """Read the durations. Raises ValueError for two ways to log in."""
        put(self, "tolerance", seconds(self.tolerance, "tolerance"))
        if self.secret and self.token:
            raise ValueError("token stands beside secret: take one of the two away")


class MessageSource(Part, frozen=True, kw_only=True):
    """Which messages are taken. The subject may stand alone: ``message: orders.placed``."""

    subject: Annotated[str, Meta(description="The subject; `*` and `>` as NATS has them.")]
    stream: Annotated[
        str,
        Meta(
            description="The stream that keeps them, for at least once; without it the one that "
            "captures the subject, and where there is none, at most once."
        ),
    ] = ""


class Manual(Part, frozen=True, kw_only=True):
    """By hand. The permission may stand alone: ``manual: orders:execute``."""

    permission: Annotated[
        str, Meta(description="What whoever starts a run has to claim; empty: nothing.")
    ] = ""


class Trigger(Part, frozen=True, kw_only=True):
    """One trigger: it has one of the keys ``KINDS``."""

    name: Annotated[
        str, Meta(description="Its name beside others of the workflow; by default its kind.")
    ] = ""
    schedule: Annotated[Schedule | str | None, Meta(description="Start at times.")] = None
    webhook: Annotated[Webhook | str | None, Meta(description="Start when somebody posts.")] = None
    message: Annotated[
        MessageSource | str | None, Meta(description="Start when somebody publishes.")
    ] = None
    manual: Annotated[
        Manual | str | None, Meta(description="Starts by hand need this permission.")
    ] = None
    when: Annotated[
        str, Meta(description="A condition over what has come; else nothing happens.")
    ] = ""
    id: Annotated[
        str,
        Meta(description="The run's id, made of what has come; else made of trigger and event."),
    ] = ""
    input: Annotated[
        Any,
        Meta(description="The run's input, or the signal's data; by default what has come."),
    ] = msgspec.UNSET
    signal: Annotated[
        str, Meta(description="Send this signal to the run `id`, in place of a start.")
    ] = ""
    or_start: Annotated[
        bool, Meta(description="With `signal`: start the run first when it is not there.")
    ] = False
    description: Annotated[str, Meta(description="What it is for, for people.")] = ""

    def __post_init__(self) -> None:
        """Bring short forms to the long ones."""
        if isinstance(self.schedule, str):
            put(self, "schedule", Schedule(cron=self.schedule))
        if isinstance(self.webhook, str):
            put(self, "webhook", Webhook(path=self.webhook))
        if isinstance(self.message, str):
            put(self, "message", MessageSource(subject=self.message))
        if isinstance(self.manual, str):
            put(self, "manual", Manual(permission=self.manual))

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it says that makes it fire: one of ``KINDS``, unless it is wrong."""
        return tuple(each for each in KINDS if getattr(self, each) is not None)

    @property
    def kind(self) -> str:
        """What makes it fire."""
        return next(iter(self.kinds), "")

    @property
    def times(self) -> Schedule | None:
        """Its schedule, in the long form."""
        return self.schedule if isinstance(self.schedule, Schedule) else None

    @property
    def hook(self) -> Webhook | None:
        """Its webhook, in the long form."""
        return self.webhook if isinstance(self.webhook, Webhook) else None

    @property
    def source(self) -> MessageSource | None:
        """Its messages, in the long form."""
        return self.message if isinstance(self.message, MessageSource) else None

    @property
    def by_hand(self) -> Manual | None:
        """Its permission, in the long form."""
        return self.manual if isinstance(self.manual, Manual) else None

    @property
    def text(self) -> str:
        """What makes it fire, in a few words."""
        if self.times is not None:
            times = self.times
            return f"{times.cron} {times.zone}" if times.cron else f"every {times.every:g} s"
        if self.hook is not None:
            return f"POST {self.hook.path}"
        if self.source is not None:
            return self.source.subject
        return self.by_hand.permission if self.by_hand is not None else ""


class TriggerFile(Part, frozen=True, kw_only=True):
    """Triggers of a workflow that is no graph, or that others wrote: a file of their own."""

    workflow: Annotated[str, Meta(description="The workflow that they start.")]
    triggers: Annotated[tuple[Trigger, ...], Meta(description="The triggers.")]


class Armed(msgspec.Struct, frozen=True):
    """A trigger in use: of which workflow, and under which key it is known everywhere."""

    key: str
    workflow: str
    trigger: Trigger
    stored: bool = False
    """Whether it was added beside the workflow's definition."""
    problem: str = ""
    """Why it does nothing, when it cannot."""

    @property
    def hash(self) -> str:
        """The digest of what it says: a state that belongs to other words does not count."""
        return hashlib.sha256(msgspec.json.encode(self.trigger)).hexdigest()[:12]

    @property
    def consumer_name(self) -> str:
        """What its durable consumer is called, on whatever stream; empty: it listens to none."""
        source = self.trigger.source
        if source is None:
            return ""
        mark = hashlib.sha256(source.subject.encode()).hexdigest()[:6]
        return f"movant-{self.key}-{mark}"


class Last(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a trigger did last. Times in nanoseconds since 1970."""

    at: int
    outcome: str
    """``fired``, ``late``, ``skipped``, ``refused``."""
    due: int = 0
    run: str = ""
    reason: str = ""


class Paused(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who has paused a trigger, when and why."""

    at: int
    by: Operator = Operator()

    @property
    def text(self) -> str:
        """The same for people."""
        why = f": {self.by.why}" if self.by.why else ""
        return f"by {self.by.who or 'somebody'}{why}"


class Consumer(msgspec.Struct, frozen=True):
    """A durable consumer that a trigger has made."""

    stream: str
    name: str


class TriggerState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is stored of a trigger beside its words. ``s.<key>`` in its bucket."""

    hash: str = ""
    position: int = 0
    """The last due time that was dealt with; 0: the moment when this was stored."""
    run: str = ""
    """The last run that a schedule started: what overlaps is asked of it."""
    queued: int = 0
    """A due time that waits for that run to end; 0: none."""
    paused: Paused | None = None
    last: Last | None = None
    fired: int = 0
    skipped: int = 0
    consumers: tuple[Consumer, ...] = ()
    """All that were made for it and are not removed yet; written before one is made."""


def named(workflow: str, triggers: Sequence[Trigger], *, stored: bool = False) -> list[Armed]:
    """Return the triggers of a workflow with their keys; one without a name is named by kind."""
    counts: dict[str, int] = {}
    found = []
    for each in triggers:
        name = each.name
        if not name:
            counts[each.kind] = number = counts.get(each.kind, 0) + 1
            name = each.kind if number == 1 else f"{each.kind}-{number}"
        found.append(Armed(key_of(workflow, name), workflow, each, stored))
    return found


def key_of(workflow: str, name: str) -> str:
    """Return under which key a trigger is known: it has the form of an id."""
    return f"{workflow.replace('.', '-')}-{name}"


def merged(known: Sequence[Trigger], added: Sequence[Trigger]) -> tuple[Trigger, ...]:
    """Return triggers with others added; one of the same name is replaced."""
    workflow = "w"
    found = {each.key: each.trigger for each in named(workflow, known)}
    found |= {each.key: each.trigger for each in named(workflow, added)}
    return tuple(
        msgspec.structs.replace(each, name=key.removeprefix(f"{workflow}-"))
        for key, each in found.items()
    )


def digest(*parts: str) -> str:
    """Return a short text that stands for several: 80 bits of their hash."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


Names = Mapping[str, Any]
