"""Forks of graphs: what a run leaves to another one, and how that one begins with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from actors.graphs.again import WAITING
from actors.graphs.standing import Standing
from protocols.errors import ConfigurationError
from protocols.forking import Forking, ForkOrder, graph_fork, not_forked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors.graphs.plan import GraphPlan
    from protocols.definition import Workflow


class Forkable(Standing):
    """What the steps of one run have come to, for another run too."""

    def _fork(
        self, workflow: Workflow[object], order: ForkOrder, fallen: Mapping[str, str]
    ) -> Forking:
        """Tell what a run of a graph takes over of this one."""
        planned = getattr(workflow, "plan", None)
        if planned is None:
            return not_forked("the new definition is no graph")
        try:
            plan: GraphPlan = planned(self._ctx.profile)
        except ConfigurationError as error:
            return not_forked(error.message)
        standing = {name: each["status"] for name, each in self._steps.items()}
        places = {self._path(name) + "/": name for name, n in self._passes.items() if n}
        fates = {
            name: fate
            for path, fate in fallen.items()
            for place, name in places.items()
            if path.startswith(place)
        }
        found = graph_fork(self._plan.graph, plan.graph, standing, order, fates)
        if found.problems:
            return found
        taken = {each.was: each.step for each in found.steps if each.what == "taken"}
        renamed = {each.was: each.step for each in found.steps if each.was}
        left = {
            "steps": {to: self._steps[was] for was, to in taken.items()},
            "barred": {taken[was]: why for was, why in self._barred.items() if was in taken},
            "skips": {renamed[was]: why for was, why in self._skips.items() if was in renamed},
        }
        return msgspec.structs.replace(found, standing=left)

    def _take_over(self) -> None:
        """Begin with what another run has done, if this one is a fork."""
        taken = self._ctx.taken
        if taken is None:
            return
        for name, entry in taken.standing["steps"].items():
            if name in self._steps:  # else it is folded with a definition that has no such step
                self._steps[name] = {**WAITING, **entry}
                self._show(name, f"{entry['status']}: in {taken.origin.run}")
                if entry["status"] == "done" and self._plan.steps[name].step.pivot:
                    self._ctx.pivot()
        self._barred.update(taken.standing["barred"])
        self._skips.update(taken.standing["skips"])
        self._recount()
