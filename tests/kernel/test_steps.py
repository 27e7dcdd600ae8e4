"""Steps: asked, answered, retried, given up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.kernel.context import Context
from protocols.effects import Ask
from protocols.errors import ResultTypeError, StepFailedError
from protocols.failure import NO_RESPONDERS
from protocols.mail import CLEAR_ANSWERS, Reply
from protocols.policy import Retry
from tests.kernel.mailbox import SECOND, Mailbox, asks, paths

QUICK = Retry(attempts=3, backoff="fixed", delay_s=2, jitter=0)


class Charge(msgspec.Struct):
    """What the payment service answers."""

    id: str
    amount: int


async def charge(ctx: Context, amount: Any) -> Any:
    """Charge, and hand the answer back."""
    return await ctx.call("payments", "charge", {"amount": amount}, retry=QUICK, timeout_s=10)


def test_a_call_asks_its_service_with_the_encoded_input() -> None:
    """One Ask, with path, key, body and the options of the call."""
    box = Mailbox(charge)

    (ask,) = box.start(7)

    assert isinstance(ask, Ask)
    assert (ask.path, ask.step, ask.attempt) == ("/payments.charge", "payments%2Echarge", 1)
    assert (ask.service, ask.operation) == ("payments", "charge")
    assert (ask.body, ask.key) == (b'{"amount":7}', "i-1/1/payments.charge")
    assert (ask.due, ask.options.timeout_s, ask.options.retry) == (box.at, 10, QUICK)
    assert box.instance.is_open(ask)


def test_the_reply_is_the_value_of_the_step() -> None:
    """The code goes on with the decoded payload."""
    box = Mailbox(charge)
    (ask,) = box.start(7)

    box.reply("/payments.charge", {"id": "c-1"})

    assert box.result == {"id": "c-1"}
    assert not box.instance.is_open(ask)
    box.refold()


def test_a_failure_is_followed_by_the_next_attempt_after_its_delay() -> None:
    """The same key, the next number, due after the delay of the policy."""
    box = Mailbox(charge)
    (first,) = asks(box.start(7))
    box.pass_time(1)

    (second,) = asks(box.fail("/payments.charge"))

    assert (second.attempt, second.key, second.body) == (2, first.key, first.body)
    assert second.due == box.at + 2 * SECOND
    assert box.instance.waiting()[0].failed == "failed: no luck"
    assert not box.instance.is_open(first)
    assert box.instance.is_open(second)


def test_the_delay_that_a_service_asks_for_is_kept() -> None:
    """retry_after_s counts when it is longer than the policy's delay, up to a day."""
    box = Mailbox(charge)
    box.start(7)

    (second,) = asks(box.fail("/payments.charge", retry_after_s=30.0))
    (third,) = asks(box.fail("/payments.charge", attempt=2, retry_after_s=float("inf")))

    assert second.due == box.at + 30 * SECOND
    assert third.due == box.at + 86_400 * SECOND


def test_a_step_that_used_up_its_attempts_fails_in_the_code() -> None:
    """The last failure is what StepFailedError tells."""

    async def careful(ctx: Context) -> Any:
        try:
            await charge(ctx, 1)
        except StepFailedError as error:
            return [error.path, error.kind]

    box = Mailbox(careful)
    box.start()

    for attempt in (1, 2, 3):
        box.fail("/payments.charge", "network", attempt=attempt)

    assert box.result == ["/payments.charge", "network"]
    box.refold()


def test_a_refusal_is_final() -> None:
    """A kind that the policy does not retry ends the step with its first attempt."""
    box = Mailbox(charge)
    box.start(7)

    box.fail("/payments.charge", "refused")

    assert box.instance.status == "failed"
    assert box.instance.failure is not None
    assert box.instance.failure.kind == "refused"


def test_a_failure_that_says_so_is_not_retried() -> None:
    """Failure.retryable false is the service's last word."""
    box = Mailbox(charge)
    box.start(7)

    effects = box.fail("/payments.charge", "broken", retryable=False)

    assert asks(effects) == []
    assert box.instance.status == "failed"


