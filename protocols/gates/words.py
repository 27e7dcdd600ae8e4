"""What is said at gates, and what came of it: words, votes, decisions. Pure.

Whether a word counts is a function of the gate as it stands and of the word alone: the API asks
it before it writes one, the fold before it takes one.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from protocols.codec import encode
from protocols.gates.gate import GATE_BYTES_MAX, Choice, Gate, OnExpiry
from protocols.graphs.input import input_type
from protocols.witness import Operator

NAME_CHARS_MAX: Final = 200
DELEGATIONS_MAX: Final = 20
"""Of one gate: who hands a decision on has to come to an end."""


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


class Delegation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody has handed his say to another person. ``at`` in nanoseconds since 1970."""

    by: Operator
    to: str
    at: int
    role: str = ""
    message_id: str = ""


Said = Choice | Literal["delegate"]
"""What may be said at a gate: a decision, or who decides in one's place."""


class GateWord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person says at a gate: its path, the decision, and what belongs to it."""

    gate: str
    do: Said
    values: dict[str, Any] | None = None
    role: str = ""
    """The role that the person says to have."""
    to: str = ""
    """With ``delegate``: who decides instead."""
    step: str = ""
    """With ``retry``: the step that is done once more; the first one that the gate names."""


class GateDecision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a gate has ended. ``at`` in nanoseconds since 1970.

    ``values`` are those to go on with: None after a skip. ``by`` is None when nobody decided,
    because the time was over (``expired``) or it is approved at once (``auto``, by which
    ``rule``); ``votes`` are all approvals, in their order. ``step`` is done once more.
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
    step: str = ""
    auto: bool = False
    rule: str = ""

    @property
    def text(self) -> str:
        """Who has decided what, for people."""
        done = {
            "modify": "modified",
            "skip": "skipped",
            "cancel": "cancelled",
            "retry": f"sent back to {self.step}" if self.step else "sent back",
        }
        word = done.get(self.do, f"{self.do.removesuffix('e')}ed")
        if self.auto:
            return f"{word} at once" + (f", because {self.rule}" if self.rule else "")
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
    """An open gate. Times in nanoseconds since 1970; ``due`` is 0 when no time is set.

    ``level`` is how often it has escalated, ``barred`` who may not decide because of four eyes.
    """

    path: str
    name: str
    gate: Gate
    opened_at: int
    due: int = 0
    level: int = 0
    votes: list[Vote] = []
    delegations: list[Delegation] = []
    barred: tuple[str, ...] = ()
    reminded: int = 0

    @property
    def escalated(self) -> bool:
        """Whether others may decide as well because nobody did in time."""
        return self.level > 0

    @property
    def approvers(self) -> tuple[str, ...]:
        """Who may decide now, by name."""
        named = [
            *self.gate.approvers,
            *(name for level in self.gate.levels[: self.level] for name in level.approvers),
            *(each.to for each in self.delegations),
        ]
        return tuple(dict.fromkeys(name for name in named if self.handed(name) is not False))

    @property
    def roles(self) -> tuple[str, ...]:
        """Which roles may decide now."""
        more = (role for level in self.gate.levels[: self.level] for role in level.roles)
        return (*self.gate.roles, *more)

    def handed(self, who: str) -> bool | None:
        """Tell whether somebody has got a say, or has given his own away; None: neither."""
        found: bool | None = None
        for each in self.delegations:
            if who in {each.by.who, each.to}:
                found = who == each.to
        return found

    @property
    def excluded(self) -> tuple[str, ...]:
        """Who may not decide now."""
        return tuple(dict.fromkeys((*self.gate.excluded, *self.barred)))

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
            "excluded": [*self.excluded],
            "opened_at": self.opened_at,
            "due": self.due,
            "on_expiry": on_expiry(self) if self.due else "",
            "escalated": self.escalated,
            "votes": [msgspec.to_builtins(each) for each in self.votes],
            **self._more(),
        }

    def _more(self) -> dict[str, Any]:
        """Return what only some gates have."""
        found = {
            "level": self.level if len(self.gate.levels) > 1 else 0,
            "mode": self.gate.mode,
            "retry": [*self.gate.retry],
            "delegations": [msgspec.to_builtins(each) for each in self.delegations],
        }
        return {key: value for key, value in found.items() if value}


def on_expiry(state: GateState) -> OnExpiry:
    """Return what happens when the time of a gate is over."""
    levels = state.gate.levels
    if not state.level:
        return state.gate.on_expiry
    return "escalate" if state.level < len(levels) else levels[-1].on_expiry


def refusal(state: GateState, word: GateWord, by: Operator | None) -> str:
    """Return why a word does not count at a gate; empty when it does."""
    gate, who = state.gate, "" if by is None else by.who
    if word.do != "delegate" and word.do not in gate.decisions:
        return f"{word.do} cannot be decided here: {', '.join(gate.decisions)} can"
    if gate.named and not who:
        return "it matters who decides here: give a name"
    if who in state.excluded:
        return f"{who} may not decide here"
    people, roles, handed = state.approvers, state.roles, state.handed(who)
    if handed is False:
        return f"{who} has handed this over: {', '.join(people) or 'others'} may decide"
    if (people or roles) and not handed and who not in people and word.role not in roles:
        told = [*people, *(f"the role {role}" for role in roles)]
        return f"{who} may not decide here: {' or '.join(told)} may"
    if word.do == "delegate":
        return _no_delegation(state, word, who)
    if word.do == "approve" and who and who in {each.by.who for each in state.votes}:
        return f"{who} has approved already: {len(state.votes)} of {gate.quorum}"
    if word.do == "modify":
        return wrong_values(gate, word.values or {})
    if word.step and (word.do != "retry" or (gate.retry and word.step not in gate.retry)):
        others = ", ".join(gate.retry) or "nothing"
        return f"{word.step[:60]!r} cannot be done once more: {others} can"
    return "" if word.values is None else f"values do not go with {word.do}: decide modify"


def _no_delegation(state: GateState, word: GateWord, who: str) -> str:
    """Return why somebody cannot hand his say over; empty when he can."""
    if not (state.gate.approvers or state.gate.roles):
        return "anybody may decide here: there is nothing to hand over"
    if not word.to or len(word.to) > NAME_CHARS_MAX or word.to == who:
        return "name somebody else who decides instead"
    if word.to in state.excluded:
        return f"{word.to} may not decide here"
    if who in {each.by.who for each in state.votes}:
        return f"{who} has approved already"
    if len(state.delegations) >= DELEGATIONS_MAX:
        return f"it was handed over {DELEGATIONS_MAX} times already"
    return ""


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
