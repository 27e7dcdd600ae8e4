"""Witness: states what an instance does, in a chain that a fold makes the same every time.

    fold -> leaves of the messages -> a transition -> Draft with all leaves since the last one

A motion, or whatever else has transitions of its own, calls ``witness`` for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from protocols.effects import Emit
from protocols.mail import Continued, Mail
from protocols.witness import LEAF_BYTES, LEAVES_MAX, Draft, Head, genesis

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.kernel.ledger import Ledger
    from protocols.witness import Operator, Value

WITNESSED: Final = "witnessed"
"""The event of a statement without a transition: so many messages were folded since the last."""


class Chain:
    """Where the statements of an instance stand."""

    __slots__ = ("acted", "definition", "head", "kind", "leaves", "number", "workflow")

    def __init__(self) -> None:
        self.workflow = ""
        self.definition = ""
        self.number = 0
        self.head: str | Draft = ""
        """The last statement, or its hash; empty: there is none."""
        self.leaves: list[bytes] = []
        """Of the messages that no statement names yet."""
        self.kind: type[Mail] = Continued
        """Of the message that is folded; a generation that begins has none."""
        self.acted: tuple[int, Operator | None] = (0, None)
        """Sequence of the newest message that a person or program sent, and who it was."""

    def standing(self, instance: str) -> Head:
        """Return where the chain stands."""
        head = self.head.statement().hash if isinstance(self.head, Draft) else self.head
        return Head(
            number=self.number, hash=head or genesis(instance), leaves=b"".join(self.leaves)
        )

    def restore(self, head: Head) -> None:
        """Go on where another fold stood."""
        self.number = head.number
        self.head = head.hash
        packed = head.leaves
        self.leaves = [packed[at : at + LEAF_BYTES] for at in range(0, len(packed), LEAF_BYTES)]

    def continued(self) -> None:
        """Let a generation begin: a fold that begins there knows nothing of what led to it."""
        self.kind = Continued
        self.acted = (0, None)

    def take_back(self, drafts: Iterable[Draft]) -> None:
        """Undo the newest statements, given in order: what their fold asked for is dropped."""
        for draft in reversed(list(drafts)):
            self.number = draft.number - 1
            self.head = draft.before
            self.leaves = draft.leaves + self.leaves


def witness(
    ledger: Ledger,
    event: str,
    data: dict[str, Any],
    identity: str,
    *,
    detail: str = "",
    actor: str = "",
    by: Operator | None = None,
    input: Value = None,  # noqa: A002 - the word of statements
    output: Value = None,
    body: bytes = b"",
) -> None:
    """State a transition, and ask for the event that publishes it.

    ``data`` is that of the event, ``body`` the same encoded, and ``identity`` its id. ``detail``
    says in one line which transition it is (``DRAFT -> REVIEW``), ``actor`` who made it: empty
    for the kind of the message that is folded. ``input`` and ``output`` are what the state was
    given and gave.
    """
    chain = ledger.chain
    while len(chain.leaves) > LEAVES_MAX:
        rest = chain.leaves[LEAVES_MAX:]
        del chain.leaves[LEAVES_MAX:]
        _state_messages(ledger)
        chain.leaves = rest
    seq, told = chain.acted
    if by is None and seq == ledger.cause:
        by = told
    more: dict[str, Any] = {"detail": detail, "by": by}
    if actor:
        more["actor"] = actor
    _state(ledger, event, data, identity, more, (input, output), body)


def witness_messages(ledger: Ledger) -> None:
    """State what was folded, when that is much and there was no transition."""
    chain = ledger.chain
    if isinstance(chain.head, Draft):  # of an earlier fold: nobody takes it back any more
        chain.head = chain.head.statement().hash
    _state_messages(ledger)


def _state_messages(ledger: Ledger) -> None:
    identity = ledger.identity(f"/{WITNESSED}/{ledger.chain.number + 1}")
    count = {"messages": len(ledger.chain.leaves)}
    _state(ledger, WITNESSED, count, identity, {}, (None, None))


def _state(  # noqa: PLR0917 - private: ``witness`` with everything worked out
    ledger: Ledger,
    event: str,
    data: dict[str, Any],
    identity: str,
    more: dict[str, Any],
    values: tuple[Value, Value],
    body: bytes = b"",
) -> None:
    chain = ledger.chain
    chain.number += 1
    facts = {
        "instance": ledger.instance_id,
        "workflow": chain.workflow,
        "definition": chain.definition,
        "generation": ledger.generation,
        "what": event,
        "at": ledger.now,
        "cause": ledger.cause,
        "actor": chain.kind.__struct_config__.tag,
        **more,
    }
    draft = chain.head = Draft(chain.number, chain.head, chain.leaves, facts, values)
    chain.leaves = []
    ledger.effects.append(
        Emit(cause=ledger.cause, event=event, data=data, id=identity, statement=draft, body=body)
    )
