"""Who serves an attempt: by the table, by the owner's message, and never another after unknown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.kernel.context import Context
from actors.kernel.instance import Instance
from protocols.definition import Workflow, workflow
from protocols.effects import AnyEffect, Ask, Emit
from protocols.failure import Failure
from protocols.mail import AttemptRefused, AttemptTimedOut, Cancel, Mail, Reply, Routed, Start
from protocols.policy import Retry, StepOptions
from protocols.routes import Candidate, Choices

SECOND = 1_000_000_000
THREE = ("p", "q", "r")


def program(*, ranked: bool = False, **options: Any) -> Workflow[Any]:
    """Return a workflow of one step with three candidates."""
    settings = StepOptions(retry=Retry(attempts=9, delay_s=0), timeout_s=1, **options)

    @workflow("pay")
    async def pay(ctx: Context) -> Any:
        return await ctx.call("cards", "charge", options=settings)

    choices = Choices("cards", tuple(Candidate(each, 1.0) for each in THREE), ranked)
    return pay.with_routes({"cards": choices})


class Case:
    """An instance whose messages are given one after the other."""

    def __init__(self, code: Workflow[Any]) -> None:
        self.code = code
        self.mails: list[Mail] = []
        self.instance = Instance("a", lambda _name, _hash: code)
        self.effects: list[AnyEffect] = []
        self.give(Start, workflow="pay", body=b"", definition="d_t")

    def give(self, kind: type[Any], *, at_s: float | None = None, **fields: Any) -> None:
        """Fold one message."""
        seq = len(self.mails) + 1
        at = int((seq * 10.0 if at_s is None else at_s) * SECOND)
        self.mails.append(kind(seq=seq, at=at, **fields))
        self.effects = self.instance.fold(self.mails[-1])

    def failed(self, kind: str = "failed", *, unknown: bool = False) -> None:
        """Let the current attempt fail."""
        failure = Failure(kind=kind, message="", unknown=unknown)
        self.give(Reply, step=self.step, attempt=self.attempt, failure=failure)

    def routed(self, service: str, attempt: int = 0) -> None:
        """Let the owner choose."""
        self.give(
            Routed, epoch=1, step=self.step, attempt=attempt or self.attempt, service=service
        )

    @property
    def step(self) -> str:
        """Token of the one step."""
        return "cards.charge".replace(".", "%2E")

    @property
    def attempt(self) -> int:
        """The current attempt."""
        return self.instance.waiting()[0].attempt

    @property
    def ask(self) -> Ask:
        """What the last message asked for."""
        (found,) = [each for each in self.effects if isinstance(each, Ask)]
        return found


def test_attempt_n_goes_to_candidate_n() -> None:
    """A function of the table: no message says it, and the key is the same."""
    case = Case(program())
    asks = [case.ask]
    for _ in range(3):
        case.failed()
        asks.append(case.ask)

    assert [each.service for each in asks] == ["p", "q", "r", "p"]
    assert {each.key for each in asks} == {"a/1/cards.charge"}


def test_a_name_without_a_route_is_a_service() -> None:
    """The table says nothing about it."""

    @workflow("pay")
    async def pay(ctx: Context) -> Any:
        return await ctx.call("mail", "send")

    case = Case(pay.with_routes({}))

    assert case.ask.service == "mail"
    assert case.ask.route is None


def test_after_an_unknown_outcome_the_same_service_is_asked() -> None:
    """Timed out: it may have charged the card, so nobody else may, whatever comes later."""
    case = Case(program())

    case.give(AttemptTimedOut, epoch=1, step=case.step, attempt=1)
    second = case.ask
    case.failed()
    third = case.ask

    assert (second.attempt, second.service) == (2, "p")
    assert (third.attempt, third.service) == (3, "p")
    assert third.route is not None
    assert third.route.bound


@pytest.mark.parametrize("ranked", [False, True])
def test_after_an_unknown_outcome_no_message_moves_it(ranked: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Not even an owner's choice: it is bound to who may have done it."""
    case = Case(program(ranked=ranked))
    if ranked:
        case.routed("p")
    case.failed("odd", unknown=True)

    case.routed("q")

    assert case.effects == []
    assert case.instance.counters.late == 1


def test_a_step_that_says_switch_goes_on_to_the_next() -> None:
    """Its author takes the second effect upon himself."""
    case = Case(program(unknown="switch"))

    case.failed("odd", unknown=True)

    assert case.ask.service == "q"