def test_a_timeout_counts_only_when_the_time_of_the_attempt_is_over() -> None:
    """An early timeout is counted and ignored; a due one leads to the next attempt."""
    box = Mailbox(charge)
    box.start(7)
    box.pass_time(9.999)
    early = box.time_out("/payments.charge")
    box.pass_time(0.001)

    (second,) = asks(box.time_out("/payments.charge"))

    assert early == []
    assert box.instance.counters.early == 1
    assert second.attempt == 2


def test_the_time_of_a_retry_begins_when_it_is_due() -> None:
    """The backoff does not count against the attempt's timeout."""
    box = Mailbox(charge)
    box.start(7)
    box.fail("/payments.charge")
    box.pass_time(11)
    early = box.time_out("/payments.charge", attempt=2)
    box.pass_time(1)

    (third,) = asks(box.time_out("/payments.charge", attempt=2))

    assert early == []
    assert third.attempt == 3


def test_a_step_that_is_not_idempotent_is_not_tried_again_after_an_unknown_outcome() -> None:
    """A timeout may have had its effect: a second attempt could have it twice."""

    async def once(ctx: Context) -> Any:
        return await ctx.call("post", "print", retry=QUICK, timeout_s=1, idempotent=False)

    box = Mailbox(once)
    box.start()
    (second,) = asks(box.fail("/post.print"))
    box.pass_time(100)

    effects = box.time_out("/post.print", attempt=2)

    assert second.attempt == 2
    assert asks(effects) == []
    assert box.instance.status == "failed"


def test_a_refused_attempt_is_an_attempt() -> None:
    """What the owner did not dispatch is retried like a failure."""
    box = Mailbox(charge)
    box.start(7)

    (second,) = asks(box.refuse("/payments.charge", NO_RESPONDERS))

    assert second.attempt == 2


def test_the_failure_of_an_older_attempt_is_late() -> None:
    """Only the current attempt can fail the step."""
    box = Mailbox(charge)
    box.start(7)
    box.fail("/payments.charge")

    effects = box.fail("/payments.charge", attempt=1)

    assert effects == []
    assert box.instance.counters.late == 1


def test_the_success_of_an_older_attempt_is_the_value() -> None:
    """First success of any attempt wins."""
    box = Mailbox(charge)
    box.start(7)
    box.fail("/payments.charge")

    box.reply("/payments.charge", "first", attempt=1)

    assert box.result == "first"


def test_a_second_success_is_remembered_and_a_repeated_one_is_not() -> None:
    """Another attempt's success may be a second effect; the same one again is a repeat."""

    async def two(ctx: Context) -> None:
        await charge(ctx, 1)
        await ctx.signal("never")

    box = Mailbox(two)
    box.start()
    box.fail("/payments.charge")
    box.reply("/payments.charge", attempt=2)
    before = box.instance.state_hash()

    box.reply("/payments.charge", attempt=2)
    same = box.instance.state_hash()
    box.reply("/payments.charge", attempt=1)
    box.reply("/payments.charge", attempt=1)

    assert same == before
    assert box.instance.late_successes == [("payments%2Echarge", 1)]
    assert (box.instance.counters.duplicates, box.instance.counters.late) == (1, 2)
    box.refold()


def test_a_success_after_the_step_failed_is_late() -> None:
    """The step stays failed; that attempt's success is remembered."""

    async def careful(ctx: Context) -> None:
        with pytest.raises(StepFailedError):
            await charge(ctx, 1)
        await ctx.signal("never")

    box = Mailbox(careful)
    box.start()
    box.fail("/payments.charge", "refused")

    effects = box.reply("/payments.charge", "late")

    assert effects == []
    assert box.instance.late_successes == [("payments%2Echarge", 1)]


@pytest.mark.parametrize(("kernel", "attempts"), [(CLEAR_ANSWERS - 1, []), (CLEAR_ANSWERS, [2])])
def test_an_answer_that_nobody_can_read_is_no_success(kernel: int, attempts: list[int]) -> None:
    """There may be an effect: the step asks again, with its key. Older runs go on as before."""
    box = Mailbox(charge)
    (first,) = asks(box.start(7, kernel=kernel))
    odd = "header 'movant-outcome' is written 'Movant-Outcome'"

    reply = Reply(**box._stamp(), step="payments%2Echarge", attempt=1, body=b"1", odd=odd)
    effects = box.fold(reply)

    assert [each.attempt for each in asks(effects)] == attempts
    assert all(each.key == first.key for each in asks(effects))
    assert box.instance.status == ("running" if attempts else "completed")
    box.refold()


