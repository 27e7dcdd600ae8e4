"""Runs of graphs: order, conditions, items, joins, time, failures, undo."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocols.effects import Arm
from protocols.graphs.graph import Field, Graph, GraphStep
from tests.graphs.orders import INPUT, ITEMS, ORDER, graph_of, order, running, steps, told
from tests.kernel.mailbox import SECOND, Mailbox, asks, events, finish, paths

STEP = {"a": GraphStep(service="s", operation="a")}
CHECK, CHARGE = "/steps/check/stock.check", "/steps/charge/bank.charge"
SHIP, TELL = "/steps/ship/carrier.ship", "/steps/tell/mail.tell"


def pack(number: int) -> str:
    """Return the path of an item's step."""
    return f"/steps/pack/items/{number}/depot.pack"


def charged() -> Mailbox:
    """Return an order that is paid."""
    box = order()
    box.reply(CHECK, {"gifts": 1})
    box.reply(CHARGE, {"id": "pay-7"})
    return box


def packed() -> Mailbox:
    """Return an order that is packed."""
    box = charged()
    for number in range(len(ITEMS)):
        box.reply(pack(number), {"parcel": f"p{number}"})
    return box


def body(box: Mailbox, path: str) -> Any:
    """Return what a step was asked with."""
    return next(msgspec.json.decode(each.body) for each in asks(box.effects) if each.path == path)


def test_a_run_goes_from_the_input_to_the_outputs() -> None:
    """Whatever a step needs is there when it begins; the same mails fold to the same again."""
    box = packed()
    box.reply(SHIP, {"number": 42})
    box.reply(TELL)

    assert body(box, CHECK) == {"items": ITEMS}
    assert body(box, CHARGE) == {"amount": 120, "text": "order i-1 of a"}
    assert body(box, pack(2)) == {"sku": "c", "number": 2, "gift": None}
    assert body(box, SHIP) == {"parcels": ["p0", "p1", "p2"], "note": "none"}
    assert box.result == {"paid": "pay-7", "tracking": {"number": 42}, "told": "done"}
    assert steps(box) == {
        "check": "done",
        "charge": "done",
        "gift": "skipped: input.amount > 1000 && steps.check.result.gifts > 0 is false",
        "pack": "done",
        "ship": "done",
        "tell": "done",
    }
    box.refold()


def test_steps_run_side_by_side_as_soon_as_they_can() -> None:
    """Both wait for the check alone; the order of asking is that of the graph."""
    box = order({**INPUT, "amount": 2000})

    asked = paths(box.reply(CHECK, {"gifts": 1}))

    assert asked == [CHARGE, "/steps/gift/shop.gift"]
    assert paths(box.reply("/steps/gift/shop.gift", {"name": "cup"})) == []
    box.reply(CHARGE, {"id": 1})
    assert body(box, pack(0))["gift"] == "cup"


def test_items_are_worked_on_as_many_at_a_time_as_it_says() -> None:
    """The next one begins when one has ended; the results keep the order of the list."""
    box = charged()

    assert [each for each in paths(box.effects) if "pack" in each] == [pack(0), pack(1)]
    assert paths(box.reply(pack(1), {"parcel": "second"})) == [pack(2)]
    assert steps(box)["pack"] == "1 of 3"
    box.reply(pack(2), {"parcel": "third"})
    box.reply(pack(0), {"parcel": "first"})
    assert body(box, SHIP)["parcels"] == ["first", "second", "third"]


def test_no_items_are_a_step_that_is_done() -> None:
    """The list may come from a step, and be empty."""
    box = running(
        graph_of("""
            name: small
            steps:
              list: {service: s, operation: list}
              each: {service: s, operation: one, needs: list, foreach: "{{steps.list.result}}"}
        """)
    )
    box.start()
    box.reply("/steps/list/s.list", [])

    assert box.result == {"each": []}


