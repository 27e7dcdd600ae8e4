"""All kinds of connectors: the one place where they are listed, and the file that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Union, cast, get_args

import msgspec
from msgspec import Meta

from protocols.connectors.browser import BrowserConnector
from protocols.connectors.connector import Connector, check
from protocols.connectors.http import HttpConnector
from protocols.connectors.llm import LlmConnector
from protocols.connectors.mail import MailConnector
from protocols.connectors.mcp import McpConnector
from protocols.connectors.sql import SqlConnector
from protocols.connectors.subprocess import SubprocessConnector
from protocols.errors import MovantError
from protocols.findings import Finding
from protocols.subjects import check_name

AnyConnector = Union[  # noqa: UP007 - one a line
    BrowserConnector,
    HttpConnector,
    LlmConnector,
    MailConnector,
    McpConnector,
    SqlConnector,
    SubprocessConnector,
]
"""One Struct for each kind; its tag is the kind, and its module's name in runtime/connectors."""

KINDS: Final[dict[str, type[Connector]]] = {
    str(each.__struct_config__.tag): each
    for each in cast("tuple[type[Connector], ...]", get_args(AnyConnector))
}


class ConnectorFile(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A file of connectors by name; the name is that of the service."""

    connectors: Annotated[
        dict[str, AnyConnector], Meta(description="By the name of their service.")
    ]


def kind_of(settings: Connector) -> str:
    """Return the kind of a connector."""
    return str(settings.__struct_config__.tag)


def findings(file: ConnectorFile) -> list[Finding]:
    """Return everything that is wrong with a file as a whole."""
    return list(_findings(file))


def _findings(file: ConnectorFile) -> Iterator[Finding]:
    if not file.connectors:
        yield Finding(("connectors",), "there is no connector", "write 'NAME: {kind: http, …}'")
    for name, settings in file.connectors.items():
        try:
            check_name(name, "connector")
            dotted = "." in name
        except MovantError as error:
            yield Finding(("connectors", name), error.message, error.hint, of_key=True)
        else:
            if dotted:
                message = f"the name {name!r} has a dot"
                yield Finding(("connectors", name), message, "use '-'", of_key=True)
        for each in check(settings):
            yield msgspec.structs.replace(each, place=("connectors", name, *each.place))
