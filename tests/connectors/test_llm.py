"""Language models: the choice as a pure function, and the connector against real servers."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.files.connectors import parse
from protocols.connectors.llm import NO_MODEL, LlmModel, LlmProvider, LlmRequest
from protocols.service import Call, Failed, Refused
from runtime.connectors.frame import Opened, opened
from runtime.connectors.llm_choice import WEIGHTS, Experience, known, parts, ranked
from runtime.connectors.secrets import Secrets
from tests.support.web import Web

CLOUD = LlmProvider(
    base_url="http://cloud/v1",
    models={
        "big": LlmModel(context=128_000, tasks={"*": 0.8}, price_out=10.0, latency="1s"),
        "odd": LlmModel(tasks={"poetry": 1.0}, latency=1.0),
    },
)
HOME = LlmProvider(
    base_url="http://den/v1",
    local=True,
    models={"small": LlmModel(context=8_192, tasks={"extraction": 0.9}, latency=4.0)},
)
MODELS = known({"cloud": CLOUD, "home": HOME})


def experience() -> dict[str, Experience]:
    """Return what is known of the models before any was asked."""
    return {each.id: Experience(float(each.model.latency)) for each in MODELS}


def order(
    request: LlmRequest, seen: dict[str, Experience] | None = None, prefer: Any = "score"
) -> list[str]:
    """Return in which order the models are tried."""
    return [one.id for one, _ in ranked(MODELS, seen or experience(), request, prefer)]


def test_the_score_has_the_six_parts_of_the_document() -> None:
    """Each part is its weight at most; together they are one."""
    request = LlmRequest(
        prompt="x", task_type="extraction", min_context_window=100_000, max_cost_per_token=1e-6
    )
    small = next(each for each in MODELS if each.name == "small")
    big = next(each for each in MODELS if each.name == "big")
    seen = Experience(4.0)

    assert sum(WEIGHTS.values()) == pytest.approx(1.0)
    assert parts(small, seen, request) == {
        "task": 0.27,
        "success": 0.2,
        "latency": 0.025,
        "context": 0.0,
        "cost": 0.1,
        "local": 0.1,
    }
    assert parts(big, Experience(0.1), request) == {
        "task": 0.24,
        "success": 0.2,
        "latency": 0.1,
        "context": 0.2,
        "cost": 0.0,
        "local": 0.0,
    }


def test_the_order_is_by_score_and_a_cloud_is_the_last_resort() -> None:
    """Local models win where they suit; what does not suit is asked last, if at all."""
    assert order(LlmRequest(prompt="x", task_type="extraction")) == [
        "home/small",
        "cloud/big",
        "cloud/odd",
    ]
    assert order(LlmRequest(prompt="x", task_type="poetry")) == ["cloud/odd", "cloud/big"]
    assert order(LlmRequest(prompt="x", task_type="extraction", min_context_window=100_000)) == [
        "cloud/big",
        "home/small",
        "cloud/odd",
    ]
    wide = LlmRequest(prompt="x", task_type="extraction", min_context_window=100_000)
    assert order(wide, prefer="local")[0] == "home/small"


def test_who_fails_falls_behind_and_comes_back() -> None:
    """Errors lower the score and open the breaker; time and successes mend both."""
    seen = experience()
    request = LlmRequest(prompt="x", task_type="extraction")
    for second in range(3):
        seen["home/small"].failed(second, second + 0.5, ill=True)

    assert order(request, seen)[0] == "cloud/big"
    assert seen["home/small"].wait_s(3.0) > 10.0
    assert seen["home/small"].wait_s(60.0) == 0.0
    seen["home/small"].breaker.went(60.0)
    for second in range(60, 75):
        seen["home/small"].succeeded(second, second + 0.5)
    assert order(request, seen)[0] == "home/small"
    assert seen["home/small"].latency_s < 1.0


def test_a_provider_that_names_a_time_is_left_alone_until_then() -> None:
    """``Retry-After`` counts as it stands."""
    seen = Experience(1.0)
    seen.failed(0.0, 1.0, ill=False, after_s=7.0)

    assert seen.wait_s(1.0) == pytest.approx(7.0)
    assert seen.wait_s(9.0) == 0.0


class Models:
    """An open connector, asked without NATS."""

    def __init__(self, found: Opened) -> None:
        self.service = found.service
        self.check = found.check

    async def __call__(self, operation: str = "complete", s: float = 3.0, **request: Any) -> Any:
        """Ask."""
        call = Call("models", operation, key="run-1/ask", timeout_s=s)
        return msgspec.to_builtins(
            await self.service.operations[operation].function(request, call)
        )


@asynccontextmanager
async def models(text: str, token: str = "") -> AsyncIterator[Models]:
    """Open the connector ``models`` with the given lines."""
    lines = "\n".join(f"    {line}" for line in text.strip("\n").split("\n"))
    document = parse(f"connectors:\n  models:\n    kind: llm\n{lines}".encode())
    assert document.problems == []
    assert document.value is not None
    secrets = Secrets(Path(), {"MODEL_KEY": token})
    async with opened("models", document.value.connectors["models"], secrets) as found:
        yield Models(found)


def one(url: str, model: str, more: str = "") -> str:
    """Return the settings of one provider with one model."""
    models = f"models: {{{model}: {{price_in: 1, price_out: 2}}}}"
    return f"providers:\n  it:\n    base_url: {url}/v1\n    {more}\n    {models}"


async def test_a_prompt_is_answered_with_what_it_cost(web: Web) -> None:
    """Output, usage, cost and choice; the defaults of the document go out, camelCase is taken."""
    async with models(one(web.url, "good")) as ask:
        result = await ask(prompt="Hi", taskType="chat", data={"a": 1}, system="Be brief.")
        talk = await ask("chat", messages=[{"role": "user", "content": "Ho"}], maxTokens=7)

    first, second = (json.loads(each["body"]) for each in web.seen("/v1/chat/completions")[-2:])

    assert result["output"] == 'You said: Hi\n\n{"a":1}'
    assert (result["model"], result["provider"], result["finish_reason"]) == ("good", "it", "stop")
    assert result["usage"] == {
        "tokens": 17,
        "input_tokens": 12,
        "output_tokens": 5,
        "cost": pytest.approx(22e-6),
        "estimated": False,
    }
    assert result["selection"]["winner"] == "it/good"
    assert result["selection"]["candidates"][0]["state"] == "chosen"
    assert (first["temperature"], first["max_tokens"]) == (0.7, 2000)
    assert first["messages"][0] == {"role": "system", "content": "Be brief."}
    assert talk["output"] == "You said: Ho"
    assert second["max_tokens"] == 7
    assert ask.service.counters["complete"]["input_tokens"] == 12


async def test_an_operation_has_a_prompt_of_its_own(web: Web) -> None:
    """What it is asked with stands behind the prompt; fields of the output are the result's."""
    operations = """
operations:
  greet: {prompt: Greet them., system: Be brief., output_format: text, max_tokens: 9}
  read: {prompt: Read this., task_type: reading, fields: {city: string, score: number}}
"""
    async with models(one(web.url, "good") + operations) as ask:
        greeted = await ask("greet", name="Ann")
    async with models(one(web.url, "json") + operations) as ask:
        read = await ask("read", text="Austin")
    first = json.loads(web.seen("/v1/chat/completions")[-2]["body"])

    assert greeted["output"] == 'You said: Greet them.\n\n{"name":"Ann"}'
    assert (first["max_tokens"], first["messages"][0]["content"]) == (9, "Be brief.")
    assert (read["city"], read["model"]) == ("Austin", "json")
    assert "output" not in read
    assert read["usage"]["cost"] > 0


