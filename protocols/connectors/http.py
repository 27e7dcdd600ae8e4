"""The settings of a connector to an HTTP interface: named operations as templates.

crm:
  kind: http
  base_url: https://crm.example.com/api
  auth: {bearer: "${env:CRM_TOKEN}"}
  operations:
    create-account:
      method: POST
      path: /accounts
      body: {name: "{name}", plan: "{plan}"}
      result: body.id
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Protocol
from urllib.parse import urlsplit

from msgspec import Meta

from protocols.connectors.connector import (
    MARK,
    Connector,
    Duration,
    Open,
    Part,
    Secret,
    to_seconds,
)
from protocols.connectors.template import CALL, names
from protocols.findings import Finding, Place, did_you_mean
from protocols.graphs.field import Field, FieldType, field_of
from protocols.graphs.input import problem
from protocols.subjects import is_name

Method = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing, so that asking again is never wrong."""
RESPONSE_BYTES_DEFAULT: Final = 256 * 1024
GENERIC: Final = "request"
"""The operation that takes method and address from the request."""
RESULTS: Final = ("body", "status", "headers", "response")

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_FRAMES: Final = frozenset(
    {"connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that say where a request ends and whom it reaches: they are the connector's own."""

Template = Annotated[Any, Meta(extra={MARK: "may"})]
Status = Annotated[int, Meta(ge=100, le=599)]


class OAuth2(Part, frozen=True, kw_only=True):
    """A client that gets its tokens by itself: the client credentials of OAuth 2.0."""

    token_url: Annotated[Open, Meta(description="Address of the token endpoint.")]
    client_id: Annotated[Open, Meta(description="The client.")]
    client_secret: Annotated[Secret, Meta(description="Its secret.")]
    scope: Annotated[str, Meta(description="What it may do, words with blanks between.")] = ""
    audience: Annotated[str, Meta(description="For whom tokens are, where that is asked for.")] = (
        ""
    )
    resource: Annotated[str, Meta(description="The same as an address, after RFC 8707.")] = ""
    login: Annotated[
        Literal["basic", "body"],
        Meta(description="Where the endpoint wants client and secret: in a header, or the form."),
    ] = "basic"


class HttpAuth(Part, frozen=True, kw_only=True):
    """How a connector says who it is: a token, user and password, a header, or OAuth 2.0."""

    bearer: Annotated[Secret | None, Meta(description="Token of `Authorization: Bearer`.")] = None
    user: Annotated[Open, Meta(description="User of basic authentication.")] = ""
    password: Annotated[Secret | None, Meta(description="Password of basic authentication.")] = (
        None
    )
    header: Annotated[str, Meta(description="Name of a header, such as `X-Api-Key`.")] = ""
    value: Annotated[Secret | None, Meta(description="Value of that header.")] = None
    oauth2: Annotated[
        OAuth2 | None, Meta(description="Tokens are fetched with client credentials.")
    ] = None

    def __post_init__(self) -> None:
        """Refuse what is no way, or more than one. Raises ValueError."""
        ways = (self.bearer, self.password, self.value, self.oauth2)
        if sum(each is not None for each in ways) != 1:
            raise ValueError(
                "one of bearer, password (with user), value (with header), oauth2 is needed"
            )
        if (self.password is None) != (not self.user):
            raise ValueError("user and password belong together")
        if (self.value is None) != (not self.header):
            raise ValueError("header and value belong together")


BaseUrl = Annotated[Open, Meta(description="Where paths begin: `https://host/api`.")]
Auth = Annotated[
    HttpAuth | None, Meta(description="Sent to the host of its address and to no other.")
]
Headers = Annotated[dict[str, Open], Meta(description="Sent with each request.")]
Hosts = Annotated[
    tuple[str, ...],
    Meta(
        description="Other hosts (`host` or `host:port`) that may be asked, or redirected to; "
        "without credentials."
    ),
]
Trusted = Annotated[
    str, Meta(description="Path of the certificates to trust; the system's when absent.")
]
Proxy = Annotated[
    Open, Meta(description="Address of a proxy; that of the environment is not looked at.")
]
ResponseMax = Annotated[
    Annotated[int, Meta(ge=1)], Meta(description="Of an answer, unpacked; longer ones fail.")
]


class HttpPeer(Protocol):
    """Whom a connector speaks HTTP to, and how it says who it is."""

    @property
    def base_url(self) -> str:
        """Where paths begin."""
        ...

    @property
    def auth(self) -> HttpAuth | None:
        """Who asks."""
        ...

    @property
    def headers(self) -> dict[str, str]:
        """Sent with each request."""
        ...

    @property
    def hosts(self) -> tuple[str, ...]:
        """Other hosts that may be asked."""
        ...

    @property
    def tls_ca(self) -> str:
        """Certificates to trust."""
        ...

    @property
    def proxy(self) -> str:
        """A proxy."""
        ...

    @property
    def response_bytes_max(self) -> int:
        """Of an answer."""
        ...


class HttpOperation(Part, frozen=True, kw_only=True):
    """One operation: what is sent, what is expected, what of it is the result."""

    path: Annotated[
        Open, Meta(description="Behind `base_url`, with names of the request: `/accounts/{id}`.")
    ]
    method: Annotated[Method, Meta(description="The method.")] = "GET"
    query: Annotated[
        dict[str, Template], Meta(description="Parameters of the address; a list repeats its key.")
    ] = {}
    headers: Annotated[dict[str, Open], Meta(description="More headers.")] = {}
    body: Annotated[Template, Meta(description="Sent as JSON.")] = None
    form: Annotated[
        dict[str, Template] | None, Meta(description="Sent as a form, in place of body.")
    ] = None
    text: Annotated[Open, Meta(description="Sent as text, in place of body.")] = ""
    params: Annotated[
        dict[str, Field | FieldType] | None,
        Meta(
            description="The fields of the request, as of a graph's `input`; others are refused."
        ),
    ] = None
    expect: Annotated[
        tuple[Status, ...], Meta(description="Statuses of success; 200 to 299 when absent.")
    ] = ()
    result: Annotated[
        str,
        Meta(
            description="What is the result: `body`, a part of it such as `body.items.0.id`, "
            "`status`, `headers`, or `response`, which has all three."
        ),
    ] = "body"
    safe: Annotated[
        bool | None,
        Meta(description="It changes nothing; so are GET, HEAD and OPTIONS when absent."),
    ] = None
    errors: Annotated[
        dict[str, str], Meta(description='Error kinds by status: `{"409": taken}`.')
    ] = {}
    timeout: Annotated[Duration | None, Meta(description="Less than that of the connector.")] = (
        None
    )
    description: Annotated[str, Meta(description="What it does, in discovery.")] = ""

    def __post_init__(self) -> None:
        """Read the duration. Raises ValueError that begins with the name of the field."""
        if self.timeout is not None:
            to_seconds(self, "timeout")
        if sum((self.body is not None, self.form is not None, bool(self.text))) > 1:
            raise ValueError("form, text and body exclude each other")

    @property
    def is_safe(self) -> bool:
        """Whether it changes nothing."""
        return self.method in SAFE if self.safe is None else self.safe

    @property
    def fields(self) -> Mapping[str, Field] | None:
        """The fields of the request, when they are declared."""
        if self.params is None:
            return None
        return {name: field_of(each) for name, each in self.params.items()}

    def templates(self) -> dict[str, Any]:
        """Return all templates by the name of their key."""
        keys = ("path", "query", "headers", "body", "form", "text")
        return {key: getattr(self, key) for key in keys}

    def findings(self) -> Iterator[Finding]:
        """Yield what no type can say."""
        for key, template in self.templates().items():
            yield from self._template(key, template)
        for name in self.headers:
            if not is_header(name):
                message = f"{name[:60]!r} is no header that may be chosen"
                yield Finding(("headers", name), message, of_key=True)
        root = self.result.partition(".")[0]
        if root not in RESULTS:
            hint = did_you_mean(root, RESULTS)
            yield Finding(("result",), f"{self.result[:60]!r} is no part of an answer", hint)
        if not self.path.startswith("/") and self.path:
            yield Finding(("path",), "a path begins with '/'", "the host is that of base_url")
        for status in self.errors:
            if not (status.isascii() and status.isdigit() and 300 <= int(status) <= 599):  # noqa: PLR2004
                yield Finding(
                    ("errors", status),
                    f"{status!r} is no status of a failure",
                    "300 to 599",
                    of_key=True,
                )
        for name, field in (self.fields or {}).items():
            if wrong := problem(field, name):
                yield Finding(("params", name), wrong)

    def _template(self, key: str, template: Any) -> Iterator[Finding]:
        place: Place = (key,)
        try:
            found = set(names(template))
        except ValueError as error:
            yield Finding(place, str(error))
            return
        known = self.fields
        for name in sorted(found - set(CALL)):
            if known is not None and name.partition(".")[0] not in known:
                hint = did_you_mean(name.partition(".")[0], known)
                yield Finding(place, f"{name!r} is not in params", hint)


class HttpConnector(Connector, frozen=True, kw_only=True, tag="http"):
    """An HTTP or REST interface."""

    base_url: BaseUrl
    auth: Auth = None
    headers: Headers = {}
    hosts: Hosts = ()
    tls_ca: Trusted = ""
    proxy: Proxy = ""
    response_bytes_max: ResponseMax = RESPONSE_BYTES_DEFAULT

    operations: Annotated[dict[str, HttpOperation], Meta(description="By their names.")] = {}
    request: Annotated[
        bool,
        Meta(description="Whether there is the operation `request`, which may ask for anything."),
    ] = False
    idempotency_header: Annotated[
        str,
        Meta(description="Where the step's key is sent by what is not safe; empty: nowhere."),
    ] = "Idempotency-Key"
    not_done: Annotated[
        tuple[Annotated[int, Meta(ge=400, le=599)], ...],
        Meta(description="Statuses that say that nothing was done, beside 425 and 429: `[503]`."),
    ] = ()
    health: Annotated[
        str,
        Meta(description="Path that `movant connector test` asks; any answer below 500 is fine."),
    ] = "/"

    def findings(self) -> Iterator[Finding]:
        """Yield what no type can say."""
        yield from peer_findings(self)
        if not self.operations and not self.request:
            yield Finding((), "there is no operation", "write 'operations:', or 'request: true'")
        for name, operation in self.operations.items():
            if not is_name(name) or "." in name:
                yield Finding(
                    ("operations", name),
                    f"{name[:60]!r} is no name of an operation",
                    "letters, digits, '_' and '-'",
                    of_key=True,
                )
            if name == GENERIC and self.request:
                yield Finding(
                    ("operations", name), f"{name!r} is taken by 'request: true'", of_key=True
                )
            for each in operation.findings():
                yield Finding(
                    ("operations", name, *each.place),
                    each.message,
                    each.hint,
                    of_key=each.of_key,
                )


def is_header(name: str) -> bool:
    """Tell whether a request may have a header that is called so."""
    return _HEADER.match(name) is not None and name.lower() not in _FRAMES


def peer_findings(peer: HttpPeer) -> Iterator[Finding]:
    """Yield what is wrong with whom a connector speaks to."""
    yield from auth_findings(peer.auth)
    if "${" not in peer.base_url:
        url = urlsplit(peer.base_url)
        if url.scheme not in {"http", "https"} or not url.hostname:
            yield Finding(
                ("base_url",), f"{peer.base_url[:60]!r} is no address", "http:// or https://"
            )
        elif url.username or url.password:
            yield Finding(("base_url",), "a login must not stand here", "write it under auth")
        elif url.query or url.fragment:
            yield Finding(("base_url",), "it has a query", "write it under query of operations")
    for index, host in enumerate(peer.hosts):
        if "/" in host or not host:
            yield Finding(("hosts", index), f"{host[:60]!r} is no host", "host, or host:port")


def auth_findings(auth: HttpAuth | None) -> Iterator[Finding]:
    """Yield what is wrong with how a connector says who it is."""
    if auth is None or auth.oauth2 is None or "${" in auth.oauth2.token_url:
        return
    url = auth.oauth2.token_url
    if not url.startswith(("http://", "https://")):
        place = ("auth", "oauth2", "token_url")
        yield Finding(place, f"{url[:60]!r} is no address", "http:// or https://")
