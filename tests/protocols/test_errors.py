"""Errors, effects and ports: small promises that other layers rely on."""

from __future__ import annotations

import msgspec
import pytest

from protocols import effects, errors, ports
from protocols.failure import Failure
from protocols.mail import Parent
from protocols.policy import STEP_DEFAULTS

PARENT = Parent(instance="p", path="/ship")


def test_errors_that_workflow_code_catches_tell_what_happened() -> None:
    """Path, kind and the rest are attributes; the text is for people."""
    failed = errors.StepFailedError("/charge", Failure(kind="refused", message="no card"))
    late = errors.TimedOutError("/timeout", 1.5)
    several = errors.GatherError("/g", [("a", failed)], results={"b": 1})
    wanted = errors.FailError("odd", "so it is", {"x": 1})

    assert str(failed) == "/charge: refused: no card"
    assert (failed.kind, failed.path) == ("refused", "/charge")
    assert str(late) == "/timeout took longer than 1.5 s"
    assert (late.path, late.seconds) == ("/timeout", 1.5)
    assert "1 of its branches failed (a: /charge" in str(several)
    assert (several.path, several.errors, several.results) == ("/g", (("a", failed),), {"b": 1})
    assert (wanted.kind, wanted.message, wanted.details) == ("odd", "so it is", {"x": 1})


@pytest.mark.parametrize("kind", [errors.CancelledError, errors.NotDurableError])
def test_what_workflow_code_must_not_swallow_is_no_exception(kind: type[BaseException]) -> None:
    """``except Exception`` lets a cancel and a defect pass."""
    assert not issubclass(kind, Exception)


@pytest.mark.parametrize(
    ("effect", "identity"),
    [
        (
            effects.Ask(
                cause=1,
                path="/charge",
                step="charge",
                attempt=2,
                service="payments",
                operation="charge",
                body=b"",
                key="i/charge",
                due=0,
                options=STEP_DEFAULTS,
            ),
            ("ask", "charge", 2),
        ),
        (effects.Arm(cause=1, name="sleep", due=5), ("arm", "sleep")),
        (effects.Emit(cause=1, event="paid", data=1, id="i/paid"), ("emit", "i/paid")),
        (effects.Send(cause=1, to="j", name="s", body=b"", id="i/s"), ("send", "i/s")),
        (
            effects.Spawn(cause=1, child="c", workflow="w", body=b"", parent=PARENT, id="i/c"),
            ("spawn", "c"),
        ),
        (effects.CancelChild(cause=1, child="c", reason="", id="i/x"), ("cancel", "c")),
        (effects.Pin(cause=1, workflow="w"), ("pin", "w")),
        (
            effects.Finish(cause=1, status="completed", body=b"", failure=None, parent=None),
            ("finish",),
        ),
    ],
)
def test_an_effect_has_the_same_identity_at_every_fold(
    effect: effects.AnyEffect, identity: tuple[object, ...]
) -> None:
    """It depends on what is asked for, never on the message that made the fold ask."""
    later = msgspec.structs.replace(effect, cause=99)

    assert effect.identity == identity
    assert later.identity == identity


def test_a_frame_is_what_came_and_outgoing_is_what_leaves() -> None:
    """The ports speak in these two shapes."""
    frame = ports.Frame("a", "", b"", b"x")
    message = ports.Outgoing("a", b"x")

    assert (frame.subject, frame.payload) == (message.subject, message.payload)
    assert (message.headers, message.reply) == (b"", "")
