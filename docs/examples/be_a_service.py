"""Be the service ``hall``, with nothing but a NATS client.

eval "$(movant nats env --user service)"
python be_a_service.py $NATS_URL
"""

import asyncio
import json
import os
import sys

import nats
from nats.aio.msg import Msg

ANSWERS: dict[str, bytes] = {}  # a real service keeps them where it keeps its effects


async def main(url: str) -> None:
    login = {"user": os.environ.get("NATS_USER"), "password": os.environ.get("NATS_PASSWORD")}
    client = await nats.connect(url, **login, max_reconnect_attempts=-1)

    async def answer(request: Msg) -> None:
        key = (request.headers or {}).get("Movant-Key", request.reply)
        if key not in ANSWERS:  # done once; a repeat gets the same answer
            ANSWERS[key] = json.dumps(f"{json.loads(request.data)['name']} has arrived").encode()
        while True:  # a mailbox is a stream: send until it says where it stored the answer
            try:
                ack = await client.request(request.reply, ANSWERS[key], timeout=1)
                if "seq" in json.loads(ack.data):
                    return
            except nats.errors.Error:
                await asyncio.sleep(0.5)

    await client.subscribe("movant.svc.hall.announce", queue="q", cb=answer)
    print("serving", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
