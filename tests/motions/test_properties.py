"""Whatever comes, in whatever order: a motion follows its machine, and folds again the same."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from protocols.directives import Directive
from protocols.effects import FINAL, Arm, Ask, Emit
from protocols.error_kinds import KINDS
from protocols.machines.check import check as findings
from protocols.machines.check import targets
from protocols.machines.machine import Hook, Machine, Next, State
from protocols.mail import Reply
from tests.kernel.mailbox import Mailbox, is_event
from tests.motions.machines import PERMIT, motion, told
from tests.motions.test_signals import WITNESSED

NAMES: Final = (
    *PERMIT.signal_names,
    "stop",
    "jump",
    "motion.resume",
    "motion.review",
    "motion.transition",
    "noise",
)
VALUES: Final = st.one_of(
    st.none(),
    st.sampled_from(["retry", "halt", "return_to_previous", "DONE", "DENIED"]),
    st.fixed_dictionaries(
        {},
        optional={
            "to": st.sampled_from([*PERMIT.states, "B", "S1", "S2", "Mars"]),
            "do": st.sampled_from(["retry", "halt", "return_to_previous", "transition", "x"]),
            "who": st.just("ann"),
            "ayes": st.integers(0, 3),
            "noes": st.integers(0, 3),
        },
    ),
    st.fixed_dictionaries(
        {"success": st.booleans()},
        optional={
            "output": st.integers(0, 9),
            "next_state": st.sampled_from([*PERMIT.states, "B", "S1", "S2", None]),
            "error": st.sampled_from([*KINDS, "odd", None]),
        },
    ),
)
RECENT: Final = st.sampled_from([0, 0, 0, 0, 1, 2, 9])
"""Which step or timer: mostly the latest one."""
VERBS: Final = st.one_of(
    st.tuples(st.just("reply"), RECENT, VALUES),
    st.tuples(st.just("fail"), RECENT, st.sampled_from([*KINDS, "odd", "flooded"])),
    st.tuples(st.just("signal"), st.sampled_from(NAMES), VALUES),
    st.tuples(st.just("fire"), RECENT, st.none()),
    st.tuples(st.just("time_out"), RECENT, st.none()),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 3600, 700_000]), st.none()),
)


def act(box: Mailbox, verb: str, what: Any, value: Any) -> None:
    """Do one thing to a motion; steps and timers of the past are as good as open ones."""
    asked = [each for each in box.effects if isinstance(each, Ask)]
    armed = [each for each in box.effects if isinstance(each, Arm)]
    if verb == "signal":
        box.signal(what, value)
    elif verb == "wait":
        box.pass_time(what)
    elif verb == "fire" and armed:
        box.fold_fired(armed[-1 - what % len(armed)].name)
    elif asked:
        ask = asked[-1 - what % len(asked)]
        if verb == "reply":
            box.reply(ask.path, value, attempt=ask.attempt)
        elif verb == "fail":
            box.fail(ask.path, value, attempt=ask.attempt)
        elif verb == "time_out":
            box.time_out(ask.path, attempt=ask.attempt)


def check(box: Mailbox, machine: Machine) -> None:
    """Check what must hold of every motion, whatever has happened to it."""
    transitions = told(box.effects, "transition")
    states = ["", *(each["to"] for each in transitions)]
    assert box.instance.status != "blocked", box.instance.blocked
    assert [each["from"] for each in transitions] == states[:-1]
    assert [each["number"] for each in transitions] == list(range(1, len(states)))
    came_from: dict[str, str] = {}
    for each in transitions:
        begin, end = each["from"], each["to"]
        if each["cause"] == "submitted":
            assert (begin, end) == ("", machine.initial)
        elif each["cause"] == "compensated":
            assert machine.states[end].ends == "failed"
        elif end not in targets(machine.states[begin]):
            assert each["cause"] in {"returned", "reviewed", "resumed"}
            assert came_from[begin] == end
        back = end not in targets(machine.states[begin]) if begin else False
        back = back and each["cause"] != "compensated"
        if not back and (each["cause"] != "signal" or end not in came_from):
            came_from[end] = begin
    if box.instance.status == "running" and transitions:
        assert box.instance.state["state"] == states[-1]
        assert len(box.instance.waiting()) >= 1
    identities = [each.id for each in box.effects if isinstance(each, Emit)]
    assert len(identities) == len(set(identities))
    box.refold()


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([PERMIT, WITNESSED]),
    st.integers(0, 6),
    st.lists(VERBS, min_size=8, max_size=40),
)
def test_a_motion_follows_its_machine_whatever_comes(
    machine: Any, far: int, verbs: list[tuple[str, Any, Any]]
) -> None:
    """No verb of a stranger moves it off its table, stops it without a word, or blocks it."""
    box = motion(machine)
    box.start({"plot": 7})
    for _ in range(far):
        act(box, "reply", 0, {"ayes": 3, "noes": 1})
    for verb, what, value in verbs:
        act(box, verb, what, value)

    check(box, machine)


def directives(names: list[str]) -> st.SearchStrategy[Directive]:
    """Return directives that any state may have, each with something behind it."""
    first = st.one_of(
        st.sampled_from(
            ["retry", "return_to_previous", "continue", "halt_and_alert", "compensate"]
        ).map(lambda do: {"do": do}),
        st.just({"do": "compensate", "to": names[-1]}),
        st.just({"do": "fallback", "services": ("y", "z"), "unknown": "switch"}),
        st.just({"do": "review", "by": "judge"}),
        st.just({"do": "review", "timeout": 10}),
        st.sampled_from(names).map(lambda name: {"do": "continue", "to": name}),
    )
    return st.lists(first, min_size=1, max_size=3).map(_chained)


def _chained(parts: list[dict[str, Any]]) -> Directive:
    then: Directive | None = None
    for each in reversed(parts):
        then = Directive(**each, then=then)
    assert then is not None
    return then


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Return a machine without an error: a chain to an end, with ways across it."""
    count = draw(st.integers(2, 5))
    names = [f"S{n}" for n in range(count)]
    flags = st.booleans()
    hooks = st.sampled_from([(), (), (Hook(service="h", operation="o"),)])
    states: dict[str, State] = {}
    for number, name in enumerate(names[:-1]):
        parked = draw(st.sampled_from([False, False, True]))
        across = draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
        rules = [Next(to=to, when="result.ayes > 1") for to in across]
        table = draw(
            st.dictionaries(st.sampled_from([*KINDS, "odd"]), directives(names), max_size=3)
        )
        states[name] = State(
            owner="" if parked else "x",
            parked=parked,
            next=() if parked else (*rules, names[number + 1]),
            signals={
                "go": names[number + 1],
                **({"jump": draw(st.sampled_from(names))} if draw(flags) else {}),
            }
            if parked or draw(flags)
            else {},
            timeout=draw(st.sampled_from([None, 30])),
            on_error=dict(table),
            on_entry=draw(hooks),
            on_exit=draw(hooks),
            undo=None if parked else draw(st.sampled_from([None, "u", "u"])),
            pivot=not parked and draw(st.integers(0, 9)) == 0,
        )
    states[names[-1]] = State(
        owner=draw(st.sampled_from(["", "x"])),
        terminal=draw(st.sampled_from([True, "failed", "failed"])),
    )
    machine = Machine(
        name="random",
        initial="S0",
        states=states,
        kinds=("odd",),
        reviewer=draw(st.sampled_from(["", "judge"])),
        on_transition=draw(hooks),
    )
    assume(not [each for each in findings(machine) if each.severity == "error"])
    return machine


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(machines(), st.integers(0, 6), st.lists(VERBS, min_size=8, max_size=30))
def test_every_machine_is_followed_whatever_comes(
    machine: Machine, far: int, verbs: list[tuple[str, Any, Any]]
) -> None:
    """Any machine that passes the checks: no verb blocks it or moves it off its table."""
    box = motion(machine)
    box.start({"plot": 7})
    for _ in range(far):
        act(box, "reply", 0, {"ayes": 3, "noes": 1})
    for verb, what, value in verbs:
        act(box, verb, what if what != "table" else "go", value)

    check(box, machine)


