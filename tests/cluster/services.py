"""The services of the campaign, as processes: ``python -m tests.cluster.services KIND URL FILE``.

``hosted`` runs on movant and writes its answers until they are stored. ``plain`` is nats-py
alone and just responds: its answer is lost whenever no leader takes it. Each notes one line
per call, ``<key> <reply subject>``, in a file that outlives it.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - a service without movant runs on it
import json
import os
import sys
from typing import Any, Final

import nats  # noqa: TID251 - and speaks nats-py

import movant
from tests.cluster.flows import answer

SLOW_S: Final = 0.1
"""How long the plain one takes: so there are always answers that may meet no leader."""


def hosted(url: str, file: int) -> None:
    """Serve with movant."""
    service = movant.Service("hosted")

    @service.operation("do")
    async def do(asked: dict[str, Any], call: movant.Call) -> int:
        os.write(file, f"{call.key} -\n".encode())
        return answer(asked["n"], asked["k"])

    movant.run_service(service, nats=url, drain_s=1.0)


async def plain(url: str, file: int) -> None:
    """Respond once, as most services do, and never look whether it was stored."""
    client = await nats.connect(
        url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.1, ping_interval=2
    )

    async def take(request: Any) -> None:
        if not request.reply:
            return  # a probe of presence
        asked = json.loads(request.data)
        os.write(file, f"{request.headers['Movant-Key']} {request.reply}\n".encode())
        await asyncio.sleep(SLOW_S)
        await request.respond(json.dumps(answer(asked["n"], asked["k"])).encode())

    tasks: set[asyncio.Task[None]] = set()

    async def taken(request: Any) -> None:
        task = asyncio.create_task(take(request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    await client.subscribe("movant.svc.plain.do", queue="q", cb=taken)
    await asyncio.Event().wait()


def main(kind: str, url: str, path: str) -> None:
    """Run one of them until killed."""
    file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    if kind == "hosted":
        hosted(url, file)
    else:
        asyncio.run(plain(url, file))


if __name__ == "__main__":
    main(*sys.argv[1:])