def test_one_failed_item_does_not_lose_the_others() -> None:
    """All of them go to their end, then the step fails, and what is done is undone."""
    box = charged()
    box.fail(pack(0), "refused", retryable=False)
    assert asks(box.reply(pack(1), {"parcel": "p1"})) == []

    undo = asks(box.reply(pack(2), {"parcel": "p2"}))

    assert [each.path for each in undo] == [f"{pack(2)}/undo"]
    assert msgspec.json.decode(undo[0].body) == {"sku": "c"}
    assert undo[0].options.timeout_s == 10
    box.reply(f"{pack(2)}/undo")
    box.reply(f"{pack(1)}/undo")
    box.reply(f"{CHARGE}/undo")
    failure = finish(box.effects).failure
    assert failure
    assert failure.message == (
        "/steps/pack: refused: 1 of 3 items failed, the first is 0: refused: no luck"
    )
    assert list(failure.details) == ["0"]
    assert box.instance.status == "compensated"
    box.refold()


def test_items_of_a_step_that_is_not_critical_leave_a_gap() -> None:
    """Their place in the list is null, and each of them is a warning."""
    graph = msgspec.structs.replace(
        ORDER,
        steps={
            **ORDER.steps,
            "pack": msgspec.structs.replace(ORDER.steps["pack"], critical=False),
            "ship": msgspec.structs.replace(
                ORDER.steps["ship"],
                params={
                    "all": "{{steps.pack.result}}",
                    "why": "{{steps.pack.items[0].error.kind}}",
                },
            ),
        },
    )
    box = running(graph)
    box.start(INPUT)
    box.reply(CHECK)
    box.reply(CHARGE, {"id": 1})
    box.fail(pack(0), "refused", retryable=False)
    box.reply(pack(1), 1)
    box.reply(pack(2), 2)

    assert body(box, SHIP) == {"all": [None, 1, 2], "why": "refused"}
    assert steps(box)["pack"].startswith("failed: refused: 1 of 3 items failed")
    assert [each["step"] for each in told(box.effects, "warning")] == [pack(0)]


def test_a_step_that_is_not_critical_fails_with_a_warning() -> None:
    """The run goes on; its result is null, its status and its error can be referred to."""
    box = packed()
    box.reply(SHIP, {"number": 42})

    effects = box.fail(TELL, "refused", retryable=False)

    assert events(effects) == ["warning", "completed"]
    assert box.result["told"] == "failed"
    assert steps(box)["tell"] == "failed: refused: no luck"
    box.refold()


def test_a_critical_failure_ends_the_run_and_undoes_it() -> None:
    """What is under way beside it is cancelled, decided by its reply, and undone first."""
    box = running(
        graph_of("""
            name: small
            steps:
              a: {service: s, operation: a, undo: away}
              b: {service: s, operation: b, needs: a}
              c: {service: s, operation: c, needs: a, undo: {operation: away, service: t}}
              d: {service: s, operation: d, needs: c}
        """)
    )
    box.start()
    box.reply("/steps/a/s.a", 1)
    assert asks(box.fail("/steps/b/s.b", "refused", retryable=False)) == []

    (first,) = asks(box.reply("/steps/c/s.c", 2))
    (second,) = asks(box.reply(first.path))
    box.reply(second.path)

    assert [each.path for each in (first, second)] == ["/steps/c/s.c/undo", "/steps/a/s.a/undo"]
    assert (first.service, second.service) == ("t", "s")
    assert box.instance.status == "compensated"
    assert "/steps/d/s.d" not in paths(box.effects)
    box.refold()


def test_directives_are_followed_in_their_order() -> None:
    """Retried by the policy of the kind, then another bank; the events tell."""
    box = order()
    box.reply(CHECK)
    box.fail(CHARGE, "network", retryable=False)
    (other,) = asks(box.fail(CHARGE, "network", attempt=2))
    box.reply("/steps/charge/other-bank.charge", {"id": 9})

    assert other.service == "other-bank"
    assert [each["directive"] for each in told(box.effects, "directive")] == ["retry", "fallback"]
    assert [each for each in paths(box.effects) if "pack" in each] == [pack(0), pack(1)]
    box.refold()


