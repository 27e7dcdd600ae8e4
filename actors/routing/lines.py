"""Lines: the headers of a request to a service."""

from __future__ import annotations

from urllib.parse import quote

from protocols import headers as h
from protocols.effects import Ask
from protocols.subjects import STEP_TOKEN_BYTES_MAX, beat_for


def request_headers(ask: Ask, left_s: float, reply: str, trace: str = "") -> bytes:
    """Return the header lines of a request whose answer is of use for ``left_s`` seconds.

    ``reply`` is where the answer goes; ``trace`` is the trace context of the run's start, what is
    none is left out.
    """
    told = f"Movant-Key: {ask.key}\r\nMovant-Attempt: {ask.attempt}\r\n"
    lines = f"{told}Movant-Timeout: {round(left_s, 3):.10g}\r\n".encode()
    if trace and h.is_traceparent(trace):
        lines += b"traceparent: %b\r\n" % trace.encode()
    if ask.undoes:
        lines += b"Movant-Undoes: %b\r\n" % ask.undoes.encode()
    if ask.options.heartbeat_s is not None:
        lines += h.encode({h.HEARTBEAT: f"{ask.options.heartbeat_s:g}", h.BEAT: beat_for(reply)})
        lines += h.encode({h.LAST: quote(ask.last)}) if ask.last else b""
    if ask.step[0] == "~" or len(ask.step) > STEP_TOKEN_BYTES_MAX:
        lines += h.encode({h.PATH: ask.path})
    return lines
