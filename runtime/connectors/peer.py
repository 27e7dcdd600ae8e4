"""Peer: whom a connector speaks HTTP to, as a pool of connections that knows who we are.

    request to its origin ──> a header, or a token ──> sent
                                      └─ none, or nearly over: one fetch for all who wait
    answer 401 to a token ──> another token, once ──> sent again

A token is there before anything is sent: whatever goes wrong with it, nothing was done. Not as
an auth flow of httpx2: that reads the whole of each 401, however long it is, and what it raises
goes past a transport that has to say what became of a request.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

import httpx2
import msgspec
import trio

from protocols.connectors.http import HttpAuth, HttpPeer, OAuth2
from protocols.error_kinds import NETWORK, PERMISSION, SYSTEM
from protocols.errors import ConfigurationError
from protocols.service import Failed, Refused
from runtime.connectors.secrets import Secrets
from runtime.connectors.wire import WAITS, Asked, Wire, failure_of, is_success, origin

TOKEN_S_MAX: Final = 10.0
"""How long a token may be waited for."""
TOKEN_BYTES_MAX: Final = 64 * 1024
LIFE_S_DEFAULT: Final = 300.0
"""Of a token of which nothing is said."""
EARLY_SHARE: Final = 0.1
EARLY_S_MAX: Final = 30.0
"""A token is not used in the last tenth of its life, or half a minute: requests take a while."""
_UNPROVEN: Final = 401
_FORM: Final = {
    "accept": "application/json",
    "content-type": "application/x-www-form-urlencoded",
}
_KINDS: Final = {"400": PERMISSION}
"""What a token endpoint says of a client, a scope or an audience that it does not know."""


@asynccontextmanager
async def opened(peer: HttpPeer, secrets: Secrets, *, concurrency_max: int) -> AsyncIterator[Wire]:
    """Open a pool of connections to a peer. Raises ConfigurationError for what it cannot use."""
    try:
        client = _client(await transport(peer, secrets, concurrency_max=concurrency_max))
        wire = Wire(client, peer, secrets)
    except ValueError as error:
        raise ConfigurationError(str(error), hint="it is http://… or https://…") from None
    async with client:
        yield wire


async def transport(
    peer: HttpPeer, secrets: Secrets, *, concurrency_max: int
) -> httpx2.AsyncBaseTransport:
    """Return connections to a peer that say who we are.

    Raises ConfigurationError for certificates that cannot be read, ValueError for no address.
    """
    try:
        verify = await trio.to_thread.run_sync(
            _trusted, peer.tls_ca and secrets.base / peer.tls_ca
        )
    except OSError as error:
        raise ConfigurationError(
            f"tls_ca {peer.tls_ca} cannot be read: {error}", hint="name a file in PEM form"
        ) from error
    bare = httpx2.AsyncHTTPTransport(
        verify=verify,
        proxy=secrets.reveal(peer.proxy).reveal() or None,
        limits=httpx2.Limits(
            max_connections=concurrency_max, max_keepalive_connections=concurrency_max
        ),
        trust_env=False,
    )
    return bare if peer.auth is None else Authorized(bare, peer, peer.auth, secrets)


def _client(inner: httpx2.AsyncBaseTransport) -> httpx2.AsyncClient:
    client = httpx2.AsyncClient(transport=inner, follow_redirects=False, trust_env=False)
    # What one step was given must not go out with another one.
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
    return client


@lru_cache(maxsize=16)
def _trusted(tls_ca: Path | str) -> ssl.SSLContext:
    """Return what a peer has to show; made once, since reading all certificates takes a while."""
    return ssl.create_default_context(cafile=tls_ca or None)


class Authorized(httpx2.AsyncBaseTransport):
    """Says who we are, in each request to one origin that does not say it already."""

    def __init__(
        self, inner: httpx2.AsyncBaseTransport, peer: HttpPeer, auth: HttpAuth, secrets: Secrets
    ) -> None:
        self._inner = inner
        self._origin = origin(secrets.plain(peer.base_url))
        self._auth = auth
        self._secrets = secrets
        self._tokens = None if auth.oauth2 is None else Tokens(auth.oauth2, inner, secrets)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request. Raises Refused, Failed when there is no token: it was not sent."""
        if origin(str(request.url)) != self._origin:
            return await self._inner.handle_async_request(request)
        if self._tokens is None:
            request.headers.setdefault(*self._said())
            return await self._inner.handle_async_request(request)
        if "authorization" in request.headers:
            return await self._inner.handle_async_request(request)
        token = await _prove(request, self._tokens)
        response = await self._inner.handle_async_request(request)
        if response.status_code != _UNPROVEN:
            return response
        await response.aclose()
        await _prove(request, self._tokens, refused=token)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    def _said(self) -> tuple[str, str]:
        """Return the header that says who we are: read anew, so that a changed file counts."""
        auth, secrets = self._auth, self._secrets
        if auth.bearer is not None:
            return "authorization", f"Bearer {secrets.reveal(auth.bearer).reveal()}"
        if auth.value is not None:
            return auth.header.lower(), secrets.reveal(auth.value).reveal()
        password = secrets.reveal(auth.password or "").reveal()
        return "authorization", _basic(secrets.plain(auth.user), password, secrets)


