"""What is wrong with a machine as a whole: found before it is deployed, with place and advice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final

from protocols.conditions import Condition, ConditionError
from protocols.directives import Directive, Table
from protocols.error_kinds import ALIASES, KINDS
from protocols.errors import ConfigurationError
from protocols.failure import TIMEOUT
from protocols.findings import Finding, Place, bounded, did_you_mean, too_late, wrong_kind
from protocols.gates.gate import REJECTED
from protocols.guardrails.check import of_states, unresolved
from protocols.guardrails.guardrail import INVALID_OUTPUT
from protocols.machines.machine import OWN_SIGNALS, Hook, Machine, Next, State, StateUndo
from protocols.subjects import is_id, is_name, is_step_name

STATES_MAX: Final = 500
STATE_CHARS_MAX: Final = 64
"""Of a state's name: it is part of the names of scopes."""
CHAIN_MAX: Final = 8
"""Directives that follow each other by ``then``."""
GUARDED: Final = (INVALID_OUTPUT, REJECTED)
"""Error kinds that only machines with guardrails have."""
NEXT_NAMES: Final = frozenset({"input", "data", "entry", "result"})
SIGNAL_NAMES: Final = frozenset({"input", "data", "entry", "signal"})


def check(machine: Machine) -> list[Finding]:
    """Return what is wrong with a machine, errors and warnings, as far as it is told."""
    found = bounded(chain(_heads(machine), _states(machine), of_states(machine)))
    # A wrong name also cuts a way: that would be told as two mistakes.
    wrong = any(each.severity == "error" for each in found)
    return found if wrong else bounded(chain(found, _ways(machine)))


def checked(machine: Machine) -> Machine:
    """Return the machine, or raise ConfigurationError that names every error of it.

    A guardrail that is shared has to be part of the machine by now.
    """
    errors = [each for each in check(machine) if each.severity == "error"]
    told = {each.place for each in errors}
    errors += [each for each in unresolved(machine) if each.place not in told]
    if errors:
        raise ConfigurationError(
            f"machine {machine.name[:60]!r}: "
            + "; ".join(f"{each.where}: {each.message}" for each in errors),
            hint="; ".join(each.hint for each in errors if each.hint),
        )
    return machine


def never(machine: Machine) -> Iterator[Finding]:
    """Return conditions that cannot be decided in whatever motion.

    Asked where a file is read, and not of what is stored: motions may be on their way with it.
    """
    for name, state in machine.states.items():
        at: Place = ("states", name)
        found = [((*at, "next", index), each) for index, each in enumerate(state.nexts)]
        found += [((*at, "signals", key), each) for key, each in state.signalled.items()]
        for place, each in found:
            try:
                why = Condition(each.when).undecidable() if each.when else ""
            except ConditionError:
                continue  # told already
            if why:
                yield Finding((*place, "when"), why, _CONDITION)


def asked(machine: Machine) -> dict[str, str]:
    """Return the services that a machine asks, each with the first place that names it."""
    found: dict[str, str] = {}
    for name, at in _asked(machine):
        found.setdefault(name, ".".join(map(str, at)))
    return found


def _asked(machine: Machine) -> Iterator[tuple[str, Place]]:
    tables: list[tuple[Table, Place]] = [(machine.directives, ("on_error",))]
    hooks: list[tuple[tuple[Hook, ...], Place]] = [(machine.on_transition, ("on_transition",))]
    for name, state in machine.states.items():
        at: Place = ("states", name)
        if state.owner:
            yield state.owner, (*at, "owner")
        tables.append((state.directives, (*at, "on_error")))
        hooks += [(state.on_entry, (*at, "on_entry")), (state.on_exit, (*at, "on_exit"))]
    if machine.reviewer:
        yield machine.reviewer, ("reviewer",)
    for table, at in tables:
        for kind, first in table.items():
            for each in _chain(first):
                yield from ((service, (*at, kind)) for service in each.services)
                if each.by:
                    yield each.by, (*at, kind)
    for some, at in hooks:
        yield from ((hook.service, at) for hook in some)


def kinds_of(machine: Machine) -> tuple[str, ...]:
    """Return the error kinds that directives of a machine may name."""
    return (*KINDS, *(GUARDED if machine.guardrails else ()), *machine.kinds)


