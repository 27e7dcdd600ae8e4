"""Runs of graphs that go over to another definition from where they stand."""

from __future__ import annotations

from typing import Final

import msgspec
import pytest

from actors.graphs.interpreter import GraphWorkflow
from actors.kernel.instance import Instance
from actors.owning.control import control
from protocols.forking import ForkOrder
from protocols.gates.words import GateWord
from protocols.headers import MESSAGE_ID, WHO
from protocols.mail import Decided, Migrate, Switch, SwitchOrder
from protocols.moving import graph_move
from protocols.witness import Operator
from tests.graphs.orders import ORDER, graph_of, order, running, steps, told
from tests.graphs.test_people import DRAFT, drafted, say
from tests.graphs.test_run import CHECK, SHIP, TELL, packed
from tests.kernel.mailbox import Mailbox, asks, events, finish, paths

OLD: Final = graph_of("""
    name: order
    steps:
      charge: {service: bank, operation: charge, params: {n: "{{input.n}}"}, undo: refund}
      pack: {service: depot, operation: pack, needs: charge, params: "{{steps.charge.result}}"}
      ok: {gate: {title: "Ship it?"}, needs: pack}
      ship: {service: depot, operation: ship, needs: ok, undo: recall}
""")
NEW: Final = graph_of("""
    name: order
    steps:
      charge: {service: bank, operation: charge, params: {n: "{{input.n}}"}}
      check: {service: desk, operation: check}
      box: {service: depot, operation: pack, needs: [charge, check],
            params: "{{steps.charge.result}}"}
      ok: {gate: {title: "Ship it?"}, needs: box}
      insure: {service: desk, operation: insure, needs: box}
      send: {service: depot, operation: send, needs: [ok, insure], params: "{{steps.box.result}}"}
""")
CHARGE, PACK = "/steps/charge/bank.charge", "/steps/pack/depot.pack"


def at_pack() -> Mailbox:
    """Return an order that is paid and being packed."""
    box = running(OLD)
    box.others["new"] = GraphWorkflow(NEW)
    box.start({"n": 1})
    box.reply(CHARGE, "paid")
    return box


def test_a_run_goes_on_with_what_is_done_and_what_is_open() -> None:
    """The open step keeps its key; its answer is the result of the step under its new name."""
    box = at_pack()
    before = box.instance.waiting()

    effects = box.switch("new", pack="box")

    assert paths(effects) == ["/steps/check/desk.check"]
    assert [each for each in before if each.path == PACK] == [
        each for each in box.instance.waiting() if each.path == PACK
    ]
    assert told(effects, "migrated")[0]["definition"] == "new"
    assert paths(box.reply(PACK, "box-1")) == ["/steps/insure/desk.insure"]
    box.reply("/steps/check/desk.check")
    box.reply("/steps/insure/desk.insure")
    word = GateWord(gate="/steps/ok/gate.ok", do="approve")
    (ask,) = asks(box.fold(Decided(seq=len(box.mails) + 1, at=box.at, word=word)))
    assert (ask.path, ask.body) == ("/steps/send/depot.send", b'"box-1"')
    box.reply(ask.path, "sent")
    assert box.result == {"send": "sent"}
    assert steps(box)["box"] == "done"
    box.refold()


def test_a_switch_that_is_not_possible_does_nothing() -> None:
    """An open step that the new graph lacks would be asked for nothing; the old one goes on."""
    box = at_pack()

    effects = box.switch("new")

    assert events(effects) == ["migration_refused"]
    assert "step 'pack' is open" in told(effects, "migration_refused")[0]["problems"][0]
    assert box.instance.definition != "new"
    box.reply(PACK, "box-1")
    assert [each.path for each in box.instance.gates()] == ["/steps/ok/gate.ok"]
    box.refold()


def test_a_repeated_switch_counts_once() -> None:
    """By its message id; another order for the same definition finds nothing to do."""
    box = at_pack()
    box.switch("new", message_id="m", pack="box")

    assert box.switch("new", message_id="m", pack="box") == []
    assert box.instance.counters.duplicates == 1
    again = box.switch("new")
    assert (events(again), paths(again)) == (["migrated"], [])
    box.refold()


