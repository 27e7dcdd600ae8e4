"""What the demonstration prints: its columns and its history."""

from __future__ import annotations

import pytest

from examples.civic.demo import Interruption, history, print_lines

START = 1_000_000_000_000


def test_a_history_shows_when_the_daemon_was_away() -> None:
    """The kill and the new start stand between the messages; a repeat says that it is one."""
    kill = Interruption(
        killed_at=START + 400_000_000, back_at=START + 900_000_000, answers=1, under_way=2
    )
    reply = {"kind": "reply", "path": "/a", "attempt": 1, "summary": "ok"}
    entries = [
        {"at": START, "kind": "start", "name": "civic"},
        {"at": START + 500_000_000, **reply},
        {"at": START + 1_230_000_000, **reply},
    ]

    lines = history(entries, kill)

    assert lines == [
        ("+0.00s", "start", "civic", ""),
        ("+0.40s", "-----", "the daemon is killed"),
        ("+0.50s", "reply", "/a", "ok"),
        ("+0.90s", "-----", "the daemon is back"),
        ("+1.23s", "reply", "/a", "ok, again: dropped"),
    ]


def test_rows_stand_in_columns_with_numbers_to_the_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """People compare digits below each other."""
    print_lines([("office", "done"), ("health", "12"), ("fire", "3")])

    assert capsys.readouterr().out == "  office  done\n  health    12\n  fire       3\n"
