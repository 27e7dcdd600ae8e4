"""The same workflow as a graph and in Python: the same requests, the same events, the same end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from actors.graphs.interpreter import GraphWorkflow
from actors.kernel.context import Context
from protocols.definition import Workflow
from protocols.effects import Arm, Ask, CancelChild, Emit, Finish, Spawn, UndoChild
from protocols.errors import StepFailedError
from protocols.guardrails.check import rules_of
from protocols.policy import Retry
from tests.graphs.orders import graph_of
from tests.kernel.mailbox import SECOND, Mailbox

Story = Callable[[Mailbox], object]

CHAIN = """
name: chain
steps:
  a: {service: s, operation: a, params: {n: "{{input.n}}"}, undo: away}
  b: {service: s, operation: b, needs: a, params: "{{steps.a.result}}", when: input.n > 1}
  c: {service: s, operation: c, needs: b, params: {id: "{{steps.a.result.id}}"}, critical: false}
outputs: {a: "{{steps.a.result}}", c: "{{steps.c.result}}"}
"""


async def chain(ctx: Context, given: Any) -> Any:
    """One step after the other, the last one not critical."""
    first: Any = None
    last: Any = None

    async with ctx.scope(name="steps") as scope:

        async def c() -> None:
            nonlocal last
            try:
                last = await ctx.call("s", "c", {"id": first["id"]})
            except StepFailedError as error:
                failure = error.failure
                facts = {"kind": failure.kind, "class": failure.kind, "message": failure.message}
                ctx.emit("warning", {"step": error.path, "error": facts})

        async def b() -> None:
            await ctx.call("s", "b", first)
            scope.start(c(), name="c")

        async def a() -> None:
            nonlocal first
            first = await ctx.call("s", "a", {"n": given["n"]}, undo="away")
            if given["n"] > 1:
                scope.start(b(), name="b")
            else:
                scope.start(c(), name="c")

        scope.start(a(), name="a")
    return {"a": first, "c": last}


FAN = """
name: fan
timeout: 1h
defaults: {retry: {attempts: 2, jitter: 0}, timeout: 5s}
steps:
  left: {service: s, operation: left, params: "{{input}}", undo: away}
  right: {service: s, operation: right, params: "{{input}}", undo: away}
  each: {service: s, operation: each, foreach: "{{input}}", params: "{{item}}"}
outputs: ["{{steps.left.result}}", "{{steps.right.result}}", "{{steps.each.result}}"]
"""


async def fan(ctx: Context, given: Any) -> Any:
    """Three branches side by side, within an hour."""
    how: Any = {"retry": Retry(attempts=2, jitter=0), "timeout_s": 5.0}
    found: dict[str, Any] = {}
    results: list[Any] = [None] * len(given)

    async def branch(name: str) -> None:
        found[name] = await ctx.call("s", name, given, undo="away", **how)

    async def one(index: int) -> None:
        results[index] = await ctx.call("s", "each", given[index], **how)

    async def every() -> None:
        async with ctx.scope(name="items") as items:
            for index in range(len(given)):
                items.start(one(index), name=str(index))

    with ctx.timeout(3600):
        async with ctx.scope(name="steps") as scope:
            scope.start(branch("left"), name="left")
            scope.start(branch("right"), name="right")
            scope.start(every(), name="each")
    return [found["left"], found["right"], results]


def done(box: Mailbox) -> None:
    """Play the chain to its end."""
    box.start({"n": 2})
    box.reply("/steps/a/s.a", {"id": 7})
    box.reply("/steps/b/s.b")
    box.reply("/steps/c/s.c", "x")


def skipped(box: Mailbox) -> None:
    """Play the chain without its middle, and with a warning."""
    box.start({"n": 1})
    box.reply("/steps/a/s.a", {"id": 7})
    box.fail("/steps/c/s.c", "refused", retryable=False)


def undone(box: Mailbox) -> None:
    """Play a failure in the middle of the chain."""
    box.start({"n": 2})
    box.reply("/steps/a/s.a", {"id": 7})
    box.fail("/steps/b/s.b", "refused", retryable=False)
    box.reply("/steps/a/s.a/undo")


def fanned(box: Mailbox) -> None:
    """Play all branches, one of them with a second attempt."""
    box.start([1, 2])
    box.reply("/steps/each/items/1/s.each", "b")
    box.fail("/steps/left/s.left", "network")
    box.reply("/steps/each/items/0/s.each", "a")
    box.reply("/steps/left/s.left", 1, attempt=2)
    box.reply("/steps/right/s.right", 2)


def late(box: Mailbox) -> None:
    """Play the end of the hour, with a step in flight and one that is done."""
    box.start([])
    box.reply("/steps/left/s.left", 1)
    box.pass_time(3600)
    box.fire("/timeout")
    box.reply("/steps/right/s.right", 2)
    box.reply("/steps/right/s.right/undo")
    box.reply("/steps/left/s.left/undo")


def cancelled(box: Mailbox) -> None:
    """Play a cancel of everything."""
    box.start([1])
    box.reply("/steps/left/s.left", 1)
    box.cancel()
    box.reply("/steps/right/s.right", 2)
    box.reply("/steps/right/s.right/undo")
    box.reply("/steps/left/s.left/undo")


KINDS = """
name: kinds
steps:
  cool: {sleep: 2h}
  paid: {signal: paid, timeout: 3d, needs: cool, critical: false}
  legs: {child: leg, params: "{{input}}", undo: true, needs: cool, timeout: 1d}
  note: {set: {legs: "{{steps.legs.result}}"}, needs: [paid, legs]}
  rest: {sleep: {until: "2027-03-01T00:00:00Z"}, needs: note}
  last: {service: s, operation: last, needs: rest, params: "{{steps.paid.result}}"}
