"""What runs on the cluster: steps at a hosted and at a plain service, and a sleep between."""

from __future__ import annotations

from typing import Any

import movant

OPTIONS = movant.StepOptions(
    retry=movant.Retry(attempts=3, delay_s=0.1), timeout_s=120.0, absent="wait"
)


@movant.workflow("cluster.chain")
async def chain(ctx: movant.Context, value: dict[str, Any]) -> list[int]:
    """Ask so many times, by turns; sleep once in the middle. The result proves each answer."""
    found = []
    for k in range(value["steps"]):
        service = "plain" if k % 2 else "hosted"
        asked = {"n": value["n"], "k": k}
        found.append(await ctx.call(service, "do", asked, name=f"s{k}", options=OPTIONS))
        if k == value["steps"] // 2:
            await ctx.sleep(0.3)
    return found


def expected(number: int, steps: int) -> list[int]:
    """Return the only right result."""
    return [answer(number, k) for k in range(steps)]


def answer(number: int, k: int) -> int:
    """Return what a service answers."""
    return number * 1_000 + k
