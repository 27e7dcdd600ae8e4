"""The gazette: a printing house with an HTTP door. ``python -m examples.governance.gazette``.

``PUT /KEY`` prints notices, once per key; ``DELETE /KEY`` withdraws them. It is no part of movant
and knows nothing of it: it is what a branch depends on, and what can be closed.
"""

from __future__ import annotations

import argparse
import sqlite3
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def house(path: Path, port: int) -> ThreadingHTTPServer:
    """Return the server."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE IF NOT EXISTS printed (key TEXT PRIMARY KEY, notices TEXT)")
        db.commit()

    class Door(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            self._write("INSERT OR IGNORE INTO printed VALUES (?, ?)", self.path, body)

        def do_DELETE(self) -> None:
            self._write("DELETE FROM printed WHERE key = ?", self.path)

        def _write(self, sql: str, *values: str) -> None:
            with closing(sqlite3.connect(path, timeout=5)) as db:
                db.execute(sql, values)
                db.commit()
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Print nothing."""

    return ThreadingHTTPServer(("127.0.0.1", port), Door)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A printing house.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    house(given.data / "gazette.sqlite", given.port).serve_forever()
