"""What the seven branches do: real work on the texts of motions, once per key."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

import movant
from examples.governance.branches import conclave, executive, knight, president, prince
from examples.governance.branches.conclave import Reviewed, ruling, vote
from examples.governance.branches.king import Petition
from examples.governance.branches.knight import Transition, statement, unbroken
from examples.governance.branches.president import order, unworkable
from examples.governance.branches.request import Introduced, Request
from examples.governance.demo import MOTIONS
from examples.governance.gazette import house
from examples.governance.records import Records
from examples.governance.serve import NAMES, RULES, branch
from examples.governance.text import MalformedError, Motion, parse

TEXT: Final = """\
Title: Lamps
Subject: roads
By: Ada

1. The city shall install 12 lamps on Harbour Road,
   and paint them, after clause 2.
2. The city shall pay 1,200 from the road fund.
3. The city should be kinder.
4. The city shall repeal Act 7.
"""


def _call(operation: str, key: str = "k") -> movant.Call:
    return movant.Call(service="s", operation=operation, key=key)


def _handler(service: movant.Service, operation: str) -> Callable[..., Any]:
    return service.operations[operation].function


def _request(text: str = TEXT, **more: Any) -> Request:
    given = {"motion_id": "m", "state": "S", "entry": 1, "cause": "completed", **more}
    return Request(input=Introduced(parse(text)), **given)


def _motion(name: str) -> Motion:
    (path,) = MOTIONS.glob(f"*-{name}.txt")
    return parse(path.read_text())


# Texts


def test_a_text_is_read_clause_by_clause() -> None:
    """What each wants done, what it waits for, and what it costs; a wish wants nothing."""
    lamps, money, wish, act = parse(TEXT).clauses

    assert (lamps.verb, lamps.after) == ("install", (2,))
    assert lamps.text.endswith("and paint them, after clause 2.")
    assert (money.verb, money.amount) == ("pay", 1200)
    assert (wish.verb, wish.what) == ("", "")
    assert (act.verb, act.act) == ("repeal", 7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Title: x\nSubject: y\n\n1. The city shall clean it.", "a motion needs By"),
        ("Title: x\nSubject: y\nBy: z\n", "a motion needs a clause"),
        ("Title: x\nSubject: y\nBy: z\n\nClean it!", "line 5: neither a heading nor a clause"),
        ("Title: x\nSubject: y\nBy: z\n\n2. The city shall clean it.", "not numbered"),
        ("", "a motion needs Title, Subject, By"),
    ],
)
def test_a_text_that_is_no_motion_says_why(text: str, said: str) -> None:
    """The King reads it, and refuses it as not valid."""
    with pytest.raises(MalformedError, match=said):
        parse(text)


def test_the_king_refuses_what_he_cannot_read_and_numbers_the_rest(tmp_path: Path) -> None:
    """A repeat of the same request has the same number."""
    introduce = _handler(branch("king", tmp_path), "introduce")
    petition = Petition(TEXT)

    first = introduce(petition, _call("introduce", "a"))
    again = introduce(petition, _call("introduce", "a"))
    second = introduce(petition, _call("introduce", "b"))
    with pytest.raises(movant.Refused) as refused:
        introduce(Petition("Hello"), _call("introduce", "c"))

    assert first == again
    assert (first["number"], second["number"]) == (1, 2)
    assert first["clauses"][0]["verb"] == "install"
    assert refused.value.kind == "validation"


# The Conclave


@pytest.mark.parametrize(
    ("name", "reading", "outcome"),
    [
        ("harbour-lamps", 1, (True, True)),
        ("no-fireworks", 1, (True, False)),
        ("dog-park", 1, (False, True)),
        ("dog-park", 2, (True, True)),
    ],
)
def test_seats_vote_by_what_a_motion_says(
    name: str, reading: int, outcome: tuple[bool, bool]
) -> None:
    """Quorum and majority; from the second reading on nobody abstains."""
    motion = _motion(name)

    result = vote(motion, list(motion.clauses), reading)

    assert (result["quorum"], result["ayes"] > result["noes"]) == outcome
    assert len(result["votes"]) == 7


def test_clauses_that_came_back_are_struck_and_stay_struck(tmp_path: Path) -> None:
    """The Conclave votes on what is left; when nothing is left, against it."""
    deliberate = _handler(branch("conclave", tmp_path), "deliberate")
    error = {"details": {"clauses": [3]}}
    second = _request(entry=2, error=error)
    third = _request(entry=3, data={"DELIBERATING": {"struck": [3]}}, error={"details": None})
    none = _request(entry=2, error={"details": {"clauses": [1, 2, 3, 4]}})

    assert deliberate(second, _call("deliberate", "a"))["struck"] == [3]
    assert deliberate(third, _call("deliberate", "b"))["struck"] == [3]
    assert deliberate(none, _call("deliberate", "c"))["ayes"] == 0


@pytest.mark.parametrize(
    ("kind", "details", "ayes", "said"),
    [
        ("permission", {"plan": {"cost": 2}}, 5, "EXECUTING"),
        ("permission", {"plan": {"cost": 2}}, 4, "halt"),
        ("compliance", {"breaches": [{"rule": "r", "severity": "minor"}]}, 5, "WITNESSING"),
        ("compliance", {"breaches": [{"rule": "r", "severity": "grave"}]}, 7, "halt"),
        ("system", None, 7, "halt"),
    ],
)
def test_the_conclave_rules_on_what_failed(kind: str, details: Any, ayes: int, said: str) -> None:
    """Two thirds give authority; minor breaches pass; it rules on nothing else."""
    asked = Reviewed(
        motion_id="m",
        state="S",
        entry=1,
        cause="completed",
        input=Introduced(parse(TEXT)),
        data={"DELIBERATING": {"ayes": ayes}},
        error={"class": kind, "details": details},
    )

    answer = ruling(asked)

    assert answer.get("to") == said or answer.get("do") == said
    assert answer["why"]


def test_the_bulletin_has_one_column() -> None:
    """What is longer is over the limit."""
    assert "Lamps" in conclave.bulletin(parse(TEXT))
    with pytest.raises(movant.Refused) as refused:
        conclave.bulletin(_motion("charter"))
    assert refused.value.kind == "over_limit"


# The President


def test_tasks_stand_in_the_order_in_which_they_can_be_done() -> None:
    """No clause before those that it waits for."""
    assert [each["clause"] for each in order(list(parse(TEXT).clauses))] == [2, 3, 4, 1]


def test_what_nobody_can_carry_out_is_named_with_the_reason() -> None:
    """Wishes, clauses that wait for what is not there, and circles."""
    text = TEXT.replace("Act 7.", "Act 7, after clause 5.") + "5. The city shall pay 1, after 4.\n"
    circle = text.replace("after 4.", "after clause 4.")
    missing = TEXT.replace("Act 7.", "Act 7, after clauses 2 and 9.")

    assert unworkable(list(parse(circle).clauses)) == {
        3: "a wish, no task",
        4: "waits for itself",
        5: "waits for itself",
    }
    assert unworkable(list(parse(missing).clauses))[4] == (
        "waits for clause 9, which is not there"
    )


def test_the_president_plans_within_his_authority_and_gives_back(tmp_path: Path) -> None:
    """Above it the plan goes to the Conclave; an undo frees the money, once, for good."""
    service = branch("president", tmp_path)
    plan, release = _handler(service, "plan"), _handler(service, "release")
    cheap = _request(TEXT.replace("1,200", "900"))
    records = Records(tmp_path / "president.sqlite")

    made = plan(cheap, _call("plan", "a"))
    with pytest.raises(movant.Refused) as refused:
        plan(_request(), _call("plan", "b"))
    kept = records.rows("SELECT amount FROM reserved")
    released = release(movant.UndoRequest("a")), release(movant.UndoRequest("a"))
    never = release(movant.UndoRequest("never"))

    assert made["reserved"] == 900
    assert (refused.value.kind, refused.value.details["plan"]["cost"]) == ("permission", 1200)
    assert kept == [(900,)]
    assert released == ({"released": True}, None)
    assert never is None
    assert records.rows("SELECT * FROM reserved") == []
    for key in ("a", "never"):
        with pytest.raises(movant.Refused, match="was undone"):
            plan(cheap, _call("plan", key))


def test_the_treasury_has_an_end(tmp_path: Path) -> None:
    """Who comes too late is refused, and nothing is set aside."""
    plan = _handler(branch("president", tmp_path), "plan")
    cheap = _request(TEXT.replace("1,200", "1,000"))
    for number in range(president.TREASURY // 1_000):
        plan(cheap, _call("plan", f"k{number}"))

    with pytest.raises(movant.Refused, match="the treasury has 0 left"):
        plan(cheap, _call("plan", "late"))


# Duke and Earl


@contextmanager
def _printing(path: Path) -> Iterator[str]:
    """Run the gazette here; return its name and port."""
    server = house(path / "gazette.sqlite", 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _planned(*clauses: str) -> Request:
    lines = "".join(f"{number}. {text}\n" for number, text in enumerate(clauses, 1))
    text = f"Title: x\nSubject: y\nBy: z\n\n{lines}"
    return _request(text, data={"PLANNING": {"tasks": order(list(parse(text).clauses))}})


NOTICE: Final = "The city shall publish a notice."
WORK: Final = "The city shall clean the river."


def test_the_duke_prints_in_the_gazette_once_and_withdraws(tmp_path: Path) -> None:
    """A real house over HTTP, asked last; a repeat prints nothing twice."""
    with _printing(tmp_path) as host:
        service = branch("duke", tmp_path, gazette=host)
        execute, revoke = _handler(service, "execute"), _handler(service, "revoke")
        done = execute(_planned(WORK, NOTICE), _call("execute", "a/b"))
        again = execute(_planned(WORK, NOTICE), _call("execute", "a/b"))
        printed = Records(tmp_path / "gazette.sqlite").rows("SELECT * FROM printed")
        undone = revoke(movant.UndoRequest("a/b"))
        left = Records(tmp_path / "gazette.sqlite").rows("SELECT * FROM printed")

    assert done == again
    assert done == {"done": ["clean: the river", "publish: a notice"], "notices": "gazette"}
    assert printed == [("/a_b", '["a notice"]')]
    assert (undone, left) == ({"revoked": 2}, [])


def test_a_closed_gazette_is_a_failure_of_the_network_that_leaves_nothing(tmp_path: Path) -> None:
    """The work before it is not done either: the plan is carried out as a whole."""
    with _printing(tmp_path) as host:
        pass
    execute = _handler(branch("duke", tmp_path, gazette=host), "execute")

    with pytest.raises(movant.Failed) as failed:
        execute(_planned(WORK, NOTICE), _call("execute"))

    assert failed.value.kind == "network"
    assert Records(tmp_path / "duke.sqlite").rows("SELECT * FROM works") == []


def test_the_earl_has_a_board_of_his_own(tmp_path: Path) -> None:
    """He needs no gazette; what he did is taken back as well."""
    service = branch("earl", tmp_path)
    records = Records(tmp_path / "earl.sqlite")

    done = _handler(service, "execute")(_planned(NOTICE), _call("execute"))
    board = records.rows("SELECT notice FROM board")
    _handler(service, "revoke")(movant.UndoRequest("k"))

    assert (done["notices"], board) == ("board", [("a notice",)])
    assert records.rows("SELECT notice FROM board") == []


def test_an_act_is_repealed_once_and_comes_back_when_that_is_undone(tmp_path: Path) -> None:
    """One that is not in force cannot be: nothing of such a plan is done."""
    service = branch("earl", tmp_path)
    execute, revoke = _handler(service, "execute"), _handler(service, "revoke")
    plan = _planned(WORK, "The city shall repeal Act 7.")

    done = execute(plan, _call("execute", "a"))
    with pytest.raises(movant.Refused, match="Act 7 is not in force"):
        execute(plan, _call("execute", "b"))
    revoke(movant.UndoRequest("a"))
    later = execute(plan, _call("execute", "c"))

    assert done["done"][1] == later["done"][1] == "repealed Act 7, The Market Act"
    works = Records(tmp_path / "earl.sqlite").rows("SELECT key FROM works")
    assert works == [("c",), ("c",)]
    assert 99 not in executive.ACTS


# Prince and Knight


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("harbour-lamps", []),
        ("night-market", [("quiet at night", "minor")]),
        ("list-of-debtors", [("no names of people in need", "grave")]),
        ("bridge", []),
    ],
)
def test_the_prince_judges_by_the_rules_of_the_subject(
    name: str, broken: list[tuple[str, str]]
) -> None:
    """Those for all, and those for roads, which stay open unless it is for some days."""
    motion = _motion(name)

    found = prince.breaches(
        prince.rules_for(RULES, motion.subject), [each.text for each in motion.clauses]
    )

    assert [(each["rule"], each["severity"]) for each in found] == broken


def test_a_rule_book_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    """The Prince does not guess: it is a defect."""
    (tmp_path / "harbour.yaml").write_text("- rule: [\n")
    judge = _handler(prince.prince(Records(tmp_path / "p", prince.SCHEMA), tmp_path), "judge")
    (tmp_path / "roads.yaml").write_text("- {rule: x, forbidden: y, severity: minor}\n")

    with pytest.raises(Exception, match="while parsing"):
        judge(_request(TEXT.replace("roads", "harbour")), _call("judge"))
    with pytest.raises(msgspec.ValidationError, match="forbidden"):
        judge(_request(), _call("judge"))


def test_a_subject_is_no_path() -> None:
    """It comes from a text that anybody may write."""
    assert prince.rules_for(RULES, "../rules/roads") == prince.rules_for(RULES, "nothing")


def _transition(**more: Any) -> Transition:
    given: dict[str, Any] = {"motion_id": "m", "number": 1, "origin": "A", "to": "B"}
    return Transition(**given | {"cause": "completed", "owner": "duke_service"} | more)


def test_a_statement_says_who_did_what_and_what_was_only_told() -> None:
    """In words; the assumption that work was done stands in it."""
    assert statement(_transition()) == ("I saw motion m go from A to B: completed by duke_service")
    assert "told, not shown, that the work of B was done" in statement(
        _transition(origin="", cause="submitted", work_done=True)
    )
    assert statement(_transition(cause="signal", by="ann", why="it is late")) == (
        "I saw motion m go from A to B: signal, at the word of ann (it is late)"
    )


def test_the_statements_are_a_chain_that_shows_a_change(tmp_path: Path) -> None:
    """One statement per key; the record of a motion is refused when the chain is broken."""
    records = Records(tmp_path / "knight.sqlite", knight.SCHEMA)
    service = knight.knight(records)
    witness, record = _handler(service, "witness"), _handler(service, "record")

    said = [witness(_transition(), _call("witness", key)) for key in ("a", "a", "b", "c")]
    recorded = record(_request(), _call("record", "r"))
    with records.transaction() as db:
        db.execute("UPDATE statements SET motion = 'other' WHERE number = 2")

    assert [each["number"] for each in said] == [1, 1, 2, 3]
    assert recorded == {"statements": 3, "head": said[-1]["hash"]}
    assert not unbroken(records)
    with pytest.raises(movant.Failed, match="broken"):
        record(_request(), _call("record", "later"))


def test_every_branch_may_block_and_keeps_its_own_records(tmp_path: Path) -> None:
    """Handlers run in threads; each branch has a file of its own."""
    services = [branch(name, tmp_path) for name in NAMES]

    assert all(each.blocking for service in services for each in service.operations.values())
    assert {path.name for path in tmp_path.glob("*.sqlite")} == {f"{n}.sqlite" for n in NAMES}
