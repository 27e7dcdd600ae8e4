"""Where motions stand, how they are counted, and how pages of them follow each other."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.definitions.registry import Definitions, MemoryDefinitionStore
from actors.motions.interpreter import MotionWorkflow
from actors.motions.places import Place, Places, place_of
from actors.owning.workflow import WorkflowActor
from actors.views.pipeline import Part, RecentEnds, Tally, merged, row_of
from protocols.api.pipeline import MotionPipelineState, Pipeline, PipelineStatus
from protocols.definition import workflow
from protocols.errors import BadValueError
from protocols.machines.machine import Hook, Machine, State
from tests.kernel.mailbox import BEGIN, DEFINITION, SECOND, Mailbox
from tests.motions.machines import PERMIT, in_building, motion

DAY: int = 24 * 3_600 * SECOND
CHECK = "/states/FILED/clerk.check"


def place(box: Mailbox) -> Place:
    """Return where a motion stands, with what it waits for."""
    return place_of(box.instance, 3, whole=True)


def at(entered: int, state: str = "A", **more: Any) -> Place:
    """Return a place that a test made up."""
    facts = {"owner": "", "blocked": "", "next_action": "", "expected": 0, "started_at": entered}
    return Place(
        **{**facts, "machine": "m", "partition": 0, "folded": 1, **more},
        state=state,
        entered_at=entered,
    )


def test_a_place_tells_state_owner_times_and_what_comes_next() -> None:
    """The fields of a motion's view, in nanoseconds."""
    box = motion()
    box.start(None)
    box.pass_time(90)
    box.reply(CHECK, "complete")

    found = place(box)

    assert (found.machine, found.state, found.owner) == ("permit", "REVIEWED", "council")
    assert (found.started_at, found.entered_at) == (BEGIN, BEGIN + 90 * SECOND)
    assert found.expected == found.entered_at + 7 * DAY
    assert (found.next_action, found.blocked) == ("council vote", "")
    assert found.waiting == "step /states/REVIEWED/council.vote"


def test_a_parked_and_a_halted_motion_say_what_they_need() -> None:
    """One waits for a signal, the other for an operator."""
    tabled, halted = motion(), in_building()
    tabled.start(None)
    tabled.reply(CHECK, "complete")
    tabled.signal("table")
    halted.fail("/states/BUILDING/builder.build", "flooded")

    parked, stuck = place(tabled), place(halted)

    assert (parked.state, parked.next_action, parked.expected) == ("TABLED", "signal untable", 0)
    assert parked.waiting.startswith("signal ")
    assert stuck.blocked == "halted: flooded: no luck"
    assert stuck.next_action == "an operator: signal motion.resume"


def test_a_witness_before_a_transition_is_what_comes_next() -> None:
    """Its owner is done: until the witness has spoken there is no transition."""
    machine = Machine(
        name="witnessed",
        initial="A",
        on_transition=(Hook(service="knight", operation="state"),),
        states={"A": State(owner="duke", operation="work", next="B"), "B": State(terminal=True)},
    )
    box = motion(machine)
    box.start(None)

    first = place(box)
    box.reply("/states/A.before/knight.state", None)
    second = place(box)
    box.reply("/states/A/duke.work", 1)
    third = place(box)

    assert (first.state, first.next_action, first.entered_at) == ("", "knight state", BEGIN)
    assert (second.state, second.next_action) == ("A", "duke work")
    assert (third.state, third.next_action) == ("A", "knight state")


def test_a_blocked_motion_says_why() -> None:
    """Its mailbox has an answer that its code never asked for."""
    box = motion()
    box.start(None)
    box.reply("/states/NOWHERE/clerk.check", 1)

    assert place(box).blocked.startswith("mismatch: the mailbox holds an answer")


@workflow("plain")
async def plain(_ctx: Any, _value: object) -> None:
    """Be no motion."""


def hosted(box: Mailbox) -> WorkflowActor:
    """Return an instance as its owner has it."""
    nothing: Any = None
    return WorkflowActor(nothing, box.instance, 3)


def places() -> Places:
    """Return the places of an owner that has loaded a machine and a workflow."""
    definitions = Definitions(MemoryDefinitionStore())
    definitions.add(DEFINITION, {"permit": MotionWorkflow(PERMIT), "plain": plain})
    return Places(definitions)


def test_only_motions_have_a_place() -> None:
    """What is no machine costs nothing."""
    found, other = places(), Mailbox(plain)
    other.start(None)

    found.keep(hosted(other))

    assert not found.update(hosted(other))
    assert found.rows == {}


