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

The same fields stand in a YAML file under ``gate``. Whether a word counts is a function of the
gate as it stands and of the word alone: the API asks it before it writes one, the fold before it
takes one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from protocols.codec import encode
from protocols.graph_field import Field, FieldType, Part, Seconds, durations, field_of, put
from protocols.graph_input import input_type, problem
from protocols.witness import Operator

Choice = Literal["approve", "modify", "reject", "skip", "cancel"]
OnExpiry = Literal["reject", "approve", "wait", "escalate"]
Names = str | tuple[str, ...]

REJECTED: Final = "rejected"
"""Kind of the failure of a gate that was rejected, or whose time was over."""
GATE_BYTES_MAX: Final = 65_536
"""Of a gate with all that it shows: it is an event, and stands in what people list."""
FILLED: Final = ("title", "text", "values", "approvers", "excluded")
"""Fields in which references may stand, in a graph."""
TITLE_CHARS_MAX: Final = 200
APPROVERS_MAX: Final = 100
MEANS: Final[dict[str, str]] = {
    "approve": "the run goes on, with the values as they are",
    "modify": "the run goes on, with the values that you give",
    "reject": "the gate fails; unless the workflow takes that, the run fails and is undone",
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
        durations(self, "expires")


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
        Escalation | None, Meta(description="With `on_expiry: escalate`: who may decide as well.")
    ] = None
    means: Annotated[
        dict[Choice, str], Meta(description="What decisions lead to, in words, for people.")
    ] = {}

    def __post_init__(self) -> None:
        """Bring short forms to the long ones."""
        if self.fields is not None:
            put(self, "fields", {name: field_of(each) for name, each in self.fields.items()})
        _names(self, "approvers", "roles", "excluded")
        durations(self, "expires")

    @property
    def typed(self) -> dict[str, Field]:
        """The values that may be changed, by name."""
        return {
            name: each for name, each in (self.fields or {}).items() if isinstance(each, Field)
        }

    @property
    def named(self) -> bool:
        """Whether it matters who decides."""
        return bool(self.quorum > 1 or self.approvers or self.roles or self.excluded)

    def meaning(self, choice: Choice) -> str:
        """Return what a decision leads to."""
        return self.means.get(choice) or MEANS[choice]


class Vote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One person's approval. ``at`` in nanoseconds since 1970."""

    by: Operator
    at: int
    role: str = ""
    message_id: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One value that a decision has changed."""

    field: str
    before: Any
    after: Any


class GateWord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person says at a gate: its path, the decision, and what belongs to it."""

    gate: str
    do: Choice
    values: dict[str, Any] | None = None
    role: str = ""
    """The role that the person says to have."""