def test_what_was_done_is_undone_as_it_was_to_be() -> None:
    """Also a step that the new graph lacks, or to which it gives no undo."""
    box = running(OLD)
    box.others["new"] = GraphWorkflow(
        graph_of("""
            name: order
            steps:
              pack: {service: depot, operation: pack}
              sign: {service: desk, operation: sign, needs: pack}
        """)
    )
    box.start({"n": 1})
    box.reply(CHARGE, "paid")
    box.switch("new", accept=("pack",))
    box.reply(PACK, "box-1")

    effects = box.fail("/steps/sign/desk.sign", retryable=False)

    (undo,) = asks(effects)
    assert (undo.service, undo.operation) == ("bank", "refund")
    box.reply(undo.path)
    assert finish(box.effects).status == "compensated"
    box.refold()


def test_a_late_answer_of_a_step_that_is_gone_harms_nothing() -> None:
    """It was decided before the switch: a repeat of its answer is one, under any definition."""
    box = at_pack()
    box.others["less"] = GraphWorkflow(
        graph_of("name: order\nsteps: {box: {service: depot, operation: pack}}")
    )
    box.switch("less", accept=("all",), pack="box")

    assert box.reply(CHARGE, "paid") == []
    assert box.instance.counters.duplicates == 1
    box.reply(PACK, "b")
    assert box.result == {"box": "b"}


@pytest.mark.parametrize("stop", ["cancel", "failure", "end"])
def test_a_run_that_is_about_to_end_does_not_move(stop: str) -> None:
    """What is being undone was planned with the definition of before."""
    box = at_pack()
    if stop == "cancel":
        box.cancel()
    elif stop == "failure":
        box.fail(PACK, retryable=False)
    else:
        box.cancel()
        box.reply(PACK, "b")
        for each in asks(box.effects)[2:]:
            box.reply(each.path)
    effects = box.switch("new", pack="box")

    assert events(effects) == ([] if stop == "end" else ["migration_refused"])
    assert box.instance.definition != "new"


def test_repaired_code_replaces_the_definition_of_a_switch() -> None:
    """The migration names the switch: what stands before it is folded as it was."""
    box = at_pack()
    broken = graph_of("""
        name: order
        steps:
          pack: {service: depot, operation: pack, params: {}}
        outputs: "{{steps.pack.result.weight}}"
    """)
    box.others["broken"] = GraphWorkflow(broken)
    box.switch("broken", accept=("pack",))
    switch = box.mails[-1].seq
    box.reply(PACK, "no weight")
    assert box.instance.status == "blocked"
    mended = Migrate(seq=switch + 2, at=box.at, definition="mended", since=switch)
    box.others["mended"] = GraphWorkflow(
        graph_of("name: order\nsteps: {pack: {service: depot, operation: pack}}")
    )

    again = Instance("i-1", box.load, replaced={mended.since: mended.definition})
    for mail in [*box.mails, mended]:
        again.fold(mail)

    assert (again.status, again.definition) == ("completed", "mended")


def test_items_and_halted_steps_go_on_as_they_began() -> None:
    """A step with items asks for the next one; a halted one is resumed by its old signal."""
    box = running(
        graph_of("""
            name: many
            steps:
              each: {service: s, operation: do, foreach: [1, 2, 3], concurrency: 1}
              odd: {service: s, operation: odd, on_error: halt_and_alert}
        """)
    )
    box.others["new"] = GraphWorkflow(
        graph_of("""
            name: many
            steps:
              all: {service: s, operation: do, foreach: [1, 2, 3]}
              odd: {service: s, operation: odd}
              sum: {service: s, operation: sum, needs: [all, odd], params: "{{steps.all.result}}"}
        """)
    )
    box.start()
    box.fail("/steps/odd/s.odd", retryable=False)
    box.reply("/steps/each/items/0/s.do", "a")

    box.switch("new", each="all")

    assert paths(box.reply("/steps/each/items/1/s.do", "b")) == ["/steps/each/items/2/s.do"]
    box.reply("/steps/each/items/2/s.do", "c")
    assert box.instance.status == "running"
    (ask,) = asks(box.signal("resume.odd", {"result": 1}))
    assert (ask.path, ask.body) == ("/steps/sum/s.sum", b'["a","b","c"]')
    box.refold()


