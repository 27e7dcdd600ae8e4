"""Opening a transport: the login, the first connection, and the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ssl import SSLContext

from runtime.bridge.client import Login, checked_urls
from runtime.bridge.limits import BridgeLimits
from runtime.bridge.transport import NatsTransport


@asynccontextmanager
async def connect(
    url: str | Sequence[str],
    *,
    name: str,
    limits: BridgeLimits | None = None,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    credentials: str | None = None,
    nkey: str | None = None,
    tls: SSLContext | None = None,
    inbox_prefix: str = "_INBOX",
) -> AsyncIterator[NatsTransport]:
    """Connect to NATS and keep connected for ever; close at the end of the block.

    ``url`` may be several, as a sequence or joined by commas; ``credentials`` is the path of a
    credentials file, ``nkey`` that of a seed. Raises DisconnectedError when nobody answers
    within ``limits.connect_s`` and ConfigurationError when the login is refused. After that a
    loss is told by ``on_state``, never raised here.
    """
    login = Login(
        urls=checked_urls(url),
        name=name,
        user=user,
        password=password,
        token=token,
        credentials=credentials,
        nkey=nkey,
        tls=tls,
    )
    transport = NatsTransport(login, limits or BridgeLimits(), inbox_prefix)
    try:
        await transport.start()
        yield transport
    finally:
        await transport.aclose()
