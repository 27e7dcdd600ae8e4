"""``movant trigger`` and ``movant schedule``: what people see, and what is asked for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from protocols.api import runs as api
from protocols.api import triggers as said
from protocols.triggers import Last, Trigger
from tests.cli.conftest import Cli
from tests.client.responder import Responder

pytestmark = pytest.mark.server

NS = 1_000_000_000
NOW = 1_767_225_600 * NS
RUN = "report-nightly-20260101T000000Z"
ROW = said.TriggerRow(
    name="report-nightly",
    workflow="report",
    kind="schedule",
    text="0 1 * * * Europe/Zurich",
    next=NOW + 3_600 * NS,
    last=Last(at=NOW - 60 * NS, outcome="fired", due=NOW - 60 * NS, run=RUN),
    result="completed",
    fired=7,
    skipped=2,
)
PAUSED = msgspec.structs.replace(
    ROW,
    name="report-asked",
    kind="webhook",
    text="POST /reports",
    next=0,
    last=Last(at=NOW, outcome="refused", reason="not proven"),
    paused="by ann: wrong data",
)
TIMES = said.TriggerTimes(
    name="report-nightly",
    zone="Europe/Zurich",
    text="At 01:00 every day",
    times=[said.TriggerTime(due=NOW, fires=NOW, run=RUN)],
)


def test_triggers_are_listed_with_what_they_did_and_why_they_do_nothing(
    ask: Cli, responder: Responder
) -> None:
    """One line each for people; programs get what the API says."""
    page = said.TriggerPage(triggers=[ROW, PAUSED], server_time=NOW)
    responder.answers["trigger.ls"] = page

    shown = ask("trigger", "ls")
    plain = ask("schedule", "ls", "-o", "json")

    (_, line, _) = shown.out.splitlines()
    assert line.split()[0] == "report-nightly"
    assert line.endswith("schedule 0 1 * * * Europe/Zurich")
    assert "1m00s ago: fired" in shown.out
    assert "paused by ann: wrong data" in shown.out
    assert "not proven" in shown.out
    assert plain.json[0]["last"]["run"] == RUN
    assert [each.kind for _, each in responder.asked] == ["", "schedule"]


def test_times_are_shown_in_the_zone_of_the_schedule(ask: Cli, responder: Responder) -> None:
    """And which run comes of each."""
    responder.answers["trigger.next"] = TIMES

    shown = ask("schedule", "next", "report-nightly", "-n", "1")

    assert "Thu 2026-01-01 01:00:00 +0100" in shown.out
    assert RUN in shown.out
    assert shown.err == "At 01:00 every day, Europe/Zurich\n"


def test_a_backfill_names_each_run_and_fails_when_one_was_refused(
    ask: Cli, responder: Responder
) -> None:
    """Times are RFC 3339."""
    runs = [
        said.BackfilledRun(due=NOW, run=RUN, outcome="fired"),
        said.BackfilledRun(due=NOW + NS, run="x", outcome="refused", reason="no day"),
    ]
    responder.answers["trigger.backfill"] = said.TriggerBackfilled(runs=runs)
    ends = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")

    found = ask("schedule", "backfill", "report-nightly", *ends, "--reason", "lost")
    wrong = ask("schedule", "backfill", "report-nightly", "yesterday", ends[1])

    assert (found.code, wrong.code) == (1, 2)
    assert "no day" in found.out
    ((_, asked),) = responder.asked
    assert (asked.begin, asked.by.why) == (NOW, "lost")


def test_triggers_are_added_from_a_file_that_is_checked_first(
    ask: Cli, responder: Responder, tmp_path: Path
) -> None:
    """Nothing is asked for when something is wrong."""
    path = tmp_path / "t.yaml"
    path.write_text("workflow: order\ntriggers:\n  - {schedule: '0 9 * * *'}\n")
    responder.answers["trigger.add"] = said.TriggerAdded(names=["order-schedule"])
    responder.answers["trigger.rm"] = api.Empty()

    added = ask("trigger", "add", str(path))
    removed = ask("trigger", "rm", "order-schedule")
    path.write_text("workflow: order\ntriggers:\n  - {schedule: '0 9 * *'}\n")
    wrong = ask("trigger", "add", str(path))

    assert (added.code, removed.code, wrong.code) == (0, 0, 2)
    assert "order-schedule" in added.out
    assert f"{path}:3:16" in wrong.err
    assert [verb for verb, _ in responder.asked] == ["trigger.add", "trigger.rm"]
    assert responder.asked[0][1].triggers == (Trigger(schedule="0 9 * * *"),)


def test_a_trigger_is_shown_paused_and_fired(ask: Cli, responder: Responder) -> None:
    """With all that it says, as a file has it."""
    trigger = Trigger(name="nightly", schedule="0 1 * * *")
    responder.answers["trigger.show"] = said.TriggerView(row=ROW, trigger=trigger, hash="9f")
    responder.answers["trigger.pause"] = PAUSED
    responder.answers["trigger.resume"] = ROW
    responder.answers["trigger.fire"] = said.TriggerFired(run=RUN)

    shown = ask("trigger", "show", "report-nightly")
    paused = ask("trigger", "pause", "report-nightly", "--reason", "wrong data")
    resumed = ask("schedule", "resume", "report-nightly", "-o", "jsonl")
    fired = ask("schedule", "trigger", "report-nightly")

    assert "cron: 0 1 * * *" in shown.out
    assert "paused by ann" in paused.out
    assert resumed.json["fired"] == 7
    assert RUN in fired.out
    assert dict(responder.asked)["trigger.pause"].by.why == "wrong data"
