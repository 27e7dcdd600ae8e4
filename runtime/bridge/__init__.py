"""bridge."""

from runtime.bridge.limits import BridgeLimits, BridgeStatistics
from runtime.bridge.transport import NatsTransport, connect

__all__ = ["BridgeLimits", "BridgeStatistics", "NatsTransport", "connect"]