outputs: "{{steps.note.result}}"
"""


async def kinds(ctx: Context, given: Any) -> Any:
    """Every kind of step, as people write it in Python."""
    paid: Any = None
    noted: Any = None
    open_needs = 2

    async with ctx.scope(name="steps") as scope:

        async def last() -> None:
            await ctx.call("s", "last", paid)

        async def rest() -> None:
            await ctx.until(datetime(2027, 3, 1, tzinfo=UTC), name="sleep")
            scope.start(last(), name="last")

        async def note(found: Any) -> None:
            nonlocal noted
            noted = {"legs": found}
            ctx.set_state(**noted)
            scope.start(rest(), name="rest")

        found: Any = None

        def ended() -> None:
            nonlocal open_needs
            open_needs -= 1
            if not open_needs:
                scope.start(note(found), name="note")

        async def signal() -> None:
            nonlocal paid
            with ctx.move_on_after(3 * 86_400) as limit:
                paid = await ctx.signal("paid")
            if limit.expired:
                facts = {
                    "kind": "timeout",
                    "class": "timeout",
                    "message": "no signal paid within 3d",
                }
                ctx.emit("warning", {"step": "/steps/paid/signal.paid", "error": facts})
            ended()

        async def legs() -> None:
            nonlocal found
            with ctx.timeout(86_400):
                found = await ctx.child("leg", given, undo=True)
            ended()

        async def cool() -> None:
            await ctx.sleep(7200)
            scope.start(signal(), name="paid")
            scope.start(legs(), name="legs")

        scope.start(cool(), name="cool")
    return noted


def waited(box: Mailbox) -> None:
    """Play every wait to its end."""
    asleep(box)
    box.end_child("/steps/legs/leg", ["x"])
    box.signal("paid", 7)
    box.at = 1_803_859_200 * SECOND
    box.fire("/steps/rest/sleep")
    box.reply("/steps/last/s.last")


def missed(box: Mailbox) -> None:
    """Play a signal that does not come; then what comes last fails, and the child is undone."""
    asleep(box)
    box.end_child("/steps/legs/leg", ["x"])
    box.pass_time(3 * 86_400)
    box.fire("/steps/paid/timeout")
    box.at = 1_803_859_200 * SECOND
    box.fire("/steps/rest/sleep")
    box.fail("/steps/last/s.last", "refused", retryable=False)
    box.end_child("/steps/legs/leg/undo")


def stopped(box: Mailbox) -> None:
    """Play a cancel while a child runs."""
    asleep(box)
    box.cancel()
    box.end_child("/steps/legs/leg", status="cancelled")


def asleep(box: Mailbox) -> None:
    """Play the first sleep."""
    box.start({"n": 1})
    box.pass_time(7200)
    box.fire("/steps/cool/sleep")


RULED = """
name: ruled
guardrails:
  clean: {type: data-privacy, severity: high}
  short: {type: output, require: size(result) < 9}
  known: {type: python, function: 'rules:known', at: after, every: true}
