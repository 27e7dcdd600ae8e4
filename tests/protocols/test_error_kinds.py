"""Error kinds: what a failure is by its root cause, and what follows from it."""

from __future__ import annotations

import pytest

from actors.owning.inbound import parse
from actors.owning.letters import Delivery, Letter
from actors.services.answers import declared_answer
from protocols import headers as h
from protocols.directives import BY_KIND, HALT, Directive, choose, retries_of
from protocols.error_kinds import ALIASES, KINDS, classify, kind_of_status
from protocols.failure import Failure
from protocols.mail import Reply
from protocols.policy import Retry, StepOptions
from protocols.service import Failed, Refused
from protocols.tokens import KeyRing

RING = KeyRing("k1", {"k1": b"secret" * 4})


def reply(headers: bytes, payload: bytes = b"null") -> Failure:
    """Return the failure that a stored reply with these header lines tells."""
    token = RING.sign("m-1", "s", 1)
    subject = f"movant.mail.0.m-1.reply.s.1.{token}"
    found = parse(Delivery(1, 1, subject, h.block(headers), payload), RING)
    assert isinstance(found, Letter)
    assert isinstance(found.mail, Reply)
    assert found.mail.failure
    return found.mail.failure


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, "validation"),
        (422, "validation"),
        (401, "permission"),
        (403, "permission"),
        (451, "compliance"),
        (404, "refused"),
        (409, "refused"),
        (408, "timeout"),
        (504, "timeout"),
        (429, "over_limit"),
        (413, "over_limit"),
        (502, "network"),
        (503, "network"),
        (500, "system"),
        (599, "system"),
        (200, "system"),
        (9999, "system"),
    ],
)
def test_a_foreign_service_that_says_only_a_status_is_classified(code: int, kind: str) -> None:
    """NATS micro's error headers are enough, whatever language answers."""
    lines = h.encode({h.SERVICE_ERROR: "no", h.SERVICE_ERROR_CODE: str(code)})

    failure = reply(lines)

    assert failure.code == code
    assert classify(failure) == kind


def test_a_status_that_is_no_number_is_a_defect() -> None:
    """Superscripts, words and nothing at all are not guessed at."""
    for text in ("abc", "-1", "99999"):
        assert classify(reply(h.encode({h.SERVICE_ERROR_CODE: text}))) == "system"


def test_the_kind_of_a_failure_in_a_history_stays_what_it_was() -> None:
    """Classification is a reading: a fold of old mailboxes sees the same kinds as before."""
    assert reply(h.encode({h.SERVICE_ERROR_CODE: "422"})).kind == "refused"
    assert reply(h.encode({h.SERVICE_ERROR_CODE: "503"})).kind == "failed"


def test_hosted_services_say_the_kind_themselves() -> None:
    """A word goes before the status; without one a refusal is a refusal."""
    plain = reply(declared_answer(Refused())[1])
    told = reply(declared_answer(Refused("permission", "not you"))[1])
    own = reply(declared_answer(Refused("card_expired"))[1])
    later = reply(declared_answer(Failed())[1])

    assert [classify(each) for each in (plain, told, own, later)] == [
        "refused",
        "permission",
        "card_expired",
        "network",
    ]


def test_every_alias_leads_to_a_kind() -> None:
    """And none of the kinds has another word in its place."""
    assert set(ALIASES.values()) <= set(KINDS)
    assert not set(ALIASES) & set(KINDS)
    assert {classify(Failure(kind=kind, message="")) for kind in KINDS} == set(KINDS)
    assert kind_of_status(0) == ""


def test_every_kind_has_a_directive_and_an_unknown_one_halts() -> None:
    """The map of the seed, and halt over degrade for the rest."""
    chosen = {kind: choose(Failure(kind=kind, message="")).do for kind in KINDS}

    assert set(BY_KIND) == set(KINDS)
    assert chosen["validation"] == "return_to_previous"
    assert chosen["permission"] == chosen["compliance"] == "review"
    assert chosen["system"] == chosen["refused"] == "halt_and_alert"
    assert chosen["timeout"] == chosen["network"] == chosen["over_limit"] == "retry"
    assert choose(Failure(kind="no such word", message="")) is HALT
    assert BY_KIND["timeout"].policy.delays == (5, 30, 300)
    assert BY_KIND["timeout"].policy.attempts == 4


def test_a_services_own_kind_goes_before_the_root_cause_and_a_state_before_the_machine() -> None:
    """The nearest word counts."""
    state = {"network": Directive(do="continue")}
    machine = {"unavailable": Directive(do="review"), "system": Directive(do="continue")}

    assert choose(Failure(kind="unavailable", message=""), state, machine).do == "review"
    assert choose(Failure(kind="network", message=""), state, machine).do == "continue"
    assert choose(Failure(kind="error", message=""), state, machine).do == "continue"


@pytest.mark.parametrize(
    "wrong",
    [
        {"do": "retry", "services": ("x",)},
        {"do": "fallback"},
        {"do": "halt_and_alert", "times": 2},
        {"do": "continue", "by": "x"},
        {"do": "review", "to": "X"},
        {"do": "review", "timeout": "soon"},
    ],
)
def test_a_detail_that_a_directive_does_not_take_is_refused(wrong: dict[str, object]) -> None:
    """A word in the wrong place would be ignored, and nobody would know."""
    with pytest.raises(ValueError, match=r"takes no|needs services|not understood"):
        Directive(**wrong)  # type: ignore[arg-type]  # that is the point


def test_steps_are_retried_by_kind() -> None:
    """Each kind by its policy; the service's word against it counts only without one."""
    policy = Retry(attempts=2)
    options = StepOptions(retries=(("permission", policy),))
    refused = Failure(kind="refused", message="", retryable=False, code=403)
    system = Failure(kind="failed", message="", code=500)

    assert options.allow(1, refused) is policy
    assert options.allow(2, refused) is None
    assert options.allow(1, system) is None
    assert StepOptions().allow(1, system) is StepOptions().retry
    assert StepOptions().allow(1, refused) is None


def test_what_may_have_been_done_is_not_tried_again_where_that_would_do_it_twice() -> None:
    """A service that is not idempotent, whatever the policies say."""
    late = Failure(kind="timeout", message="")
    kinds = retries_of(KINDS, {})

    assert StepOptions(retries=kinds).allow(1, late)
    assert StepOptions(retries=kinds, idempotent=False).allow(1, late) is None


def test_an_outcome_is_no_word_of_the_service() -> None:
    """A bare 403 is a permission, whatever is said about refusals."""
    bare = Failure(kind="refused", message="", retryable=False, code=403)
    table = {"refused": Directive(do="continue")}
    policy = Retry(attempts=2)

    assert choose(bare, table).do == "review"
    assert choose(Failure(kind="refused", message=""), table).do == "continue"
    assert StepOptions(retries=(("refused", policy),)).allow(1, bare) is None