def targets(state: State) -> dict[str, None]:
    """Return every state that may follow, by completion or by signal, in order."""
    return dict.fromkeys(each.to for each in (*state.nexts, *state.signalled.values()))


def _heads(machine: Machine) -> Iterator[Finding]:
    if not is_name(machine.name):
        yield Finding(("name",), f"{machine.name[:60]!r} is no name of a workflow", _NAME)
    if not 1 <= len(machine.states) <= STATES_MAX:
        yield Finding(("states",), f"{len(machine.states)} states", f"1 to {STATES_MAX} of them")
    if machine.limits is not None and machine.limits.per:
        yield Finding(("limits", "per"), "the motions of a machine are counted all together")
    yield from _begins(machine)
    if machine.reviewer and not is_name(machine.reviewer):
        yield Finding(("reviewer",), f"{machine.reviewer[:60]!r} is no name of a service", _NAME)
    for index, kind in enumerate(machine.kinds):
        if kind in KINDS or kind in ALIASES or not is_step_name(kind):
            yield Finding(
                ("kinds", index),
                f"{kind[:60]!r} is no kind of its own",
                "list only kinds that movant does not know itself: letters, digits, '_', '-'",
            )
    yield from _directives(machine, machine.directives, ("on_error",), None)
    yield from _hooks(machine.on_transition, ("on_transition",))
    yield from _witness(machine)
    if not any(state.terminal for state in machine.states.values()):
        yield Finding(("states",), "no state is terminal", "write 'terminal: true' where it ends")


def _begins(machine: Machine) -> Iterator[Finding]:
    begins: list[tuple[Place, str]] = [(("initial",), machine.initial)]
    begins += [(("begin", index), name) for index, name in enumerate(machine.begin)]
    for place, name in begins:
        if name not in machine.states:
            yield _unknown_state(machine, place, name)
        elif machine.states[name].terminal:
            yield Finding(place, f"{name} is the end already", "begin elsewhere")


def _states(machine: Machine) -> Iterator[Finding]:
    for name, state in machine.states.items():
        at: Place = ("states", name)
        if not is_id(name) or len(name) > STATE_CHARS_MAX:
            yield Finding(at, f"{name[:60]!r} is no name of a state", _STATE_NAME)
        yield from _role(machine, name, state)
        yield from _nexts(machine, state, at)
        yield from _signals(machine, state, at)
        yield from _directives(machine, state.directives, (*at, "on_error"), name)
        yield from _hooks(state.on_entry, (*at, "on_entry"))
        yield from _hooks(state.on_exit, (*at, "on_exit"))


def _role(machine: Machine, name: str, state: State) -> Iterator[Finding]:
    """Check that a state is one of three things: worked in, parked, or the end."""
    at: Place = ("states", name)
    if state.owner:
        yield from _step(state.owner, machine.operation(name), (*at, "owner"), (*at, "operation"))
    yield from _undo(name, state, at)
    if state.parked and (state.owner or state.operation):
        yield Finding((*at, "parked"), "a parked state has no owner", "take one of the two away")
    if state.parked and state.terminal:
        yield Finding((*at, "parked"), "a terminal state is not parked", "take 'parked' away")
    if not (state.owner or state.parked or state.terminal):
        yield Finding(
            at,
            f"state {name} has no owner",
            "write 'owner: SERVICE', or 'parked: true' to wait for a signal, "
            "or 'terminal: true' for an end",
        )
    yield from _follows(name, state, at)
    if state.heartbeat is not None:
        if not state.owner:
            message = f"{name} has no owner who could beat"
            yield Finding((*at, "heartbeat"), message, "take it away")
        elif float(state.heartbeat) >= machine.timeout_s(name):
            yield too_late(at)


def _undo(name: str, state: State, at: Place) -> Iterator[Finding]:
    for field in ("undo", "pivot"):
        if getattr(state, field) and not state.owner:
            yield Finding(
                (*at, field), f"{name} has no owner, whose work it could be about", "take it away"
            )
    if isinstance(state.undo, StateUndo):
        service = state.undo.service or (state.owner if is_name(state.owner) else "owner")
        place = (*at, "undo")
        yield from _step(service, state.undo.operation, (*place, "service"), (*place, "operation"))