class GateDecision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a gate has ended. ``at`` in nanoseconds since 1970.

    ``values`` are those to go on with: None after a skip. ``by`` is None when nobody decided and
    the time was over (``expired``); ``votes`` are all approvals, in their order.
    """

    gate: str
    do: Choice
    at: int
    values: dict[str, Any] | None = None
    changes: tuple[Change, ...] = ()
    by: Operator | None = None
    role: str = ""
    votes: tuple[Vote, ...] = ()
    expired: bool = False
    message_id: str = ""

    @property
    def text(self) -> str:
        """Who has decided what, for people."""
        done = {"modify": "modified", "skip": "skipped", "cancel": "cancelled"}
        word = done.get(self.do, f"{self.do.removesuffix('e')}ed")
        if self.expired:
            return f"{word} because nobody decided in time"
        names = [each.by.who for each in self.votes if each.by.who]
        if not names and self.by is not None and self.by.who:
            names = [self.by.who]
        who = " and ".join(names) or "somebody who gave no name"
        where = f" at {self.by.where}" if self.by is not None and self.by.where else ""
        why = f": {self.by.why}" if self.by is not None and self.by.why else ""
        return f"{word} by {who}{where}{why}"


class GateState(msgspec.Struct, kw_only=True):
    """An open gate. Times in nanoseconds since 1970; ``due`` is 0 when no time is set."""

    path: str
    name: str
    gate: Gate
    opened_at: int
    due: int = 0
    escalated: bool = False
    votes: list[Vote] = []

    @property
    def approvers(self) -> tuple[str, ...]:
        """Who may decide now, by name."""
        more = self.gate.escalate.approvers if self.gate.escalate and self.escalated else ()
        return (*self.gate.approvers, *more)

    @property
    def roles(self) -> tuple[str, ...]:
        """Which roles may decide now."""
        more = self.gate.escalate.roles if self.gate.escalate and self.escalated else ()
        return (*self.gate.roles, *more)

    def facts(self) -> dict[str, Any]:
        """Return what people have to know of it."""
        gate = self.gate
        return {
            "gate": self.path,
            "name": self.name,
            "title": gate.title,
            "text": gate.text,
            "values": gate.values,
            "fields": msgspec.to_builtins(gate.fields) if gate.fields else None,
            "decisions": {each: gate.meaning(each) for each in gate.decisions},
            "quorum": gate.quorum,
            "approvers": [*self.approvers],
            "roles": [*self.roles],
            "excluded": [*gate.excluded],
            "opened_at": self.opened_at,
            "due": self.due,
            "on_expiry": on_expiry(self) if self.due else "",
            "escalated": self.escalated,
            "votes": [msgspec.to_builtins(each) for each in self.votes],
        }


def on_expiry(state: GateState) -> OnExpiry:
    """Return what happens when the time of a gate is over."""
    escalate = state.gate.escalate
    return escalate.on_expiry if escalate is not None and state.escalated else state.gate.on_expiry


def refusal(state: GateState, word: GateWord, by: Operator | None) -> str:
    """Return why a word does not count at a gate; empty when it does."""
    gate, who = state.gate, "" if by is None else by.who
    if word.do not in gate.decisions:
        return f"{word.do} cannot be decided here: {', '.join(gate.decisions)} can"
    if gate.named and not who:
        return "it matters who decides here: give a name"
    if who in gate.excluded:
        return f"{who} may not decide here"
    people, roles = state.approvers, state.roles
    if (people or roles) and who not in people and word.role not in roles:
        told = [*people, *(f"the role {role}" for role in roles)]
        return f"{who} may not decide here: {' or '.join(told)} may"
    if word.do == "approve" and who and who in {each.by.who for each in state.votes}:
        return f"{who} has approved already: {len(state.votes)} of {gate.quorum}"
    if word.do == "modify":
        return wrong_values(gate, word.values or {})
    return "" if word.values is None else f"values do not go with {word.do}: decide modify"


def wrong_values(gate: Gate, given: dict[str, Any]) -> str:
    """Return what is wrong with changed values; empty when nothing is."""
    if not given:
        return "there is nothing to modify: give values"
    fields = gate.typed
    for name in given:
        if name not in fields:
            return f"{name[:60]!r} cannot be modified: {', '.join(fields)} can"
    if len(encode(given)) > GATE_BYTES_MAX:
        return f"values: more than {GATE_BYTES_MAX} bytes"
    whole = {name: each for name, each in merged(gate, given).items() if name in fields}
    try:
        msgspec.convert(whole, input_type(fields, "Values"))
    except msgspec.ValidationError as error:
        return f"values: {error}"
    return ""


def merged(gate: Gate, given: dict[str, Any]) -> dict[str, Any]:
    """Return the values with those that were changed."""
    return {**(gate.values or {}), **given}


def changes(gate: Gate, given: dict[str, Any]) -> tuple[Change, ...]:
    """Return what a modification changes, in the order of the fields."""
    before = gate.values or {}
    return tuple(
        Change(field=name, before=before.get(name), after=given[name])
        for name in gate.typed
        if name in given and (name not in before or given[name] != before[name])
    )


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


def _choices(gate: Gate) -> Iterator[Wrong]:
    decisions = gate.decisions
    if len(set(decisions)) < len(decisions):
        yield Wrong("decisions", "a decision stands twice", "name each of them once")
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
    escalate = gate.escalate
    if gate.expires is None and (gate.on_expiry != "reject" or escalate is not None):
        yield Wrong("on_expiry", "nothing expires without 'expires'", "such as: expires: 2d")
    if (gate.on_expiry == "escalate") != (escalate is not None):
        yield Wrong(
            "escalate" if escalate else "on_expiry",
            "'on_expiry: escalate' and 'escalate' belong together",
            "say who may decide then: escalate: {roles: [...]}",
        )
    if escalate and (gate.approvers or gate.roles) and not (escalate.approvers or escalate.roles):
        yield Wrong("escalate", "it names nobody else", "write 'roles' or 'approvers' there")
    if escalate is not None and escalate.expires is None and escalate.on_expiry != "reject":
        yield Wrong("escalate", "nothing expires without 'expires'", "such as: expires: 2d")
    found = {gate.on_expiry, escalate.on_expiry if escalate else ""}
    if "approve" in found and "approve" not in gate.decisions:
        yield Wrong("on_expiry", "'approve' is none of the decisions", "add it there")


def waits_s(gate: Gate) -> float:
    """Return how long a gate waits at most, in seconds; 0: for ever."""
    if gate.expires is None or gate.on_expiry == "wait":
        return 0.0
    more = gate.escalate
    if more is None:
        return float(gate.expires)
    if more.expires is None or more.on_expiry == "wait":
        return 0.0
    return float(gate.expires) + float(more.expires)


def _open(names: Names) -> bool:
    """Tell whether references among names stand for people who are not known yet."""
    return any("{{" in name for name in names)


def _names(part: msgspec.Struct, *keys: str) -> None:
    for key in keys:
        given = getattr(part, key)
        put(part, key, (given,) if isinstance(given, str) else given)
