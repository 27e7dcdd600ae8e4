"""Who should own which partition: a pure function that every daemon computes for itself."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.owning.membership import (
    LEASE_S,
    Member,
    MemberState,
    Sightings,
    is_calm,
    plan,
)

KEYS = st.sampled_from([f"d{number}" for number in range(6)])


def settle(
    members: dict[str, MemberState], owners: list[str], *, rounds: int = 40
) -> tuple[list[str], int]:
    """Let every member act by its own plan until nothing changes; return owners and moves."""
    moves = 0
    for _ in range(rounds):
        before = list(owners)
        for me in members:
            found = plan(me, members, owners)
            for each in found.give:
                assert owners[each] == me
                owners[each] = ""
            for each in found.take:
                assert owners[each] not in members
                owners[each] = me
                moves += 1
        if owners == before:
            return owners, moves
    raise AssertionError("it never comes to rest")


@given(
    st.dictionaries(KEYS, st.sampled_from(["up", "draining"]), min_size=1),
    st.lists(st.one_of(KEYS, st.just("")), min_size=1, max_size=64),
)
def test_it_comes_to_rest_and_is_even(
    members: dict[str, Literal["up", "draining"]], owners: list[str]
) -> None:
    """From any state: everything is owned, by those that are up, nobody above the even share."""
    found, _ = settle(dict(members), owners)

    up = [key for key, state in members.items() if state == "up"]
    if not up:
        assert set(found) <= {"", *(set(owners) - set(members))}
        return
    share = -(-len(found) // len(up))
    assert set(found) <= set(up)
    assert all(found.count(key) <= share for key in up)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_newcomer_moves_no_more_than_its_share(count: int) -> None:
    """What the others keep stays where it is."""
    members: dict[str, MemberState] = {f"d{number}": "up" for number in range(count - 1)}
    owners, _ = settle(members, [""] * 64)
    before = list(owners)

    after, moves = settle({**members, "new": "up"}, owners)

    assert moves == after.count("new") <= -(-64 // count)
    assert sum(a != b for a, b in zip(before, after, strict=True)) == moves


def test_who_leaves_is_replaced_and_nothing_else_moves() -> None:
    """Only the partitions of the one that died change their owner."""
    members: dict[str, MemberState] = {"a": "up", "b": "up", "c": "up"}
    owners, _ = settle(members, [""] * 64)
    lost = [number for number, owner in enumerate(owners) if owner == "c"]

    after, moves = settle({"a": "up", "b": "up"}, list(owners))

    assert moves == len(lost)
    assert all(after[number] == owners[number] for number in range(64) if number not in lost)


@pytest.mark.parametrize(
    ("owners", "behind", "calm"),
    [
        ("ab", "", True),
        ("aa", "", True),
        ("ab", "a", False),
        ("aa", "b", False),
        ("ac", "", False),
    ],
)
def test_nothing_moves_for_evenness_unless_all_is_calm(
    owners: str, behind: str, *, calm: bool
) -> None:
    """Somebody who is behind, or a partition that has no living owner, comes first."""
    members = {key: Member(key, "host", 1, behind=key in behind) for key in "ab"}

    assert is_calm(members, list(owners)) is calm


def test_silence_is_measured_from_the_last_change() -> None:
    """A record that changes lives on; one that does not is dead when the lease is over."""
    seen = Sightings()
    over = LEASE_S + 0.1
    assert seen.living({"a": 1, "b": 2}, 0.0, 0.0) == {"a", "b"}
    assert seen.living({"a": 3, "b": 2}, LEASE_S, LEASE_S) == {"a", "b"}
    assert seen.lapses_at(["a", "b"]) == LEASE_S
    assert seen.lapses_at(["a"]) == 2 * LEASE_S
    assert seen.living({"a": 3, "b": 2}, over, over) == {"a"}
    assert seen.living({"a": 3}, over, over, surely_gone=("a",)) == set()
    assert seen.silent_for("b", 9.0) == 0.0


def test_an_answer_that_was_long_under_way_makes_nobody_dead() -> None:
    """What it says of silence is as old as the question; what it says of life may be new."""
    seen = Sightings()
    seen.living({"a": 1}, 0.0, 0.5)
    assert seen.living({"a": 1}, 0.6, LEASE_S + 3) == {"a"}
    assert seen.living({"a": 2}, LEASE_S + 0.4, LEASE_S + 1) == {"a"}
    assert seen.living({"a": 2}, 2 * LEASE_S + 1, 2 * LEASE_S + 1) == {"a"}
    assert seen.living({"a": 2}, 2 * LEASE_S + 1.1, 2 * LEASE_S + 1.1) == set()


def test_who_was_found_dead_is_not_alive_again_because_we_were_silent() -> None:
    """Only those of whom we could not know are excused."""
    seen = Sightings()
    over = LEASE_S + 0.1
    seen.living({"a": 1, "dead": 1}, 0.0, 0.0)
    assert seen.living({"a": 2, "dead": 1}, over, over) == {"a"}
    seen.excuse(3 * LEASE_S)
    assert seen.living({"a": 2, "dead": 1}, 3 * LEASE_S, 3 * LEASE_S) == {"a"}
    assert seen.silent_for("dead", 3 * LEASE_S) == 3 * LEASE_S
    assert seen.living({"a": 2, "dead": 2}, 3 * LEASE_S, 3 * LEASE_S) == {"a", "dead"}
