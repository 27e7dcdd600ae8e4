"""How a client finds the daemon: what is given, the environment, or the daemon's own notice.

A daemon leaves ``daemon.json`` in its store directory for as long as it serves. The notice may
hold a login, so only its owner can read it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from protocols.errors import ConfigurationError, UnavailableError
from runtime.config import NatsConfig, default_store, nats_from_environment

NOTICE: Final = "daemon.json"
_NOTICE_BYTES_MAX: Final = 65_536


class NoDaemonError(UnavailableError):
    """Nothing says where a daemon is, or the daemon that said so has ended."""

    code = "unavailable.no_daemon"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What a daemon tells the clients on its machine. ``started`` is nanoseconds since 1970."""

    url: str
    pid: int
    started: int
    http: str = ""
    name: str = ""


@contextmanager
def announced(store: Path, notice: Notice) -> Iterator[None]:
    """Keep the notice in the store directory while the block runs."""
    path = store / NOTICE
    draft = path.with_name(f"{NOTICE}.{notice.pid}")
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(notice)))
    draft.replace(path)
    try:
        yield
    finally:
        found = read_notice(store)
        if found is not None and found.pid == notice.pid:
            path.unlink(missing_ok=True)


def read_notice(store: Path) -> Notice | None:
    """Return the notice of a store; None when there is none or it cannot be read."""
    try:
        with (store / NOTICE).open("rb") as file:
            return msgspec.json.decode(file.read(_NOTICE_BYTES_MAX), type=Notice)
    except (OSError, msgspec.DecodeError):
        return None


def find(url: str = "", store: Path | None = None) -> NatsConfig:
    """Return where to connect and as whom.

    In this order: ``url``, MOVANT_NATS__URL (not when a store is named), the notice in
    ``store`` or in the default store. Raises NoDaemonError when none of them helps.
    """
    found = nats_from_environment(url)
    if url or (found.url and store is None):
        return found
    directory = (store or default_store()).expanduser().absolute()
    notice = read_notice(directory)
    if notice is None:
        raise NoDaemonError(
            "no daemon found: neither --nats nor MOVANT_NATS__URL is set, and none serves"
            f" {directory}",
            hint="movant dev (or movant serve), or name the server: --nats nats://HOST:PORT",
        )
    if not _lives(notice.pid):
        raise NoDaemonError(
            f"the daemon of {directory} (pid {notice.pid}) has ended without a farewell",
            hint=f"start it again: movant serve --store {directory}",
        )
    return msgspec.structs.replace(found, url=notice.url)


def login(nats: NatsConfig) -> dict[str, Any]:
    """Return the keyword arguments of ``runtime.bridge.connect`` for a login.

    Raises ConfigurationError for certificates that cannot be used.
    """
    arguments: dict[str, Any] = {
        name: value
        for name in ("user", "password", "token", "credentials")
        if (value := getattr(nats, name))
    }
    if nats.tls_ca or nats.tls_cert or "tls://" in nats.url:
        import ssl  # noqa: PLC0415 - 20 ms that most starts do not need

        try:
            context = ssl.create_default_context(cafile=nats.tls_ca or None)
            if nats.tls_cert:
                context.load_cert_chain(nats.tls_cert, nats.tls_key or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"the TLS certificates cannot be used: {error}",
                hint="check nats.tls_ca, nats.tls_cert and nats.tls_key",
            ) from error
        arguments["tls"] = context
    return arguments


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
