"""What a motion's interpreter decides: where a completion, a signal or a person may lead.

Pure: a machine, a state and what came in give a Move, or a Refusal that says why not. Nobody is
privileged: an owner, a reviewer, an operator and a signal all ask here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from actors.kernel.answers import Update
from protocols import codec
from protocols.blobs import BLOB_BYTES_MAX
from protocols.conditions import Condition, ConditionError
from protocols.error_kinds import ALIASES, KINDS, OVER_LIMIT, SYSTEM
from protocols.errors import FailError
from protocols.failure import VALIDATION, Failure
from protocols.machines.check import targets
from protocols.machines.machine import TRANSITION, Machine, Next, State

Cause = Literal[
    "submitted",
    "completed",
    "signal",
    "returned",
    "reviewed",
    "resumed",
    "continued",
    "compensated",
    "forked",
]
STATEMENT_BYTES_MAX: Final = 16 * 1024
"""Of a witness: its statement is part of the event of a transition."""
TEXT_CHARS_MAX: Final = 300
"""Of a name, a reason or a message that strangers give and events repeat."""
ILLEGAL: Final = "illegal_transition"
"""Error kind of an answer that asks for a state that may not follow. Nobody declares it: it halts,
unless the machine lists it among its ``kinds``."""
UNSUCCESSFUL: Final = "unsuccessful"
"""Error kind of an answer that says ``success: false`` and no kind."""


_RESULT_FIELDS: Final = frozenset({"success", "next_state", "error", "motion_id", "branch"})


class Answer(msgspec.Struct, frozen=True):
    """An owner's completion: its output, the state that it asks for, and who it was.

    ``size`` is that of the encoded output, in bytes; ``digest`` its SHA-256, in hexadecimal.
    """

    output: Any
    to: str = ""
    owner: str = ""
    step: str = ""
    size: int = 0
    digest: str = ""

    def __post_init__(self) -> None:
        """Encode the output, once; whether it is too large for a motion is told by its size."""
        body = codec.encode(codec.Known(self.output), limit=BLOB_BYTES_MAX)
        msgspec.structs.force_setattr(self, "size", len(body))
        msgspec.structs.force_setattr(self, "digest", hashlib.sha256(body).hexdigest())


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A transition that is allowed. ``to`` is empty at the end of a motion.

    ``back``: to the state that came before, which stays what it was for both.
    """

    to: str
    cause: Cause
    back: bool = False
    answer: Answer | None = None
    failure: Failure | None = None
    signal: str = ""
    by: str = ""
    why: str = ""
    asked: Update[Any] | None = None
    """By what the sender of the signal is told."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A transition that is not allowed, and why."""

    to: str
    reason: str
    cause: str
    signal: str = ""
    by: str = ""
    why: str = ""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a reviewer or an operator says: ask again, go on to a state, go back, or halt."""

    do: Literal["retry", "transition", "return_to_previous", "halt"]
    to: str = ""
    who: str = ""
    why: str = ""
    result: Any = None


def read_answer(value: Any, *, owner: str, motion: str, step: str) -> Answer | Failure:
    """Return what an owner's reply says.

    A reply with ``success`` or ``next_state`` is a branch's result: ``{success, output,
    next_state, error}``; without ``output`` the other fields are the output. Every other value
    is the output itself.
    """
    if not isinstance(value, dict) or not ("next_state" in value or "success" in value):
        return Answer(value, "", owner, step)
    success, to = value.get("success", True), value.get("next_state")
    if value.get("motion_id", motion) != motion:
        message = f"{owner} answered for another motion"
        return Failure(kind=SYSTEM, message=message, retryable=False)
    if success is not True:
        return _unsuccessful(value.get("error"))
    if not isinstance(to, str | None):
        message = f"next_state is {type(to).__name__}, not the name of a state"
        return Failure(kind=SYSTEM, message=message, retryable=False)
    rest = {key: each for key, each in value.items() if key not in _RESULT_FIELDS}
    return Answer(value.get("output", rest or None), to or "", owner, step)


def heard(statement: Answer) -> Answer | Failure:
    """Return a witness's statement, or the failure that it is none: nothing, or too much."""
    if not statement.output:
        message = f"{statement.owner} has stated nothing"
        return Failure(kind=SYSTEM, message=message, retryable=False)
    if statement.size > STATEMENT_BYTES_MAX:
        message = f"a statement of {statement.size} bytes, the limit is {STATEMENT_BYTES_MAX}"
        return Failure(kind=OVER_LIMIT, message=message, retryable=False)
    return statement


