"""Epochs: the markers that a daemon writes into its partitions."""

from __future__ import annotations

import msgspec
import structlog

from actors.stream_writer import StreamWriter
from protocols.errors import MovantError
from protocols.ports import Outgoing
from protocols.subjects import marker

log = structlog.get_logger()


def mark(writer: StreamWriter, partition: int, epoch: int, daemon: str) -> None:
    """Write the marker of an epoch; the same again only moves a quiet partition on."""
    body = msgspec.json.encode({"epoch": epoch, "daemon": daemon})
    writer.write(Outgoing(marker(partition), body), _marked)


def _marked(_: int, error: MovantError | None) -> None:
    if error is not None:
        log.error("marker.refused", reason=str(error))
