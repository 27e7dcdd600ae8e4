"""Tombstones: what an owner knows of instances that are over, without asking the archive.

Which ended here lately, which are being given up as orphans, and what to do with messages of
those that the archive says ended long ago.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from actors.owning.late import Late
from actors.owning.letters import Letter
from actors.owning.workflow import WorkflowActor
from protocols.archive import ArchiveRecord
from protocols.mail import AnyMail, Reply, Start

FINISHED_MAX: Final = 20_000
"""Ids of instances that ended here lately: their late messages need no activation."""


class Tombstones:
    """The ids that are over, of one owner."""

    late: Late
    """Set before the first message is taken."""

    def __init__(
        self, live: Mapping[str, WorkflowActor], drop: Callable[[WorkflowActor], None]
    ) -> None:
        self._live = live
        self._drop = drop
        self.finished: dict[str, bool] = {}
        """With whether a late success may have to be undone."""
        self.abandoned: set[str] = set()
        """Ids whose messages are on their way to the dead letters: nothing of them is folded."""
        self.count = 0
        """Late messages."""

    def remember(self, instance: str, *, undoes: bool) -> None:
        """Note that an instance has ended; ``undoes``: it has steps that can be undone."""
        self.finished[instance] = undoes
        if len(self.finished) > FINISHED_MAX:
            del self.finished[next(iter(self.finished))]

    def is_late(self, letter: Letter, mark: int) -> bool:
        """Tell whether nobody needs to look at a message, and count it then.

        Below a mark the mailbox itself may be gone; then a start or a reply is looked at.
        """
        undoes = self.finished.get(letter.instance)
        if undoes is None:
            return False
        mail = letter.mail
        if mark and type(mail) in {Start, Reply}:
            return False
        if undoes and type(mail) is Reply and mail.failure is None:
            return False  # its fold tells somebody
        self.count += 1
        return True

    async def entomb(
        self, actor: WorkflowActor, record: ArchiveRecord, mails: Collection[AnyMail]
    ) -> bool:
        """Drop an actor whose instance has ended long ago: what came is late.

        False when more came meanwhile, which is to be read as well.
        """
        late = [each for each in mails if each.seq >= actor.threshold]
        # Until they are dealt with, the actor keeps the position below these messages.
        await self.late.take(record, late)
        self.count += len(late)
        if actor.gone:
            return True
        if late:
            actor.threshold = late[-1].seq + 1
        if actor.needed >= actor.threshold:
            return False
        self.remember(actor.id, undoes=bool(record.steps))
        self._drop(actor)
        return True

    def abandon(self, instance: str) -> bool:
        """Stop folding an instance that never started; False when it did, or is about to."""
        actor = self._live.get(instance)
        if actor is not None:
            if actor.activating or actor.unfolded or actor.instance.started_at:
                return False
            self._drop(actor)
        self.abandoned.add(instance)
        return True

    def resume(self, instances: Collection[str]) -> None:
        """Let what comes for abandoned instances be folded again."""
        self.abandoned.difference_update(instances)
