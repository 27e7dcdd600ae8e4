"""Failure: the wire form of an error."""

from __future__ import annotations

from typing import Any, Final

import msgspec

REFUSED: Final = "refused"
"""The service says: no effect, and asking again cannot help."""
FAILED: Final = "failed"
"""The service tried and says: no effect."""
UNKNOWN: Final = "unknown"
"""The service cannot say whether it was done."""
TIMEOUT: Final = "timeout"
"""No reply before the deadline: the effect is unknown."""
NO_RESPONDERS: Final = "no_responders"
"""Nobody served the subject: no effect."""
VALIDATION: Final = "validation"
"""The input does not fit what the service takes."""
PROTOCOL: Final = "protocol"
"""A reply broke the protocol (bad value, too large); the effect is unknown."""
CANCELLED: Final = "cancelled"
"""Ended by a cancel."""
CODE: Final = "code"
"""Workflow code or a local function raised."""


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why something ended badly. The same on the wire, in histories and in errors.

    ``kind`` decides what policies do with it; ``details`` is for people and programs that
    know the service. ``retry_after_s`` is what the service asked for, in seconds.
    """

    kind: str
    message: str
    retryable: bool = True
    details: Any = None
    retry_after_s: float | None = None
    unknown: bool = False
    """The effect may have happened: nobody can say that it did not."""
    code: int = 0
    """The status that the reply carried, such as 422; 0: none."""