def test_a_place_is_made_again_only_when_the_motion_has_moved() -> None:
    """Ten thousand that wait cost a look each."""
    found, box = places(), motion()
    actor = hosted(box)
    box.start(None)

    first, again = found.update(actor), found.update(actor)
    filed = found.rows["m-1"].state
    box.reply(CHECK, "complete")
    moved = found.update(actor)

    assert (first, again, moved) == (True, False, True)
    assert (filed, found.rows["m-1"].state) == ("FILED", "REVIEWED")


def test_who_has_ended_has_no_place() -> None:
    """Neither while its end is told to all nor when it leaves memory meanwhile."""
    found, box = places(), motion()
    actor = hosted(box)
    box.start(None)

    found.update(actor)
    before = set(found.rows)
    box.cancel()
    found.update(actor)
    after = set(found.rows)
    found.keep(actor)

    assert (before, after, set(found.rows)) == ({"m-1"}, set(), set())


def test_only_dormant_motions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is in memory is counted anyway; who leaves it beyond the bound has to be folded."""
    monkeypatch.setattr("actors.motions.places.PLACES_MAX", 0)
    found, box = places(), motion()
    actor = hosted(box)
    box.start(None)

    found.update(actor)
    here = set(found.rows)
    found.keep(actor)

    assert (here, found.rows) == ({"m-1"}, {})


def test_a_fold_that_was_overtaken_does_not_replace_what_is_known() -> None:
    """A motion came back and left again while its old mailbox was read."""
    found, old, new = places(), motion(), motion()
    for box in (old, new):
        box.start(None)
    new.reply(CHECK, "complete")

    found.keep(hosted(new))
    found.learn(old.instance, 3)

    assert found.rows["m-1"].state == "REVIEWED"


def test_places_leave_with_their_partition() -> None:
    """Its next owner moves them on."""
    found, box = places(), motion()
    box.start(None)
    found.keep(hosted(box))

    found.leave(2)
    kept = set(found.rows)
    found.leave(3)

    assert (kept, found.rows) == ({"m-1"}, {})


@dataclass
class Daemons:
    """Motions of several daemons, each a list of ids with places."""

    shares: list[dict[str, Place]]
    now: int = 1_000

    def ask(self, **wanted: Any) -> PipelineStatus:
        """Ask all of them, as one daemon does."""
        request = Pipeline(**wanted)
        parts = []
        for share in self.shares:
            tally = Tally(request, self.now)
            tally.take([*share], [*share.values()])
            rows = [row(motion_id, each, self.now) for motion_id, each in tally.page()]
            parts.append(tally.part(rows))
        return merged(parts, request, now=self.now, ended={})


def row(motion_id: str, of: Place, now: int) -> MotionPipelineState:
    """Return a row without anything that only a daemon knows."""
    issues = [of.blocked] if of.blocked else []
    return row_of(motion_id, of, issues=issues, waiting="", now=now)


def test_motions_of_all_daemons_are_counted() -> None:
    """By state and machine, blocked, overdue; and the oldest."""
    asked = Daemons(
        [
            {"a": at(5, "X"), "b": at(3, "Y", blocked="halted", expected=7)},
            {"c": at(4, "X", machine="n", started_at=1, expected=5_000)},
        ],
        now=10,
    ).ask()

    assert (asked.active_motions, asked.blocked, asked.overdue) == (3, 1, 1)
    assert asked.motions_by_state == {"X": 2, "Y": 1}
    assert asked.motions_by_machine == {"m": 2, "n": 1}
    assert asked.blocked_motions == ["b"]
    assert (asked.oldest_motion, asked.oldest_motion_age_s) == ("c", 9 / SECOND)
    assert [each.motion_id for each in asked.motions] == ["b", "c", "a"]
    assert [each.overdue for each in asked.motions] == [True, False, False]


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({"machine": "n"}, ["c"]),
        ({"state": "X"}, ["c", "a"]),
        ({"blocked": True}, ["b"]),
        ({"overdue": True}, ["b"]),
        ({"state": "X", "blocked": True}, []),
    ],
)
def test_rows_may_be_limited(wanted: dict[str, Any], rows: list[str]) -> None:
    """A machine limits the counts as well; the others tell which rows are shown."""
    shares = {
        "a": at(5, "X"),
        "b": at(3, "Y", blocked="halted", expected=7),
        "c": at(4, "X", machine="n"),
    }

    asked = Daemons([shares], now=10).ask(**wanted)

    assert [each.motion_id for each in asked.motions] == rows
    assert asked.total == len(rows)
    assert asked.active_motions == (1 if "machine" in wanted else 3)


@pytest.mark.parametrize("seed", range(100))
def test_a_tally_is_what_a_plain_count_finds(seed: int) -> None:
    """In slices, and without sorting all."""
    chance = random.Random(seed)  # noqa: S311 - the same walk again
    rows = {
        f"m{number}": at(
            chance.randint(1, 5),
            chance.choice("AB"),
            machine=chance.choice("mn"),
            blocked=chance.choice(["", "", "halted"]),
            expected=chance.randint(0, 9),
            started_at=chance.randint(1, 3),
        )
        for number in range(chance.randrange(12))
    }
    stuck = {each for each in ("m1", "m2", "m3") if chance.randrange(2)}
    held = set(chance.choice(["", "", "m", "n"]))
    choices = {"machine": "m", "state": "A", "blocked": True, "overdue": True, "after": "2.m5"}
    wanted: dict[str, Any] = {k: v for k, v in choices.items() if not chance.randrange(3)}
    wanted["limit"] = chance.randint(1, 3)
    tally = Tally(Pipeline(**wanted), 5, stuck=stuck, held=held)
    for motion_id, each in rows.items():
        tally.take([motion_id], [each])
    found = tally.part([])

    mine = {m: each for m, each in rows.items() if wanted.get("machine") in {None, each.machine}}
    blocked = {m for m, each in mine.items() if each.blocked or m in stuck or each.machine in held}
    late = {m for m, each in mine.items() if 0 < each.expected < 5}
    listed = sorted(
        (each.entered_at, m)
        for m, each in mine.items()
        if wanted.get("state") in {None, each.state}
        and (m in blocked or "blocked" not in wanted)
        and (m in late or "overdue" not in wanted)
    )
    behind = [key for key in listed if "after" not in wanted or key > (2, "m5")]
    assert found.by_state == Counter(each.state for each in mine.values())
    assert found.by_machine == Counter(each.machine for each in mine.values())
    assert (found.active, found.blocked, found.overdue) == (len(mine), len(blocked), len(late))
    assert found.blocked_first == sorted((mine[m].entered_at, m) for m in blocked)
    assert found.oldest == min(((each.started_at, m) for m, each in mine.items()), default=None)
    assert (found.total, found.behind) == (len(listed), len(behind))
    assert [m for m, _ in tally.page()] == [m for _, m in behind[: wanted["limit"]]]


@given(
    entered=st.lists(st.integers(1, 9), max_size=30),
    daemons=st.integers(1, 3),
    limit=st.integers(1, 7),
)
def test_pages_have_every_motion_once(entered: list[int], daemons: int, limit: int) -> None:
    """In one order, whoever owns which, also where many entered their state at once."""
    shares: list[dict[str, Place]] = [{} for _ in range(daemons)]
    for number, each in enumerate(entered):
        shares[number % daemons][f"m{number}"] = at(each)
    asked = Daemons(shares)
    seen: list[tuple[int, str]] = []
    after = ""

    for _ in range(len(entered) + 1):
        page = asked.ask(limit=limit, after=after)
        seen += [(each.entered_state_at, each.motion_id) for each in page.motions]
        after = page.next
        if not after:
            break

    assert seen == sorted((each, f"m{number}") for number, each in enumerate(entered))


@pytest.mark.parametrize(
    "cursor", ["x", "1", "1.", ".a", "-1.a", "²2.a", "1.a b", "9" * 30 + ".a"]
)
def test_a_cursor_of_somebody_else_is_refused(cursor: str) -> None:
    """Nobody gets a wrong page for it."""
    with pytest.raises(BadValueError):
        Tally(Pipeline(after=cursor), 1)


def test_what_nobody_knows_is_told() -> None:
    """A short list must not look like a healthy one."""
    parts = [Part(active=4, by_state={"A": 2}, unread=2)]

    found = merged(parts, Pipeline(), now=1, ended={}, silent=["south", "east"], unread=3)

    assert (found.active_motions, found.unread, found.silent) == (7, 5, ["east", "south"])


def test_ends_are_counted_for_a_day() -> None:
    """To the minute; failures are all that did not end well, but for those that were cancelled."""
    recent = RecentEnds()
    for number, status in enumerate(["completed", "failed", "compensated", "cancelled"]):
        recent.add("permit", status, BEGIN + number)
    recent.add("permit", "completed", BEGIN + DAY // 2)

    soon, late = recent.counts(BEGIN + DAY // 2), recent.counts(BEGIN + DAY + 120 * SECOND)
    ended = {status: count for (_, status), count in soon.items()}
    found = merged([], Pipeline(), now=1, ended=ended)

    assert (found.recent_completions, found.recent_failures) == (2, 2)
    assert late == {("permit", "completed"): 1}
