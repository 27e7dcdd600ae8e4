"""The foreign systems: CRM, billing, support, chat, monitoring, pager, rates, companies, mail.

    python -m examples.enterprise.systems --data DIR [--http PORT] [--smtp PORT]

One HTTP server and one SMTP server, which know nothing of movant. What they keep stands in
``systems.db``: ``objects`` that were created, by idempotency key; ``calls`` with the trace that
each carried; ``letters``. ``faults.json`` says which of them fail for whom, and how often.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import threading
import time
from contextlib import closing
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from examples.enterprise.folder import HTTP_PORT, SMTP_PORT, prepare

BOUNCES: Final = "bounces@"
"""Letters to such addresses are refused."""
COLLECTIONS: Final = {
    "crm/accounts": "crm",
    "billing/accounts": "bill",
    "sandbox-crm/accounts": "sandbox-crm",
    "sandbox-billing/accounts": "sandbox-bill",
    "support/portals": "support",
    "chat/messages": "msg",
    "pager/incidents": "PD",
}
"""Where something can be created, and what its ids begin with."""
ON_CALL: Final = "oncall@movant.example"

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS objects (
    collection TEXT NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (collection, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    call INTEGER PRIMARY KEY, method TEXT NOT NULL, path TEXT NOT NULL, key TEXT NOT NULL,
    trace TEXT NOT NULL, status INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS faulted (
    fault INTEGER NOT NULL, what TEXT NOT NULL, times INTEGER NOT NULL,
    PRIMARY KEY (fault, what)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS letters (
    message TEXT PRIMARY KEY, recipient TEXT NOT NULL, subject TEXT NOT NULL,
    text TEXT NOT NULL) WITHOUT ROWID;
"""


