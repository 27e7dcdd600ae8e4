"""Workflows in Python that are held to guardrails: the same verdicts as in graphs."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from actors.directed import directed
from actors.kernel.context import Context
from protocols.definition import Workflow, WorkflowOptions
from protocols.errors import ChildFailedError, ConfigurationError, StepFailedError
from protocols.gates.words import GateWord
from protocols.guardrails.guardrail import Guardrail, Rules
from protocols.mail import Decided
from protocols.policy import Retry
from protocols.subjects import step_token
from protocols.witness import Operator
from tests.graphs.orders import told
from tests.kernel.mailbox import Mailbox, asks, events, finish, paths

ASK: Final = "/web.ask/web.ask"
SAGA: Final = "/web.ask/guarded/web.ask"
ONE: Final = Retry(attempts=1)
PRIVATE: Final = Guardrail(type="data-privacy")


def held(code: Any, rules: Rules | None = None, **functions: Any) -> Mailbox:
    """Return a run of code that is held to rules, not yet started."""
    rules = {"rule": PRIVATE} if rules is None else rules
    flow: Workflow[Any] = Workflow("held", code, WorkflowOptions(guardrails=rules))
    if functions:
        assert isinstance(rules, dict)
        flow = flow.with_rules(rules, {f"rules:{name}": each for name, each in functions.items()})
    return Mailbox(flow)


async def ask(ctx: Context, note: Any) -> Any:
    """Ask the web, and tell what it said."""
    found = await ctx.call("web", "ask", note, guardrails=["rule"])
    return await ctx.call("web", "tell", found)


async def undone(ctx: Context, note: Any) -> Any:
    """Ask for what can be undone."""
    return await ctx.call("web", "ask", note, undo="forget", guardrails="rule")


def violations(box: Mailbox) -> list[dict[str, Any]]:
    """Return what was published of violations."""
    return told(box.effects, "guardrail_violated")


def test_what_is_blocked_is_never_asked_for_and_never_told() -> None:
    """The failure is one that code may catch; the value stands nowhere."""
    box = held(ask)
    box.start({"text": "card 4111 1111 1111 1111"})

    assert paths(box.effects) == []
    assert box.instance.failure is not None
    assert box.instance.failure.kind == "compliance"
    (violation,) = violations(box)
    assert (violation["step"], violation["action"]) == ("/web.ask", "block")
    assert box.instance.state["guardrails"] == [
        "block before /web.ask: rule (critical): card at text"
    ]
    assert "4111" not in msgspec.json.encode(msgspec.to_builtins(box.instance.state)).decode()
    box.refold()


def test_a_step_that_names_no_rule_is_as_it_was() -> None:
    """Only what is held has a place of its own; its result goes on."""
    box = held(ask)
    box.start("fine")
    box.reply(ASK, "4111 1111 1111 111")
    box.reply("/web.tell", 2)

    assert paths(box.effects) == [ASK, "/web.tell"]
    assert box.result == 2
    box.refold()


@pytest.mark.parametrize("do", ["approve", "reject"])
def test_a_person_lets_it_pass_or_not(do: str) -> None:
    """What is sent is what was looked at, whatever became of the value meanwhile."""
    note = {"card": "4111 1111 1111 1111"}

    async def code(ctx: Context, given: Any) -> Any:
        async with ctx.scope() as scope:
            asked = scope.start(
                ctx.call("web", "ask", given, retry=ONE, guardrails="rule"), name="a"
            )
            await ctx.sleep(1)
            given["card"] = "changed"
        return asked.result()

    box = held(code, {"rule": Guardrail(type="security", find="card", severity="high")})
    box.start(note)
    (state,) = box.instance.gates()
    box.pass_time(1)
    box.fire("/scope/sleep")
    word = msgspec.convert({"gate": state.path, "do": do}, GateWord)
    box.fold(Decided(**box._stamp(), word=word, by=Operator(who="ann")))

    assert state.gate.title == "web.ask: guardrail rule (high): card at card"
    if do == "approve":
        (asked,) = asks(box.effects)
        assert msgspec.json.decode(asked.body) == note
    else:
        assert paths(box.effects) == []
        assert box.instance.failure is not None
        assert box.instance.failure.kind == "rejected"
    box.refold()


def test_what_a_step_gave_and_nobody_wants_is_undone_at_once() -> None:
    """Also when the code goes on; what may stay is undone with the run only."""

    async def code(ctx: Context, note: Any) -> str:
        try:
            await ctx.call("web", "ask", note, undo="forget", guardrails=["rule"])
        except StepFailedError as error:
            return error.failure.kind
        return "done"

    box = held(code)
    box.start("fine")
    found = box.reply(SAGA, {"mail": "ann@example.org"})
    box.reply(f"{SAGA}/undo")
    kept = held(undone)
    kept.start("fine")
    kept.reply(SAGA, "nothing")

    assert paths(found) == [f"{SAGA}/undo"]
    assert box.result == "compliance"
    assert kept.result == "nothing"
    box.refold()


def test_a_result_that_is_not_valid_is_asked_for_anew() -> None:
    """As often as the options of the call say, under another key; then it is typed."""
    rule = Guardrail(type="output", require="result > 0")

    async def code(ctx: Context) -> Any:
        retry = Retry(attempts=2, jitter=0)
        return await ctx.call("web", "ask", retry=retry, returns=int, guardrails="rule")

    box = held(code, {"rule": rule})
    box.start()
    box.reply(ASK, 0)
    box.pass_time(1)
    box.fire("/web.ask/again")
    box.reply(f"{ASK}#2", 7)

    assert paths(box.effects) == [ASK, f"{ASK}#2"]
    assert box.result == 7
    box.refold()


def test_functions_answer_as_steps_and_what_is_no_clear_yes_blocks() -> None:
    """A function that is not there is one that cannot be asked."""
    rules: Rules = {"rule": Guardrail(type="python", function="rules:check")}
    box = held(ask, rules, check=print)
    box.start(1)
    silent = held(ask, rules, check=print)
    silent.start(1)
    silent.reply("/web.ask/guardrail.rule", "maybe")
    missing = held(ask, rules)
    missing.start(1)

    assert paths(box.reply("/web.ask/guardrail.rule", value=True)) == [ASK]
    assert [each.instance.status for each in (silent, missing)] == ["failed"] * 2
    assert "there is no function rules:check" in violations(missing)[0]["reason"]
    box.refold()


def test_rules_for_every_step_hold_for_calls_signals_and_children() -> None:
    """And for what is asked once more; not for undos, and not for what rules ask themselves."""

    async def code(ctx: Context, given: dict[str, Any]) -> Any:
        done = []
        for work in (
            ctx.call("s", "a", given["call"]),
            ctx.signal("told"),
            ctx.child("leg", given["child"]),
            ctx.again("/x", "s", "b", given["again"]),
        ):
            try:
                done.append(await work)
            except (StepFailedError, ChildFailedError) as error:
                done.append(error.kind)
        await ctx.call("s", "undo", "ann@example.org", undoes="key")
        return done

    rules: Rules = {
        "all": Guardrail(type="data-privacy", every=True),
        "some": Guardrail(type="rate-limit", max_calls=9, window="1d", every=True),
    }
    fine = {"call": 1, "child": 2, "again": 3}
    box = held(code, rules)
    box.start(fine)
    for place, path in (("s.a", "s.a"), ("signal.told", ""), ("leg", ""), ("s.b", "s.b")):
        box.reply(f"/{place}/guardrail.some", {"granted": True})
        if path:
            box.reply(f"/{place}/{path}", place)
        elif place == "leg":
            box.end_child("/leg/leg", status="failed")
        else:
            box.signal("told", "ann@example.org")
    box.reply("/s.undo")
    blocked = held(code, {"all": rules["all"]} if isinstance(rules, dict) else rules)
    blocked.start(dict.fromkeys(fine, "ann@example.org"))
    blocked.signal("told", "nothing")
    blocked.reply("/s.undo")

    assert box.result == ["s.a", "compliance", "failed", "s.b"]
    assert blocked.result == ["compliance", "nothing", "compliance", "compliance"]
    assert paths(blocked.effects) == ["/s.undo"]
    box.refold()


def test_conditions_look_at_the_input_and_the_run() -> None:
    """What is not there cannot be looked at, and blocks."""
    rules: Rules = {
        "rule": Guardrail(type="compliance", require=("input.n < 2", "run.id == 'i-1'"))
    }

    async def code(ctx: Context, given: Any) -> Any:
        return await ctx.call("web", "ask", given["n"], guardrails="rule")

    found = {}
    for given in ({"n": 1}, {"n": 2}, {"n": None}):
        box = held(code, rules)
        box.start(given)
        found[given["n"]] = paths(box.effects)

    assert found == {1: [ASK], 2: [], None: []}


def test_directives_follow_what_rules_say() -> None:
    """Whoever is asked in its place is held to the same; what is asked again has the first key."""

    async def code(ctx: Context, note: Any) -> Any:
        found = await directed(
            *(ctx, "web", "ask", note),
            on_error={"compliance": "continue", "system": "halt_and_alert"},
            guardrails=["rule"],
        )
        return found.value if found.warning is None else found.warning.kind

    box = held(code)
    box.start("ann@example.org")
    again = held(code)
    again.start("fine")
    again.fail(ASK, "system")
    again.signal("resume.web.ask-web.ask", "retry")
    again.reply("/web.ask#2/web.ask", 1)

    assert box.result == "compliance"
    assert again.result == 1
    first, second = asks(again.effects)
    assert first.key == second.key
    again.refold()


def test_calls_of_a_run_are_counted_and_told_once() -> None:
    """A step that is over the limit is blocked; the run's chain states it."""

    async def code(ctx: Context) -> int:
        done = 0
        for _ in range(3):
            try:
                await ctx.call("web", "ask", guardrails="rule")
            except StepFailedError:
                continue
            done += 1
        return done

    box = held(code, {"rule": Guardrail(type="rate-limit", max_calls=2)})
    box.start()
    box.reply(ASK)
    box.reply("/web.ask#2/web.ask")

    assert box.result == 2
    assert [each["step"] for each in violations(box)] == ["/web.ask#3"]
    assert events(box.effects).count("guardrail_violated") == 1
    box.refold()


