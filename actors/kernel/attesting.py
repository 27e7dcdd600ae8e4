"""Attesting: events of an interpreter that are stated in the chain that witnesses a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.kernel.witness import witness
from protocols import codec
from protocols.errors import InvalidIdError
from protocols.events import ATTESTED

if TYPE_CHECKING:
    from actors.kernel.ledger import Ledger


class Attesting:
    """The part of the context that attests."""

    __slots__ = ()

    _ledger: Ledger

    def attest(self, kind: str, data: dict[str, Any], *, detail: str) -> None:
        """Publish an event of a kind that is stated, and state it; ``detail`` is one line of it.

        For auditors: what is stated cannot be left out of a history unnoticed. Raises
        InvalidIdError for any other kind.
        """
        if kind not in ATTESTED:
            raise InvalidIdError(
                f"event {kind!r} is none of {', '.join(sorted(ATTESTED))}", hint="write ctx.emit"
            )
        ledger = self._ledger
        path = ledger.scheduler.current().frame.path(f"emit.{kind}")
        body = codec.encode(data)
        plain = codec.decode(body)
        witness(ledger, kind, plain, ledger.identity(path), detail=detail, body=body)
