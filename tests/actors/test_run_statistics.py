"""What runs have come to: requests and steps from folds, rows within a bound, pages added up."""

from __future__ import annotations

import pytest

from actors.views.run_statistics import OTHERS, ROWS_MAX, Durations, Listener, Tally, step_name
from protocols.api.stats import RunStats
from protocols.effects import Ask
from protocols.failure import Failure
from protocols.mail import AttemptTimedOut, Reply, Start
from protocols.policy import StepOptions

SECOND = 1_000_000_000


def ask(path: str, *, attempt: int = 1, due: int = 0, service: str = "bank") -> Ask:
    """Return a request."""
    return Ask(
        cause=1,
        path=path,
        step=path,
        attempt=attempt,
        service=service,
        operation="charge",
        body=b"",
        key="k",
        due=due,
        options=StepOptions(),
    )


def reply(path: str, at: int, *, attempt: int = 1, kind: str = "") -> Reply:
    """Return an answer."""
    failure = Failure(kind=kind, message="no") if kind else None
    return Reply(seq=at, at=at * SECOND, step=path, attempt=attempt, failure=failure)


def start(at: int = 10) -> Start:
    """Return a start."""
    return Start(seq=1, at=at * SECOND, workflow="order", body=b"")


def one_run(tally: Tally) -> None:
    """Let a charge fail, be repeated after a pause of 5 s, and succeed; a ship time out."""
    listener = Listener("order", tally)
    path = "/steps/charge/bank.charge"
    listener.hear(start(), [ask(path)])
    listener.hear(reply(path, 12, kind="busy"), [ask(path, attempt=2, due=17 * SECOND)])
    ship = ask("/steps/ship/items/3/van.ship", service="van")
    listener.hear(reply(path, 18, attempt=2), [ship])
    listener.hear(reply(path, 19, attempt=2), [])  # a repeat of it
    timed = AttemptTimedOut(seq=9, at=48 * SECOND, epoch=1, step=ship.step, attempt=1)
    listener.hear(timed, [])
    listener.end()
    tally.ran(
        "order-1",
        "order",
        "failed",
        started_at=10 * SECOND,
        finished_at=48 * SECOND,
        failure=Failure(kind="timeout", message="too late"),
    )


def test_a_fold_tells_requests_errors_and_how_long_steps_take() -> None:
    """A pause before an attempt is the step's time, and not the service's."""
    tally = Tally()
    one_run(tally)
    found = tally.stats(total=1)

    bank = next(each for each in found.services if each.service == "bank")
    assert (bank.requests, bank.errors, bank.error_rate, bank.kinds) == (2, 1, 0.5, {"busy": 1})
    assert (bank.latency.total_s, bank.latency.max_s) == (3.0, 2.0)
    assert [(each.step, each.service, each.time.total_s) for each in found.steps] == [
        ("ship", "van", 30.0),
        ("charge", "bank", 8.0),
    ]
    assert [(each.kind, each.runs, each.example) for each in found.failures] == [
        ("timeout", 1, "order-1")
    ]
    assert (found.success_rate, found.workflows[0].outcomes) == (0.0, {"failed": 1})


def test_pages_add_up_to_what_one_page_would_be() -> None:
    """In whatever portions runs are read, the numbers are the same."""
    whole, pages = Tally(), Tally()
    for status, took in (("completed", 4), ("failed", 9), ("", 0), ("completed", 2)):
        page = Tally()
        for each in (whole, page):
            one_run(each)
            each.ran(
                "order-2",
                "other",
                status,
                started_at=SECOND,
                finished_at=(1 + took) * SECOND,
                failure=None,
            )
        pages.add(page.stats(total=2))

    found = pages.stats(total=8)
    assert found == whole.stats(total=8)
    assert found.runs == 8
    assert found.completion.average_s == 3.0
    assert found.success_rate == pytest.approx(2 / 7)
    assert found.earliest == SECOND


def test_rows_are_bounded_and_nothing_is_lost() -> None:
    """What goes beyond them is counted together."""
    tally = Tally()
    for number in range(ROWS_MAX + 50):
        tally.asked(ask(f"/{number}", service=f"s{number}"))
        tally.ran("r", f"w{number}", "failed", started_at=1, finished_at=2, failure=None)
    found = tally.stats(total=0)

    assert len(found.services) == len(found.workflows) == len(found.failures) == ROWS_MAX + 1
    assert next(each.requests for each in found.services if each.service == OTHERS) == 50
    assert next(each.runs for each in found.failures if each.workflow == OTHERS) == 50


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_quantiles_are_never_too_low_and_little_too_high(share: float) -> None:
    """From a millisecond up a bucket is 19 % wide."""
    durations = Durations()
    values = [round(1_000_000 * 1.07**number) for number in range(200)]
    for each in values:
        durations.add(each)

    spread = durations.spread()
    found = spread.p50_s if share == 0.5 else spread.p95_s
    exact = sorted(values)[round(200 * share) - 1] / SECOND
    assert exact <= found <= exact * 1.2


def test_no_runs_are_no_rates() -> None:
    """Nothing is not success."""
    assert Tally().stats(total=0) == RunStats()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/steps/pack/items/12/depot.pack", "pack"),
        ("/steps/pack/items/12/depot.pack/undo", "pack (undo)"),
        ("/ship/charge#2", "ship/charge"),
        ("/charge", "charge"),
    ],
)
def test_repeats_and_items_of_a_step_are_one_step(path: str, name: str) -> None:
    """Numbers would make a row of each."""
    assert step_name(path) == name
