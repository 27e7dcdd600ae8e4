"""What the language models of the example say: rules over real data, the same each time. Pure.

A model that is asked for a task finds its name in the prompt and the data behind it:

    answer("Task: qualify_lead. ...", {"leads": […], "qualificationCriteria": {…}})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Any, Final

THRESHOLD: Final = 0.6
"""Least score of a lead, unless somebody asks for less."""
YEARS: Final = 15
DAYS: Final = 90
WEIGHTS: Final = {"owned": 0.4, "absentee": 0.25, "waiting": 0.35}
FLAT: Final = 0.001
"""Growth a month below which a market does not move."""
LOW: Final = 0.95
HIGH: Final = 1.05
"""Of the middle price: below is low, above is high."""
AHEAD: Final = 3
BARS: Final = "▁▂▃▄▅▆▇█"


def answer(prompt: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model answers. Raises LookupError for a task that it does not know."""
    for name, task in TASKS.items():
        if name in prompt:
            return task(data)
    raise LookupError("the prompt names no task")


def analyze_property(data: Mapping[str, Any]) -> dict[str, Any]:
    """Compare each property with all of them, by the price of a square metre."""
    homes = [each for each in data["propertyData"] if each.get("price") and each.get("area")]
    if not homes:
        return {"results": [], "medianPerSquareMetre": 0, "confidence": 0.0}
    prices = {each["url"]: each["price"] / each["area"] for each in homes}
    middle = median(prices.values())
    results = []
    for each in homes:
        ratio = prices[each["url"]] / middle
        results.append(
            {
                "url": each["url"],
                "perSquareMetre": round(prices[each["url"]]),
                "value": "low" if ratio < LOW else "high" if ratio > HIGH else "fair",
                "notes": _notes(each),
            }
        )
    share = len(homes) / len(data["propertyData"])
    return {
        "results": results,
        "medianPerSquareMetre": round(middle),
        "confidence": round(0.5 + 0.4 * share, 2),
    }


def qualify_lead(data: Mapping[str, Any]) -> dict[str, Any]:
    """Score leads by how likely an owner sells; those who opted out are never among them."""
    criteria = data.get("qualificationCriteria") or {}
    threshold = float(data.get("threshold") or criteria.get("threshold") or THRESHOLD)
    qualified, rejected = [], []
    for lead in data["leads"]:
        score = score_of(lead)
        why = _against(lead, criteria)
        if not why and score < threshold:
            why = f"score {score} is below {threshold:g}"
        if why:
            rejected.append({"url": lead["url"], "score": score, "why": why})
        else:
            qualified.append({**lead, "score": score})
    qualified.sort(key=lambda each: -each["score"])
    return {"qualifiedLeads": qualified, "rejected": rejected, "confidence": 0.8}


def score_of(lead: Mapping[str, Any]) -> float:
    """Return from 0 to 1 how likely an owner is to sell."""
    owner = lead.get("owner") or {}
    parts = {
        "owned": min(1.0, (owner.get("yearsOwned") or 0) / YEARS),
        "absentee": float(bool(owner.get("absentee"))),
        "waiting": min(1.0, (lead.get("daysOnMarket") or 0) / DAYS),
    }
    return round(sum(WEIGHTS[name] * share for name, share in parts.items()), 3)


def analyze_market_trends(data: Mapping[str, Any]) -> dict[str, Any]:
    """Find how prices move: a straight line through the months, and what it says of the next."""
    months: Sequence[Mapping[str, Any]] = data["marketData"]["months"]
    prices = [float(each["price"]) for each in months]
    slope, fit = line(prices)
    growth = slope / fmean(prices)
    found: dict[str, Any] = {
        "location": data["marketData"]["location"],
        "months": len(months),
        "latestPrice": prices[-1],
        "growthPerMonth": round(growth, 5),
        "trend": "flat" if abs(growth) < FLAT else "rising" if growth > 0 else "falling",
        "confidence": round(fit, 2),
        "prices": prices,
    }
    if data.get("analysisType") == "comprehensive":
        found["inventoryChange"] = months[-1]["inventory"] - months[0]["inventory"]
        found["daysOnMarket"] = months[-1]["daysOnMarket"]
    if data.get("predictiveModels") and data.get("analysisType") == "comprehensive":
        found["forecast"] = [round(prices[-1] + slope * ahead) for ahead in range(1, AHEAD + 1)]
    return {"results": found, "confidence": found["confidence"]}


def line(values: Sequence[float]) -> tuple[float, float]:
    """Return slope and goodness of fit of a straight line, by least squares."""
    if len(values) < 2:  # noqa: PLR2004 - no line goes through one point
        return 0.0, 0.0
    middle, mean = (len(values) - 1) / 2, fmean(values)
    spread = sum((at - middle) ** 2 for at in range(len(values)))
    slope = sum((at - middle) * (value - mean) for at, value in enumerate(values)) / spread
    total = sum((value - mean) ** 2 for value in values)
    missed = sum((value - mean - slope * (at - middle)) ** 2 for at, value in enumerate(values))
    return slope, 1.0 if total == 0 else max(0.0, 1 - missed / total)


def generate_report(data: Mapping[str, Any]) -> dict[str, Any]:
    """Write a report of an analysis: comprehensive, or a summary."""
    found = data["analysisResults"]
    title = f"The market of {found['location']}"
    text = (
        f"Prices are {found['trend']}: {100 * found['growthPerMonth']:+.2f} % a month over "
        f"{found['months']} months, {found['latestPrice']:,.0f} at last."
    )
    lines = [f"# {title}", "", text]
    if data.get("reportFormat") == "comprehensive":
        if "inventoryChange" in found:
            change, days = found["inventoryChange"], found["daysOnMarket"]
            lines += ["", f"{change:+d} homes for sale; a home sells in {days} days."]
        if "forecast" in found:
            lines += ["", f"Next months: {', '.join(f'{each:,}' for each in found['forecast'])}."]
        if data.get("includeVisualizations"):
            lines += ["", f"`{bars(found['prices'])}`"]
    return {"results": {"title": title, "text": "\n".join(lines) + "\n"}, "confidence": 0.9}


def bars(values: Sequence[float]) -> str:
    """Draw values as a row of bars."""
    low, high = min(values), max(values)
    step = (high - low) / (len(BARS) - 1) or 1.0
    return "".join(BARS[round((value - low) / step)] for value in values)


def _against(lead: Mapping[str, Any], criteria: Mapping[str, Any]) -> str:
    """Return what speaks against a lead, whatever its score is."""
    owner = lead.get("owner") or {}
    if owner.get("optOut"):
        return "wants no messages"
    if not (owner.get("phone") or owner.get("email")):
        return "cannot be reached"
    price, high = lead.get("price"), criteria.get("maxPrice")
    if price and high and price > high:
        return f"costs more than {high:,}"
    return ""


def _notes(home: Mapping[str, Any]) -> list[str]:
    built = home.get("built") or 0
    notes = ["older than 50 years"] if 0 < built < 1975 else []  # noqa: PLR2004 - as it says
    return [*notes, "long on the market"] if home.get("daysOnMarket", 0) > DAYS else notes


TASKS: Final[dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "analyze_property": analyze_property,
    "qualify_lead": qualify_lead,
    "analyze_market_trends": analyze_market_trends,
    "generate_report": generate_report,
}
