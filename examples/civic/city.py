"""Homes that are built and emergencies that interrupt it, with the seven offices' real rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from examples.civic.play import begin
from examples.play import Scene

__all__ = ["begin", "play"]

HERE: Final = Path(__file__).parent
HOUSING: Final = "civic.housing"
EMERGENCY: Final = "civic.emergency"
TIMELINES: Final = {
    "water_main_break": "6 hours",
    "gas_leak": "12 hours",
    "building_collapse": "10 hours",
    "flooding": "2 days after the water has gone",
    "fallen_antenna": "nothing to restore",
    "gas_smell_without_gas": "nothing to restore",
}
"""The emergencies, with the recovery that each of them has."""


async def play(scene: Scene) -> None:
    """File three developments and six emergencies; look at what became of them, and at numbers."""
    await scene.register(HERE / "housing.yaml", HERE / "emergency.yaml")
    homes = {name: filed("developments", name) for name in ("maple_court", "fen_meadow")}
    homes["market_row"] = filed("developments", "market_row")
    runs = [await scene.start(HOUSING, name, form) for name, form in homes.items()]
    runs += [await scene.start(EMERGENCY, name, filed("emergencies", name)) for name in TIMELINES]
    await scene.ended(runs)

    scene.expect("maple_court", "completed", workflow_id="maple_court", total_fees=19590)
    scene.expect("fen_meadow", "failed", kind="wetlands_refused")
    scene.expect("market_row", "compensated", kind="roads_refused")
    for name, timeline in TIMELINES.items():
        scene.expect(name, "completed", emergency_id=f"EMRG-{name}", recovery_timeline=timeline)
        said = result(scene, name)
        told = said.get("public_notification") or {}
        scene.check(told.get("channels_activated") == 4, f"{name}: {told}")  # noqa: PLR2004
        phases = [each["phase"] for each in said.get("response_phases", [])]
        scene.check(
            phases == ["immediate_response", "ongoing_response", "recovery"], f"{name}: {phases}"
        )
    certificates = result(scene, "maple_court").get("certificates", [])
    units = homes["maple_court"]["units_proposed"]
    scene.check(len(set(certificates)) == units, f"maple_court: {certificates}")
    numbers = await scene.client.stats(workflow=EMERGENCY)
    scene.check(numbers.success_rate == 1.0, f"success rate {numbers.success_rate}")
    kinds = {kind for each in numbers.services for kind in each.kinds}
    scene.check(kinds >= {"no_such_network", "not_in_the_yard"}, f"errors {sorted(kinds)}")
    shutoff = result(scene, "gas_smell_without_gas").get("not_done", {}).get("utilities_shutoff")
    scene.check(shutoff == "no gas lies at 5 Oak Road", f"gas_smell_without_gas: {shutoff}")


def filed(folder: str, name: str) -> Any:
    """Return an input file."""
    return json.loads((HERE / folder / f"{name}.json").read_text())


def result(scene: Scene, run: str) -> dict[str, Any]:
    """Return the result of a run; empty when it has none."""
    view = scene.views.get(run)
    return view.result if view is not None and isinstance(view.result, dict) else {}
