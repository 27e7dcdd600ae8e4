"""Gates: points where a person decides. What may be decided, by whom, and what it changes. Pure.

    Gate(
        title="Pay 120?",
        values={"amount": 120},
        fields={"amount": Field(type="number", max=500)},
        decisions=("approve", "modify", "reject"),
        quorum=1,
        roles=("finance",),
        expires="2d",
    )

The same fields stand in a YAML file under ``gate``. What is said there, and what came of it, is
``protocols.gates.words``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta

from protocols.calendars import Calendar, working
from protocols.durations import seconds
from protocols.graphs.field import Field, FieldType, Part, Seconds, field_of, put, spans
from protocols.graphs.input import problem
from protocols.subjects import is_name, is_step_name

Choice = Literal["approve", "modify", "reject", "retry", "skip", "cancel"]
OnExpiry = Literal["reject", "approve", "wait", "escalate"]
Mode = Literal["interactive", "auto", "batch"]
Names = str | tuple[str, ...]

REJECTED: Final = "rejected"
"""Kind of the failure of a gate that was rejected, or whose time was over."""
GATE_BYTES_MAX: Final = 65_536
"""Of a gate with all that it shows: it is an event, and stands in what people list."""
FILLED: Final = ("title", "text", "values", "approvers", "excluded", "mode")
"""Fields in which references may stand, in a graph."""
TITLE_CHARS_MAX: Final = 200
APPROVERS_MAX: Final = 100
LEVELS_MAX: Final = 10
"""Escalations of one gate, one behind the other."""
REMINDERS_MAX: Final = 100
"""Of one gate: each is a message in the mailbox of its run."""
MODES: Final[tuple[str, ...]] = get_args(Mode)
MEANS: Final[dict[str, str]] = {
    "approve": "the run goes on, with the values as they are",
    "modify": "the run goes on, with the values that you give",
    "reject": "the gate fails; unless the workflow takes that, the run fails and is undone",
    "retry": "work before the gate is done once more, and then it is asked again",
    "skip": "the run goes on without what the gate is for",
    "cancel": "the run is cancelled, and what it did is undone",
}
"""What each decision leads to, where the gate does not say it in its own words."""


class Escalation(Part, frozen=True, kw_only=True):
    """Who may decide as well when the time of a gate is over, and for how long."""

    approvers: Annotated[Names, Meta(description="People who may decide as well.")] = ()
    roles: Annotated[Names, Meta(description="Roles that may decide as well.")] = ()
    expires: Annotated[Seconds | None, Meta(description="How long they have.")] = None
    on_expiry: Annotated[
        Literal["reject", "approve", "wait"], Meta(description="What comes then.")
    ] = "reject"

    def __post_init__(self) -> None:
        """Bring short forms to the long ones."""
        _names(self, "approvers", "roles")
        spans(self, "expires")


class Notify(Part, frozen=True, kw_only=True):
    """Who is told of a gate. The service may stand alone: ``notify: mail``."""

    service: Annotated[str, Meta(description="The service that tells people.")]
    operation: Annotated[str, Meta(description="What it is asked for.")] = "notify"


class Gate(Part, frozen=True, kw_only=True):
    """A point where a person decides."""

    title: Annotated[str, Meta(description="What is to be decided, in one line.")] = ""
    text: Annotated[str, Meta(description="What one has to know for it.")] = ""
    values: Annotated[
        dict[str, Any] | None, Meta(description="The values that are to be approved.")
    ] = None
    fields: Annotated[
        dict[str, Field | FieldType] | None,
        Meta(description="Those of the values that `modify` may change, with their types."),
    ] = None
    decisions: Annotated[
        tuple[Choice, ...], Meta(description="What may be decided, and nothing else.")
    ] = ("approve", "reject")
    quorum: Annotated[
        Annotated[int, Meta(ge=1, le=APPROVERS_MAX)],
        Meta(description="How many people have to approve; each counts once."),
    ] = 1
    approvers: Annotated[
        Names, Meta(description="Who may decide, by name; without these and roles anybody.")
    ] = ()
    roles: Annotated[
        Names, Meta(description="Roles that may decide: whoever says to have one of them.")
    ] = ()
    excluded: Annotated[
        Names, Meta(description="Who may not decide, such as who has asked for it.")
    ] = ()
    expires: Annotated[
        Seconds | None, Meta(description="How long it waits; without it for ever.")
    ] = None
    on_expiry: Annotated[
        OnExpiry, Meta(description="What happens when nobody has decided by then.")
    ] = "reject"
    escalate: Annotated[
        Escalation | tuple[Escalation, ...] | None,
        Meta(
            description="With `on_expiry: escalate`: who may decide as well; a list of them is "
            "gone through level by level."
        ),
    ] = None
    retry: Annotated[
        Names,
        Meta(
            description="With `retry` among the decisions: the steps that may be done once more; "
            "without it those that the gate needs."
        ),
    ] = ()
    remind: Annotated[
        Seconds | tuple[Seconds, ...],
        Meta(description="How long before its time is over people are reminded: `[1d, 2h]`."),
    ] = ()
    remind_every: Annotated[
        Seconds | None, Meta(description="How often people are reminded, from its opening on.")
    ] = None
    calendar: Annotated[
        str | Calendar,
        Meta(
            description="Whose working time `expires`, `remind` and `remind_every` may be; the "
            "graph's only one without it."
        ),
    ] = ""
    notify: Annotated[
        str | Notify | None,
        Meta(
            description="The service that is told when it opens, when people are reminded, and "
            "when it escalates or is overdue."
        ),
    ] = None
    mode: Annotated[
        str,
        Meta(
            description="`interactive`: people decide one by one; `batch`: many may be approved "
            "together; `auto`: it is approved at once. As the graph's `approval_mode` without it."
        ),
    ] = ""
    auto_when: Annotated[
        str,
        Meta(description="A condition under which it is approved at once, unless `interactive`."),
    ] = ""
    four_eyes: Annotated[
        bool,
        Meta(
            description="Neither who has started the run may decide, nor who has decided at "
            "another gate of it."
        ),
    ] = False
    means: Annotated[
        dict[Choice, str], Meta(description="What decisions lead to, in words, for people.")
    ] = {}

    def __post_init__(self) -> None:
        """Bring short forms to the long ones."""
        if self.fields is not None:
            put(self, "fields", {name: field_of(each) for name, each in self.fields.items()})
        _names(self, "approvers", "roles", "excluded", "retry")
        spans(self, "expires", "remind_every")
        given = self.remind if isinstance(self.remind, tuple) else (self.remind,)
        put(self, "remind", tuple(_reminder(each) for each in given))
        if isinstance(self.notify, str):
            put(self, "notify", Notify(service=self.notify))

    @property
    def levels(self) -> tuple[Escalation, ...]:
        """Who may decide as well, level by level."""
        if self.escalate is None:
            return ()
        return self.escalate if isinstance(self.escalate, tuple) else (self.escalate,)

    @property
    def told(self) -> Notify | None:
        """Who is told of it, in the long form."""
        return self.notify if isinstance(self.notify, Notify) else None

    @property
    def typed(self) -> dict[str, Field]:
        """The values that may be changed, by name."""
        return {
            name: each for name, each in (self.fields or {}).items() if isinstance(each, Field)
        }

    @property
    def works(self) -> bool:
        """Whether one of its times is working time."""
        remind = self.remind if isinstance(self.remind, tuple) else ()
        times = (self.expires, self.remind_every, *remind, *(x.expires for x in self.levels))
        return any(isinstance(each, str) for each in times)

    @property
    def named(self) -> bool:
        """Whether it matters who decides."""
        return bool(
            self.quorum > 1 or self.approvers or self.roles or self.excluded or self.four_eyes
        )

    def meaning(self, choice: Choice) -> str:
        """Return what a decision leads to."""
        return self.means.get(choice) or MEANS[choice]


def nobody_may(gate: Gate) -> bool:
    """Tell whether a gate can never end: too few of its people have names, and no time ends it."""
    if gate.roles or not gate.approvers or gate.expires is not None:
        return False
    people = {name for name in gate.approvers if not _open((name,))} - set(gate.excluded)
    return len(people) < gate.quorum


class Wrong(NamedTuple):
    """What is wrong with a gate, at which of its keys, and what to do."""

    key: str
    message: str
    hint: str


def problems(gate: Gate) -> Iterator[Wrong]:
    """Yield everything that is wrong with a gate as a whole."""
    yield from _choices(gate)
    yield from _people(gate)
    yield from _times(gate)
    yield from _reminders(gate)
    yield from _mode(gate)


def _choices(gate: Gate) -> Iterator[Wrong]:
    decisions = gate.decisions
    if len(set(decisions)) < len(decisions):
        yield Wrong("decisions", "a decision stands twice", "name each of them once")
    if gate.retry and "retry" not in decisions:
        yield Wrong("retry", "'retry' is none of the decisions", "add it there")
    if not {"approve", "modify", "skip"} & set(decisions):
        yield Wrong("decisions", "no decision lets the run go on", "add 'approve'")
    if ("modify" in decisions) != bool(gate.fields):
        yield Wrong(
            "fields" if gate.fields else "decisions",
            "'modify' and 'fields' belong together",
            "name 'modify' under 'decisions', and what it may change under 'fields'",
        )
    for name, field in gate.typed.items():
        if told := problem(field, name):
            yield Wrong("fields", f"the field {name[:60]!r}: {told}", "see the input of a graph")
    for choice in gate.means:
        if choice not in decisions:
            yield Wrong("means", f"{choice!r} is none of the decisions", "add it there")


def _people(gate: Gate) -> Iterator[Wrong]:
    if gate.quorum > 1 and {"modify", "skip"} & set(gate.decisions):
        yield Wrong(
            "quorum",
            "several people can approve only what is the same for all of them",
            "take 'modify' and 'skip' away, or the quorum",
        )
    people = len(set(gate.approvers) - set(gate.excluded))
    if gate.approvers and not gate.roles and people < gate.quorum and not _open(gate.approvers):
        yield Wrong(
            "quorum", f"{gate.quorum} have to approve, and {people} may", "name more approvers"
        )


def _times(gate: Gate) -> Iterator[Wrong]:
    levels = gate.levels
    if gate.expires is None and (gate.on_expiry != "reject" or levels):
        yield Wrong("on_expiry", "nothing expires without 'expires'", "such as: expires: 2d")
    if (gate.on_expiry == "escalate") != bool(levels):
        yield Wrong(
            "escalate" if levels else "on_expiry",
            "'on_expiry: escalate' and 'escalate' belong together",
            "say who may decide then: escalate: {roles: [...]}",
        )
    if len(levels) > LEVELS_MAX:
        yield Wrong("escalate", f"{len(levels)} levels", f"at most {LEVELS_MAX}")
    for number, level in enumerate(levels, 1):
        last = number == len(levels)
        if (gate.approvers or gate.roles) and not (level.approvers or level.roles):
            yield Wrong("escalate", "it names nobody else", "write 'roles' or 'approvers' there")
        if level.expires is None and (level.on_expiry != "reject" or not last):
            yield Wrong("escalate", "nothing expires without 'expires'", "such as: expires: 2d")
        if level.on_expiry != "reject" and not last:
            message = "behind this level comes the next one"
            yield Wrong("escalate", message, "write 'on_expiry' at the last one")
    found = {gate.on_expiry, *(level.on_expiry for level in levels)}
    if "approve" in found and "approve" not in gate.decisions:
        yield Wrong("on_expiry", "'approve' is none of the decisions", "add it there")


def _reminders(gate: Gate) -> Iterator[Wrong]:
    given = gate.remind if isinstance(gate.remind, tuple) else ()
    times = [each for each in given if isinstance(each, float)]
    if given and gate.expires is None:
        hint = "write 'expires', or 'remind_every'"
        yield Wrong("remind", "nothing expires without 'expires'", hint)
    elif times and not gate.works and max(times) >= max(_spans(gate)):
        yield Wrong(
            "remind", "that is before the gate opens", "remind later, or let it wait longer"
        )
    if len(given) > REMINDERS_MAX:
        yield Wrong("remind", f"{len(given)} reminders", f"at most {REMINDERS_MAX}")
    told = gate.told
    if told is not None and not (
        is_name(told.service) and is_step_name(f"{told.service}.{told.operation}")
    ):
        yield Wrong(
            "notify", f"{told.service[:60]!r} cannot be asked", "write the name of a service"
        )


def _mode(gate: Gate) -> Iterator[Wrong]:
    if gate.mode and gate.mode not in MODES and "{{" not in gate.mode:
        yield Wrong("mode", f"{gate.mode[:60]!r} is no mode", f"one of: {', '.join(MODES)}")
    if gate.mode == "interactive" and gate.auto_when:
        message = "'interactive' means that a person decides"
        yield Wrong("auto_when", message, "take one of the two away")
    if (gate.mode == "auto" or gate.auto_when) and "approve" not in gate.decisions:
        yield Wrong("decisions", "'approve' is none of the decisions", "add it there")


def waits_s(gate: Gate) -> float:
    """Return how long a gate waits at most, in seconds; 0: nobody can tell, or for ever."""
    last = gate.levels[-1].on_expiry if gate.levels else gate.on_expiry
    spans = _spans(gate)
    return 0.0 if last == "wait" or 0.0 in spans else sum(spans)


def _spans(gate: Gate) -> list[float]:
    """Return how long it waits at first and at each level, in seconds; 0: nobody can tell."""
    times = (gate.expires, *(x.expires for x in gate.levels))
    return [each if isinstance(each, float) else 0.0 for each in times]


def _reminder(given: Seconds) -> Seconds:
    worked = working(given) if isinstance(given, str) else None
    return seconds(given, "remind") if worked is None else worked.text


def _open(names: Names) -> bool:
    """Tell whether references among names stand for people who are not known yet."""
    return any("{{" in name for name in names)


def _names(part: msgspec.Struct, *keys: str) -> None:
    for key in keys:
        given = getattr(part, key)
        put(part, key, (given,) if isinstance(given, str) else given)
