"""The two services, as processes: ``python -m examples.cluster.services NAME URL FILE``.

``warehouse`` is hosted by movant. ``payments`` is nats-py alone: it answers once and never
looks whether anybody stored that; whatever is lost is asked for again, with the same key. Both
note a line for each request and one for each piece of work.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - a service without movant runs on it
import json
import os
import sys
from pathlib import Path
from typing import Any

import trio

import movant

WORK_S = 0.05


def warehouse(url: str, file: int) -> None:
    """Serve with movant, which answers a repeated key from its memory."""
    service = movant.Service("warehouse")

    async def work(call: movant.Call) -> None:
        os.write(file, f"asked {call.key}\n".encode())
        await trio.sleep(WORK_S)
        os.write(file, f"done {call.key}\n".encode())

    @service.operation("reserve")
    async def reserve(asked: dict[str, Any], call: movant.Call) -> str:
        await work(call)
        return f"shelf-{asked['number'] % 7}"

    @service.operation("ship")
    async def ship(asked: dict[str, Any], call: movant.Call) -> str:
        await work(call)
        return f"parcel-{asked['number']}"

    movant.run_service(service, nats=url, drain_s=1.0)


async def payments(url: str, file: int, password: str) -> None:
    """Serve without movant; a key that was charged is not charged again."""
    import nats  # noqa: PLC0415, TID251 - this process alone needs it

    client = await nats.connect(
        url.split(","),
        user=os.environ["MOVANT_NATS__USER"],
        password=password,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.1,
        ping_interval=2,
    )
    charged: set[str] = set()
    tasks: set[asyncio.Task[None]] = set()

    async def answer(request: Any) -> None:
        key = request.headers["Movant-Key"]
        os.write(file, f"asked {key}\n".encode())
        if key not in charged:
            charged.add(key)
            await asyncio.sleep(WORK_S)
            os.write(file, f"done {key}\n".encode())
        await request.respond(json.dumps(100 + json.loads(request.data)["number"]).encode())

    async def take(request: Any) -> None:
        if request.reply:  # a look whether anybody is here has none
            task = asyncio.create_task(answer(request))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    await client.subscribe("movant.svc.payments.charge", queue="q", cb=take)
    await asyncio.Event().wait()


def main(name: str, url: str, path: str) -> None:
    """Run one of them until it is told to end."""
    file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    if name == "warehouse":
        warehouse(url, file)
    else:
        password = Path(os.environ["MOVANT_NATS__PASSWORD_FILE"]).read_text().strip()
        asyncio.run(payments(url, file, password))


if __name__ == "__main__":
    main(*sys.argv[1:])
