"""What a report looks like in the log."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from protocols.errors import ConfigurationError, MovantError
from supervisors import report as reports
from supervisors.child import StartFailedError
from supervisors.report import Context, Event, Report


def _report(
    event: Event, context: Context, restarts: int = 0, error: BaseException | None = None
) -> Report:
    return Report(
        event=event,
        supervisor="s",
        child="a",
        context=context,
        reason="r",
        restarts=restarts,
        at=0.0,
        error=error,
    )


@pytest.mark.parametrize(
    ("event", "context", "restarts", "level"),
    [
        ("child.started", "start", 0, "debug"),
        ("child.started", "start", 1, "info"),
        ("child.stopped", "shutdown", 0, "debug"),
        ("child.stopped", "run", 0, "info"),
    ],
)
def test_a_tree_that_comes_up_and_goes_down_in_order_is_detail(
    event: Event, context: Context, restarts: int, level: str
) -> None:
    """A start of a daemon is a few lines; a restart is always seen."""
    with capture_logs() as logged:
        reports.write(_report(event, context, restarts))

    assert [each["log_level"] for each in logged] == [level]


def test_an_error_that_says_what_to_do_is_logged_without_a_traceback() -> None:
    """Also from below a failed start, and out of a nursery's group."""
    told = ConfigurationError("the port is taken", hint="choose another")
    start = StartFailedError("s", "a", "the port is taken")
    start.__cause__ = ExceptionGroup("nursery", [told])

    with capture_logs() as logged:
        reports.write(_report("child.failed", "start", error=start))

    assert logged[0]["error"] == "the port is taken"
    assert "exc_info" not in logged[0]


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        MovantError("?"),
        ExceptionGroup("two", [ConfigurationError("a"), KeyError("x")]),
    ],
)
def test_a_defect_keeps_its_traceback(error: Exception) -> None:
    """Whoever repairs it needs the place."""
    with capture_logs() as logged:
        reports.write(_report("child.failed", "run", error=error))

    assert logged[0]["exc_info"] is error
