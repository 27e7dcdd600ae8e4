"""What the API says about how far an instance is."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.api.base import At, Message


class Progress(Message, frozen=True, kw_only=True):
    """How far the steps of a graph are, and when they may all have ended.

    Steps count as long as they took in former runs, or all the same where nobody knows.
    """

    percent: Annotated[int, Meta(description="From 0 to 100.", ge=0, le=100)]
    done: Annotated[int, Meta(description="How many steps have ended, skipped ones too.")]
    total: Annotated[int, Meta(description="How many steps there are.")]
    expected_at: At = 0
    runs: Annotated[
        int, Meta(description="Of how many former runs that is known; 0: it is not.")
    ] = 0
