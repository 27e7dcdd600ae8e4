"""The limits of a mailbox: an event when it grows large, a block when it is full."""

from __future__ import annotations

from typing import Any

import pytest

from actors.kernel import instance as kernel
from actors.kernel.context import Context
from actors.kernel.instance import Instance
from protocols.definition import Workflow, WorkflowOptions, workflow
from protocols.effects import Emit
from protocols.errors import ConfigurationError
from protocols.mail import Migrate
from tests.kernel.mailbox import Mailbox, events


async def waits(ctx: Context, _: Any = None) -> None:
    """Wait for ever."""
    await ctx.signal("never")


async def renews(ctx: Context, _: Any = None) -> None:
    """Continue at each signal."""
    await ctx.signal("go")
    ctx.continue_as()


def _box(code: Any = waits, *, warn: int = 3, most: int = 5) -> Mailbox:
    return Mailbox(
        Workflow(code.__name__, code, WorkflowOptions(mailbox_warn=warn, mailbox_max=most))
    )


def _fill(box: Mailbox, most: int) -> None:
    while len(box.mails) < most:
        box.signal("go")


def test_a_large_mailbox_is_told_once() -> None:
    """With the message that reaches the number; the event has an identity of its own."""
    box = _box()
    box.start()
    _fill(box, 2)
    assert events(box.effects) == ["started"]

    (told,) = box.signal("go")
    _fill(box, 5)

    assert isinstance(told, Emit)
    assert (told.event, told.id) == ("mailbox_large", "i-1/1/mailbox_large")
    assert told.data == {"messages": 3, "limit": 5}
    assert events(box.effects) == ["started", "mailbox_large"]
    assert box.instance.status == "running"


def test_a_full_mailbox_blocks() -> None:
    """The first message above the limit is not folded any more, nor is any other."""
    box = _box()
    box.start()
    _fill(box, 5)

    effects = box.signal("never")

    assert events(effects) == ["blocked"]
    assert box.instance.blocked is not None
    assert box.instance.blocked.reason == "mailbox_full"
    assert "ctx.continue_as" in box.instance.blocked.message
    assert box.signal("never") == []
    box.refold()


def test_what_speaks_to_the_host_does_not_count() -> None:
    """Wakes of a long step would fill every mailbox in the end."""
    box = _box()
    box.start()
    _fill(box, 5)

    for _ in range(10):
        box.wake()
    box.fold(Migrate(seq=len(box.mails) + 1, at=box.at, definition="d" * 16))

    assert box.instance.status == "running"
    assert box.instance.messages == 5


def test_a_full_mailbox_can_be_cancelled() -> None:
    """Also while it cleans up from a former cancel."""

    async def tidy(ctx: Context) -> None:
        try:
            await ctx.signal("never")
        finally:
            with ctx.shield():
                await ctx.call("a", "undo")

    running, full = _box(tidy), _box(tidy)
    running.start()
    _fill(running, 5)
    running.cancel()
    full.start()
    _fill(full, 6)

    assert running.instance.blocked is None
    running.signal("go")
    assert running.instance.blocked is not None

    for box in (running, full):
        box.cancel("enough")
        assert box.instance.status == "cancelled"
        assert box.refold().finished_at


def test_a_full_mailbox_can_be_folded_with_a_larger_limit() -> None:
    """That is what a migration does."""
    box = _box()
    box.start()
    _fill(box, 6)
    roomy = Workflow("waits", waits, WorkflowOptions(mailbox_warn=20, mailbox_max=20))
    again = Instance("i-1", lambda *_: roomy, definition="e" * 16)

    for mail in box.mails:
        again.fold(mail)

    assert again.status == "running"


def test_each_generation_has_the_whole_room() -> None:
    """Former messages do not count; every generation tells for itself that it is large."""
    box = _box(renews)
    box.start()
    _fill(box, 20)

    assert box.instance.generation == 20
    assert box.instance.messages == 0

    for _ in range(3):
        box.signal("other")

    assert events(box.effects)[-1] == "mailbox_large"
    assert [each.id for each in box.effects if isinstance(each, Emit)][-1].startswith("i-1/20/")


@pytest.mark.parametrize(("before", "status"), [(3, "running"), (6, "blocked")])
def test_messages_before_the_start_count(before: int, status: str) -> None:
    """The limit is known when the code is; nothing is decided before."""
    box = _box()
    _fill(box, before)
    assert box.instance.blocked is None

    effects = box.start()

    assert box.instance.status == status
    assert events(effects) == ["blocked" if status == "blocked" else "mailbox_large"]
    box.refold()


def test_an_unstarted_mailbox_keeps_what_some_limit_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond it nothing can be folded any more: memory must not grow with it."""
    monkeypatch.setattr(kernel, "MAILBOX_LIMIT_MAX", 10)
    box = _box(most=10)

    _fill(box, 30)

    assert box.instance.counters.stray == 20
    box.start()
    assert box.instance.status == "blocked"


def test_late_messages_do_not_block_what_has_ended() -> None:
    """However many come."""

    async def ends(_ctx: Context) -> str:
        return "done"

    box = _box(ends)
    box.start()
    _fill(box, 20)

    assert box.result == "done"


@pytest.mark.parametrize(("warn", "most"), [(0, 5), (6, 5), (1, 250_001), (-1, -1)])
def test_limits_that_make_no_sense_are_refused(warn: int, most: int) -> None:
    """When the workflow is defined, not when it has run for a month."""
    with pytest.raises(ConfigurationError) as caught:
        workflow("w", mailbox_warn=warn, mailbox_max=most)(waits)

    assert "mailbox_warn" in caught.value.hint


def test_the_warning_comes_with_a_small_limit_at_the_latest() -> None:
    """Who sets only the limit need not think of the other number."""
    small = workflow("w", mailbox_max=100)(waits)
    usual = workflow("w")(waits)

    assert (small.options.mailbox_warn, small.options.mailbox_max) == (100, 100)
    assert (usual.options.mailbox_warn, usual.options.mailbox_max) == (10_000, 50_000)
