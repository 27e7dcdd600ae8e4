"""A web server for tests, as a process of its own: an HTTP interface and language models.

    with Web() as web: ...            # web.url; GET /seen tells what it was asked

What it answers to ``POST /v1/chat/completions`` depends on the name of the model.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Self
from urllib.request import urlopen

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

SEEN: list[dict[str, Any]] = []
CHARGES: dict[str, int] = {}
GIVEN: list[str] = []


async def _note(request: Request) -> dict[str, Any]:
    body = await request.body()
    seen = {
        "method": request.method,
        "path": request.url.path,
        "query": [list(pair) for pair in request.query_params.multi_items()],
        "headers": dict(request.headers),
        "body": body.decode(),
    }
    SEEN.append(seen)
    return seen


async def echo(request: Request) -> Response:
    """Tell what was asked, credentials and all; sets a cookie."""
    response = JSONResponse(await _note(request))
    response.set_cookie("session", "of-another-step")
    return response


async def status(request: Request) -> Response:
    """Answer with a status, and with headers from the query."""
    await _note(request)
    return JSONResponse(
        {"error": "as you wish", "code": 7},
        status_code=request.path_params["status"],
        headers={"x-request-id": "r-17", **dict(request.query_params)},
    )


async def slow(request: Request) -> Response:
    """Answer late."""
    await _note(request)
    await trio.sleep(float(request.query_params.get("s", "5")))
    return JSONResponse({"late": True})


async def huge(_: Request) -> Response:
    """Answer with a megabyte."""
    return JSONResponse({"text": "x" * 1_000_000})


async def garbled(_: Request) -> Response:
    """Answer with what is called JSON and is none."""
    return Response(b"{not json", media_type="application/json")


async def away(request: Request) -> Response:
    """Redirect to what the query says."""
    await _note(request)
    return RedirectResponse(request.query_params["to"], status_code=302)


async def round_and_round(request: Request) -> Response:
    """Redirect to itself, after a while."""
    await _note(request)
    await trio.sleep(0.3)
    return RedirectResponse("/round", status_code=302)


async def charge(request: Request) -> Response:
    """Do something once per idempotency key; the first answer may be late."""
    seen = await _note(request)
    key = seen["headers"].get("idempotency-key", "")
    again = key in CHARGES
    CHARGES.setdefault(key, len(CHARGES) + 1)
    number = CHARGES[key]
    if not again:
        await trio.sleep(float(request.query_params.get("s", "0")))
    return JSONResponse({"id": number, "again": again}, status_code=201)


async def status_of_absent(request: Request) -> Response:
    """Say that there is nothing: not any more, or not at all."""
    await _note(request)
    return JSONResponse({"error": "no such customer"}, status_code=404)


async def token(request: Request) -> Response:
    """Give a token, which takes the place of those before; or do what the query says."""
    await _note(request)
    query = request.query_params
    await trio.sleep(float(query.get("s", "0")))
    if "status" in query:
        return JSONResponse({"error": "invalid_client"}, int(query["status"]))
    if "garbled" in query:
        return JSONResponse({"token": "what is this"})
    GIVEN.append(f"granted-token-{len(GIVEN)}")
    return JSONResponse(
        {"access_token": GIVEN[-1], "token_type": "Bearer", "expires_in": query.get("life", "60")}
    )


async def guarded(request: Request) -> Response:
    """Let the latest token in, and tell what was asked."""
    if not GIVEN or request.headers.get("authorization") != f"Bearer {GIVEN[-1]}":
        await _note(request)
        return JSONResponse({"error": "invalid_token"}, 401)
    return await (chat if "chat" in request.url.path else echo)(request)


async def revoke(_: Request) -> Response:
    """Let none of the tokens in any more."""
    GIVEN.append("revoked")
    return JSONResponse(None)


async def seen(_: Request) -> Response:
    """Tell all that was asked."""
    return JSONResponse(SEEN)


async def models(request: Request) -> Response:
    """List the models."""
    await _note(request)
    return JSONResponse({"data": [{"id": "good"}, {"id": "local"}]})


async def chat(request: Request) -> Response:
    """Answer as the model that is asked for would."""
    asked = json.loads((await _note(request))["body"])
    model = asked["model"]
    if model == "ill":
        return JSONResponse({"error": {"message": "out of memory"}}, status_code=500)
    if model == "busy":
        return JSONResponse({"error": {"message": "slow down"}}, 429, {"retry-after": "7"})
    if model == "strict":
        return JSONResponse({"error": {"message": "no such parameter"}}, status_code=400)
    if model == "slow":
        await trio.sleep(5.0)
    text = {
        "json": '```json\n{"city": "Austin", "score": 0.9}\n```',
        "mute": "",
        "prose": "I would rather not give you JSON.",
    }.get(model, f"You said: {asked['messages'][-1]['content']}")
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    if model == "endless":
        return StreamingResponse(_endless(), 200 if asked.get("stream") else 500)
    if asked.get("stream"):
        return StreamingResponse(_pieces(model, text, usage), media_type="text/event-stream")
    return JSONResponse(
        {
            "id": "c-1",
            "model": model,
            "choices": [
                {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            ],
            "usage": usage,
        }
    )


async def _pieces(model: str, text: str, usage: dict[str, int]) -> AsyncIterator[str]:
    for word in text.split(" "):
        piece = {"choices": [{"delta": {"content": f"{word} "}, "finish_reason": None}]}
        yield f"data: {json.dumps(piece)}\n\n"
        if model == "stalls":
            await trio.sleep(5.0)
        if model == "breaks":
            raise RuntimeError("the model has crashed")
    last = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage}
    yield f"data: {json.dumps(last)}\n\n"
    yield "data: [DONE]\n\n"


async def _endless() -> AsyncIterator[bytes]:
    """Say something without an end, and without a line."""
    while True:
        yield b"x" * 65_536


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
APP = Starlette(
    routes=[
        Route("/", echo),
        Route("/echo", echo, methods=METHODS),
        Route("/echo/{rest:path}", echo, methods=METHODS),
        Route("/status/{status:int}", status, methods=METHODS),
        Route("/slow", slow, methods=METHODS),
        Route("/huge", huge, methods=METHODS),
        Route("/garbled", garbled, methods=METHODS),
        Route("/away", away, methods=METHODS),
        Route("/round", round_and_round),
        Route("/charges", charge, methods=["POST"]),
        Route("/customers", charge, methods=["POST"]),
        Route("/customers", status_of_absent, methods=["DELETE"]),
        Route("/seen", seen),
        Route("/token", token, methods=["POST"]),
        Route("/guarded", guarded, methods=METHODS),
        Route("/guarded/chat/completions", guarded, methods=["POST"]),
        Route("/revoke", revoke),
        Route("/v1/models", models),
        Route("/v1/chat/completions", chat, methods=["POST"]),
    ]
)


class Web:
    """The server as a process."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.web"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:")
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _wait(self) -> None:
        until = time.monotonic() + 10.0
        while True:
            try:
                self.seen()
            except OSError:
                assert time.monotonic() < until
            else:
                return

    def seen(self, path: str = "") -> list[dict[str, Any]]:
        """Return what it was asked, in order; ``path`` is where."""
        with urlopen(f"{self.url}/seen", timeout=5.0) as answer:  # noqa: S310 - our own server
            found: list[dict[str, Any]] = json.load(answer)
        return [each for each in found if not path or each["path"] == path]


def main() -> None:
    """Serve on a free port until killed; the first line of output is the address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        config = Config()
        config.bind = [f"fd://{listening.fileno()}"]
        config.errorlog = None
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)  # noqa: T201
        trio.run(serve, APP, config)  # type: ignore[arg-type]  # hypercorn's own idea of ASGI


if __name__ == "__main__":
    main()
