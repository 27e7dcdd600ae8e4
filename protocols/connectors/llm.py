"""The settings of a connector to language models, what it is asked, and what it answers.

models:
  kind: llm
  providers:
    local:
      base_url: http://127.0.0.1:11434/v1
      local: true
      models:
        "llama3.1:8b": {context: 131072, tasks: {extraction: 0.9, "*": 0.4}}
    cloud:
      base_url: https://api.openai.com/v1
      auth: {bearer: "${env:OPENAI_KEY}"}
      models:
        gpt-4o: {context: 128000, tasks: {"*": 0.8}, price_in: 2.5, price_out: 10}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.connectors.connector import Connector, Duration, Part, to_seconds
from protocols.connectors.http import (
    Auth,
    BaseUrl,
    Headers,
    Hosts,
    Proxy,
    ResponseMax,
    Trusted,
    peer_findings,
)
from protocols.findings import Finding
from protocols.graphs.field import Field, FieldType

BAD_OUTPUT: Final = "bad_output"
"""Error kind of an output that is no JSON, or not of the form that was asked for: asking again
may help. It says nothing about the health of the service, so that breakers do not count it."""
NO_MODEL: Final = "No suitable model available"
ANY_TASK: Final = "*"
RESERVED: Final = frozenset({"chat", "complete"})
"""Operations that each of these connectors has."""
SUITS: Final = 0.5
"""How well a model suits a task, when nothing is said of any."""
TEMPERATURE: Final = 0.7
MAX_TOKENS: Final = 2_000
TOKENS_OF_PRICE: Final = 1_000_000
"""Prices are for so many tokens."""
RESPONSE_BYTES: Final = 1024 * 1024

Share = Annotated[float, Meta(ge=0, le=1)]
Price = Annotated[float, Meta(ge=0)]


class LlmModel(Part, frozen=True, kw_only=True):
    """One model of a provider."""

    model: Annotated[str, Meta(description="What the provider calls it; its key when absent.")] = (
        ""
    )
    context: Annotated[
        Annotated[int, Meta(ge=1)], Meta(description="Tokens that it can look at.")
    ] = 8_192
    tasks: Annotated[
        dict[str, Share],
        Meta(
            description="How well it suits each task, from 0 (not asked, or a cloud as the last "
            "resort) to 1; `*` for all others. Without any it suits each with 0.5."
        ),
    ] = {}
    price_in: Annotated[Price, Meta(description="Cost of a million tokens that it reads.")] = 0.0
    price_out: Annotated[Price, Meta(description="Cost of a million tokens that it writes.")] = 0.0
    latency: Annotated[
        Duration, Meta(description="How long an answer takes, until it is known better.")
    ] = 2.0

    options: Annotated[
        dict[str, Any],
        Meta(
            description="More of the request, as its provider has it; null takes away: "
            "`{max_tokens: null, max_completion_tokens: 4000}`."
        ),
    ] = {}

    def __post_init__(self) -> None:
        """Read the duration. Raises ValueError that begins with the name of the field."""
        to_seconds(self, "latency")

    def suits(self, task: str) -> float:
        """Return how well it suits a task, from 0 to 1."""
        if not self.tasks:
            return SUITS
        return self.tasks.get(task, self.tasks.get(ANY_TASK, 0.0))

    @property
    def price(self) -> float:
        """The dearer of both prices, for one token."""
        return max(self.price_in, self.price_out) / TOKENS_OF_PRICE

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Return what so many tokens cost, in the currency of the prices."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / TOKENS_OF_PRICE


class LlmProvider(Part, frozen=True, kw_only=True):
    """Who speaks the protocol of OpenAI: a cloud, or Ollama on this machine."""

    base_url: BaseUrl
    models: Annotated[dict[str, LlmModel], Meta(description="Its models by their names.")]
    auth: Auth = None
    headers: Headers = {}
    hosts: Hosts = ()
    tls_ca: Trusted = ""
    proxy: Proxy = ""
    response_bytes_max: ResponseMax = RESPONSE_BYTES
    local: Annotated[bool, Meta(description="It runs on machines of yours.")] = False
    json_mode: Annotated[
        Literal["schema", "object", "none"],
        Meta(description="What it knows of `response_format`: a schema, that it is JSON, or not."),
    ] = "object"
    stream: Annotated[
        bool, Meta(description="Take answers piece by piece, so that a stall is seen early.")
    ] = False
    stall: Annotated[
        Duration, Meta(description="How long a stream may pause before it is given up.")
    ] = 30.0

    def __post_init__(self) -> None:
        """Read the duration. Raises ValueError that begins with the name of the field."""
        to_seconds(self, "stall")


class LlmTask(Part, frozen=True, kw_only=True):
    """An operation with a prompt of its own: what it is asked with goes behind it as JSON."""

    prompt: Annotated[str, Meta(min_length=1, description="What is asked.")]
    system: Annotated[str, Meta(description="What the model is to be, before all else.")] = ""
    task_type: Annotated[str, Meta(description="The task by which models are chosen.")] = ""
    output_format: Annotated[
        Literal["text", "json"], Meta(description="`json`: the output is the value.")
    ] = "json"
    fields: Annotated[
        dict[str, Field | FieldType] | None,
        Meta(description="The fields of the JSON object, as of a graph's `input`."),
    ] = None
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=2)] | None, Meta(description="How free it is.")
    ] = None
    max_tokens: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Of the answer.")
    ] = None
    description: Annotated[str, Meta(description="What it does, in discovery.")] = ""


class LlmConnector(Connector, frozen=True, kw_only=True, tag="llm"):
    """Language models: one is chosen for each request."""

    providers: Annotated[dict[str, LlmProvider], Meta(description="Who has models, by name.")]
    operations: Annotated[
        dict[str, LlmTask],
        Meta(description="Operations with prompts of their own, beside `chat` and `complete`."),
    ] = {}
    prefer: Annotated[
        Literal["score", "local"],
        Meta(description="`local`: all models of yours before all others; each by score."),
    ] = "score"
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=2)], Meta(description="When the request has none.")
    ] = TEMPERATURE
    max_tokens: Annotated[
        Annotated[int, Meta(ge=1)], Meta(description="Of an answer, when the request says none.")
    ] = MAX_TOKENS
    try_timeout: Annotated[
        Duration, Meta(description="How long one model may take, before the next one is asked.")
    ] = 60.0
    timeout: Annotated[Duration, Meta(description="For a request, over all models.")] = 180.0

    def __post_init__(self) -> None:
        """Read the durations. Raises ValueError that begins with the name of the field."""
        super().__post_init__()
        to_seconds(self, "try_timeout")

    def findings(self) -> Iterator[Finding]:
        """Yield what no type can say."""
        for name in RESERVED & self.operations.keys():
            yield Finding(
                ("operations", name), f"{name!r} is there already", "another name", of_key=True
            )
        if not self.providers:
            yield Finding(("providers",), "there is no provider", "write one, with its models")
        for name, provider in self.providers.items():
            place = ("providers", name)
            for each in peer_findings(provider):
                yield msgspec.structs.replace(each, place=(*place, *each.place))
            if "/" in name:
                yield Finding(place, f"{name[:60]!r} has a '/'", "use '-'", of_key=True)
            if not provider.models:
                yield Finding((*place, "models"), "there is no model", "write one")


class LlmMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: str
    content: Any


class LlmRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``chat`` and ``complete`` take. Names may be written as taskType and so on."""

    prompt: Annotated[str, Meta(description="What is asked; of `complete`.")] = ""
    messages: Annotated[
        tuple[LlmMessage, ...], Meta(description="The conversation; of `chat`.")
    ] = ()
    system: Annotated[str, Meta(description="What the model is to be, before all else.")] = ""
    data: Annotated[Any, Meta(description="Put behind the prompt, as JSON.")] = None
    task_type: Annotated[str, Meta(description="The task by which models are chosen.")] = ""
    model: Annotated[
        str, Meta(description="This model and no other: `provider/model`, or its name alone.")
    ] = ""
    temperature: Annotated[float | None, Meta(description="How free it is.")] = None
    max_tokens: Annotated[int | None, Meta(description="Of the answer.")] = None
    output_format: Annotated[
        Literal["text", "json"], Meta(description="`json`: the result is the value.")
    ] = "text"
    fields: Annotated[
        dict[str, Field | FieldType] | None,
        Meta(description="The fields of the JSON object, as of a graph's `input`."),
    ] = None
    stop: Annotated[tuple[str, ...], Meta(description="Texts at which it ends.")] = ()
    min_context_window: Annotated[int, Meta(description="Tokens that it should look at.")] = 0
    max_cost_per_token: Annotated[
        float | None, Meta(description="A dearer model has a lower score.")
    ] = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What was used. ``cost`` is in the currency of the prices; ``estimated``: nobody counted."""

    tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    estimated: bool = False

    def plus(self, other: Usage) -> Usage:
        """Return the use of both."""
        return Usage(
            tokens=self.tokens + other.tokens,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost=self.cost + other.cost,
            estimated=self.estimated or other.estimated,
        )


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A model that could have been asked: its score and of what it is made, and what became."""

    model: str
    score: float
    parts: dict[str, float]
    local: bool
    state: Literal["chosen", "failed", "unavailable", "not_asked"] = "not_asked"
    reason: str = ""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which model answered and why: all candidates in the order in which they were tried."""

    winner: str
    reason: str
    candidates: tuple[Candidate, ...]


class LlmResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a model answered. ``output`` is the text, or the value when JSON was asked for."""

    output: Any
    model: str
    provider: str
    finish_reason: str
    usage: Usage
    selection: Selection
