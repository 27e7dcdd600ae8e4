"""Problems: what a person should look at in a daemon, as sentences."""

from __future__ import annotations

from runtime.parts import Parts


def problems(parts: Parts) -> list[str]:
    """Return what is wrong with the parts that the daemon has made so far."""
    found = []
    transport = getattr(parts, "transport", None)
    if transport is None or not transport.connected:
        found.append("no connection to NATS")
    ferry = getattr(parts, "ferry", None)
    if ferry is not None:
        found += ferry.problems
    collector = getattr(parts, "collector", None)
    if collector is not None:
        found += collector.problems
    owner = getattr(parts, "owner", None)
    if owner is not None and owner.crashes:
        found.append(f"{len(owner.crashes)} instances crashed in this daemon")
    router = getattr(parts, "router", None)
    if router is not None:
        found += [
            f"stream {each.captured_by} captures {each.subject}"
            for each in router.views()
            if each.captured_by
        ]
    triggers = getattr(parts, "triggers", None)
    if triggers is not None:
        found += triggers.problems()
    for writer in getattr(parts, "writers", {}).values():
        found += [writer.alarm] if writer.alarm else []
    return found
