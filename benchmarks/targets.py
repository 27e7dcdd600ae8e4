"""What the benchmarks are meant to reach."""

from __future__ import annotations

from typing import Any, Final

import msgspec

Result = dict[str, Any]


class Target(msgspec.Struct, frozen=True):
    """What a benchmark is meant to reach, on two cores that are otherwise idle."""

    benchmark: str
    key: str
    limit: float
    at_least: bool = False
    where: tuple[tuple[str, Any], ...] = ()
    """Only results with these settings."""

    def text(self) -> str:
        """Return the target for people."""
        return f"{'>=' if self.at_least else '<='} {self.limit:,g}"

    def applies(self, result: Result) -> bool:
        """Tell whether a result is measured against this target."""
        return (
            result["benchmark"] == self.benchmark
            and self.key in result
            and all(result.get(key) == value for key, value in self.where)
        )

    def met(self, value: float | None) -> bool:
        """Tell whether a figure meets it."""
        if value is None:
            return False
        return value >= self.limit if self.at_least else value <= self.limit


def _w8(instances: int, durability: str, service: str) -> tuple[tuple[str, Any], ...]:
    return (("instances", instances), ("durability", durability), ("service", service))


TARGETS: Final = (
    Target("w8", "steps_per_s", 12_000, at_least=True, where=_w8(1_000, "fsync", "hosted")),
    Target("w8", "steps_per_s", 16_000, at_least=True, where=_w8(5_000, "fsync", "hosted")),
    Target("w8", "steps_per_s", 25_000, at_least=True, where=_w8(5_000, "interval", "hosted")),
    Target("w8", "steps_per_sync", 5, at_least=True, where=_w8(5_000, "fsync", "hosted")),
    Target("w8", "steps_per_sync", 1, at_least=True, where=_w8(1_000, "fsync", "plain")),
    Target("w8-idle", "p50_ms", 8.0),
    Target("w8-forms", "yaml_to_python", 0.8, at_least=True),
    Target("graphs-dag", "steps_per_s", 10_000, at_least=True),
    # The same as a share of w8 in the same run: what was asked where w8 does 24,400 and 20,200.
    Target("graphs-dag", "of_w8", 0.41, at_least=True),
    Target("graphs", "load_ms", 50),
    Target("graphs", "plan_ms", 200),
    Target("motions", "transitions_per_s", 5_000, at_least=True, where=(("instances", 10_000),)),
    Target("motions", "of_w8", 0.25, at_least=True, where=(("instances", 10_000),)),
    Target("motions", "lost", 0),
    Target("motions", "findings", 0),
    Target("router", "decisions_per_s", 200_000, at_least=True),
    Target("actors", "tells_per_s", 500_000, at_least=True),
    Target("actors", "asks_per_s", 50_000, at_least=True),
    Target("actors", "bytes_per_actor", 6_000),
    Target("waiting", "start_per_s", 5_000, at_least=True),
    Target("waiting", "finish_s", 3.0),
    Target("waiting", "bytes_per_dormant", 1_024),
    Target("waiting", "lost", 0),
    Target("crash", "done_s", 2.0),
    Target("crash", "lost", 0),
    Target("faults", "lost", 0),
    Target("faults", "wrong_ends", 0),
    Target("faults", "findings", 0),
    Target("w8", "lost", 0),
    Target("pipeline", "p99_ms", 200),
    Target("pipeline", "missing", 0),
    Target("gates", "p99_ms", 100),
    Target("guardrails", "step_p99_ms", 50),
    Target("takeover", "first_progress_s", 5.0),
    Target("takeover", "done_s", 8.0),
    Target("takeover", "lost", 0),
    Target("takeover", "harmful", 0),
    Target("owners", "relative", 0.8, at_least=True, where=(("daemons", 2),)),
    Target("owners", "lost", 0),
    Target("dormant", "p99_ms", 20.0),
    Target("dormant", "first_progress_s", 5.0),
    Target("dormant", "lost", 0),
    Target("endless", "steps_per_s", 5_000, at_least=True),
    Target("endless", "throughput", 0.9, at_least=True),
    Target("endless", "lost", 0),
)
