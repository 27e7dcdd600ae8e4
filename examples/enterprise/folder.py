"""The folder in which the example works: input, databases, secrets, connectors.

input/           the committed files, copied: orders, invoices, logs, configuration files
*.db             databases of tickets, shop, purchasing, people; made from input/*.sql
connectors.yaml  with the ports of the systems
estate/          servers, as far as playbooks can reach them
"""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
DATABASES: Final = ("tickets", "shop", "purchasing", "people")
SERVERS: Final = ("prod-web-01", "prod-web-02", "prod-db-01")
HTTP_PORT: Final = 18080
SMTP_PORT: Final = 12525
"""The ports that stand in the committed connectors.yaml."""


def prepare(folder: Path, *, http_port: int = HTTP_PORT, smtp_port: int = SMTP_PORT) -> Path:
    """Make the folder, unless it is there; return the file of connectors in it."""
    connectors = folder / "connectors.yaml"
    if connectors.exists():
        return connectors
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(HERE / "input", folder / "input", dirs_exist_ok=True)
    shutil.copytree(HERE / "playbooks", folder / "playbooks", dirs_exist_ok=True)
    shutil.copy(HERE / "input" / "systems" / "faults.json", folder / "faults.json")
    for name in DATABASES:
        with closing(sqlite3.connect(folder / f"{name}.db")) as db:
            db.executescript((HERE / "input" / "databases" / f"{name}.sql").read_text())
    for server in SERVERS:
        cache = folder / "estate" / server / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "page-1.html").write_text("a page that was slow to make\n")
    keys = folder / "secrets"
    keys.mkdir(mode=0o700, exist_ok=True)
    (keys / "systems.key").write_text(secrets.token_urlsafe(24))
    text = (HERE / "connectors.yaml").read_text()
    text = text.replace(f":{HTTP_PORT}", f":{http_port}")
    connectors.write_text(text.replace(f"port: {SMTP_PORT}", f"port: {smtp_port}"))
    return connectors
