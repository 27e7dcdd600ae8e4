"""nats-py does the handshake: DNS, TCP, TLS, INFO, CONNECT with every kind of credential.

After that the socket is ours (``runtime.bridge.link``). nats-py's read loop, flusher and
ping timer are where it goes deaf, where it sends what the caller has given up, and where it
closes for good; here they are empty, and a lost connection is never mended but replaced by
a new client. The private names of nats-py used here are listed in ``PRIVATE_NAMES``; a test
fails when one is gone, and nats-py is pinned to 2.16.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import nats.errors
from nats.aio.client import Client

from protocols.errors import ConfigurationError, DisconnectedError, MovantError
from runtime.bridge import nkeys
from runtime.bridge.servers import split

PRIVATE_NAMES: Final = (
    "_read_loop",
    "_flusher",
    "_ping_interval",
    "_transport",
    "_server_info",
    "_public_nkey",
    "_auth_configured",
)
PRIVATE_TRANSPORT_NAMES: Final = ("_io_reader", "_io_writer")
_PORT: Final = 4222
_REFUSALS: Final = ("authorization violation", "authentication", "permissions violation")


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Where to connect and as whom. Secrets stay here and are never logged."""

    urls: tuple[str, ...]
    name: str
    user: str | None = None
    password: str | None = None
    token: str | None = None
    credentials: str | None = None
    """Path of a credentials file (JWT and nkey)."""
    nkey: str | None = None
    """Path of the seed of a user's nkey."""
    tls: ssl.SSLContext | None = None


class GuardedClient(Client):
    """A nats-py client that connects, and leaves the connection alone afterwards."""

    async def _read_loop(self) -> None:
        """Read nothing: the link does."""

    async def _flusher(self) -> None:
        """Flush nothing: the link writes to the socket itself."""

    async def _ping_interval(self) -> None:
        """Ping nothing: the watchdog does."""

    def log_in_by_key(self, public: str | None) -> None:
        """Send ``signature_cb``'s signature, with this public nkey or else with the JWT."""
        self._public_nkey = public
        self._auth_configured = True

    @property
    def server_info(self) -> dict[str, object]:
        """The server's INFO."""
        return dict(self._server_info)

    @property
    def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The socket; None before there is one."""
        transport = self._transport
        reader = getattr(transport, "_io_reader", None)
        writer = getattr(transport, "_io_writer", None)
        return None if reader is None or writer is None else (reader, writer)


async def open_client(login: Login, url: str, timeout_s: float) -> GuardedClient:
    """Connect to one server. Raises DisconnectedError, or ConfigurationError when refused."""
    client = GuardedClient()
    callbacks = _signing(login, client)
    try:
        async with asyncio.timeout(timeout_s):
            await client.connect(
                [url],
                name=login.name,
                user=login.user,
                password=login.password,
                token=login.token,
                tls=login.tls,
                error_cb=_ignore,  # the last error is raised as well
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=timeout_s,  # type: ignore[arg-type] # seconds as a float do
                **callbacks,
            )
    except BaseException as error:
        drop(client)
        if isinstance(error, Exception):
            raise _explained(error, client, url) from error
        raise
    return client


def user_of(login: Login) -> str:
    """Return who a login is, for people."""
    if login.user:
        return repr(login.user)
    if login.nkey or login.credentials:
        return f"of the key {login.nkey or login.credentials}"
    named = urlsplit(login.urls[0] if "://" in login.urls[0] else f"nats://{login.urls[0]}")
    if named.username and named.password:
        return repr(named.username)
    return "of this login" if login.token or named.username or login.tls else "without a name"


def drop(client: GuardedClient) -> None:
    """Cut the client's socket at once, without a farewell that a frozen server never takes."""
    if client.streams is not None:
        client.streams[1].transport.abort()


def shown(url: str) -> str:
    """Return host and port of a URL, without the user and password that it may hold."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    return f"{parts.hostname}:{parts.port or _PORT}"


def checked_urls(url: str | Sequence[str]) -> tuple[str, ...]:
    """Return the server URLs (a text may hold several), or raise ConfigurationError."""
    urls = split(url)
    for one in urls:
        parts = urlsplit(one if "://" in one else f"nats://{one}")
        if parts.scheme not in {"nats", "tls"} or not parts.hostname:
            raise ConfigurationError(
                f"{parts.scheme}://{parts.hostname} is no NATS server URL",
                hint="give nats://host:port or tls://host:port; websockets are not supported",
            )
    if not urls:
        raise ConfigurationError("no server URL is given", hint="give nats://host:port")
    return urls


def _signing(login: Login, client: GuardedClient) -> dict[str, Any]:
    """Return the callbacks of a login by key. Raises ConfigurationError for a bad file."""
    if login.credentials:
        jwt, key = nkeys.read_credentials(login.credentials)
        client.log_in_by_key(None)
        return {
            "user_jwt_cb": lambda: bytearray(jwt.encode()),
            "signature_cb": lambda nonce: b64encode(key.sign(nonce.encode())),
        }
    if login.nkey:
        key = nkeys.read_seed(login.nkey)
        client.log_in_by_key(key.public)
        return {"signature_cb": lambda nonce: b64encode(key.sign(nonce.encode()))}
    return {}


async def _ignore(_error: Exception) -> None:
    return


def _explained(error: Exception, client: GuardedClient, url: str) -> MovantError:
    told = str(error) or type(error).__name__
    if isinstance(error, nats.errors.NoServersError) and client.last_error is not None:
        told = str(client.last_error) or type(client.last_error).__name__
    if any(words in told.lower() for words in _REFUSALS):
        return ConfigurationError(
            f"the NATS server {shown(url)} refuses the login: {told}",
            hint="check the login (movant config show); for a daemon's own server name its store,"
            " or see: movant nats credentials",
        )
    return DisconnectedError(
        f"no connection to the NATS server {shown(url)}: {told}",
        hint="check that nats-server runs there and that the URL is right",
    )
