"""sd_notify: tell systemd when the daemon is ready, what it does, and that it lives.

Without systemd (no NOTIFY_SOCKET) everything here does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Final

import trio

PERIOD_S: Final = 10.0
"""Between two status lines, when systemd asks for no watchdog."""
EXTEND_S: Final = 30.0
"""How much longer a drain may take, counted from each message during it."""
_US: Final = 1_000_000


def notify(**fields: str | int) -> bool:
    """Send fields such as ``READY=1`` to the service manager; tell whether there is one.

    A manager that does not listen is no reason to fail: the daemon serves its clients.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    message = "\n".join(f"{name}={value}" for name, value in fields.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(0)
        try:
            sender.connect("\0" + address[1:] if address[0] == "@" else address)
            sender.send(message.encode())
        except OSError:
            return False
    return True


def watchdog_s() -> float:
    """Return the watchdog time that systemd asks of this process, 0.0 for none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / _US if text.isdigit() else 0.0


async def keep_notified(state: Callable[[], str], status: Callable[[], str]) -> None:
    """Feed the watchdog and the status line for ever.

    The watchdog is fed from the trio loop and only while the daemon is ready or draining: one
    that hangs, or whose supervisor has given up, is restarted by systemd.
    """
    if not os.environ.get("NOTIFY_SOCKET"):
        return
    limit_s = watchdog_s()
    while True:
        fields: dict[str, str | int] = {"STATUS": status()}
        if state() in {"ready", "draining"} and limit_s:
            fields["WATCHDOG"] = 1
        if state() == "draining":
            fields["EXTEND_TIMEOUT_USEC"] = int(EXTEND_S * _US)
        notify(**fields)
        await trio.sleep(limit_s / 3 if limit_s else PERIOD_S)
