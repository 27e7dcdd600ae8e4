"""Parking and utilities, served with nats-py alone: what a service has to do without movant.

    python -m examples.civic.plain parking --data DIR --nats URL --work-s 0.3

1. Subscribe ``movant.svc.<service>.<operation>`` in a queue group, so that several processes
   share the work.
2. Take the idempotency key from the header ``Movant-Key``; answer a key only once.
3. The reply subject is the mailbox of a workflow, kept by a stream. Send the answer there as
   a *request* and repeat it until the stream acknowledges: then it is stored for good.
   An asker that is no workflow (any other reply subject) just gets the answer.
4. Say errors in headers: ``Nats-Service-Error``, ``Nats-Service-Error-Code``,
   ``Movant-Outcome`` (``refused`` or ``failed``: in both cases nothing happened) and
   ``Movant-Error-Kind``. The body of a refusal is its details.
5. The header ``Movant-Undoes`` names the key that a request undoes: withdraw what was issued
   under it, answer also when there was nothing, and refuse that key from then on.

This module and what it imports know nothing of movant; only the words above are shared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from examples.civic.counter import Counter
from examples.civic.offices import WITHDRAW, rules
from examples.civic.records import Answer, Records
from examples.civic.ruling import Operation

QUEUE: Final = "q"
AT_ONCE_MAX: Final = 8
"""Requests worked on at the same time; the others wait in the subscription."""
PENDING_MAX: Final = 4096
"""Requests that wait in a subscription; the server's flood beyond them is dropped, and the
askers ask again."""
ACK_TRIES_MAX: Final = 40
"""About a minute of trying to hand an answer in. It is recorded: the next asker gets it."""
ACK_TIMEOUT_S: Final = 1.0
ACK_PAUSE_S: Final = 0.5
MAILBOX: Final = "movant.to."
ERROR_TEXT_MAX: Final = 200

OFFICES: Final[Mapping[str, Mapping[str, Operation]]] = {
    "parking": rules("parking"),
    "utilities": rules("utilities"),
}

log = logging.getLogger("civic.plain")


class Reply(msgspec.Struct, frozen=True):
    """Body and headers of one reply."""

    body: bytes
    headers: dict[str, str] | None = None


def handle(counter: Counter, operation: Operation, key: str, body: bytes) -> Reply:
    """Turn the body of a request into a reply. Blocks while the office works; never raises."""
    try:
        request = msgspec.json.decode(body, type=operation.request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _error(400, "refused", "validation", f"bad request: {error}")
    try:
        answer = counter.serve(key, operation, request)
    except sqlite3.Error as error:
        return _error(503, "failed", "register_unavailable", f"register: {error}")
    except Exception:
        log.exception("the rule of %s failed", operation.name)
        return _error(500, "failed", "internal", "the office made a mistake")
    return _reply(answer)


def withdraw(counter: Counter, undoes: str) -> Reply:
    """Undo by key. Blocks; never raises."""
    try:
        return Reply(msgspec.json.encode(counter.withdraw(undoes)))
    except sqlite3.Error as error:
        return _error(503, "failed", "register_unavailable", f"register: {error}")


async def deliver(client: Client, subject: str, reply: Reply) -> bool:
    """Hand a reply in; tell whether it was acknowledged (only mailboxes do)."""
    if not subject.startswith(MAILBOX):
        await client.publish(subject, reply.body, headers=reply.headers)
        return False
    for _ in range(ACK_TRIES_MAX):
        try:
            ack = await client.request(
                subject, reply.body, timeout=ACK_TIMEOUT_S, headers=reply.headers
            )
        except nats.errors.ConnectionClosedError:
            return False
        except nats.errors.Error as error:
            # Stored, lost, or no stream there at the moment. A repeat does no harm: whoever
            # reads the mailbox drops it.
            log.info("no acknowledgement from %s: %r", subject, error)
        else:
            if is_stored(ack.data):
                return True
            log.warning("%s was not stored: %s", subject, ack.data[:ERROR_TEXT_MAX])
        await asyncio.sleep(ACK_PAUSE_S)
    log.error("gave up handing in the answer for %s", subject)
    return False


def is_stored(ack: bytes) -> bool:
    """Tell whether the answer of a stream is an acknowledgement."""
    try:
        said = json.loads(ack)
    except ValueError:
        return False
    return isinstance(said, dict) and "stream" in said and "seq" in said and "error" not in said


async def serve(office: str, records: Records, url: str, work_s: float) -> None:
    """Serve one office until the process is asked to stop, then finish what was begun."""
    client = await nats.connect(
        url,
        name=f"civic-{office}",
        user=os.environ.get("NATS_USER"),  # eval "$(movant nats env --user service)"
        password=os.environ.get("NATS_PASSWORD"),
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,
        ping_interval=5,
    )
    counter = Counter(records, work_s=work_s)
    places = asyncio.Semaphore(AT_ONCE_MAX)
    at_work: set[asyncio.Task[None]] = set()

    async def work(operation: Operation | None, message: Msg) -> None:
        headers = message.headers or {}
        try:
            if operation is None:
                undoes = headers.get("Movant-Undoes", "")
                reply = await asyncio.to_thread(withdraw, counter, undoes)
            else:
                key = headers.get("Movant-Key", "")
                reply = await asyncio.to_thread(handle, counter, operation, key, message.data)
            if message.reply:
                await deliver(client, message.reply, reply)
        finally:
            places.release()

    offered: dict[str, Operation | None] = {**OFFICES[office]}
    if office in WITHDRAW:
        offered[WITHDRAW[office]] = None
    for name, operation in offered.items():

        async def take(message: Msg, operation: Operation | None = operation) -> None:
            await places.acquire()
            task = asyncio.create_task(work(operation, message))
            at_work.add(task)
            task.add_done_callback(at_work.discard)

        await client.subscribe(
            f"movant.svc.{office}.{name}",
            queue=QUEUE,
            cb=take,
            pending_msgs_limit=PENDING_MAX,
        )
    log.info("%s is open", office)
    await _asked_to_stop()
    await asyncio.gather(*at_work, return_exceptions=True)
    await client.close()


def main(arguments: list[str] | None = None) -> None:
    """Run one office as a process."""
    parser = argparse.ArgumentParser(description="A city office without movant.")
    parser.add_argument("office", choices=sorted(OFFICES))
    parser.add_argument("--data", type=Path, required=True, help="folder of the register")
    parser.add_argument("--nats", default="nats://127.0.0.1:4222", help="URL of the server")
    parser.add_argument("--work-s", type=float, default=0.0, help="time taken per request")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    given.data.mkdir(parents=True, exist_ok=True)
    records = Records(given.data / f"{given.office}.sqlite")
    asyncio.run(serve(given.office, records, given.nats, given.work_s))


def _reply(answer: Answer) -> Reply:
    refusal = answer.refusal
    if refusal is None:
        return Reply(answer.body)
    return _error(409, "refused", refusal.kind, refusal.message, refusal.details)


def _error(code: int, outcome: str, kind: str, message: str, details: Any = None) -> Reply:
    """Build an error reply. Headers carry one line of ASCII, so the text is bent to that."""
    line = " ".join(message.encode("ascii", "replace").decode().split())[:ERROR_TEXT_MAX]
    headers = {
        "Nats-Service-Error": line or kind,
        "Nats-Service-Error-Code": str(code),
        "Movant-Outcome": outcome,
        "Movant-Error-Kind": kind,
    }
    return Reply(msgspec.json.encode(details) if details is not None else b"", headers)


async def _asked_to_stop() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


if __name__ == "__main__":
    main()
