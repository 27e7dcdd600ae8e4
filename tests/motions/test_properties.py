"""Whatever comes, in whatever order: a motion follows its machine, and folds again the same."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.effects import Arm, Ask, Emit
from protocols.error_kinds import KINDS
from protocols.machine_check import targets
from tests.kernel.mailbox import Mailbox
from tests.motions.machines import PERMIT, motion, told
from tests.motions.test_signals import WITNESSED

NAMES: Final = (
    *PERMIT.signal_names,
    "stop",
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
            "to": st.sampled_from([*PERMIT.states, "B", "C", "Mars"]),
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
            "next_state": st.sampled_from([*PERMIT.states, "B", None]),
            "error": st.sampled_from([*KINDS, "odd", None]),
        },
    ),
)
VERBS: Final = st.one_of(
    st.tuples(st.just("reply"), st.just(0) | st.integers(0, 50), VALUES),
    st.tuples(st.just("fail"), st.integers(0, 50), st.sampled_from([*KINDS, "odd", "flooded"])),
    st.tuples(st.just("signal"), st.sampled_from(NAMES), VALUES),
    st.tuples(st.just("fire"), st.integers(0, 50), st.none()),
    st.tuples(st.just("time_out"), st.integers(0, 50), st.none()),
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


def check(box: Mailbox) -> None:
    """Check what must hold of every motion, whatever has happened to it."""
    machine = WITNESSED if box.code.name == "witnessed" else PERMIT
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
        elif end not in targets(machine.states[begin]):
            assert each["cause"] in {"returned", "reviewed", "resumed"}
            assert came_from[begin] == end
        back = end not in targets(machine.states[begin]) if begin else False
        if not back and (each["cause"] != "signal" or end not in came_from):
            came_from[end] = begin
    if box.instance.status == "running" and transitions:
        assert box.instance.state["state"] == states[-1]
        assert len(box.instance.waiting()) >= 1
    identities = [each.id for each in box.effects if isinstance(each, Emit)]
    assert len(identities) == len(set(identities))
    box.refold()


@settings(max_examples=250, deadline=None)
@given(st.sampled_from([PERMIT, WITNESSED]), st.integers(0, 6), st.lists(VERBS, max_size=40))
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

    check(box)
