"""Longer campaigns, which print the seed of a failure.

python -m tests.chaos --seeds 10                one daemon, all faults mixed
python -m tests.chaos --several --rounds 20     two and three daemons, rounds of each fault
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import structlog
import trio

from runtime.server.binary import find
from tests.chaos import several
from tests.chaos.campaign import SLOW_S, run


def main() -> int:
    """Run the seeds, one after the other."""
    parser = argparse.ArgumentParser(description="faults under load, and whether all ends rightly")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--instances", type=int, default=102)
    parser.add_argument("--faults", type=int, default=12)
    parser.add_argument("--variant", choices=["external", "embedded", "both"], default="both")
    parser.add_argument("--logs", type=Path, help="keep the log of a failure's daemon here")
    parser.add_argument("--several", action="store_true", help="several daemons")
    parser.add_argument("--rounds", type=int, default=20, help="of each fault, with --several")
    parser.add_argument("--daemons", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--only", nargs="+", choices=several.FAULTS, default=several.FAULTS)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    binary = find().path
    if options.several:
        return _several(binary, options)
    total: Counter[str] = Counter()
    failed = []
    for seed in range(options.first, options.first + options.seeds):
        variant = options.variant
        if variant == "both":
            variant = "embedded" if seed % 3 == 0 else "external"
        crowded = seed % 2 == 1
        report = trio.run(
            partial(
                run,
                seed,
                binary,
                variant=variant,
                crowded=crowded,
                count=options.instances,
                faults=options.faults,
            )
        )
        total += report.faults
        print(  # noqa: T201 - a report
            f"seed {seed} {variant}{' crowded' * crowded}: {len(report.findings)} findings,"
            f" all ended {report.ended_s} s after the last fault",
            flush=True,
        )
        if report.findings or report.ended_s > SLOW_S:
            print("\n".join(["  " + each for each in (*report.notes, *report.findings)]))  # noqa: T201
        if report.findings:
            failed.append(seed)
            if options.logs:
                options.logs.mkdir(exist_ok=True)
                (options.logs / f"{seed}.log").write_text(report.log)
    print(f"faults {dict(total)}; failed seeds {failed}", flush=True)  # noqa: T201
    return 1 if failed else 0


def _several(binary: str, options: argparse.Namespace) -> int:
    """Run rounds of each fault with each number of daemons."""
    failed = []
    for daemons in options.daemons:
        for fault in options.only:
            # The rest only now and then: it would take an hour.
            rounds = options.rounds if fault in several.MAIN else -(-options.rounds // 4)
            outcome = trio.run(
                partial(
                    several.run,
                    options.first,
                    binary,
                    daemons=daemons,
                    faults=[fault] * rounds,
                )
            )
            print(several.table(outcome), flush=True)  # noqa: T201 - a report
            if outcome.ended_s > several.SLOW_S:
                print("\n".join(outcome.notes), flush=True)  # noqa: T201
            if outcome.findings:
                failed.append(f"{fault} with {daemons}")
                print("\n".join(["  " + each for each in outcome.findings]), flush=True)  # noqa: T201
                if options.logs:
                    options.logs.mkdir(exist_ok=True)
                    name = f"{fault.replace(' ', '-')}-{daemons}.log"
                    text = "\n".join([*outcome.notes, outcome.log])
                    (options.logs / name).write_text(text)
    print(f"failed: {failed}", flush=True)  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