def test_a_workflow_in_python_cannot_switch() -> None:
    """Nobody can tell where in its code it would go on: it is folded from the start."""

    async def code(ctx: object) -> None:
        await ctx.signal("go")  # type: ignore[attr-defined]

    box = Mailbox(code)
    box.start()

    effects = box.switch("new")

    assert "is code" in told(effects, "migration_refused")[0]["problems"][0]


def test_a_plan_says_what_becomes_of_each_step() -> None:
    """Nothing is done for it: the same run stands where it stood."""
    box = at_pack()

    found = box.instance.moving(
        box.others["new"], SwitchOrder(definition="", moves={"pack": "box"})
    )

    assert [(each.was, each.step, each.what) for each in found.steps] == [
        ("charge", "charge", "kept"),
        ("", "check", "new"),
        ("pack", "box", "open"),
        ("ok", "ok", "waiting"),
        ("", "insure", "new"),
        ("", "send", "new"),
        ("ship", "", "dropped"),
    ]
    assert found.problems == ()
    assert found.steps[0].note == "it keeps the undo that it began with"
    assert found.steps[2].note == "runs before what it needs: check"
    box.refold()


@pytest.mark.parametrize(
    ("moves", "problem"),
    [
        ({"x": "box"}, "there was no step 'x'"),
        ({"pack": "x"}, "there is no step 'x'"),
        ({"pack": "charge"}, "two steps would be 'charge'"),
    ],
)
def test_names_that_make_no_sense_are_refused(moves: dict[str, str], problem: str) -> None:
    """Each old name is one step, and so is each new one."""
    found = graph_move(OLD, NEW, {"charge": "done", "pack": "waiting"}, moves)

    assert any(problem in each for each in found.problems)


@pytest.mark.parametrize(
    ("step", "changed"),
    [
        ("{service: bank, operation: pay}", "operation"),
        ("{service: till, operation: charge}", "service"),
        ('{service: bank, operation: charge, params: {n: "{{input.m}}"}}', "params"),
        ("{sleep: 1h}", "kind"),
    ],
)
def test_an_effect_that_was_done_is_not_another_one_afterwards(step: str, changed: str) -> None:
    """Unless somebody says that this does no harm; a step that has not run may change."""
    new = graph_of(f"name: order\nsteps:\n  charge: {step}\n")
    done, waiting = {"charge": "done"}, {"charge": "waiting"}

    (problem,) = graph_move(OLD, new, done, {}).problems

    assert f"another {changed}" in problem
    assert graph_move(OLD, new, done, {}, ["charge"]).problems == ()
    assert graph_move(OLD, new, waiting, {}).problems == ()


def stories() -> list[Mailbox]:
    """Return runs of all kinds, from their start to their end."""
    done = packed()
    done.reply(SHIP, {"number": 42})
    done.reply(TELL)
    undone = packed()
    undone.fail(SHIP, retryable=False)
    for each in asks(undone.effects):
        if each.path.endswith("/undo"):
            undone.reply(each.path)
    held = order()
    held.reply(CHECK, {"gifts": 1})
    held.fail("/steps/charge/bank.charge", "system", retryable=False)
    held.signal("resume.charge", {"result": {"id": "by hand"}})
    for number in (2, 0, 1):
        held.reply(f"/steps/pack/items/{number}/depot.pack", {"parcel": number})
    held.cancel()
    return [done, undone, held]


@pytest.mark.parametrize("story", [0, 1, 2])
def test_a_switch_to_the_same_definition_changes_nothing(story: int) -> None:
    """At whatever place it stands: the same is asked for, and the run ends in the same way."""
    whole = stories()[story]
    expected = [each.path for each in asks(whole.effects)]

    for place in range(1, len(whole.mails) + 1):
        box = running(ORDER)
        mails = [msgspec.structs.replace(mail, seq=mail.seq * 2) for mail in whole.mails]
        order_to = SwitchOrder(definition="again")
        switch = Switch(seq=place * 2 + 1, at=mails[place - 1].at, order=order_to)
        for mail in sorted([*mails, switch], key=lambda each: each.seq):
            box.mails.append(mail)
            box.effects += box.instance.fold(mail)

        assert [each.path for each in asks(box.effects)] == expected
        assert (box.instance.status, box.instance.result) == (
            whole.instance.status,
            whole.instance.result,
        )
        shown = {name: each for name, each in steps(box).items() if "running" not in each}
        assert shown.items() <= steps(whole).items()
        box.refold()


