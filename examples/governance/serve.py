"""A branch as a process: ``python -m examples.governance.serve NAME --data DIR --nats URL``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

import movant
from examples.governance.branches import (
    conclave,
    executive,
    king,
    knight,
    president,
    prince,
)
from examples.governance.records import Records

RULES: Final = Path(__file__).parent / "rules"
NAMES: Final = ("king", "conclave", "president", "duke", "earl", "prince", "knight")


def branch(name: str, data: Path, *, gazette: str = "", rules: Path = RULES) -> movant.Service:
    """Return the service of a branch, with its records in the folder."""

    def kept(schema: str) -> Records:
        return Records(data / f"{name}.sqlite", schema)

    made: dict[str, Callable[[], movant.Service]] = {
        "king": lambda: king.king(kept(king.SCHEMA)),
        "conclave": lambda: conclave.conclave(kept(conclave.SCHEMA)),
        "president": lambda: president.president(kept(president.SCHEMA)),
        "duke": lambda: executive.executive(
            "duke_service", kept(executive.SCHEMA), executive.Gazette(gazette)
        ),
        "earl": lambda: executive.executive(
            "earl_service", kept(executive.SCHEMA), executive.Board()
        ),
        "prince": lambda: prince.prince(kept(prince.SCHEMA), rules),
        "knight": lambda: knight.knight(kept(knight.SCHEMA)),
    }
    return made[name]()


def main() -> None:
    """Serve one branch until it is told to end."""
    parser = argparse.ArgumentParser(description="A branch of the government.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--data", type=Path, required=True, help="folder of its records")
    parser.add_argument("--nats", required=True, help="URL of the NATS server")
    parser.add_argument("--gazette", default="", help="name and port of the printing house")
    parser.add_argument("--rules", type=Path, default=RULES, help="folder of the rule books")
    given = parser.parse_args()
    service = branch(given.name, given.data, gazette=given.gazette, rules=given.rules)
    movant.run_service(service, nats=given.nats, drain_s=2.0)


if __name__ == "__main__":
    main()
