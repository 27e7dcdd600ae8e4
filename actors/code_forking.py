"""Forks of code: what another run of the same code finds done, by path.

    the mailbox of a run -> what was asked for before a step, and how that ended -> outcomes

The new run asks for the same paths, as far as its code goes the same way, and each of these is
at once what it came to; events and signals that were sent are not sent again. Signals that came
before the step wait for the code. What was cancelled, and what never ended, is asked for anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec

from protocols import codec
from protocols.effects import AnyEffect, Arm, Ask, Emit, Send, Spawn
from protocols.failure import FAILED, TIMEOUT, Failure
from protocols.findings import did_you_mean
from protocols.forking import Forking, ForkOrder, StepFork, against, not_forked
from protocols.mail import (
    AnyMail,
    AttemptRefused,
    AttemptTimedOut,
    ChildEnded,
    Fired,
    Reply,
    Reviewed,
    Signal,
)
from protocols.subjects import step_token

if TYPE_CHECKING:
    from actors.kernel.instance import Instance

Heard = Sequence[tuple[AnyMail | None, Sequence[AnyEffect]]]
"""Each message of a mailbox with what its fold asked for; None: a generation began."""

_NO: Final = frozenset({"reject", "cancel"})
"""Decisions that another run does not begin with."""


def code_fork(
    instance: Instance, heard: Heard, order: ForkOrder, fallen: Mapping[str, str]
) -> Forking:
    """Return what a run of code takes over of one whose mailbox was ``heard``."""
    if instance.generation > 1:
        return not_forked(f"the run has continued as new, to generation {instance.generation}")
    path = "/" + order.step.removeprefix("/")
    former: Mapping[str, Any] = instance.taken.get("outcomes", {})
    asked = {token: (f"/{unquote(token)}", 0) for token in former} | dict(_asked(heard))
    paths = {token: place for token, (place, _) in asked.items()}
    token = step_token(path)
    if token not in asked:
        return not_forked(f"the run never came to {path}; {did_you_mean(path, paths.values())}")
    if token in former and instance.origin is not None:
        return not_forked(f"{path} was taken over itself, from {instance.origin.run}: fork that")
    begin = asked[token][1]
    before = {each for each, (_, at) in asked.items() if at <= begin and each != token}
    outcomes = {
        each: outcome
        for each, outcome in {**former, **_outcomes(instance, heard)}.items()
        if each in before
    }
    gates = {
        each: {"decision": msgspec.to_builtins(decision)}
        for each, decision in instance.gates_ended.items()
        if each in before and decision.do not in _NO
    }
    outcomes |= gates
    taken = [paths[each] for each in outcomes]
    judged = [paths[each] for each in gates]
    problems = tuple(against("step", order, taken, fallen, judged))
    steps = [
        StepFork(
            step=place,
            was=place,
            status=_status(instance, each, outcomes),
            what="taken" if each in outcomes else "again",
        )
        for each, (place, _) in asked.items()
    ]
    signals = [*instance.taken.get("signals", ())]
    signals += [
        {
            "name": mail.name,
            "seq": mail.seq,
            "value": codec.decode(mail.body, mail.content_type),
        }
        for mail, _ in heard[: begin + 1]
        if type(mail) is Signal
    ]
    told: dict[str, dict[str, Any]] = {
        step_token(place): {}
        for _, effects in heard[: begin + 1]
        for effect in effects
        if isinstance(effect, Emit | Send)
        for place in [effect.id.removeprefix(f"{instance.id}/1")]
        if place.rpartition("/")[2].startswith(("emit.", "send."))
    }
    return Forking(
        steps=tuple(steps),
        problems=problems,
        standing={"outcomes": {**told, **outcomes}, "signals": signals},
    )


def _asked(heard: Heard) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield the token of each thing that was asked for, its path, and at which message first."""
    known: set[str] = set()
    for number, (_, effects) in enumerate(heard):
        for effect in effects:
            path = _path_of(effect)
            token = step_token(path) if path else ""
            if token and token not in known:
                known.add(token)
                yield token, (path, number)


def _path_of(effect: AnyEffect) -> str:
    """Return the path of what is asked for; empty: it is nothing that ends."""
    match effect:
        case Ask():
            return "" if effect.undoes else effect.path
        case Spawn():
            return effect.parent.path
        case Arm() if not effect.guard and not effect.name.startswith("~"):
            return f"/{unquote(effect.name)}"
        case Emit(event="gate_opened"):
            return str(effect.data["gate"])
        case _:
            return ""


def _outcomes(instance: Instance, heard: Heard) -> dict[str, dict[str, Any]]:
    """Return how each thing that was asked for ended, by token; what was cancelled did not."""
    found: dict[str, dict[str, Any]] = {}
    lost: dict[str, tuple[int, Failure]] = {}
    attempts: dict[str, int] = {}
    due: dict[str, int] = {}
    for mail, effects in heard:
        for effect in effects:
            if isinstance(effect, Ask):
                attempts[effect.step] = max(effect.attempt, attempts.get(effect.step, 0))
            elif isinstance(effect, Arm) and not effect.guard:
                due[effect.name] = effect.due
        token, outcome = _ended(mail, instance.decided, due)
        if outcome is not None:
            found.setdefault(token, outcome)
        elif failure := _failure(mail):
            lost[token] = (mail.attempt, failure)  # type: ignore[union-attr]
    for token, (attempt, failure) in lost.items():
        # What was cancelled while it was tried again has another attempt.
        if instance.decided.get(token) == 0 and attempt == attempts.get(token):
            found.setdefault(token, {"failure": msgspec.to_builtins(failure)})
    return found


def _ended(
    mail: AnyMail | None, decided: Mapping[str, int], due: Mapping[str, int]
) -> tuple[str, dict[str, Any] | None]:
    """Return the token of what a message is about, and how that ended; None: not by this."""
    match mail:
        case Reply():
            counts = mail.failure is None and decided.get(mail.step) == mail.attempt
            return mail.step, _value(mail.body, mail.content_type) if counts else None
        case Reviewed():
            counts = mail.done and decided.get(mail.step) == mail.attempt
            return mail.step, _value(mail.body, "") if counts else None
        case ChildEnded() if decided.get(mail.step):
            if mail.status == "completed":
                return mail.step, _value(mail.body, mail.content_type)
            failure = mail.failure or Failure(kind=FAILED, message=f"it ended as {mail.status}")
            return mail.step, {"failure": msgspec.to_builtins(failure)}
        case Fired() if mail.at >= due.get(mail.name, mail.at + 1):
            return mail.name, {"value": None}
        case AttemptRefused() | AttemptTimedOut():
            return mail.step, None
        case _:
            return "", None


def _failure(mail: AnyMail | None) -> Failure | None:
    """Return the failure of an attempt that a message tells; None: it tells none."""
    if isinstance(mail, AttemptTimedOut):
        return Failure(kind=TIMEOUT, message="no reply in time")
    return mail.failure if isinstance(mail, Reply | AttemptRefused) else None


def _value(body: bytes, content_type: str) -> dict[str, Any]:
    return {"value": codec.decode(body, content_type)}


def _status(instance: Instance, token: str, outcomes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what something came to, in the words of steps of graphs."""
    if token in outcomes:
        return "failed" if "failure" in outcomes[token] else "done"
    attempt = instance.decided.get(token)
    return "running" if attempt is None else "done" if attempt else "failed"