def _follows(name: str, state: State, at: Place) -> Iterator[Finding]:
    if state.terminal:
        for field in ("next", "signals", "on_exit"):
            if getattr(state, field):
                yield Finding((*at, field), f"{name} is terminal: nothing follows", "take it away")
    elif state.owner and not state.next:
        yield Finding(
            at, f"nothing follows {name} when its work is done", "write 'next: STATE' or an end"
        )
    elif state.parked and not state.signals:
        yield Finding(at, f"no signal leads out of {name}", "write 'signals: {NAME: STATE}'")


def _nexts(machine: Machine, state: State, at: Place) -> Iterator[Finding]:
    final = False
    for index, each in enumerate(state.nexts):
        place = (*at, "next", index)
        if each.to not in machine.states:
            yield _unknown_state(machine, place, each.to)
        if final:
            yield Finding(
                place,
                f"{each.to} is never chosen: the one before it has no condition",
                "put the one without a condition last",
            )
        final = final or not each.when
        yield from _condition(each, (*place, "when"), NEXT_NAMES)
    if state.nexts and not final and state.owner:
        yield Finding(
            (*at, "next"),
            "when no condition holds, the motion halts",
            "add a state without a condition as the last one",
            "warning",
        )


def _signals(machine: Machine, state: State, at: Place) -> Iterator[Finding]:
    for name, each in state.signalled.items():
        place = (*at, "signals", name)
        if not is_step_name(name) or name.startswith(OWN_SIGNALS):
            yield Finding(
                place,
                f"{name[:60]!r} is no name for a signal",
                f"letters, digits, '_', '-', '.', and not beginning with {OWN_SIGNALS!r}",
                of_key=True,
            )
        if each.to not in machine.states:
            yield _unknown_state(machine, place, each.to)
        yield from _condition(each, (*place, "when"), SIGNAL_NAMES)


def _condition(each: Next, place: Place, names: frozenset[str]) -> Iterator[Finding]:
    if not each.when:
        return
    try:
        condition = Condition(each.when)
    except ConditionError as error:
        at = f" (character {error.column})" if error.column else ""
        yield Finding(place, f"condition {each.when[:80]!r}: {error.message}{at}", _CONDITION)
        return
    for name in sorted(condition.names - names):
        yield Finding(place, f"a condition here knows no {name!r}", did_you_mean(name, names))


def _directives(machine: Machine, table: Table, at: Place, state: str | None) -> Iterator[Finding]:
    known = kinds_of(machine)
    for kind, first in table.items():
        place = (*at, kind)
        yield from wrong_kind(kind, known, place)
        each: Directive | None = first
        depth = 0
        while each is not None:
            yield from _directive(machine, each, (*place, *("then",) * depth), state, kind)
            each = each.then if isinstance(each.then, Directive) else None
            depth += 1
            if depth > CHAIN_MAX:
                yield Finding(place, f"more than {CHAIN_MAX} directives in a row", "make it short")
                break


def _directive(
    machine: Machine, directive: Directive, place: Place, state: str | None, kind: str
) -> Iterator[Finding]:
    if directive.do == "compensate":
        yield from _compensate(machine, directive, place, state)
    asked = "" if state is None else machine.operation(state)
    for service in directive.services:
        yield from _step(service, asked or directive.operation, place, place)
    if directive.by:
        yield from _step(directive.by, directive.operation, place, place)
    if directive.do == "fallback" and kind == TIMEOUT and directive.unknown == "halt":
        yield Finding(
            place,
            "after a timeout the work may have been done, and the next service would do it again",
            "write 'unknown: switch' if that does no harm, or retry and review instead",
        )
    if directive.to and directive.to not in machine.states:
        yield _unknown_state(machine, (*place, "to"), directive.to)
    if state is not None:
        yield from _in_state(machine, directive, place, state)


def _compensate(
    machine: Machine, directive: Directive, place: Place, state: str | None
) -> Iterator[Finding]:
    if not any(each.undo for each in machine.states.values()):
        yield Finding(
            place,
            "no state says how its work is undone",
            "write 'undo: OPERATION' in each state whose work can be undone",
        )
    end = machine.states.get(directive.to)
    if end is not None and end.ends != "failed":
        ends = [name for name, each in machine.states.items() if each.ends == "failed"]
        yield Finding(
            (*place, "to"),
            f"{directive.to} does not end as failed, so nothing would be undone",
            did_you_mean(directive.to, ends) or "write 'terminal: failed' there",
        )
    elif directive.to and state is not None and machine.states[state].terminal:
        yield Finding((*place, "to"), f"{state} is terminal: nothing follows", "take it away")


