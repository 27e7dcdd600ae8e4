"""Working time in graphs and in Python: when timers are due, and which calendar counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from actors.definitions.loading import of_json
from actors.files.definitions import check, pack_data, parse
from actors.kernel.context import Context
from protocols.calendars import Calendar
from protocols.effects import Arm
from protocols.errors import ConfigurationError
from protocols.gates.gate import Escalation, Gate
from protocols.graphs.graph import Graph, GraphStep
from tests.graphs.orders import graph_of, running
from tests.kernel.mailbox import SECOND, Mailbox, events

CITY = """
  city:
    zone: Europe/Zurich
    hours: {mon-fri: [08:00-12:00, 13:00-17:00]}
    holidays: {2026-12-25: Christmas}
"""
PERMIT = f"""
name: permit
calendars: {CITY}
steps:
  cool: {{sleep: 3 working days}}
  rest: {{sleep: {{duration: "{{{{input.rest}}}}"}}, needs: cool}}
  allow:
    needs: rest
    gate:
      title: Allow it?
      expires: 2 working days
      remind: [4 office hours]
      remind_every: 7 office hours
      on_expiry: escalate
      escalate: {{roles: head, expires: 1 office hour}}
"""
"""A permit; its runs begin on Wednesday, 23 December 2026, at 10:00 in Zurich."""


def at(text: str) -> int:
    """Return a moment as nanoseconds."""
    return round(datetime.fromisoformat(text).timestamp()) * SECOND


def due(box: Mailbox) -> int:
    """Return when the timer that was armed last is due."""
    return [each.due for each in box.effects if isinstance(each, Arm)][-1]


def told_at(box: Mailbox) -> str:
    """Return that as day, hour and minute of a winter in Zurich."""
    return datetime.fromtimestamp(due(box) // SECOND + 3600, UTC).strftime("%d %H:%M")


def stored(text: str) -> Graph:
    """Return a graph as it was stored."""
    graph = of_json(text)
    assert isinstance(graph, Graph)
    return graph


def begun(code: Any, value: Any = None) -> Mailbox:
    """Return a run that begins on that Wednesday."""
    box = code if isinstance(code, Mailbox) else Mailbox(code)
    box.at = at("2026-12-23T10:00+01:00")
    box.start(value)
    return box


def test_sleeps_gates_reminders_and_escalations_count_working_time() -> None:
    """Christmas and a weekend between."""
    box = begun(running(graph_of(PERMIT)), {"rest": "2 office hours"})
    found = []
    for path in ["cool/sleep", "rest/sleep", *["allow/gate.allow"] * 6]:
        found.append(told_at(box))
        box.at = due(box)
        box.fire(f"/steps/{path}")
        box.refold()
    assert found == [
        "29 17:00",  # neither Christmas nor the weekend
        "30 10:00",
        "31 09:00",  # each 7 office hours
        "31 17:00",
        "01 13:00",  # 4 office hours before
        "01 16:00",
        "01 17:00",  # its time is over
        "04 09:00",
    ]
    assert "gate_escalated" in events(box.effects)
    assert box.instance.status == "failed"


def test_a_timer_that_fires_before_working_time_is_over_does_not_count() -> None:
    """It is armed again, for the same moment."""
    box = begun(running(graph_of(PERMIT)), {"rest": "1h"})
    box.at = due(box) - 1
    (again,) = box.fire("/steps/cool/sleep")
    assert isinstance(again, Arm)
    assert again.due == box.at + 1
    box.at += 1
    (rest,) = [each for each in box.fire("/steps/cool/sleep") if isinstance(each, Arm)]
    assert rest.due == box.at + 3_600 * SECOND


def test_the_calendar_is_pinned_with_what_its_zone_was_when_the_file_was_read() -> None:
    """Neither the machine's rules of time zones nor another calendar move a run."""
    graph = graph_of(PERMIT)
    text = msgspec.json.encode(graph).decode()
    changed = text.replace('"2026-10-25T01:00Z":3600', '"2026-10-25T01:00Z":7200')
    assert pack_data(graph).hash != pack_data(of_json(changed)).hash
    assert of_json(text) == graph
    box = begun(running(stored(changed)), {"rest": "1h"})  # what the machine knows does not count
    assert told_at(box) == "29 16:00"
    late = text.replace("Christmas", "").replace("2026-12-25", "2026-12-28")
    assert told_at(begun(running(stored(late)), {"rest": "1h"})) == "29 17:00"