def submitted(machine: Machine, given: Any) -> Move:
    """Return how a motion begins: in the first state, or where its input says, if it may.

    With ``work_done`` the owner of that state is not asked: ``output`` is what it has answered.
    Raises FailError for a state in which no motion may begin.
    """
    if not machine.begin or not isinstance(given, dict) or given.get("state") is None:
        return Move(to=machine.initial, cause="submitted")
    state = given["state"]
    if not isinstance(state, str) or state not in {machine.initial, *machine.begin}:
        shown = state[:TEXT_CHARS_MAX] if isinstance(state, str) else type(state).__name__
        known = _list((machine.initial, *machine.begin))
        raise FailError(VALIDATION, f"no motion may begin in {shown!r}: {known}")
    done = given.get("work_done") is True and machine.states[state].owner
    answer = Answer(given.get("output"), "", machine.states[state].owner) if done else None
    return Move(to=state, cause="submitted", answer=answer)


def completed(
    machine: Machine, state: str, answer: Answer, names: Mapping[str, Any]
) -> Move | Refusal:
    """Return where a completion leads: to the state that was asked for, or the first allowed."""
    if machine.states[state].terminal:
        if answer.to not in {"", state}:
            return _refused(machine, state, answer.to, "completed", by=answer.owner)
        return Move(to="", cause="completed", answer=answer)
    found = _first(machine.states[state].nexts, {**names, "result": answer.output}, answer.to)
    if isinstance(found, Next):
        return Move(to=found.to, cause="completed", answer=answer)
    if answer.to:
        return _refused(machine, state, answer.to, "completed", by=answer.owner, more=found)
    reason = f"no condition of {state} holds: {found}"
    return Refusal(to="", reason=reason, cause="completed", by=answer.owner)


def continued(machine: Machine, state: str, to: str, names: Mapping[str, Any]) -> str | None:
    """Return where a state leads whose work was given up: nowhere from an end, None if nowhere.

    Conditions over the output that is not there do not hold.
    """
    of = machine.states[state]
    if of.ends:
        return ""
    if to:
        return to if to in targets(of) else None
    found = _first(of.nexts, names, "")
    return found.to if isinstance(found, Next) else None


def signalled(
    machine: Machine, state: str, name: str, data: Any, names: Mapping[str, Any]
) -> Move | Refusal:
    """Return where a signal leads; ``motion.transition`` names the state that it asks for."""
    rules = machine.states[state].signalled
    by, why = _said(data, "who"), _said(data, "why")
    if name == TRANSITION:
        wanted = _said(data, "to") or (data if isinstance(data, str) else "")[:TEXT_CHARS_MAX]
        rules = {key: rule for key, rule in rules.items() if rule.to == wanted}
        if not rules:
            return _refused(machine, state, wanted, "signal", by=by, why=why, signal=name)
    elif name in rules:
        wanted = rules[name].to
        rules = {name: rules[name]}
    else:
        elsewhere = [each.signalled[name].to for each in _taking(machine, name)]
        return Refusal(
            to=elsewhere[0] if elsewhere else "",
            reason=f"{state} takes no signal {name[:TEXT_CHARS_MAX]!r}: {_list(rules)}",
            cause="signal",
            signal=name[:TEXT_CHARS_MAX],
            by=by,
            why=why,
        )
    found = _first(tuple(rules.values()), {**names, "signal": data}, wanted)
    if isinstance(found, Next):
        return Move(to=found.to, cause="signal", signal=name, by=by, why=why)
    reason = f"the condition of the signal does not hold: {found}"
    return Refusal(to=wanted, reason=reason, cause="signal", signal=name, by=by, why=why)


