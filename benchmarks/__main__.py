"""``python -m benchmarks NAME ...``: one question per module, asked by name."""

from __future__ import annotations

import importlib
import sys

NAMES = (
    "w8",
    "motions",
    "waiting",
    "crash",
    "faults",
    "takeover",
    "owners",
    "dormant",
    "endless",
    "actors",
    "kernel",
    "pipeline",
    "router",
    "graphs",
    "gates",
    "guardrails",
    "bridge",
    "report",
)


def main() -> None:
    """Hand the arguments on to the benchmark that is named."""
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        print(f"usage: python -m benchmarks {{{'|'.join(NAMES)}}} [--json] …")
        sys.exit(2)
    importlib.import_module(f"benchmarks.{sys.argv[1]}").main(sys.argv[2:])


if __name__ == "__main__":
    main()
