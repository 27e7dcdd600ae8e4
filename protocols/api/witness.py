"""The API's verb for the witness: compare what is stored of an instance with its statements."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from protocols.api.base import Id, Message, Standing


class RunVerify(Message, frozen=True, kw_only=True):
    """Fold an instance again and compare with its statements and its record."""

    id: Id


class Discrepancy(Message, frozen=True, kw_only=True):
    """One stored message, event or record that is not what it was."""

    kind: Annotated[
        Literal["edited", "dropped", "reordered", "forged"],
        Meta(description="What was done to it."),
    ]
    stream: Annotated[
        Literal["MAIL", "EVENTS", "ARCHIVE"], Meta(description="Where it stands, or stood.")
    ]
    seq: Annotated[int, Meta(description="Its sequence in that stream; 0: not known.")] = 0
    subject: Annotated[str, Meta(description="Its subject; empty: not known.")] = ""
    detail: Annotated[str, Meta(description="What differs, for people.")] = ""


class RunVerified(Message, frozen=True, kw_only=True):
    """What a verification has found. No ``findings``: nothing was changed."""

    id: Id
    status: Standing
    messages: Annotated[int, Meta(description="Messages of the mailbox that were folded.")] = 0
    covered: Annotated[int, Meta(description="Messages that statements in EVENTS name.")] = 0
    statements: Annotated[int, Meta(description="Statements that the fold gives.")] = 0
    published: Annotated[int, Meta(description="How many of them EVENTS has.")] = 0
    head: Annotated[str, Meta(description="Hash of the last statement.")] = ""
    findings: Annotated[list[Discrepancy], Meta(description="What is not as it was.")] = []
    notes: Annotated[
        list[str], Meta(description="What could not be compared, and why that is no finding.")
    ] = []
