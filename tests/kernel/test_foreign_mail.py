"""Whatever stands in a mailbox: a fold does not raise, and folds the same way again."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.kernel.context import Context
from protocols.errors import WorkflowError
from protocols.failure import Failure
from protocols.mail import (
    AttemptRefused,
    AttemptTimedOut,
    Cancel,
    ChildEnded,
    Fired,
    Mail,
    Pinned,
    Reply,
    Signal,
    Start,
    Woken,
)
from tests.kernel.mailbox import BEGIN, DEFINITION, Mailbox

STEPS: Final = ("a%2Eb", "a%2Eb#2", "gather/0/a%2Eb", "sleep", "w", "never", "")
BODIES: Final = (b"", b"1", b"{}", b'{"x": 1}', b"\xff", b"[" * 70, b'{"a":1,"a":2}', b"NaN")
_stamp = {"seq": st.just(1), "at": st.integers(-(10**9), 10**12).map(lambda ns: BEGIN + ns)}
_step = {"step": st.sampled_from(STEPS)}
_attempt = {"attempt": st.integers(-1, 4)}
_body = {
    "body": st.sampled_from(BODIES),
    "content_type": st.sampled_from(("", "application/json", "application/msgpack", "x")),
}
_failure = st.builds(
    Failure,
    kind=st.sampled_from(("failed", "refused", "timeout", "protocol", "")),
    message=st.just("m"),
    retryable=st.booleans(),
    retry_after_s=st.none() | st.floats(),
)
_id = {"message_id": st.sampled_from(("", "m1", "m2"))}
_epoch = {"epoch": st.integers(0, 3)}
_name = {"name": st.sampled_from(("go", "", "no such"))}
MAILS: Final[st.SearchStrategy[Mail]] = st.one_of(
    st.builds(
        Start,
        **_stamp,
        **_body,
        **_id,
        workflow=st.just("busy"),
        definition=st.sampled_from(("", DEFINITION)),
    ),
    st.builds(Signal, **_stamp, **_body, **_id, **_name),
    st.builds(Reply, **_stamp, **_step, **_attempt, **_body, failure=st.none() | _failure),
    st.builds(Reply, **_stamp, **_step, attempt=st.just(1), body=st.just(b"1")),
    st.builds(Fired, **_stamp, name=st.sampled_from(STEPS)),
    st.builds(Woken, **_stamp, **_epoch, number=st.just(1), since=st.just(1)),
    st.builds(Pinned, **_stamp, **_epoch, definition=st.sampled_from(("", DEFINITION))),
    st.builds(AttemptTimedOut, **_stamp, **_epoch, **_step, **_attempt),
    st.builds(AttemptRefused, **_stamp, **_epoch, **_step, **_attempt, failure=_failure),
    st.builds(
        ChildEnded,
        **_stamp,
        **_step,
        child=st.just("c"),
        status=st.sampled_from(("completed", "failed", "?")),
        body=st.sampled_from(BODIES),
        failure=st.none() | _failure,
    ),
    st.builds(Cancel, **_stamp, **_id, reason=st.just("r")),
)


async def busy(ctx: Context) -> Any:
    """Wait for one of everything, for ever."""
    while True:
        try:
            await ctx.gather(ctx.call("a", "b"), ctx.sleep(10), ctx.signal("go", returns=int))
            await ctx.race(ctx.child("w"), ctx.call("a", "b"))
        except WorkflowError as error:
            ctx.set_state(error=type(error).__name__)
            await ctx.call("a", "b")


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.lists(MAILS, max_size=25), st.booleans())
def test_no_mail_makes_the_fold_raise(mails: list[Mail], start: bool) -> None:  # noqa: FBT001
    """Wrong steps, attempts, times, bodies and kinds are counted, or block."""
    box = Mailbox(busy)
    if start:
        box.start()

    for mail in mails:
        fields = {name: getattr(mail, name) for name in mail.__struct_fields__}
        box.fold(type(mail)(**{**fields, "seq": len(box.mails) + 1}))

    assert box.instance.folded == len(box.mails)
    box.refold()
    box.instance.close()


def test_a_mail_of_an_unknown_kind_blocks() -> None:
    """What cannot be folded never passes silently."""

    class Novelty(Mail, frozen=True, kw_only=True, tag="novelty"):
        pass

    box = Mailbox(busy)
    box.start()

    box.fold(Novelty(seq=2, at=BEGIN))

    assert box.instance.blocked is not None
    assert box.instance.blocked.reason == "unknown"
