"""Start a run and see how it ends, with nothing but a NATS client.

eval "$(movant nats env)"
python start_and_watch.py $NATS_URL greet-1
"""

import asyncio
import json
import os
import sys

import nats
from nats.aio.msg import Msg


async def show(event: Msg) -> None:
    print(event.subject.rpartition(".")[2], event.data.decode())


async def main(url: str, run: str) -> None:
    login = {"user": os.environ.get("NATS_USER"), "password": os.environ.get("NATS_PASSWORD")}
    client = await nats.connect(url, **login)
    await client.subscribe(f"movant.event.*.{run}.>", cb=show)
    guest = json.dumps({"name": "Ann", "wait_s": 0.1}).encode()
    ack = await client.request(f"movant.to.{run}.start.greet", guest, timeout=5)
    print("stored", ack.data.decode())
    question = json.dumps({"id": run, "timeout_s": 60}).encode()
    outcome = await client.request("movant.api.run.wait", question, timeout=65)
    print("outcome", outcome.data.decode())
    await client.drain()


asyncio.run(main(*sys.argv[1:]))