class Memory:
    """What the systems keep. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "systems.db"
        self._lock = threading.Lock()
        with closing(self._open()) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_SCHEMA)

    def create(self, collection: str, key: str, body: Any) -> tuple[int, Any]:
        """Create something once per key; a key that was deleted is never created again."""
        with self._lock, closing(self._open()) as db:
            found = db.execute(
                "SELECT id, deleted FROM objects WHERE collection = ? AND key = ?",
                (collection, key),
            ).fetchone()
            if found and found[1]:
                return 409, {"error": "deleted"}
            if found:
                return 200, {"id": found[0], "assigned_to": ON_CALL}
            (count,) = db.execute(
                "SELECT count(*) FROM objects WHERE collection = ?", (collection,)
            ).fetchone()
            made = f"{COLLECTIONS[collection]}-{count + 1:03d}"
            db.execute(
                "INSERT INTO objects (collection, key, id, body) VALUES (?, ?, ?, ?)",
                (collection, key, made, json.dumps(body)),
            )
            return 201, {"id": made, "assigned_to": ON_CALL}

    def delete(self, collection: str, key: str) -> tuple[int, Any]:
        """Delete what a key has created, or see to it that it creates nothing any more."""
        with self._lock, closing(self._open()) as db:
            found = db.execute(
                "UPDATE objects SET deleted = 1 WHERE collection = ? AND key = ? AND id != ''",
                (collection, key),
            ).rowcount
            if not found:
                db.execute(
                    "INSERT OR IGNORE INTO objects VALUES (?, ?, '', '', 1)", (collection, key)
                )
            return (204, None) if found else (404, {"error": "nothing was created by that key"})

    def put(self, collection: str, key: str, body: Any) -> tuple[int, Any]:
        """Create something or change it."""
        with self._lock, closing(self._open()) as db:
            db.execute(
                "INSERT INTO objects (collection, key, id, body) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (collection, key) DO UPDATE SET body = excluded.body",
                (collection, key, key, json.dumps(body)),
            )
        return 200, {"id": key}

    def fault(self, path: str, body: str, key: str) -> dict[str, Any]:
        """Return how a request fails, if it does, and count that."""
        faults = json.loads((self._folder / "faults.json").read_text())
        for number, each in enumerate(faults):
            if not path.startswith(each["path"]) or each["match"] not in unquote(path) + body:
                continue
            with self._lock, closing(self._open()) as db:
                (times,) = db.execute(
                    "INSERT INTO faulted VALUES (?, ?, 1) "
                    "ON CONFLICT (fault, what) DO UPDATE SET times = times + 1 RETURNING times",
                    (number, key or path),
                ).fetchone()
            if times <= each.get("times", times):
                return dict(each)
        return {}

    def note(self, method: str, path: str, key: str, trace: str, status: int) -> None:
        """Remember a call."""
        with self._lock, closing(self._open()) as db:
            db.execute(
                "INSERT INTO calls (method, path, key, trace, status) VALUES (?, ?, ?, ?, ?)",
                (method, path, key, trace, status),
            )

    def post(self, message: str, recipient: str, subject: str, text: str) -> None:
        """Keep a letter; one that comes again is the same letter."""
        with self._lock, closing(self._open()) as db:
            db.execute(
                "INSERT OR IGNORE INTO letters VALUES (?, ?, ?, ?)",
                (message, recipient, subject, text),
            )

    def rows(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with closing(self._open()) as db:
            return db.execute(sql, values).fetchall()

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=10.0, isolation_level=None)


class Letters:
    """The SMTP server's handler."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        """Take a recipient, or not."""
        if address.startswith(BOUNCES):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Keep a letter."""
        assert isinstance(envelope.content, bytes)
        letter = message_from_bytes(envelope.content, policy=default)
        body = letter.get_body(("plain",))
        text = body.get_content() if body is not None else ""
        self._memory.post(
            str(letter["message-id"]), ", ".join(envelope.rcpt_tos), str(letter["subject"]), text
        )
        return "250 OK"


class Handler(BaseHTTPRequestHandler):
    """One request to one of the systems."""

    protocol_version = "HTTP/1.1"
    memory: Memory
    folder: Path
    secret: str

    def do_GET(self) -> None:
        """Read."""
        self._serve("GET")

    def do_POST(self) -> None:
        """Create."""
        self._serve("POST")

    def do_PUT(self) -> None:
        """Change."""
        self._serve("PUT")

    def do_DELETE(self) -> None:
        """Delete."""
        self._serve("DELETE")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing: the calls are in the database."""

    def _serve(self, method: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        key = self.headers.get("Idempotency-Key") or ""
        path = self.path.removeprefix("/")
        fault = self.memory.fault(path, body, key)
        if self.headers.get("Authorization") != f"Bearer {self.secret}":
            status, answer = 401, {"error": "who are you?"}
        elif fault.get("status"):
            status, answer = fault["status"], {"error": fault.get("error", "out of order")}
        else:
            status, answer = self._answer(method, path, key, json.loads(body or "null"))
        self.memory.note(method, path, key, self.headers.get("traceparent") or "", status)
        time.sleep(fault.get("sleep_s", 0.0))  # noqa: TID251 - a thread of a foreign system
        content = b"" if status == 204 else json.dumps(answer).encode()  # noqa: PLR2004
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status != 204:  # noqa: PLR2004 - no content
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, method: str, path: str, key: str, body: Any) -> tuple[int, Any]:
        place = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(place.query).items()}
        if place.path in COLLECTIONS and method == "POST":
            return self.memory.create(place.path, key, body)
        if place.path in COLLECTIONS and method == "DELETE":
            return self.memory.delete(place.path, query.get("created-by", ""))
        if place.path.startswith("crm/leads/") and method == "PUT":
            return self.memory.put("crm/leads", place.path.removeprefix("crm/leads/"), body)
        if method == "GET":
            return self._read(place.path, query)
        return 404, {"error": f"no {method} {place.path}"}

    def _read(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        """Answer from the files of monitoring, rates and companies."""
        system, _, name = path.partition("/")
        files = {
            "monitoring": "metrics.json",
            "rates": "rates.json",
            "companies": "companies.json",
        }
        if system not in files:
            return 200, {"systems": sorted(COLLECTIONS)}
        known = json.loads((self.folder / files[system]).read_text())
        found = known.get(query.get("server") or name)
        return (404, {"error": "not known"}) if found is None else (200, found)


def serve(folder: Path, http_port: int, smtp_port: int) -> None:
    """Serve until the process is ended."""
    memory = Memory(folder)
    secret = (folder / "secrets" / "systems.key").read_text().strip()
    mail = Controller(Letters(memory), hostname="127.0.0.1", port=smtp_port)
    mail.start()
    settings = {"memory": memory, "folder": folder / "input" / "systems", "secret": secret}
    server = ThreadingHTTPServer(("127.0.0.1", http_port), type("Bound", (Handler,), settings))
    try:
        server.serve_forever()
    finally:
        mail.stop()


def main(arguments: list[str] | None = None) -> None:
    """Run the systems as a process."""
    parser = argparse.ArgumentParser(description="The foreign systems of the company.")
    parser.add_argument("--data", type=Path, required=True, help="the folder of the example")
    parser.add_argument("--http", type=int, default=HTTP_PORT)
    parser.add_argument("--smtp", type=int, default=SMTP_PORT)
    given = parser.parse_args(arguments)
    prepare(given.data, http_port=given.http, smtp_port=given.smtp)
    serve(given.data, given.http, given.smtp)


if __name__ == "__main__":
    main()
