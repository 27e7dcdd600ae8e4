"""How a client finds the daemon: what is given, the environment, or the daemon's own notice.

A daemon leaves ``daemon.json`` in its store directory for as long as it serves. When the NATS
server is the daemon's own, the passwords of its users stand beside it, and whoever connects to
that server without a login gets the one that fits: programs of the same machine and user need
no settings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from protocols.errors import ConfigurationError, UnavailableError
from runtime.config import NatsConfig, default_store, nats_from_environment
from runtime.server.configuration import LOOPBACK
from runtime.server.credentials import path_of, read

NOTICE: Final = "daemon.json"
_NOTICE_BYTES_MAX: Final = 65_536
_PORT: Final = 4222


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
    own: bool = False
    """Whether the server is the daemon's own, with the users of this store."""


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


def find(url: str = "", store: Path | None = None, *, user: str = "client") -> NatsConfig:
    """Return where to connect and as whom.

    In this order: ``url``, MOVANT_NATS__URL (not when a store is named), the notice in
    ``store`` or in the daemon's store. ``user`` is who we are on a daemon's own server, unless
    a login is configured. Raises NoDaemonError when none of them helps.
    """
    found = nats_from_environment(url)
    directory = _directory(store)
    if url or (found.url and store is None):
        return with_login(found, directory, user)
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
    return with_login(msgspec.structs.replace(found, url=notice.url), directory, user)


def with_login(nats: NatsConfig, store: Path | None, user: str) -> NatsConfig:
    """Return ``nats`` with a user of the daemon's own server, if it is that and names nobody.

    Raises CredentialsError when the password cannot be used.
    """
    directory = _directory(store)
    notice = read_notice(directory)
    if notice is None or not notice.own or _is_login(nats) or not _same(nats.url, notice.url):
        return nats
    return msgspec.structs.replace(nats, user=user, password=read(directory, user))


class Server(NamedTuple):
    """A daemon's own NATS server, and the store with the passwords of its users."""

    url: str
    store: Path

    def password_file(self, user: str) -> Path:
        """Return where the password of a user stands."""
        return path_of(self.store, user)

    def password(self, user: str) -> str:
        """Return a user's password. Raises CredentialsError."""
        return read(self.store, user)

    def login_url(self, user: str) -> str:
        """Return the URL with a login in it. Raises CredentialsError."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{user}:{self.password(user)}@{rest}"


def own_server(url: str = "", store: Path | None = None) -> Server:
    """Return the daemon's own server. Raises NoDaemonError, also when the server is another's."""
    directory = _directory(store)
    notice = read_notice(directory)
    if notice is None or not notice.own or (url and not _same(url, notice.url)):
        raise NoDaemonError(
            f"no daemon with a NATS server of its own serves {directory}",
            hint="movant serve --store DIRECTORY starts one; the users of another server are its"
            " operator's (docs/operations.md, 'Accounts')",
        )
    return Server(notice.url, directory)


def own_login(store: Path, url: str, user: str) -> NatsConfig:
    """Return the login of a user of the server that the daemon of ``store`` runs at ``url``."""
    return NatsConfig(url=url, user=user, password=read(store, user))


def login(nats: NatsConfig) -> dict[str, Any]:
    """Return the keyword arguments of ``runtime.bridge.connect`` for a login.

    Raises ConfigurationError for certificates that cannot be used.
    """
    arguments: dict[str, Any] = {
        name: value
        for name in ("user", "password", "token", "credentials", "nkey", "inbox_prefix")
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


def _directory(store: Path | None) -> Path:
    named = os.environ.get("MOVANT_SERVER__STORE")
    chosen = store or (Path(named) if named else default_store())
    return chosen.expanduser().absolute()


def _is_login(nats: NatsConfig) -> bool:
    """Tell whether somebody is named: in a setting, or in the URL."""
    named = (nats.user, nats.token, nats.credentials, nats.nkey, nats.tls_cert)
    return any(named) or "@" in nats.url.rpartition("://")[2]


def _same(url: str, other: str) -> bool:
    """Tell whether two URLs name the same server of this machine."""
    return _place(url) == _place(other)


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    host = parts.hostname or ""
    return LOOPBACK if host in {"localhost", "::1"} else host, parts.port or _PORT


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