def test_kinds_without_a_directive_are_tried_as_retry_says() -> None:
    """Twice, because the defaults say so; then the step is critical."""
    box = order()
    box.reply(CHECK)
    (again,) = asks(box.fail(CHARGE, "over_limit"))
    box.fail(CHARGE, "over_limit", attempt=2)

    assert (again.attempt, again.due) == (2, box.at + 5 * SECOND)
    assert box.instance.status == "failed"


def test_a_halted_step_goes_on_by_its_signal() -> None:
    """With the same key: what is done then is undone once, should it have to be."""
    box = order()
    box.reply(CHECK)
    (first,) = [each for each in asks(box.effects) if each.path == CHARGE]
    box.fail(CHARGE, "system", retryable=False)

    shown = steps(box)["charge"]
    (again,) = asks(box.signal("resume.charge"))
    box.reply(again.path, {"id": 3})
    box.cancel()

    assert shown == "halted, signal resume.charge: system: no luck"
    assert told(box.effects, "incident")[0]["signal"] == "resume.charge"
    assert again.key == first.key
    assert told(box.effects, "compensating")[0]["steps"][-1] == CHARGE
    box.refold()


def test_an_operator_may_give_the_value_or_let_the_step_fail() -> None:
    """As for every step with directives."""
    box = order()
    box.reply(CHECK)
    box.fail(CHARGE, "system", retryable=False)
    box.signal("resume.charge", {"result": {"id": "by hand"}})
    other = order()
    other.reply(CHECK)
    other.fail(CHARGE, "system", retryable=False)
    other.signal("resume.charge", "halt")

    assert steps(box)["charge"] == "done"
    assert other.instance.status == "failed"


def test_an_unknown_outcome_that_was_halted_keeps_its_key() -> None:
    """The service may have done it: only with the same key it is not done twice."""
    box = order()
    box.reply(CHECK)
    (first,) = [each for each in asks(box.effects) if each.path == CHARGE]
    box.fail(CHARGE, "system", retryable=False, unknown=True)

    (again,) = asks(box.signal("resume.charge"))

    assert again.key == first.key


def test_a_reference_to_what_is_not_there_fails_the_step() -> None:
    """With the kind validation, before anybody is asked."""
    box = running(
        graph_of("""
            name: small
            steps:
              a: {service: s, operation: a}
              b: {service: s, operation: b, needs: a, params: "{{steps.a.result.id}}"}
        """)
    )
    box.start()

    effects = box.reply("/steps/a/s.a", {"no": "id"})

    assert asks(effects) == []
    assert box.instance.failure
    assert box.instance.failure.kind == "validation"
    assert "steps.a.result has no field 'id'" in box.instance.failure.message


def test_outputs_that_are_not_there_block_the_run() -> None:
    """All work is done: it is not undone because of what the definition says at the end."""
    box = running(
        Graph(
            name="small",
            steps={"a": GraphStep(service="s", operation="a")},
            outputs={"id": "{{steps.a.result.id}}"},
        )
    )
    box.start()
    box.reply("/steps/a/s.a", {})

    assert box.instance.blocked
    assert "outputs: steps.a.result has no field 'id'" in box.instance.blocked.message


JOINED = """
    name: joined
    steps:
      a: {{service: s, operation: a}}
      b: {{service: s, operation: b, when: "input.b"}}
      c: {{service: s, operation: c, critical: false}}
      end: {{service: s, operation: end, needs: [a, b, c], join: {join}}}
"""


