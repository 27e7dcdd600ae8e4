"""Functions of guardrails: pure, and packed with the graph that names them."""

from typing import Any

RUDE = {"stupid", "lazy"}


def polite(facts: dict[str, Any]) -> bool | dict[str, Any]:
    """Return true, or what is wrong. Facts: when, step, params, input, result."""
    words = set(facts["result"]["text"].lower().split()) & RUDE
    if not words:
        return True
    return {"compliant": False, "reason": f"{len(words)} rude words", "confidence": 0.8}