def test_a_rule_that_nobody_has_defined_blocks_the_run() -> None:
    """Beside a step, and in a declaration whose shared rules are missing."""

    async def code(ctx: Context) -> Any:
        return await ctx.call("web", "ask", guardrails=["rulle"])

    for rules in ({"rule": PRIVATE}, {}, ("rule",)):
        box = held(code, rules)
        box.start()
        assert box.instance.status == "blocked"
        assert paths(box.effects) == []
        assert box.instance.blocked is not None
        assert "there is no guardrail" in box.instance.blocked.message


def test_a_workflow_that_is_a_branch_brings_its_own_rules() -> None:
    """Beside those of who calls it: one for every step cannot be got rid of by that."""
    clean = Guardrail(type="security", every=True)
    inner: Workflow[Any] = Workflow("inner", ask, WorkflowOptions(guardrails={"rule": PRIVATE}))

    async def outer(ctx: Context, note: Any) -> str:
        try:
            return str(await inner(ctx=ctx, note=note))
        except StepFailedError as error:
            return error.failure.message

    free, bound = Mailbox(outer), held(outer, {"rule": clean})
    for box in (free, bound):
        box.start("ann@example.org")
        box.refold()
    both = held(outer, {"clean": clean})
    both.start("password: hunter22")

    assert free.result == "guardrail rule (critical): email at the value"
    assert paths(bound.effects) == [ASK]
    assert "guardrail clean" in both.result