async def _prove(request: httpx2.Request, tokens: Tokens, refused: str = "") -> str:
    """Put a token into a request, which tells meanwhile that it waits; return the token."""
    request.extensions[WAITS] = True
    token = await tokens.current(refused)
    request.headers["authorization"] = f"Bearer {token}"
    request.extensions[WAITS] = False
    return token


class _Granted(msgspec.Struct, frozen=True):
    """What a token endpoint answers (RFC 6749, 5.1)."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - a kind of token, not one
    expires_in: float = LIFE_S_DEFAULT


class _Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A token endpoint as a peer: it is told who we are by the request itself."""

    base_url: str
    auth: HttpAuth | None = None
    headers: dict[str, str] = {}
    hosts: tuple[str, ...] = ()
    tls_ca: str = ""
    proxy: str = ""
    response_bytes_max: int = TOKEN_BYTES_MAX


class Tokens:
    """The tokens of one client: client credentials of OAuth 2.0 (RFC 6749, 4.4).

    They are in memory only. However many wait, one fetch is under way, and they share its end.
    """

    def __init__(
        self, settings: OAuth2, inner: httpx2.AsyncBaseTransport, secrets: Secrets
    ) -> None:
        self._settings = settings
        self._secrets = secrets
        self._wire = Wire(_client(inner), _Endpoint(base_url=settings.token_url), secrets)
        self._alone = trio.Lock()
        self._token = ""
        self._until = 0.0
        self._failures = 0
        self._failure: Refused | Failed | None = None

    async def current(self, refused: str = "") -> str:
        """Return a token that is not the one that was refused.

        Raises Refused when the endpoint does not know us, Failed when it cannot be asked, and
        ConfigurationError when a secret is gone.
        """
        seen = self._failures
        with trio.move_on_after(TOKEN_S_MAX):
            async with self._alone:
                if self._token != refused and trio.current_time() < self._until:
                    return self._token
                if self._failure is not None and self._failures != seen:
                    raise self._failure  # of the fetch that was waited for
                try:
                    return await self._fetched()
                except (Refused, Failed) as error:
                    error.message = f"no token: {error.message}"
                    self._failures += 1
                    self._failure = error
                    raise
        raise Failed(NETWORK, f"no token in {TOKEN_S_MAX:g} s")

    async def _fetched(self) -> str:
        began = trio.current_time()
        headers, content = self._request()
        url = self._secrets.plain(self._settings.token_url)
        asked = Asked("POST", url, headers, content, True, TOKEN_S_MAX)  # noqa: FBT003
        answered = await self._wire.send(asked)
        if not is_success(answered.status):
            raise failure_of(answered, safe=True, kinds=_KINDS)
        try:
            granted = msgspec.json.decode(answered.body, type=_Granted, strict=False)
        except msgspec.MsgspecError:
            raise Failed(SYSTEM, "the answer is none of OAuth 2.0") from None
        token = granted.access_token
        self._secrets.hide(token)
        if granted.token_type.lower() != "bearer" or not (token.isascii() and token.isprintable()):
            raise Failed(SYSTEM, "the answer has no bearer token")
        life_s = granted.expires_in
        self._token = token
        self._until = began + life_s - min(EARLY_S_MAX, life_s * EARLY_SHARE)
        return token

    def _request(self) -> tuple[dict[str, str], bytes]:
        """Return headers and body of a request for a token."""
        settings, secrets = self._settings, self._secrets
        asked = {name: getattr(settings, name) for name in ("scope", "audience", "resource")}
        form = {"grant_type": "client_credentials", **asked}
        client_id = secrets.plain(settings.client_id)
        secret = secrets.reveal(settings.client_secret).reveal()
        headers = dict(_FORM)
        if settings.login == "body":
            form |= {"client_id": client_id, "client_secret": secret}
        else:  # both are encoded first (RFC 6749, 2.3.1)
            headers["authorization"] = _basic(
                quote(client_id, safe=""), quote(secret, safe=""), secrets
            )
        return headers, urlencode({name: each for name, each in form.items() if each}).encode()


def _basic(user: str, password: str, secrets: Secrets) -> str:
    encoded = b64encode(f"{user}:{password}".encode()).decode()
    secrets.hide(encoded)
    return f"Basic {encoded}"