steps:
  ask:
    service: web
    operation: ask
    params: "{{input}}"
    undo: forget
    retry: {attempts: 2, jitter: 0}
    guardrails: [clean, short]
  say: {service: web, operation: say, params: "{{steps.ask.result}}", needs: ask}
outputs: "{{steps.say.result}}"
"""
FUNCTIONS = {"rules:known": print}


async def ruled(ctx: Context, given: Any) -> Any:
    """Two steps that are held to rules: each is named, so it stands where the graph has it."""
    async with ctx.scope(name="steps"):
        found = await ctx.call(
            *("web", "ask", given),
            name="ask",
            undo="forget",
            retry=Retry(attempts=2, jitter=0),
            guardrails=["clean", "short"],
        )
        return await ctx.call("web", "say", found, name="say")


def passed(box: Mailbox) -> None:
    """Play a person's word, a result that is not valid, one that is, and a function's yes."""
    box.start("ann@example.org")
    box.decide("/steps/ask/gate.ask", "approve")
    box.reply("/steps/ask/guarded/web.ask", "far too long")
    box.reply("/steps/ask/guarded/web.ask/undo")
    box.pass_time(1)
    box.fire("/steps/ask/again")
    box.reply("/steps/ask/guarded#2/web.ask", "short", attempt=1)
    box.reply("/steps/ask/guarded#2/guardrail.known", value=True)
    box.reply("/steps/say/web.say", 1)
    box.reply("/steps/say/guardrail.known", value=True)


def forbidden(box: Mailbox) -> None:
    """Play a function's no, behind a step that is undone then."""
    box.start("fine")
    box.reply("/steps/ask/guarded/web.ask", "short")
    box.reply("/steps/ask/guarded/guardrail.known", {"compliant": False, "reason": "no"})
    box.reply("/steps/ask/guarded/web.ask/undo")


def rejected(box: Mailbox) -> None:
    """Play a person's no."""
    box.start("ann@example.org")
    box.decide("/steps/ask/gate.ask", "reject")


def trace(box: Mailbox) -> list[Any]:
    """Return all that a run asks and tells, but for the definition that it is pinned to."""
    kept: list[Any] = []
    for each in box.effects:
        if isinstance(each, Emit):
            kept.append((each.cause, each.event, each.data, each.id))
        elif isinstance(each, Ask | Arm | Spawn | CancelChild | UndoChild | Finish):
            kept.append(each)
    return kept


@pytest.mark.parametrize("story", [passed, forbidden, rejected], ids=lambda each: each.__name__)
def test_rules_say_the_same_of_both(story: Story) -> None:
    """Every verdict, gate, repeat and undo, under the same paths; told and stated alike."""
    data = graph_of(RULED)
    graph = Mailbox(GraphWorkflow(data, functions=FUNCTIONS))
    python = Mailbox(Workflow("ruled", ruled).with_rules(rules_of(data), FUNCTIONS))
    story(graph)
    story(python)

    assert trace(graph) == trace(python)
    assert graph.instance.status == python.instance.status != "running"
    assert graph.instance.result == python.instance.result
    assert graph.instance.state["guardrails"] == python.instance.state["guardrails"]
    graph.refold()
    python.refold()


@pytest.mark.parametrize(
    ("text", "code", "story"),
    [
        (CHAIN, chain, done),
        (CHAIN, chain, skipped),
        (CHAIN, chain, undone),
        (FAN, fan, fanned),
        (FAN, fan, late),
        (FAN, fan, cancelled),
        (KINDS, kinds, waited),
        (KINDS, kinds, missed),
        (KINDS, kinds, stopped),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_graph_and_its_twin_in_python_leave_the_same_trace(
    text: str, code: Any, story: Story
) -> None:
    """Every request with its key, every event, every timer, the outcome; cause by cause."""
    graph, python = Mailbox(GraphWorkflow(graph_of(text))), Mailbox(Workflow(code.__name__, code))
    story(graph)
    story(python)

    assert trace(graph) == trace(python)
    assert graph.instance.status == python.instance.status != "running"
    assert graph.instance.result == python.instance.result
    graph.refold()
    python.refold()