def test_a_reply_to_a_step_that_was_never_asked_for_blocks() -> None:
    """Halt over degrade: the diff names what was recorded and what is open."""
    box = Mailbox(charge)
    box.start(7)

    effects = box.reply("/payments.refund")

    blocked = box.instance.blocked
    assert blocked is not None
    assert (box.instance.status, blocked.reason) == ("blocked", "mismatch")
    assert blocked.diff == {
        "recorded": "payments%2Erefund",
        "open": ["payments%2Echarge"],
        "decided": [],
    }
    assert len(effects) == 1
    box.refold()


def test_a_reply_that_is_no_value_is_a_failure_of_the_attempt() -> None:
    """A broken payload has an unknown effect; the policy decides."""
    box = Mailbox(charge)
    box.start(7)

    (second,) = asks(box.reply("/payments.charge", body=b'{"a": NaN}'))

    assert second.attempt == 2


def test_a_declared_type_makes_a_struct_of_the_reply() -> None:
    """``returns`` converts; the code sees the type."""

    async def typed(ctx: Context) -> int:
        answer = await ctx.call("payments", "charge", returns=Charge)
        return answer.amount

    box = Mailbox(typed)
    box.start()

    box.reply("/payments.charge", {"id": "c", "amount": 3})

    assert box.result == 3


def test_a_reply_that_does_not_fit_its_declared_type_is_an_error_in_the_code() -> None:
    """The step had its effect, so it is not tried again."""

    async def typed(ctx: Context) -> str:
        try:
            await ctx.call("payments", "charge", returns=Charge)
        except ResultTypeError as error:
            return error.kind
        return "no error"

    box = Mailbox(typed)
    box.start()

    effects = box.reply("/payments.charge", {"id": "c", "amount": "three"})

    assert paths(effects) == []
    assert box.result == "validation"


def test_a_type_that_no_value_can_have_blocks() -> None:
    """A wrong ``returns`` is a defect of the code, not of the service."""
    kind: Any = int | Charge | dict

    async def typed(ctx: Context) -> Any:
        return await ctx.call("payments", "charge", returns=kind)

    box = Mailbox(typed)
    box.start()

    box.reply("/payments.charge", 3)

    assert box.instance.blocked is not None
    assert box.instance.blocked.reason == "exception"


def test_a_local_function_is_a_step_at_the_daemon() -> None:
    """ctx.run hands over the function itself; it is never called in the fold."""

    def total(prices: list[int], *, tax: int) -> int:
        return sum(prices) + tax

    async def local(ctx: Context) -> int:
        return await ctx.run(total, [1, 2], tax=3, returns=int)

    box = Mailbox(local)

    (ask,) = asks(box.start())
    box.reply("/total", 6)

    assert (ask.service, ask.path) == ("_local", "/total")
    assert ask.local is not None
    assert (ask.local.function, ask.local.args, ask.local.kwargs) == (total, ([1, 2],), {"tax": 3})
    assert box.result == 6


def test_steps_of_one_name_are_counted() -> None:
    """The first has the bare name, the second ``#2``."""

    async def thrice(ctx: Context) -> None:
        for _ in range(3):
            await ctx.call("a", "b")
        await ctx.call("a", "b", name="other")

    box = Mailbox(thrice)

    found = paths(box.start())
    found += paths(box.reply("/a.b"))
    found += paths(box.reply("/a.b#2"))
    found += paths(box.reply("/a.b#3"))

    assert found == ["/a.b", "/a.b#2", "/a.b#3", "/other"]
    box.refold()


def test_options_of_a_call_are_checked() -> None:
    """A limit that no step can have is an error of the code, at its line."""

    async def wrong(ctx: Context) -> None:
        await ctx.call("a", "b", timeout_s=-1)

    box = Mailbox(wrong)

    box.start()

    assert box.instance.blocked is not None
    assert box.instance.blocked.error == "ValidationError"
    assert "test_steps.py" in box.instance.blocked.place
