"""What motions have done once, they do again: mailboxes of the past fold to the same effects.

``golden.json`` holds what each of these mailboxes made a motion ask for when it was recorded.
A change of the interpreter that changes one of them would strand motions that are under way.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from protocols.effects import AnyEffect, Arm, Ask, Emit, Finish
from protocols.machines.machine import Machine
from protocols.rng import Rng
from tests.kernel.mailbox import Mailbox
from tests.motions.machines import PERMIT, motion
from tests.motions.test_directives import BY_A_PERSON
from tests.motions.test_properties import act
from tests.motions.test_signals import WITNESSED

GOLDEN: Final = Path(__file__).with_name("golden.json")
MACHINES: Final = {"permit": PERMIT, "witnessed": WITNESSED, "plain": BY_A_PERSON}
VERBS: Final = ("reply", "reply", "reply", "fail", "fail", "signal", "fire", "time_out", "wait")
KINDS: Final = ("timeout", "network", "validation", "permission", "system", "over_limit", "odd")
SIGNALS: Final = ("table", "untable", "withdraw", "motion.resume", "motion.review", "noise")
WORDS: Final = (
    None,
    {"ayes": 3, "noes": 1},
    {"success": False, "error": "validation"},
    {"to": "BUILDING", "who": "ann", "why": "so"},
    {"to": "INSPECTED", "result": 7, "who": "bob"},
    {"do": "return_to_previous"},
    "retry",
    "halt",
)


def recorded(machine: Machine, seed: int) -> Mailbox:
    """Return the mailbox of a motion to which a number has happened."""
    rng = Rng(f"golden/{machine.name}/{seed}")

    def one_of(choices: tuple[Any, ...]) -> Any:
        return choices[rng.integer(0, len(choices) - 1)]

    box = motion(machine)
    box.start({"plot": seed})
    for _ in range(rng.integer(0, 4)):
        act(box, "reply", 0, {"ayes": 3, "noes": 1})
    for _ in range(rng.integer(10, 40)):
        verb = one_of(VERBS)
        value = one_of(KINDS) if verb == "fail" else one_of(WORDS)
        what: Any = rng.integer(0, 2)
        if verb == "signal":
            what = one_of(SIGNALS)
        elif verb == "wait":
            what = one_of((1, 5, 3_600, 700_000))
        act(box, verb, what, value)
    return box


def told(effect: AnyEffect) -> list[Any]:
    """Return of an effect what somebody outside sees."""
    match effect:
        case Ask():
            asked = [effect.path, effect.attempt, effect.service, effect.operation]
            return [*asked, effect.body, effect.key, effect.due, effect.undoes]
        case Arm():
            return [effect.name, effect.due]
        case Emit():
            return [effect.event, effect.data, effect.id]
        case Finish():
            return [effect.status, effect.body, effect.failure]
        case _:
            raise AssertionError(effect)


def digest(box: Mailbox) -> str:
    """Return a short digest of all effects, in order."""
    facts = [[each.cause, *told(each)] for each in box.effects]
    shown = msgspec.json.encode([facts, box.instance.state], order="deterministic")
    return hashlib.sha256(shown).hexdigest()[:16]


@pytest.mark.parametrize("name", MACHINES)
def test_a_mailbox_of_the_past_folds_to_the_same_effects(name: str) -> None:
    """Forty motions of each machine, at whatever happens to them."""
    golden = msgspec.json.decode(GOLDEN.read_bytes())[name]

    found = [digest(recorded(MACHINES[name], seed)) for seed in range(len(golden))]

    assert found == golden
