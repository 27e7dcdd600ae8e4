"""Telling: what interpreters say of an instance, at less cost than authors' code can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.kernel.witness import witness
from protocols import codec
from protocols.events import TRANSITION

if TYPE_CHECKING:
    from actors.kernel.ledger import Ledger
    from protocols.witness import Operator, Value


class Telling:
    """The part of the context that machines and graphs tell with."""

    __slots__ = ()

    _ledger: Ledger

    @property
    def at(self) -> int:
        """The time of the latest message folded, in nanoseconds since 1970."""
        return self._ledger.now

    def transition(
        self,
        data: dict[str, Any] | codec.Known,
        *,
        detail: str,
        actor: str = "",
        by: Operator | None = None,
        input: Value = None,  # noqa: A002 - the word of statements
        output: Value = None,
    ) -> None:
        """Publish the event ``transition``, and state it in the chain that witnesses a run.

        ``detail`` is like ``DRAFT -> REVIEW``, ``actor`` owns the state that is left, ``by``
        decided it by hand: without it the sender of the signal that is folded. The statement
        has digests of ``input`` and ``output``; text is a digest already. ``data`` must not be
        changed afterwards.
        """
        ledger = self._ledger
        body = codec.encode(data)
        path = ledger.scheduler.current().frame.path(f"emit.{TRANSITION}")
        witness(
            ledger,
            TRANSITION,
            data.value if isinstance(data, codec.Known) else data,
            ledger.identity(path),
            body=body,
            detail=detail,
            actor=actor,
            by=by,
            input=input,
            output=output,
        )

    def show(self, facts: dict[str, Any]) -> None:
        """Show facts as ``set_state`` does, but encode them only when somebody looks.

        Each is a value that is never changed, or a ``Later``, and no bytes.
        """
        self._ledger.state.update(facts)
