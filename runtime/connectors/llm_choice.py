"""Choice of a model: the score of each, and in which order they are tried. Pure.

    .3 how well it suits the task      .2 share of its requests that succeeded
    .2 its context is large enough     .1 one by its latency in seconds, at most 1
    .1 its price is not above what is allowed     .1 it is local

Models that suit the task not at all come last, and of these only those that are not local: a
cloud as the last resort.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from actors.routing.breaker import Breaker
from protocols.connectors.llm import Candidate, LlmModel, LlmProvider, LlmRequest
from protocols.flow import FlowSettings

WEIGHTS: Final = {
    "task": 0.3,
    "success": 0.2,
    "latency": 0.1,
    "context": 0.2,
    "cost": 0.1,
    "local": 0.1,
}
MEMORY: Final = 0.2
"""Weight of the newest answer in what is remembered of a model: about the last ten count."""
BREAKER: Final = FlowSettings(breaker_failures=3, breaker_of=5, breaker_open_s=15.0)


class Known(NamedTuple):
    """A model with its provider, by the id ``provider/model``."""

    id: str
    name: str
    provider_name: str
    provider: LlmProvider
    model: LlmModel


class Experience:
    """What is remembered of a model. Times are seconds on the monotonic clock."""

    __slots__ = ("breaker", "error_rate", "latency_s", "resumes_at")

    def __init__(self, latency_s: float) -> None:
        self.error_rate = 0.0
        self.latency_s = latency_s
        self.breaker = Breaker(BREAKER)
        self.resumes_at = 0.0
        """Until then its provider has asked not to be asked."""

    def succeeded(self, began: float, now: float) -> None:
        """Note a good answer."""
        self.error_rate *= 1 - MEMORY
        self.latency_s += MEMORY * (now - began - self.latency_s)
        self.breaker.succeeded(began, now)

    def failed(self, began: float, now: float, *, ill: bool, after_s: float | None = None) -> None:
        """Note a bad answer, or none; ``ill``: the model cannot be asked for now."""
        self.error_rate += MEMORY * (1 - self.error_rate)
        if ill:
            self.breaker.failed(began, now)
        if after_s is not None:
            self.resumes_at = max(self.resumes_at, now + after_s)

    def wait_s(self, now: float) -> float:
        """Return how long it cannot be asked; 0: it may be asked now."""
        return max(self.breaker.wait_s(now), self.resumes_at - now, 0.0)


def known(providers: Mapping[str, LlmProvider]) -> list[Known]:
    """Return all models, in the order of the file."""
    return [
        Known(f"{name}/{key}", model.model or key, name, provider, model)
        for name, provider in providers.items()
        for key, model in provider.models.items()
    ]


def parts(one: Known, seen: Experience, request: LlmRequest) -> dict[str, float]:
    """Return of what the score of a model is made; each part is already weighted."""
    allowed = request.max_cost_per_token
    shares = {
        "task": one.model.suits(request.task_type),
        "success": 1 - seen.error_rate,
        "latency": min(1.0, 1 / max(seen.latency_s, 1e-3)),
        "context": float(one.model.context >= request.min_context_window),
        "cost": float(allowed is None or one.model.price <= allowed),
        "local": float(one.provider.local),
    }
    return {name: round(share * WEIGHTS[name], 4) for name, share in shares.items()}


def ranked(
    models: Sequence[Known],
    experience: Mapping[str, Experience],
    request: LlmRequest,
    prefer: Literal["score", "local"],
) -> list[tuple[Known, Candidate]]:
    """Return the models that may be asked, in the order in which they are tried."""
    scored: list[tuple[Known, Candidate]] = []
    for one in models:
        of = parts(one, experience[one.id], request)
        score = round(sum(of.values()), 4)
        scored.append(
            (one, Candidate(model=one.id, score=score, parts=of, local=one.provider.local))
        )
    if request.model:
        return scored
    suited = [each for each in scored if each[0].model.suits(request.task_type) > 0]
    # Sorting keeps the order of the file among equals.
    suited.sort(key=lambda each: (-each[1].score, not each[1].local))
    if prefer == "local":
        suited.sort(key=lambda each: not each[1].local)
    rest = [each for each in scored if each not in suited and not each[1].local]
    return suited + rest


def told(
    candidates: Sequence[Candidate], states: Mapping[str, tuple[str, str]]
) -> tuple[Candidate, ...]:
    """Return candidates with what became of them."""
    return tuple(
        msgspec.structs.replace(
            each,
            state=states.get(each.model, ("not_asked", ""))[0],
            reason=states.get(each.model, ("not_asked", ""))[1],
        )
        for each in candidates
    )