def test_an_operation_cannot_be_called_like_one_that_is_there() -> None:
    """Told at its place."""
    text = "connectors: {m: {kind: llm, operations: {chat: {prompt: x}}, providers: {}}}"
    found = [each.message for each in parse(text.encode()).problems]

    assert "'chat' is there already" in found


async def test_an_answer_in_pieces_is_the_same(web: Web) -> None:
    """Streamed: text, usage, reason; one that breaks off, stalls or never begins is a failure."""
    async with models(one(web.url, "good", "stream: true")) as ask:
        result = await ask(prompt="Hi there")
    async with models(one(web.url, "breaks", "stream: true")) as ask:
        with pytest.raises(Failed) as raised:
            await ask(prompt="Hi there")
    for model, message in (
        ("stalls", "stood still for 0.2 s"),
        ("busy", "HTTP 429"),
        ("good", "too long"),
    ):
        settings = one(web.url, model, "stream: true\n    stall: 200ms")
        if model == "good":
            settings = settings.replace("stall: 200ms", "response_bytes_max: 5")
        async with models(settings) as ask:
            with pytest.raises(Failed, match=message):
                await ask(prompt="Hi there")

    assert result["output"].strip() == "You said: Hi there"
    assert result["usage"]["tokens"] == 17
    assert raised.value.kind == "network"