def test_a_fork_takes_over_what_a_held_step_gave() -> None:
    """It is not asked for again; what it would be asked is looked at, as the code goes by."""
    box = held(ask)
    outcomes = {step_token(ASK): {"value": "found"}}
    effects = box.fork("/web.tell", {"outcomes": outcomes, "signals": []}, "fine")

    assert paths(effects) == ["/web.tell"]
    box.refold()


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Guardrail(type="cost"), "bounds nothing"),
        (Guardrail(type="compliance", deny="steps.a.result == 1"), "only graphs have 'steps'"),
        (Guardrail(type="rate-limit", max_calls=1, count="{{item}}"), "only graphs have 'item'"),
    ],
)
def test_a_rule_that_can_be_none_is_refused_where_it_is_declared(
    rule: Guardrail, text: str
) -> None:
    """Before anything runs."""
    with pytest.raises(ConfigurationError, match=text):
        held(ask, {"rule": rule})


def test_a_held_step_is_cancelled_and_awaited_like_any_other() -> None:
    """Cancelled while a person is waited for, it asks for nothing; twice is a misuse."""

    async def late(ctx: Context) -> str:
        with ctx.move_on_after(5) as limit:
            await ctx.call("web", "ask", "ann@example.org", guardrails="rule")
        return "late" if limit.expired else "done"

    async def twice(ctx: Context) -> None:
        call = ctx.call("web", "ask", guardrails="rule")
        await ctx.gather(call, call)

    box = held(late, {"rule": Guardrail(type="data-privacy", severity="high")})
    box.start()
    box.pass_time(5)
    box.fire("/timeout")
    wrong = held(twice)
    wrong.start()

    assert box.result == "late"
    assert finish(box.effects).status == "completed"
    assert wrong.instance.status == "blocked"
    box.refold()
