"""The offices that movant serves: they offer what the rules say, and answer by them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

import movant
from examples.civic import hosted
from examples.civic.counter import Counter
from examples.civic.model import (
    HealthPermit,
    HealthPermitRequest,
    Inspection,
    InspectionRequest,
    LiquorRequest,
)
from examples.civic.records import Records
from examples.civic.services import business, environmental, health, permits, safety

RULES = {
    "business": business,
    "permits": permits,
    "health": health,
    "safety": safety,
    "environmental": environmental,
}


@pytest.fixture
def counter(tmp_path: Path) -> Counter:
    """Return the counter of an office with an empty register."""
    return Counter(Records(tmp_path / "office.sqlite"))


@pytest.mark.parametrize(("office", "rules"), RULES.items())
def test_an_office_offers_its_operations_with_their_requests(
    counter: Counter, office: str, rules: ModuleType
) -> None:
    """Names and request types are those of the rules, and every handler may block."""
    service = hosted.OFFICES[office](counter)

    offered = {name: found.request_type for name, found in service.operations.items()}
    assert service.name == office
    assert offered == {name: found.request for name, found in rules.OPERATIONS.items()}
    assert all(found.blocking for found in service.operations.values())


def test_a_handler_answers_with_its_own_type_and_once_per_key(counter: Counter) -> None:
    """Permit and visit come from one operation; a repeated key gets the same visit."""
    schedule = hosted.health_department(counter).operations["inspections-schedule"].function
    visit = InspectionRequest(business_id="BL-1")

    permit = schedule(HealthPermitRequest(business_name="T", business_address="A"), _call("k1"))
    first = schedule(visit, _call("k2"))
    again = schedule(visit, _call("k2"))

    assert isinstance(permit, HealthPermit)
    assert isinstance(first, Inspection)
    assert first == again


def test_a_refusal_becomes_movants_refused_with_kind_and_details(counter: Counter) -> None:
    """So the workflow's failure says the same as the office."""
    license_liquor = hosted.business_office(counter).operations["licenses-liquor"].function

    with pytest.raises(movant.Refused) as refused:
        license_liquor(LiquorRequest(business_name="T", business_address="A"), _call("k1"))

    assert refused.value.kind == "background_check_missing"
    assert refused.value.details == {"public_notice_days": 30}


def _call(key: str) -> movant.Call:
    return movant.Call(service="civic", operation="any", key=key)