def test_orders_are_read_as_they_stand_on_the_wire() -> None:
    """A switch is an object; a migration is a text, or an object behind a switch."""
    body = b'{"definition": "new", "moves": {"a": "b"}, "accept": ["c"]}'
    headers = {MESSAGE_ID: "m", WHO: "ann"}

    switch = control("switch", 5, 6, headers, body)
    behind = control("migrate", 7, 8, {}, b'{"definition": "new", "since": 5}')

    assert switch == Switch(
        seq=5,
        at=6,
        order=SwitchOrder(definition="new", moves={"a": "b"}, accept=("c",)),
        message_id="m",
        by=Operator(who="ann"),
    )
    assert behind == Migrate(seq=7, at=8, definition="new", since=5)
    assert control("migrate", 7, 8, {}, b'"new"') == Migrate(seq=7, at=8, definition="new")
    assert control("switch", 5, 6, {}, b'{"definition": ""}') == "a switch names no definition"
    with pytest.raises(msgspec.ValidationError):
        control("switch", 5, 6, {}, b'"new"')


def test_work_is_sent_back_under_its_new_name() -> None:
    """By the name that the gate has shown; what it did is undone by the key that it had."""
    box = drafted()
    letter = DRAFT.replace("draft:", "letter:").replace("needs: draft", "needs: letter")
    letter = letter.replace("steps.draft", "steps.letter").replace(
        "[draft, plan]", "[letter, plan]"
    )
    letter = letter.replace("[allow, draft]", "[allow, letter]")
    box.others["new"] = GraphWorkflow(graph_of(letter))
    box.others["other"] = GraphWorkflow(graph_of(letter.replace("[letter, plan]", "plan")))

    other = box.switch("other", draft="letter")
    box.switch("new", draft="letter")
    said = say(box, "retry", step="draft")
    between = box.switch("new")
    begun = box.reply("/steps/draft/office.draft/undo")
    box.reply("/steps/letter/office.draft", {"long": False})
    (state,) = box.instance.gates()

    assert "send work back" in told(other, "migration_refused")[0]["problems"][0]
    assert paths(said) == ["/steps/draft/office.draft/undo"]
    assert "once more: try again" in told(between, "migration_refused")[0]["problems"][0]
    assert paths(begun) == ["/steps/letter/office.draft"]
    assert state.path == "/steps/allow#2/gate.allow"
    say(box, "approve", state.path)
    box.reply("/steps/send/mail.send", "sent")
    assert box.result == {"send": "sent"}
    box.refold()


def test_every_step_of_a_large_graph_keeps_what_it_came_to() -> None:
    """Also behind the first 500, which is as many as one answer shows."""
    lines = [f"s{n}: {{service: s, operation: go, critical: false}}" for n in range(600)]
    graph = graph_of("name: order\nsteps:\n  " + "\n  ".join(lines))
    box = running(graph)
    box.others["new"] = GraphWorkflow(graph)
    box.start()
    for number in range(599):
        box.reply(f"/steps/s{number}/s.go")

    assert paths(box.switch("new")) == []
    forked = running(graph)
    box.cancel()
    standing = box.instance.forking(box.code, ForkOrder(step="s599")).standing
    assert paths(forked.fork("s599", standing)) == ["/steps/s599/s.go"]

    old = running(graph)  # an order of before
    old.others["new"] = GraphWorkflow(graph)
    old.start()
    for number in range(599):
        old.reply(f"/steps/s{number}/s.go")
    order = SwitchOrder(definition="new")
    effects = old.fold(Switch(seq=len(old.mails) + 1, at=old.at, order=order))
    assert len(paths(effects)) == 100
