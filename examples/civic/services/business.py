"""Business office: business licence, liquor licence and the final operating permit."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from examples.civic.model import (
    LICENSE_DAYS,
    PUBLIC_NOTICE_DAYS,
    BusinessLicense,
    BusinessLicenseRequest,
    LiquorLicense,
    LiquorRequest,
    OperatingPermitNumber,
    OperatingPermitRequest,
)
from examples.civic.ruling import Case, Operation, Refusal, by_name

LIQUOR_TYPES: Final = ("beer_wine", "full_bar", "tavern")


def license_business(request: BusinessLicenseRequest, case: Case) -> BusinessLicense | Refusal:
    """Grant a licence for a year to whoever names an owner."""
    if not request.owner_info.name.strip():
        return Refusal(
            kind="owner_missing",
            message="a licence needs the name of the owner",
            details={"field": "owner_info.name"},
        )
    return BusinessLicense(
        license_id=case.document("BL"),
        valid_until=case.today + timedelta(days=LICENSE_DAYS),
    )


def license_liquor(request: LiquorRequest, case: Case) -> LiquorLicense | Refusal:
    """Open the file of a checked owner; the licence is good after the public notice."""
    if request.license_type not in LIQUOR_TYPES:
        return Refusal(
            kind="license_type_unknown",
            message=f"there is no liquor licence of type {request.license_type!r}",
            details={"known": list(LIQUOR_TYPES)},
        )
    if not request.owner_background_check:
        return Refusal(
            kind="background_check_missing",
            message="the owner's background check has to be finished first",
            details={"public_notice_days": PUBLIC_NOTICE_DAYS},
        )
    return LiquorLicense(
        license_id=case.document("LL"),
        license_type=request.license_type,
        notice_ends=case.today + timedelta(days=PUBLIC_NOTICE_DAYS),
    )


def permit_operation(
    request: OperatingPermitRequest, _case: Case
) -> OperatingPermitNumber | Refusal:
    """Issue the operating permit; its number is that of the application's workflow."""
    missing = sorted(name for name, said in request.approvals.items() if said != "approved")
    if missing or not request.approvals:
        return Refusal(
            kind="approvals_missing",
            message="not everything is approved: " + (", ".join(missing) or "nothing is"),
            details={"missing": missing},
        )
    return OperatingPermitNumber(business_operating_permit=f"BOP-{request.workflow_id}")


LICENSE: Final = Operation(
    "applications-business-license", BusinessLicenseRequest, license_business
)
LIQUOR: Final = Operation("licenses-liquor", LiquorRequest, license_liquor)
OPENING: Final = Operation("permits-operating", OperatingPermitRequest, permit_operation)
OPERATIONS: Final = by_name(LICENSE, LIQUOR, OPENING)
