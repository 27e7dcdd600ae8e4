"""Five offices served with movant: one process per office.

    python -m examples.civic.hosted business --data DIR --nats URL --work-s 0.3

A handler gets the decoded request and what belongs to the call, above all the idempotency
key. The handlers here are plain functions that block: movant runs them in threads. The opening of
a restaurant has its handlers written out; those of the other procedures are made of their rules.
"""

from __future__ import annotations

import argparse
import typing
from collections.abc import Callable
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

import movant
from examples.civic.counter import Counter
from examples.civic.model import (
    BuildingPermit,
    BuildingRequest,
    BusinessLicense,
    BusinessLicenseRequest,
    FireInspection,
    FireRequest,
    GreaseRequest,
    GreaseReview,
    HealthPermit,
    HealthPermitRequest,
    Inspection,
    InspectionRequest,
    LiquorLicense,
    LiquorRequest,
    OperatingPermitNumber,
    OperatingPermitRequest,
    Zoning,
    ZoningRequest,
)
from examples.civic.offices import WITHDRAW, rules
from examples.civic.records import Records
from examples.civic.ruling import Operation, Refusal
from examples.civic.services import business, environmental, health, permits, safety

VERSION: Final = "1.0.0"

T = TypeVar("T", bound=msgspec.Struct)


def business_office(counter: Counter) -> movant.Service:
    """Serve business licences, liquor licences and operating permits."""
    service = movant.Service("business", version=VERSION, description="Business office")

    @service.operation("applications-business-license")
    def license_business(request: BusinessLicenseRequest, call: movant.Call) -> BusinessLicense:
        return decide(counter, call, business.LICENSE, request, BusinessLicense)

    @service.operation("licenses-liquor")
    def license_liquor(request: LiquorRequest, call: movant.Call) -> LiquorLicense:
        return decide(counter, call, business.LIQUOR, request, LiquorLicense)

    @service.operation("permits-operating")
    def permit_operation(
        request: OperatingPermitRequest, call: movant.Call
    ) -> OperatingPermitNumber:
        return decide(counter, call, business.OPENING, request, OperatingPermitNumber)

    return service


def permits_office(counter: Counter) -> movant.Service:
    """Serve zoning and building permits."""
    service = movant.Service("permits", version=VERSION, description="Permits office")

    @service.operation("zoning-check")
    def check_zoning(request: ZoningRequest, call: movant.Call) -> Zoning:
        return decide(counter, call, permits.ZONING, request, Zoning)

    @service.operation("building-apply")
    def permit_building(request: BuildingRequest, call: movant.Call) -> BuildingPermit:
        return decide(counter, call, permits.BUILDING, request, BuildingPermit)

    return service


def health_department(counter: Counter) -> movant.Service:
    """Serve food permits and pre-opening inspections: two bodies, one operation."""
    service = movant.Service("health", version=VERSION, description="Health department")

    @service.operation("inspections-schedule")
    def schedule(
        request: HealthPermitRequest | InspectionRequest, call: movant.Call
    ) -> HealthPermit | Inspection:
        if isinstance(request, InspectionRequest):
            return decide(counter, call, health.SCHEDULE, request, Inspection)
        return decide(counter, call, health.SCHEDULE, request, HealthPermit)

    return service


def fire_safety(counter: Counter) -> movant.Service:
    """Serve fire inspections."""
    service = movant.Service("safety", version=VERSION, description="Fire safety")

    @service.operation("inspections-fire")
    def inspect(request: FireRequest, call: movant.Call) -> FireInspection:
        return decide(counter, call, safety.FIRE, request, FireInspection)

    return service


def environmental_office(counter: Counter) -> movant.Service:
    """Serve grease and waste reviews."""
    service = movant.Service("environmental", version=VERSION, description="Environmental office")

    @service.operation("reviews-grease-waste")
    def review_grease(request: GreaseRequest, call: movant.Call) -> GreaseReview:
        return decide(counter, call, environmental.GREASE, request, GreaseReview)

    return service


OFFICES: Final[dict[str, Callable[[Counter], movant.Service]]] = {
    "business": business_office,
    "permits": permits_office,
    "health": health_department,
    "safety": fire_safety,
    "environmental": environmental_office,
}


def open_office(name: str, counter: Counter) -> movant.Service:
    """Return an office with all that it offers."""
    service = OFFICES[name](counter)
    for rule in rules(name).values():
        if rule.name not in service.operations:
            service.operation(rule.name)(by_rule(counter, rule))
    if name in WITHDRAW:

        @service.operation(WITHDRAW[name])
        def withdraw(_request: movant.UndoRequest, call: movant.Call) -> bool:
            """Withdraw what was issued under a key, seen or not."""
            return counter.withdraw(call.undoes)

    return service


def by_rule(counter: Counter, rule: Operation) -> Callable[..., Any]:
    """Return the handler of a rule, with the types of its request and its answer."""
    said = typing.get_type_hints(rule.decide)["return"]
    choices = typing.get_args(said) or (said,)
    answer = reduce(or_, (each for each in choices if each is not Refusal))

    def handler(request: Any, call: movant.Call) -> Any:
        return decide(counter, call, rule, request, answer)

    handler.__annotations__ |= {"request": rule.request, "return": answer}
    handler.__doc__ = rule.decide.__doc__
    return handler


def decide(
    counter: Counter,
    call: movant.Call,
    operation: Operation,
    request: msgspec.Struct,
    answer: type[T],
) -> T:
    """Have the counter answer; a refusal becomes movant's Refused: nothing happened."""
    said = counter.serve(call.key, operation, request)
    if refusal := said.refusal:
        raise movant.Refused(refusal.kind, refusal.message, details=refusal.details)
    return msgspec.json.decode(said.body, type=answer)


def main(arguments: list[str] | None = None) -> None:
    """Run one office as a process."""
    parser = argparse.ArgumentParser(description="A city office served with movant.")
    parser.add_argument("office", choices=sorted(OFFICES))
    parser.add_argument("--data", type=Path, required=True, help="folder of the register")
    parser.add_argument("--nats", default="nats://127.0.0.1:4222", help="URL of the server")
    parser.add_argument("--work-s", type=float, default=0.0, help="time taken per request")
    given = parser.parse_args(arguments)
    given.data.mkdir(parents=True, exist_ok=True)
    records = Records(given.data / f"{given.office}.sqlite")
    office = open_office(given.office, Counter(records, work_s=given.work_s))
    movant.run_service(office, nats=given.nats)


if __name__ == "__main__":
    main()
