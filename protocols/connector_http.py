"""The settings of a connector to an HTTP interface."""

from __future__ import annotations

from protocols.connectors import Connector


class HttpConnector(Connector, frozen=True, kw_only=True, tag="http"):
    """An HTTP or REST interface."""