@pytest.mark.parametrize(
    ("join", "after_a", "after_b"),
    [("any", ["/steps/end/s.end"], []), ("2", [], ["/steps/end/s.end"]), ("all", [], [])],
)
def test_a_join_begins_when_enough_is_done(
    join: str, after_a: list[str], after_b: list[str]
) -> None:
    """Any, so many, or all; the others go on beside it."""
    box = running(graph_of(JOINED.format(join=join)))
    box.start({"b": True})

    assert paths(box.reply("/steps/a/s.a")) == after_a
    assert paths(box.reply("/steps/b/s.b")) == after_b
    third = paths(box.reply("/steps/c/s.c"))
    assert third == ([] if after_a or after_b else ["/steps/end/s.end"])
    box.reply("/steps/end/s.end", "x")
    assert box.result == {"end": "x"}
    box.refold()


def test_a_join_that_can_no_longer_come_about_is_skipped() -> None:
    """Of three needs one is done, one was skipped, one has failed."""
    box = running(graph_of(JOINED.format(join=2)))
    box.start({"b": False})
    box.reply("/steps/a/s.a")

    box.fail("/steps/c/s.c", "refused", retryable=False)

    assert box.result == {"end": None}
    assert steps(box)["end"] == "skipped: 1 of its needs are done, not 2"


def test_no_more_steps_run_side_by_side_than_the_graph_says() -> None:
    """The next one begins when one has ended."""
    box = running(
        Graph(
            name="small",
            concurrency=2,
            steps={name: GraphStep(service="s", operation=name) for name in "abcd"},
        )
    )

    assert paths(box.start()) == ["/steps/a/s.a", "/steps/b/s.b"]
    assert paths(box.reply("/steps/b/s.b")) == ["/steps/c/s.c"]
    assert paths(box.reply("/steps/c/s.c")) == ["/steps/d/s.d"]


def test_a_step_has_a_deadline_for_all_its_calls() -> None:
    """When it is over, nobody is asked any more."""
    box = packed()
    (arm,) = [each for each in box.effects if isinstance(each, Arm) and "ship" in each.name]
    assert arm.due == box.at + 3600 * SECOND

    box.fail(SHIP, "network")
    box.pass_time(3600)
    box.fire("/steps/ship/deadline")

    assert box.instance.failure is None, "the call in flight is decided first"
    box.reply(SHIP, attempt=2)
    assert told(box.effects, "compensating")[0]["steps"] == [
        *(pack(number) for number in (2, 1, 0)),
        CHARGE,
    ]


def test_a_run_has_a_time_as_a_whole() -> None:
    """Also while it is halted: then it is cut short and undone."""
    box = charged()
    box.pass_time(2 * 86_400)

    box.fire("/timeout")

    assert told(box.effects, "compensating")[0]["steps"][-1] == CHARGE


def test_behind_the_point_of_no_return_nothing_is_undone() -> None:
    """The parcel is on its way: a cancel leaves everything as it is."""
    box = packed()
    box.reply(SHIP, {"number": 42})

    box.cancel()
    box.reply(TELL)

    assert told(box.effects, "compensating") == []
    assert box.instance.status == "cancelled"


def test_an_input_that_does_not_fit_is_refused_with_its_fields() -> None:
    """Before anything is asked; absent fields have their defaults."""
    box = order({"amount": 0, "items": [{"sku": 7}], "country": "FR", "colour": "red"})

    assert asks(box.effects) == []
    assert box.instance.failure
    assert box.instance.failure.details == {
        "amount": "Expected `int` >= 1",
        "items[0].sku": "Expected `str`, got `int`",
        "country": "Invalid enum value 'FR'",
        "colour": "is not known",
    }


def test_no_input_is_an_input_without_fields() -> None:
    """Defaults count; what has none is told to be missing."""
    box = running(
        Graph(name="x", input={"n": Field(default=7)}, steps=STEP, outputs="{{input.n}}")
    )
    box.start()
    box.reply("/steps/a/s.a")
    other = running(Graph(name="x", input={"n": "number"}, steps=STEP))
    other.start()

    assert box.result == 7
    assert other.instance.failure
    assert other.instance.failure.details == {"n": "is missing"}


