"""Search the models to a larger bound, or show why a clause is needed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from tests.models import packs, settling, two_owners, undoing
from tests.models.search import Found


def main() -> int:
    """Print what is found; 1 when the rules as they are were found wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.models", description=__doc__)
    parser.add_argument(
        "--bound", type=int, choices=(1, 2, 3), default=1, help="1: seconds, 2: minutes, 3: hours"
    )
    parser.add_argument("--without", default="", help="leave out one rule", metavar="CLAUSE")
    given = parser.parse_args()
    rules = (*packs.RULES, *settling.RULES, *two_owners.RULES, *undoing.RULES)
    if given.without and given.without not in rules:
        parser.error(f"there is no such clause; there are: {', '.join(rules)}")
    code = 0
    for name, found in searches(given.bound, given.without):
        print(f"{name}: {found}", flush=True)  # noqa: T201  # it is a command
        code = code or int(bool(found.wrong))
    return 0 if given.without else code


def searches(bound: int, without: str) -> Iterator[tuple[str, Found]]:
    """Search each model that knows the clause."""
    if not without or without in two_owners.RULES:
        yield "two owners", two_owners.TwoOwners(1 + bound, without=without).explore()
        table = two_owners.TwoOwners(1 + bound, table=True, without=without)
        yield "two owners and a table", table.explore()
        purges = two_owners.TwoOwners(bound, purges=True, without=without)
        yield "two owners and purges", purges.explore()
        at_once = 2 if bound == 1 else 3
        three = two_owners.TwoOwners(owners=3, at_once=at_once, without=without)
        yield f"three owners, {at_once} at once", three.explore()
    if not without or without in packs.RULES:
        for reach in packs.SMALL if bound == 1 else packs.LARGE:
            yield f"packs, {reach}", packs.Packs(reach, without=without).explore()
    if not without or without in undoing.RULES:
        for much in undoing.SMALL if bound == 1 else undoing.LARGE:
            yield f"undoing, {much}", undoing.Undoing(much, without=without).explore()
    if without and without not in settling.RULES:
        return
    for program in settling.PROGRAMS:
        for limits in BOUNDS[bound]:
            model = settling.Settling(program, limits, without=without)
            yield f"settling, {program}, {limits}", model.explore()


BOUNDS = {
    1: (settling.Bound(overlap=False), settling.Bound()),
    2: (settling.Bound(owners=3, overlap=False), settling.Bound(wakes=2, overlap=False)),
    3: (settling.Bound(wakes=2), settling.Bound(owners=3)),
}

if __name__ == "__main__":
    sys.exit(main())