def test_a_ranked_route_is_open_until_the_owner_has_chosen() -> None:
    """The ask says so; the choice asks again, at that service, and is an event."""
    case = Case(program(ranked=True))
    first = case.ask

    case.routed("r")

    assert first.route is not None
    assert not first.route.decided
    assert not case.instance.is_open(first)
    assert (case.ask.service, case.ask.attempt) == ("r", 1)
    assert case.instance.is_open(case.ask)
    (event,) = [each for each in case.effects if isinstance(each, Emit)]
    assert event.event == "routed"
    assert event.data["service"] == "r"


def test_the_first_choice_for_an_attempt_counts() -> None:
    """A second one, one for another attempt, and one of a stranger change nothing."""
    case = Case(program(ranked=True))
    case.routed("r")

    for service, attempt in (("q", 1), ("q", 2), ("x", 1)):
        case.routed(service, attempt)
        assert case.effects == []

    case.failed()
    case.routed("x")
    assert case.effects == []
    assert case.instance.waiting()[0].detail == "cards (not routed yet).charge"


def test_who_failed_is_told_to_the_next_choice() -> None:
    """Others go first."""
    case = Case(program(ranked=True))
    case.routed("q")

    case.failed()

    assert case.ask.route is not None
    assert case.ask.route.failed == ("q",)


def test_a_refused_attempt_was_never_sent_so_the_next_candidate_may() -> None:
    """Nobody served the first one."""
    case = Case(program())
    failure = Failure(kind="no_responders", message="")

    case.give(AttemptRefused, epoch=1, step=case.step, attempt=1, failure=failure)

    assert case.ask.service == "q"


EVENTS = st.sampled_from(["fails", "unknown", "timeout", "route p", "route q", "route x", "done"])


@given(st.booleans(), st.lists(EVENTS, max_size=25))
def test_no_second_service_is_asked_after_an_unknown_outcome(
    ranked: bool,  # noqa: FBT001 - drawn
    events: list[str],
) -> None:
    """Whatever comes in any order; and a fold of the same messages ends in the same state."""
    case = Case(program(ranked=ranked))
    asked: list[tuple[int, str]] = []
    bound = ""
    for event in ["", *events]:
        current = ""
        if event and case.instance.status == "running":
            current = dict(asked).get(case.attempt, "")
            if event in {"fails", "unknown"}:
                case.failed(unknown=event == "unknown")
            elif event == "timeout":
                case.give(AttemptTimedOut, epoch=1, step=case.step, attempt=case.attempt)
            elif event == "done":
                case.give(Reply, step=case.step, attempt=case.attempt, body=b"1")
            else:
                case.routed(event[-1])
            if event in {"unknown", "timeout"} and not bound:
                bound = current
        for each in case.effects:
            if isinstance(each, Ask) and each.route and (each.route.decided or not ranked):
                asked.append((each.attempt, each.service))
                assert not bound or each.service == bound

    again = Instance("a", lambda _name, _hash: case.code)
    for mail in case.mails:
        again.fold(mail)
    assert again.state_hash() == case.instance.state_hash()
    assert len({attempt for attempt, _ in asked}) == len(asked) or not ranked


def undoable() -> Workflow[Any]:
    """Return a workflow whose step can be undone, and which then waits."""

    @workflow("pay")
    async def pay(ctx: Context) -> None:
        settings = StepOptions(retry=Retry(attempts=9, delay_s=0), timeout_s=1)
        await ctx.call("cards", "charge", options=settings, undo="refund")
        await ctx.signal("never")

    choices = Choices("cards", tuple(Candidate(each, 1.0) for each in THREE), ranked=False)
    # A candidate may be the name of a route itself: its undo must not be routed all the same.
    others = Choices("q", (Candidate("r", 1.0), Candidate("p", 1.0)), ranked=False)
    return pay.with_routes({"cards": choices, "q": others})


def test_who_did_it_undoes_it() -> None:
    """The owner chose another service, as nobody could be asked: only that one undoes."""
    case = Case(undoable())
    case.routed("q")
    case.give(Reply, step=case.step, attempt=1, body=b"1")

    case.give(Cancel)
    undo = case.ask
    case.give(Reply, step=undo.step, attempt=1, body=b"null")

    assert (undo.service, undo.operation, undo.undoes) == ("q", "refund", "a/1/cards.charge")
    assert undo.route is None
    assert case.instance.status == "compensated"
    assert [(each.service, each.fate) for each in case.instance.steps] == [("q", "undone")]


def test_each_service_that_may_have_done_it_is_undone() -> None:
    """One said that it had not, one does not know, and after that nobody else was asked."""
    case = Case(undoable())
    case.failed()
    case.give(AttemptTimedOut, epoch=1, step=case.step, attempt=2)
    case.give(Reply, step=case.step, attempt=3, body=b"1")

    case.give(Cancel)
    undo = case.ask

    assert undo.service == "q"
    assert [each.service for each in case.instance.undo_plan()] == ["q"]