@pytest.mark.parametrize(("kind", "fits"), [("integer", [2, 3]), ("number", [1.5, 2, 3.5])])
def test_a_limit_of_a_number_holds_for_whole_ones_too(kind: Any, fits: list[float]) -> None:
    """Whatever form the limit has; a number beside it is refused."""
    field = Field(type=kind, min=1.5, max=3.5, default=2)
    found = []
    for number in (1, 1.5, 2, 3, 3.5, 4):
        box = running(Graph(name="x", input={"n": field}, steps=STEP))
        box.start({"n": number})
        if box.instance.status == "running":
            found.append(number)

    assert found == sorted({*fits, 3})


def test_numbers_stay_what_they_are() -> None:
    """A whole number does not become a fraction on its way."""
    box = order({**INPUT, "amount": 120})
    box.reply(CHECK)

    assert b'"amount":120,' in next(each.body for each in asks(box.effects) if each.path == CHARGE)


def test_a_value_that_cannot_be_sent_is_a_failure_of_its_step() -> None:
    """Here it is too large: of kind over_limit, and not critical."""
    box = running(
        graph_of("""
            name: small
            steps:
              a: {service: s, operation: a}
              b: {service: s, operation: b, needs: a, critical: false,
                  params: ["{{steps.a.result}}", "{{steps.a.result}}"]}
        """)
    )
    box.start()
    box.reply("/steps/a/s.a", "x" * 200_000)

    assert steps(box)["b"].startswith("failed: over_limit")


def test_a_recorded_run_asks_the_same_with_newer_code() -> None:
    """Paths, keys, attempts and timers of a recorded history, in their order."""
    box = order({**INPUT, "amount": 2000})
    box.reply(CHECK, {"gifts": 1})
    box.fail(CHARGE, "network", retryable=False)
    box.fail(CHARGE, "network", attempt=2)
    box.reply("/steps/charge/other-bank.charge", {"id": 9})
    box.reply("/steps/gift/shop.gift", {"name": "cup"})
    box.reply(pack(1), {"parcel": "p1"})
    box.reply(pack(0), {"parcel": "p0"})
    box.reply(pack(2), {"parcel": "p2"})
    box.reply(SHIP, 1)
    box.fail(TELL, "refused", retryable=False)

    asked = [(each.cause, each.path, each.attempt) for each in asks(box.effects)]
    timers = [(each.cause, each.name) for each in box.effects if isinstance(each, Arm)]

    assert {each.key for each in asks(box.effects)} == {f"i-1/1{path}" for _, path, _ in asked}
    assert asked == [
        (1, CHECK, 1),
        (2, CHARGE, 1),
        (2, "/steps/gift/shop.gift", 1),
        (3, CHARGE, 2),
        (4, "/steps/charge/other-bank.charge", 1),
        (6, pack(0), 1),
        (6, pack(1), 1),
        (7, pack(2), 1),
        (9, SHIP, 1),
        (10, TELL, 1),
    ]
    assert timers == [(1, "timeout"), (9, "steps/ship/deadline")]
    assert events(box.effects) == ["started", "directive", "directive", "warning", "completed"]


def test_a_step_whose_time_is_over_may_halt_and_be_asked_again() -> None:
    """Its call was cut short; what comes of the same key later is the value, and stays."""
    box = running(
        graph_of("""
            name: small
            steps:
              a: {service: s, operation: a, undo: away, timeout: 5s, deadline: 10s,
                  on_error: {timeout: halt_and_alert}}
        """)
    )
    (first,) = asks(box.start())
    box.pass_time(10)
    box.fire("/steps/a/deadline")
    shown = steps(box)["a"]

    (again,) = asks(box.signal("resume.a", {"do": "retry", "who": "ann"}))
    box.reply(again.path, "done")

    assert shown == "halted, signal resume.a: timeout: not done within 10s"
    assert again.key == first.key
    assert told(box.effects, "incident")[0]["error"]["kind"] == "timeout"
    assert box.result == {"a": "done"}
    assert [each for each in asks(box.effects) if each.operation == "away"] == []
    box.refold()