def is_undoable(machine: Machine, ask: Ask) -> bool:
    """Tell whether an ask is for the work of a state with an undo."""
    name = ask.path.split("/")[2].split("#")[0]
    state = machine.states.get(name)
    return (
        bool(state and state.undo) and ask.operation == machine.operation(name) and not ask.undoes
    )


def end(box: Mailbox) -> None:
    """Let every undo work, and the time pass, until the motion has ended."""
    for _ in range(200):
        waiting = box.instance.waiting()
        steps = [each for each in waiting if each.kind == "step"]
        timers = [each for each in waiting if each.kind == "timer"]
        if steps:
            box.reply(steps[0].path, attempt=steps[0].attempt)
        elif timers:
            first = min(timers, key=lambda each: each.due)
            box.at = max(box.at, first.due)
            box.fire(first.path)
        else:
            break
    assert box.instance.status in FINAL


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(machines(), st.integers(0, 6), st.lists(VERBS, max_size=25))
def test_what_the_states_did_is_undone_once_and_in_reverse_order(
    machine: Machine, far: int, verbs: list[tuple[str, Any, Any]]
) -> None:
    """A motion that is cancelled after whatever has happened to it: nothing is left or lost."""
    box = motion(machine)
    box.start({"plot": 7})
    for _ in range(far):
        act(box, "reply", 0, {"ayes": 3, "noes": 1})
    for verb, what, value in verbs:
        act(box, verb, what if what != "table" else "go", value)
    box.cancel()
    end(box)

    asked = [each for each in box.effects if isinstance(each, Ask)]
    work = [each for each in asked if is_undoable(machine, each)]
    happened = {
        each.key.removeprefix("m-1/1")
        for each in work
        for mail in box.mails
        if isinstance(mail, Reply) and mail.step == each.step and mail.failure is None
    }
    fates = {each.path: each.fate for each in box.instance.steps if each.service}
    stands = box.instance.status == "completed" or "pivot" in box.instance.state
    assert happened <= fates.keys()
    assert stands or all(fates[key] in {"undone", "could_not"} for key in happened)
    undos = [each.undoes for each in asked if each.undoes and each.attempt == 1]
    assert len(undos) == len(set(undos))
    begun = {each.key: at for at, each in enumerate(work) if each.attempt == 1}
    ending = [each.cause for each in box.effects if is_event(each, "compensating")]
    last = [
        begun[each.undoes]
        for each in asked
        if each.undoes and each.attempt == 1 and ending and each.cause >= ending[0]
    ]
    assert last == sorted(last, reverse=True)
    check(box, machine)
