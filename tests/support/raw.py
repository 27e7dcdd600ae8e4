"""A client of the bare protocol: sends what no library would, and asks plain questions."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import trio

from tests.bridge.support import WAIT_S, RawClient


class Message(NamedTuple):
    """A message as it came."""

    subject: bytes
    reply: bytes
    headers: bytes
    payload: bytes


class Raw(RawClient):
    """Publishes and asks, byte by byte. Every method blocks for some milliseconds."""

    def __init__(self, url: str, *, answer_s: float = WAIT_S) -> None:
        super().__init__(url, answer_s)
        self._asked = 0
        self._left = b""

    def put(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Publish one message, with headers if given."""
        if headers is None:
            self.publish(subject.encode(), payload)
        else:
            self.publish_with_headers(subject.encode(), block(headers), payload)

    def ask(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Any:
        """Return the first reply as JSON; None when nobody is there."""
        self._asked += 1
        inbox = f"_INBOX.raw.{id(self)}.{self._asked}"
        sid = b"%d" % (self._asked + 10)
        self.send(b"SUB %b %b\r\nUNSUB %b 1\r\n" % (inbox.encode(), sid, sid))
        lines = block(headers or {})
        self.send(
            b"HPUB %b %b %d %d\r\n%b%b\r\n"
            % (
                subject.encode(),
                inbox.encode(),
                len(lines),
                len(lines) + len(payload),
                lines,
                payload,
            )
        )
        return self._reply(inbox.encode())

    def stored(self, stream: str, subject: str) -> dict[str, Any] | None:
        """Return the last message of a subject, data and hdrs as bytes; None: there is none."""
        answer = self.ask(
            f"$JS.API.STREAM.MSG.GET.{stream}", json.dumps({"last_by_subj": subject}).encode()
        )
        if answer is None or "error" in answer:
            return None
        message: dict[str, Any] = answer["message"]
        message["data"] = base64.b64decode(message.get("data", ""))
        message["hdrs"] = base64.b64decode(message.get("hdrs", ""))
        return message

    async def next(self) -> Message:
        """Wait for the next message while others go on."""
        return await trio.to_thread.run_sync(self.next_message)

    def next_message(self) -> Message:
        """Wait for the next message of a subscription; what the server said before is passed."""
        while True:
            line, end, rest = self._left.partition(b"\r\n")
            if not end:
                self._left += self._more()
                continue
            if not line.startswith((b"MSG ", b"HMSG ")):
                self._left = rest
                continue
            args = line.split(b" ")
            size = int(args[-1])
            while len(rest) < size + 2:
                rest += self._more()
            cut = int(args[-2]) if args[0] == b"HMSG" else 0
            self._left = rest[size + 2 :]
            if size > cut or b"Nats-Trace-Only" not in rest[:cut]:
                reply = args[3] if len(args) > (5 if cut else 4) else b""
                return Message(args[1], reply, rest[:cut], rest[cut:size])

    def messages(self, stream: str) -> int:
        """Return how many messages a stream holds."""
        return int(self.ask(f"$JS.API.STREAM.INFO.{stream}")["state"]["messages"])

    def subjects(self, stream: str, pattern: str) -> dict[str, int]:
        """Return the subjects of a stream that match, with their number of messages."""
        request = json.dumps({"subjects_filter": pattern}).encode()
        found: dict[str, int] = self.ask(f"$JS.API.STREAM.INFO.{stream}", request)["state"].get(
            "subjects", {}
        )
        return found

    def _reply(self, inbox: bytes) -> Any:
        seen = b""
        while True:
            line, end, rest = seen.partition(b"\r\n")
            if not end:
                seen += self._more()
                continue
            if not line.startswith((b"MSG ", b"HMSG ")):
                assert not line.startswith(b"-ERR") or b"Invalid Publish Subject" in line, line
                seen = rest
                continue
            args = line.split(b" ")
            size = int(args[-1])
            while len(rest) < size + 2:
                rest += self._more()
            headers = int(args[-2]) if args[0] == b"HMSG" else 0
            if args[1] != inbox:
                seen = rest[size + 2 :]
                continue
            body = rest[headers:size]
            if rest[:headers].startswith(b"NATS/1.0 503"):
                return None
            return json.loads(body)

    def _more(self) -> bytes:
        chunk = self._socket.recv(1 << 20)
        assert chunk, "the server closed the connection"
        return chunk


def block(headers: Mapping[str, str]) -> bytes:
    """Return a header block, unchecked."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return b"NATS/1.0\r\n" + lines.encode() + b"\r\n"
