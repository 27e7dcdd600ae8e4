"""Become another program that gets SIGTERM when the process that started it dies (Linux).

Run as a script: ``leash.py <parent pid> <program> <argument>…``. A script of its own, because
the wish has to be uttered in the child between fork and exec, where a process with threads
must not run Python code. It imports nothing of movant and starts without site-packages.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Tie this process to ``parent`` and become ``command``. Does not return."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0):
        # Not fatal: the next daemon ends a leftover server itself.
        sys.stderr.write(f"no parent-death signal: {os.strerror(ctypes.get_errno())}\n")
    if os.getppid() != parent:
        raise SystemExit(1)  # the parent died before the wish was uttered
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec keeps that
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