async def test_an_answer_without_an_end_is_not_kept(web: Web) -> None:
    """Neither that of an error nor a line of a stream that does not end."""
    for stream in ("true", "false"):
        async with models(one(web.url, "endless", f"stream: {stream}")) as ask:
            with pytest.raises((Failed, Refused)) as raised:
                await ask(prompt="Hi there", s=20.0)
        assert "over_limit" in repr(vars(raised.value))


async def test_json_is_parsed_and_checked(web: Web) -> None:
    """Also out of a fence; what is none, or of another form, may be asked again, and has cost."""
    async with models(one(web.url, "json")) as ask:
        plain = await ask(prompt="Hi", outputFormat="json")
        fields = {"city": "string", "score": {"type": "number", "max": 1}}
        checked = await ask(prompt="Hi", output_format="json", fields=fields)
        with pytest.raises(Failed) as other:
            await ask(prompt="Hi", output_format="json", fields={"town": "string"})
    async with models(one(web.url, "prose", "json_mode: none")) as ask:
        with pytest.raises(Failed) as prose:
            await ask(prompt="Hi", output_format="json")

    assert plain["output"] == checked["output"] == {"city": "Austin", "score": 0.9}
    for each in (other.value, prose.value):
        assert each.kind == "bad_output"
        assert each.details["usage"]["tokens"] == 17
        assert each.details["text"]


FALLBACK = """
prefer: local
try_timeout: 300ms
providers:
  home:
    base_url: {dead}/v1
    local: true
    models: {{"llama3.1:8b": {{tasks: {{extraction: 0.9}}}}}}
  busy: {{base_url: "{url}/v1", models: {{busy: {{latency: 1s}}}}}}
  slow: {{base_url: "{url}/v1", models: {{slow: {{latency: 1s}}}}}}
  cloud:
    base_url: "{url}/v1"
    auth: {{bearer: "${{env:MODEL_KEY}}"}}
    models: {{good: {{tasks: {{"*": 0.1}}}}}}
"""


async def test_a_dead_local_model_is_replaced_by_a_cloud(web: Web) -> None:
    """Each that fails is told with its reason; the next request does not ask who is busy."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with models(FALLBACK.format(dead=dead, url=web.url), "key-987654321") as ask:
            result = await ask(prompt="Hi", task_type="extraction")
            again = await ask(prompt="Hi", task_type="extraction")
            with pytest.raises(Failed) as named:
                await ask(prompt="Hi", model="home-llama3.1:8b")
            checks = await ask.check()

    first = {each["model"]: each for each in result["selection"]["candidates"]}
    assert result["model"] == "good"
    assert [each["model"] for each in result["selection"]["candidates"]] == [
        "home/llama3.1:8b",
        "busy/busy",
        "slow/slow",
        "cloud/good",
    ]
    assert first["home/llama3.1:8b"]["reason"].startswith("network: no connection")
    assert first["busy/busy"]["reason"] == "over_limit: HTTP 429"
    assert first["slow/slow"]["reason"] == "network: no answer in 0.3 s"
    states = {each["model"]: each["state"] for each in again["selection"]["candidates"]}
    assert states["busy/busy"] == "unavailable"
    assert NO_MODEL in named.value.message
    assert named.value.details["selection"]["winner"] == ""
    assert [each.ok for each in checks] == [False, False, False, True]
    assert "key-987654321" not in repr((result, checks))


async def test_when_nobody_answers_it_says_what_would_help(web: Web) -> None:
    """All busy: when to come again. All refuse: refused. A wrong request: refused at once."""
    async with models(one(web.url, "busy")) as ask:
        for _ in range(2):  # the second time nobody is asked
            with pytest.raises(Failed) as busy:
                await ask(prompt="Hi")
            assert busy.value.retry_after_s == pytest.approx(7.0, abs=1.0)
    async with models(one(web.url, "strict")) as ask:
        with pytest.raises(Refused) as strict:
            await ask(prompt="Hi")
        before = len(web.seen())
        for wrong in ({}, {"prompt": "x", "tempreature": 1}, {"prompt": "x", "model": "y"}):
            with pytest.raises(Refused) as refused:
                await ask(**wrong)
            assert refused.value.kind == "validation"

    assert strict.value.kind == "validation"
    assert len(web.seen()) == before