def decided(
    machine: Machine,
    state: str,
    decision: Decision,
    names: Mapping[str, Any],
    cause: Literal["reviewed", "resumed"],
) -> Move | Refusal:
    """Return where a person's or a reviewer's word leads: the same rules as for an owner's."""
    answer = Answer(decision.result, decision.to, decision.who)
    if not decision.to:
        reason = "a transition needs 'to': the name of a state"
        return Refusal(to="", reason=reason, cause=cause, by=decision.who, why=decision.why)
    way = completed(machine, state, answer, names)
    if isinstance(way, Move):
        told = {"cause": cause, "by": decision.who, "why": decision.why}
    else:
        told = {"cause": cause, "why": decision.why}
    return msgspec.structs.replace(way, **told)


def read_decision(data: Any, cause: Literal["reviewed", "resumed"]) -> Decision | Refusal:
    """Return the decision that a signal or a reviewer's reply holds.

    A text is the word alone; an operator who says nothing means ``retry``.
    """
    if data is None and cause == "resumed":
        return Decision(do="retry")
    given = {"do": data} if isinstance(data, str) else data
    if isinstance(given, dict) and "do" not in given:
        given = {**given, "do": "transition" if given.get("to") else "retry"}
    try:
        found = msgspec.convert(given, Decision)
    except msgspec.ValidationError as error:
        reason = f"no decision: {error}; say retry, transition, return_to_previous or halt"
        return Refusal(to="", reason=reason, cause=cause, by=_said(data, "who"))
    short = {field: getattr(found, field)[:TEXT_CHARS_MAX] for field in ("to", "who", "why")}
    return msgspec.structs.replace(found, **short)


@lru_cache(maxsize=4_096)
def _condition(text: str) -> Condition:
    return Condition(text)


def _first(rules: Iterable[Next], names: Mapping[str, Any], wanted: str) -> Next | str:
    """Return the first rule, of those to ``wanted``, whose condition holds, or why none does."""
    reasons = []
    for each in rules:
        if wanted and each.to != wanted:
            continue
        if not each.when:
            return each
        try:
            if _condition(each.when).holds(names):
                return each
            reasons.append(f"{each.when} is false")
        except ConditionError as error:
            reasons.append(f"{each.when}: {error.message}")
    return "; ".join(reasons)[:TEXT_CHARS_MAX]


def _refused(
    machine: Machine,
    state: str,
    to: str,
    cause: str,
    *,
    by: str = "",
    why: str = "",
    signal: str = "",
    more: str = "",
) -> Refusal:
    to = to[:TEXT_CHARS_MAX]
    of = machine.states[state]
    if to not in machine.states:
        reason = f"there is no state {to!r}"
    elif more:
        reason = f"{to} may follow {state}, but {more}"
    elif signal and to in {each.to for each in of.nexts}:
        reason = f"{to} follows {state} only when the work of {state} is done"
    else:
        reason = f"{to} does not follow {state}: {_list(each.to for each in of.nexts)}"
    return Refusal(to=to, reason=reason, cause=cause, by=by, why=why, signal=signal)


def _taking(machine: Machine, signal: str) -> list[State]:
    return [each for each in machine.states.values() if signal in each.signalled]


def _unsuccessful(error: Any) -> Failure:
    """Return the failure of a reply that says ``success: false``, whatever it says beside."""
    kind: Any = UNSUCCESSFUL
    message = error
    if isinstance(error, dict):
        kind, message = error.get("kind"), error.get("message", "")
    elif isinstance(error, str) and (error in KINDS or error in ALIASES):
        kind = error
    known = kind if isinstance(kind, str) and kind else UNSUCCESSFUL
    text = message if isinstance(message, str) else ""
    return Failure(
        kind=known[:TEXT_CHARS_MAX],
        message=text[:TEXT_CHARS_MAX] or "the owner answered 'success: false'",
        retryable=False,
        details=error if isinstance(error, dict) and _fits(error) else None,
    )


def _fits(details: dict[str, Any]) -> bool:
    """Tell whether details fit into a message, as those of every other failure do."""
    body = codec.encode(codec.Known(details), limit=BLOB_BYTES_MAX)
    return len(body) <= codec.PAYLOAD_BYTES_MAX


def _said(data: Any, field: str) -> str:
    value = data.get(field) if isinstance(data, dict) else ""
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else ""


def _list(words: Iterable[str]) -> str:
    return ", ".join(words) or "nothing"