def test_a_value_that_is_no_time_of_a_calendar_fails_its_step() -> None:
    """What a reference gives is read when the step begins."""
    for rest in ("0 working days", "2 working weeks"):
        box = begun(running(graph_of(PERMIT)), {"rest": rest})
        box.at = due(box)
        box.fire("/steps/cool/sleep")
        assert box.instance.status == "failed"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("zone: Europe/Zurich", "zone: Europe/Bern"), "'Europe/Bern' is not known"),
        (("sleep: 3 w", "sleep: 0 w"), "out of range"),
        (("[08:00-12:00, 13:00-17:00]", "[]"), "hours leave it closed"),
        (("title: Allow it?", "title: Allow it?\n      calendar: town"), "no calendar 'town'"),
        (("steps:\n", "  two: {zone: UTC, hours: {mon: 08:00-12:00}}\nsteps:\n"), "says whose"),
        (("timeout", "timeout"), ""),
    ],
)
def test_what_no_calendar_can_tell_is_found_in_the_file(
    change: tuple[str, str], told: str
) -> None:
    """Before anything is registered."""
    problems = [each.message for each in parse(PERMIT.replace(*change).encode()).problems]
    assert any(told in each for each in problems) if told else problems == []


def test_working_time_stands_nowhere_where_nobody_would_read_it() -> None:
    """A call does not pause at night."""
    for key in ("timeout", "deadline", "warn_after"):
        text = f"name: a\nsteps:\n  b: {{service: s, operation: o, {key}: 2 working days}}\n"
        (problem,) = parse(text.encode()).problems
        assert "is not understood" in problem.message


CITY_HALL = graph_of(PERMIT).calendars["city"]


def test_python_sleeps_and_asks_by_a_calendar_that_says_all_itself() -> None:
    """The same words, with the calendar as a value."""
    gate = Gate(
        title="Pay?",
        calendar=CITY_HALL,
        expires="12 office hours",
        remind="1 working day",
        on_expiry="escalate",
        escalate=Escalation(expires="1 working day"),
    )

    async def pay(ctx: Context, _: Any = None) -> None:
        await ctx.sleep("1 working day", calendar=CITY_HALL)
        await ctx.gate("pay", gate)

    box = begun(pay)
    found = []
    for path in ["/sleep", *["/gate.pay"] * 3]:
        found.append(told_at(box))
        box.at = due(box)
        box.fire(path)
        box.refold()
    assert found == ["24 17:00", "28 08:00", "29 12:00", "30 17:00"]


@pytest.mark.parametrize("calendar", [None, Calendar(zone="Europe/Zurich", hours=CITY_HALL.hours)])
def test_python_refuses_what_would_depend_on_the_machine(calendar: Calendar | None) -> None:
    """At the line that says it, not when a level escalates."""

    async def pay(ctx: Context, _: Any = None) -> list[str]:
        told = []
        level = Escalation(roles="head", expires="1 working day")
        gate = Gate(
            title="Pay?",
            expires="1h",
            on_expiry="escalate",
            escalate=level,
            calendar=calendar or "city",
        )
        for act in (
            lambda: ctx.sleep("1 working day", calendar=calendar),
            lambda: ctx.gate("pay", gate),
        ):
            with pytest.raises(ConfigurationError) as caught:
                act()
            told.append(caught.value.message)
        with pytest.raises(ValueError, match="no working time"):
            ctx.sleep("2d", calendar=calendar)
        return told

    word = "needs a calendar" if calendar is None else "has no offsets"
    assert [word in each for each in begun(pay).result] == [True, True]
    graph = Graph(
        name="g", calendars={"x": calendar or CITY_HALL}, steps={"a": GraphStep(sleep="2h")}
    )
    assert [each.message[:17] for each in check(graph)] == (
        ["what clocks show "] if calendar else []
    )