def test_an_item_that_is_halted_holds_only_itself() -> None:
    """Its signal has its number; the others go on, and so does what does not need them."""
    box = running(
        graph_of("""
            name: small
            steps:
              each: {service: s, operation: one, foreach: [a, b], on_error: halt_and_alert,
                     params: "{{item}}"}
              other: {service: s, operation: other}
        """)
    )
    box.start()
    box.fail("/steps/each/items/0/s.one", "refused", retryable=False)
    box.reply("/steps/each/items/1/s.one", "B")
    box.reply("/steps/other/s.other", 1)

    (again,) = asks(box.signal("resume.each.0"))
    box.reply(again.path, "A")

    assert box.result == {"each": ["A", "B"], "other": 1}
    box.refold()


def test_a_service_may_review_what_has_failed() -> None:
    """It gives a value in place of the answer; what is no decision leads on."""
    text = """
        name: small
        steps:
          a:
            {service: s, operation: a,
             on_error: {refused: {do: review, by: boss, then: continue}}}
    """
    boxes = [running(graph_of(text)) for _ in range(2)]
    for box, said in zip(boxes, ({"result": "fine"}, "perhaps"), strict=True):
        box.start()
        box.fail("/steps/a/s.a", "refused", retryable=False)
        box.reply("/steps/a/boss.review", said)

    assert [box.result for box in boxes] == [{"a": "fine"}, {"a": None}]


def test_kinds_of_the_nearer_table_go_first() -> None:
    """A step's word for all kinds hides what the defaults say of one."""
    graph = graph_of("""
        name: small
        defaults: {on_error: {network: {do: retry, policy: {attempts: 9}}, refused: continue}}
        steps:
          a: {service: s, operation: a, on_error: halt_and_alert, retry: 2}
          b: {service: s, operation: b}
    """)
    box = running(graph)
    box.start()
    box.fail("/steps/b/s.b", "refused", retryable=False)
    box.fail("/steps/a/s.a", "network")
    box.fail("/steps/a/s.a", "network", attempt=2)

    assert [each["directive"] for each in told(box.effects, "directive")] == [
        "continue",
        "halt_and_alert",
    ]
    assert [each["reason"] for each in told(box.effects, "incident")] == ["halted"]


def test_outputs_tell_null_of_items_that_were_given_up() -> None:
    """As of a whole step without a result; what an item lacks that is done still blocks."""
    graph = Graph(
        name="x",
        steps={
            "a": GraphStep(
                service="s", operation="a", foreach=("p", "q"), critical=False, retry=1
            ),
        },
        outputs={
            "ids": "{{steps.a.result[*].id}}",
            "last": "{{steps.a.result[1].id}}",
            "flat": "{{steps.a.result[*].rows[*].n}}",
            "said": "{{steps.a.result[*].id ?? 'none'}}",
        },
    )
    box, other = running(graph), running(graph)
    box.start()
    other.start()
    box.reply("/steps/a/items/0/s.a", {"id": 1, "rows": [{"n": 2}, {"n": 3}]})
    box.fail("/steps/a/items/1/s.a", retryable=False)
    other.reply("/steps/a/items/0/s.a", {"id": 1, "rows": []})
    other.reply("/steps/a/items/1/s.a", {"rows": []})

    assert box.result == {"ids": [1, None], "last": None, "flat": [2, 3], "said": "none"}
    assert other.instance.blocked is not None
    assert "has no field 'id'" in other.instance.blocked.message
    box.refold()
