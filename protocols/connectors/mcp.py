"""The settings of a connector to an MCP server, and which of its tools may be called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

from msgspec import Meta

from protocols.connectors.connector import Connector, Duration, Open, Part, to_seconds
from protocols.connectors.http import Auth, Proxy, ResponseMax, Trusted, auth_findings
from protocols.findings import Finding

RESPONSE_BYTES_DEFAULT: Final = 1024 * 1024


class McpTool(Part, frozen=True, kw_only=True):
    """One tool of the server, as an operation."""

    tool: Annotated[
        str, Meta(description="Its name at the server; empty: that of the operation.")
    ] = ""
    reads_only: Annotated[
        bool, Meta(description="It changes nothing: however it ends, it had no effect.")
    ] = False
    timeout: Annotated[
        Duration | None, Meta(description="Less than the connector's, for this tool.")
    ] = None
    description: Annotated[str, Meta(description="What it is for, in discovery.")] = ""

    def __post_init__(self) -> None:
        """Read the duration. Raises ValueError."""
        if self.timeout is not None:
            to_seconds(self, "timeout")


class McpConnector(Connector, frozen=True, kw_only=True, tag="mcp"):
    """A server of the Model Context Protocol: a program, or an address."""

    tools: Annotated[
        dict[str, McpTool],
        Meta(description="By the name of the operation; no other tool can be called."),
    ]
    command: Annotated[
        tuple[str, ...],
        Meta(description="Program and arguments of a server that is spoken to over stdio."),
    ] = ()
    url: Annotated[Open, Meta(description="Address of a server over streamable HTTP.")] = ""
    headers: Annotated[
        dict[str, Open], Meta(description="Sent with each request; secrets as references.")
    ] = {}
    auth: Auth = None
    tls_ca: Trusted = ""
    proxy: Proxy = ""
    response_bytes_max: ResponseMax = RESPONSE_BYTES_DEFAULT
    environment: Annotated[
        tuple[str, ...],
        Meta(description="Variables that the program gets from the connector's environment."),
    ] = ()
    variables: Annotated[
        dict[str, Open], Meta(description="More variables of the program; secrets as references.")
    ] = {}
    directory: Annotated[
        str, Meta(description="Where the program runs; empty: where the file is.")
    ] = ""
    connect_timeout: Annotated[
        Duration, Meta(description="How long the server may take to be ready.")
    ] = 30.0

    def __post_init__(self) -> None:
        """Read the durations. Raises ValueError."""
        super().__post_init__()
        to_seconds(self, "connect_timeout")

    @property
    def base_url(self) -> str:
        """Whom credentials are for: as a peer of HTTP."""
        return self.url

    @property
    def hosts(self) -> tuple[str, ...]:
        """Other hosts: none."""
        return ()

    def findings(self) -> Iterator[Finding]:
        """Yield what no type can say."""
        if bool(self.command) == bool(self.url):
            hint = "a program over stdio, or an address: one of them"
            yield Finding((), "it has exactly one of 'command' and 'url'", hint, of_key=True)
        if self.url and not self.url.startswith(("http://", "https://", "${")):
            yield Finding(("url",), f"{self.url[:60]!r} is no address of http or https")
        for key in ("headers", "auth", "tls_ca", "proxy"):
            if getattr(self, key) and not self.url:
                yield Finding((key,), f"a program over stdio gets no {key}", of_key=True)
        yield from auth_findings(self.auth)
        if not self.tools:
            yield Finding(("tools",), "no tool may be called")