def _in_state(
    machine: Machine, directive: Directive, place: Place, state: str
) -> Iterator[Finding]:
    of = machine.states[state]
    if directive.do in {"retry", "fallback"} and not of.owner:
        yield Finding(place, f"{state} has no owner whom {directive.do} could ask", "halt instead")
    if directive.do == "continue" and not of.terminal:
        if directive.to and directive.to not in targets(of):
            yield Finding(
                (*place, "to"),
                f"{directive.to} does not follow {state}",
                did_you_mean(directive.to, targets(of)),
            )
        elif not directive.to and not of.next:
            yield Finding(place, f"nothing follows {state}", "write 'to: STATE'")
    if directive.do == "return_to_previous" and not _before(machine, state):
        yield Finding(place, f"no state comes before {state}", "halt or review instead")


def _hooks(hooks: tuple[Hook, ...], at: Place) -> Iterator[Finding]:
    for index, hook in enumerate(hooks):
        place = (*at, index)
        yield from _step(hook.service, hook.operation, (*place, "service"), (*place, "operation"))


def _witness(machine: Machine) -> Iterator[Finding]:
    if machine.witness is None:
        return
    of = machine.witness
    at: Place = ("witness",)
    yield from _step(of.service, of.operation, (*at, "service"), (*at, "operation"))
    if not of.critical:
        message = "a witness that may be silent witnesses nothing"
        hint = "take 'critical' away, or make it a step of 'on_transition'"
        yield Finding((*at, "critical"), message, hint)


def _step(
    service: str, operation: str, of_service: Place, of_operation: Place
) -> Iterator[Finding]:
    if not is_name(service):
        yield Finding(of_service, f"{service[:60]!r} is no name of a service", _NAME)
    elif not is_step_name(operation):
        yield Finding(of_operation, f"{operation[:60]!r} is no operation", _STATE_NAME)
    elif not is_step_name(f"{service}.{operation}"):
        yield Finding(of_operation, "service and operation are too long", "128 characters in all")


def _ways(machine: Machine) -> Iterator[Finding]:
    """Look for states that nothing leads to, and for states that lead to no end."""
    ways = {name: _leads_to(machine, state) for name, state in machine.states.items()}
    reached = _closure({machine.initial, *machine.begin} & machine.states.keys(), ways)
    back: dict[str, set[str]] = {name: set() for name in machine.states}
    for name, follow in ways.items():
        for each in follow:
            back[each].add(name)
    ends = {name for name, state in machine.states.items() if state.terminal}
    ending = _closure(ends, back)
    for name in machine.states:
        if reached and name not in reached:
            yield Finding(
                ("states", name),
                f"nothing leads to {name}",
                "name it in the 'next' or the 'signals' of another state, or take it away",
            )
        elif ends and name not in ending:
            yield Finding(
                ("states", name),
                f"there is no way from {name} to an end",
                f"let it lead to {' or '.join(sorted(ends)[:3])}",
            )


def _leads_to(machine: Machine, state: State) -> set[str]:
    found = set(targets(state))
    for table in (state.directives, machine.directives):
        for first in table.values():
            found |= {each.to for each in _chain(first)}
    return found & machine.states.keys()


def _chain(directive: Directive) -> Iterator[Directive]:
    each: Directive | None = directive
    for _ in range(CHAIN_MAX):
        if each is None:
            return
        yield each
        each = each.then if isinstance(each.then, Directive) else None


def _before(machine: Machine, state: str) -> bool:
    return any(state in targets(each) for each in machine.states.values())


def _closure(begin: set[str], ways: Mapping[str, set[str]]) -> set[str]:
    found, waiting = set(begin), list(begin)
    while waiting:
        fresh = ways[waiting.pop()] - found
        found |= fresh
        waiting += sorted(fresh)
    return found


def _unknown_state(machine: Machine, place: Place, name: str) -> Finding:
    return Finding(place, f"there is no state {name[:60]!r}", did_you_mean(name, machine.states))


_NAME: Final = "letters, digits, '_', '-' and single dots between them, at most 128 in all"
_STATE_NAME: Final = "letters, digits, '_' and '-', beginning with a letter or a digit, at most 64"
_CONDITION: Final = "such as: result.ayes > result.noes && input.amount <= 1000"
