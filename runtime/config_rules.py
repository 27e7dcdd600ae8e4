"""What no type can say of a configuration: settings that do not go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from protocols.errors import ConfigurationError

if TYPE_CHECKING:
    from runtime.config import DaemonConfig

STORE_FREE_BYTES_MIN: Final = 64 * 1024**2
"""Of the embedded server's store beside what streams reserve: for MAIL and all others."""


def check(config: DaemonConfig, origins: Mapping[str, str]) -> None:
    """Refuse what does not go together. Raises ConfigurationError."""
    from runtime.health import parse_address  # noqa: PLC0415 - it knows the configuration

    if config.http.address:
        parse_address(config.http.address)
    if config.nats.url:
        return
    if config.replicas > 1:
        raise ConfigurationError(
            f"replicas = {config.replicas} needs a NATS cluster; the embedded server is one",
            hint="set nats.url to the cluster, or replicas = 1",
        )
    _store(config, origins)


def _store(config: DaemonConfig, origins: Mapping[str, str]) -> None:
    """Refuse a store in which the streams have no room: the daemon would never start."""
    from actors.store.streams import DEAD_BYTES_MAX  # noqa: PLC0415 - not for clients

    given, blobs = config.server.file_store_bytes_max, config.limits.blobs_bytes_max
    reserved = DEAD_BYTES_MAX + blobs
    if given >= reserved + STORE_FREE_BYTES_MIN:
        return
    place = origins.get("server.file_store_bytes_max") or origins.get("limits.blobs_bytes_max")
    said = f"DEAD {DEAD_BYTES_MAX}" + (f", BLOBS {blobs}" if blobs else "")
    raise ConfigurationError(
        f"{place + ': ' if place else ''}server.file_store_bytes_max: {given} bytes are too few: "
        f"streams reserve some of them ({said})",
        hint=f"give it {reserved + STORE_FREE_BYTES_MIN} or more",
    )
