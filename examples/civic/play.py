"""Restaurant openings, as a workflow in Python and as a graph, for three applications each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from examples.civic.demo import EXPECTED, HOSTED, PLAIN
from examples.play import Scene
from examples.stage import Stage

HERE: Final = Path(__file__).parent
PYTHON: Final = "civic.restaurant"
GRAPH: Final = "civic.restaurant.graph"


def begin(stage: Stage) -> None:
    """Start the seven offices."""
    for office in (*HOSTED, *PLAIN):
        module = "examples.civic.plain" if office in PLAIN else "examples.civic.hosted"
        stage.start(office, module, office, *stage.service_words)


async def play(scene: Scene) -> None:
    """File each application twice; the offices decide the same."""
    await scene.register(HERE / "restaurant.py", HERE / "restaurant.yaml")
    runs = []
    for name, expected in EXPECTED.items():
        application = json.loads((HERE / "applications" / expected.file).read_text())
        runs.append(await scene.start(PYTHON, f"{name}-python", application))
        runs.append(await scene.start(GRAPH, f"{name}-graph", application))
    await scene.ended(runs)
    for name, expected in EXPECTED.items():
        scene.expect(f"{name}-python", expected.status)
        # A graph's outputs tell of a refusal; its run has done what it was for.
        issued = expected.status == "completed"
        approval = "done" if issued else "skipped"
        scene.expect(f"{name}-graph", "completed", approval=approval)
        if issued:
            scene.expect(f"{name}-python", "completed", total_cost=expected.total_cost)
