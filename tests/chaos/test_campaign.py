"""Two fixed seeds of the campaign; ``python -m tests.chaos`` runs more."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from tests.chaos.campaign import Report, run


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("seed", "variant"), [pytest.param(2, "external", marks=pytest.mark.long), (6, "embedded")]
)
def test_all_work_ends_rightly_under_faults(nats_binary: str, seed: int, variant: str) -> None:
    """Nothing is lost, stuck, doubled or folded wrongly; a failure names what."""
    report: Report = trio.run(
        partial(
            run,
            seed,
            nats_binary,
            variant=variant,
            crowded=False,
            count=51,
            faults=4,
            faults_s=4.0,
        )
    )

    assert report.findings == [], "\n".join([*report.notes, report.log[-3_000:]])
    assert report.faults.total() == 4
