"""Children: other instances that an instance starts and waits for, and whose work it has undone.

    Child           Spawn     -> ChildEnded    given up: CancelChild
    UndoableChild   the same, on record: what it did is undone when its scope fails
    ChildUndo       UndoChild -> ChildEnded    of the run that undoes what a child left

A child is an instance of its own, and its outcome is reached once. One that has not ended is
cancelled, which makes it undo what it did; what one has left that completed is undone by a run
of ``movant.undo``. Both tell the parent with the message that tells any child's end. A child
has no deadline: nothing around it is undone before it has ended.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, Literal

from actors.kernel.operations import UNREADABLE, Operation, T
from actors.kernel.records import Record
from actors.kernel.undoing import Undoing
from protocols import codec
from protocols.compensation import UNDO_WORKFLOW, Undo
from protocols.effects import CancelChild, Spawn, UndoChild, Waiting
from protocols.errors import BadValueError, ChildFailedError, OversizedError
from protocols.failure import CANCELLED, FAILED, Failure
from protocols.mail import ChildEnded, Parent
from protocols.policy import STEP_DEFAULTS
from protocols.subjects import step_token

if TYPE_CHECKING:
    from actors.kernel.ledger import Ledger
    from actors.kernel.records import Entry
    from actors.kernel.tasks import Task

HOW: Final = Undo("undo")
"""Children have no operation that undoes them; the name stands in paths and incidents."""


class Child(Operation[T]):
    """Another instance, started here; its end is awaited."""

    __slots__ = ("child", "input", "name", "on_cancel", "token", "workflow")

    def __init__(
        self,
        ledger: Ledger,
        workflow: str,
        value: Any,
        *,
        child: str,
        name: str,
        returns: Any,
        on_cancel: Literal["cancel", "abandon"],
    ) -> None:
        super().__init__(ledger, returns)
        self.workflow = workflow
        self.input = value
        self.child = child
        self.name = name
        self.on_cancel = on_cancel

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        ledger = self.ledger
        body = ledger.encode(self.input)
        self.input = None
        self.path = task.frame.path(self.name)
        self.token = step_token(self.path)
        identity = ledger.identity(self.path)
        self.child = self.child or child_id(ledger.instance_id, identity)
        ledger.children[self.token] = self
        ledger.effects.append(
            Spawn(
                cause=ledger.cause,
                child=self.child,
                workflow=self.workflow,
                body=body,
                parent=Parent(instance=ledger.instance_id, path=self.path),
                id=identity,
            )
        )
        return False

    def ended(self, mail: ChildEnded) -> None:
        """Take the child's result, or raise its failure in the code."""
        self.decide(1)
        failure = mail.failure
        if mail.status == "completed" and failure is None:
            try:
                self.succeed(codec.decode(mail.body, mail.content_type))
            except (BadValueError, OversizedError):
                failure = UNREADABLE
            else:
                return
        if failure is None:
            kind = CANCELLED if mail.status == "cancelled" else FAILED
            failure = Failure(kind=kind, message=f"child {self.child} ended as {mail.status}")
        self.ledger.scheduler.resume(self, None, ChildFailedError(self.path, failure))

    def decide(self, attempt: int) -> None:
        """Close the wait: whatever comes now is late."""
        del self.ledger.children[self.token]
        self.ledger.decided[self.token] = attempt

    def abandon(self) -> bool:  # noqa: D102 - as in Wait
        self.decide(0)
        if self.on_cancel == "cancel":
            ledger = self.ledger
            ledger.effects.append(
                CancelChild(
                    cause=ledger.cause,
                    child=self.child,
                    reason="the parent gave it up",
                    id=ledger.identity(self.path) + "/cancel",
                )
            )
        return True

    def waiting(self) -> Waiting:
        """Describe the wait."""
        return Waiting(
            path=self.path,
            kind="child",
            since=self.since,
            detail=f"{self.workflow} {self.child}",
        )


class UndoableChild(Child[T]):
    """A child whose work is undone when its scope fails."""

    __slots__ = ("record",)

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        ledger = self.ledger
        if self.on_cancel != "cancel":
            raise ledger.scheduler.misuse(
                f"the child {self.name} is abandoned and undone: it has to end before its undo"
            )
        at_once = super().begin(task)
        if ledger.undoing is None:
            ledger.undoing = Undoing()
        self.record = Record(self, HOW, STEP_DEFAULTS, child=self.child)
        self.record.asked(1, self.workflow)
        self.record.kept = ledger.undoing.pivoted
        ledger.undoing.records[self.token] = self.record
        return at_once

    def ended(self, mail: ChildEnded) -> None:  # noqa: D102 - as in Child
        self.record.child_ended(mail)
        super().ended(mail)

    def abandon(self) -> bool:  # noqa: D102 - as in Wait
        assert self.ledger.undoing is not None
        self.ledger.undoing.given_up(self.token, self.record)
        return super().abandon()


class ChildUndo(Child[ChildEnded]):
    """The undo of a child that has completed. It returns how the run ended that undoes it.

    Its place has no counter: whoever asks again asks for the same.
    """

    __slots__ = ("entry",)

    def __init__(self, ledger: Ledger, entry: Entry) -> None:
        self.entry = entry
        identity = ledger.identity(self._path())
        super().__init__(
            ledger,
            UNDO_WORKFLOW,
            None,
            child=child_id(ledger.instance_id, identity),
            name=HOW.operation,
            returns=Any,
            on_cancel="abandon",
        )

    def begin(self, task: Task) -> bool:  # noqa: ARG002, D102 - as in Operation
        ledger = self.ledger
        self.path = self._path()
        self.token = step_token(self.path)
        assert ledger.undoing is not None
        ledger.undoing.undos[self.token] = self.entry
        if self._known() is not None:
            return True
        ledger.children[self.token] = self
        ledger.effects.append(
            UndoChild(
                cause=ledger.cause,
                child=self.entry.record.child,
                run=self.child,
                parent=Parent(instance=ledger.instance_id, path=self.path),
                id=ledger.identity(self.path),
            )
        )
        return False

    def at_once(self) -> ChildEnded:  # noqa: D102 - as in Operation
        known = self._known()
        assert known is not None
        return known

    def ended(self, mail: ChildEnded) -> None:  # noqa: D102 - as in Child
        self.decide(1)
        self.ledger.scheduler.resume(self, mail)

    def abandon(self) -> bool:
        """Leave the place to who asks again: the code that waits is given up, the undo is not."""
        del self.ledger.children[self.token]
        return True

    def _path(self) -> str:
        return f"{self.entry.record.path}/{HOW.operation}"

    def _known(self) -> ChildEnded | None:
        """Return its end, if that came while the instance was blocked."""
        assert self.ledger.undoing is not None
        return self.ledger.undoing.meanwhile.get(self.token)


def child_id(instance_id: str, identity: str) -> str:
    """Return the id of a child that the author gave none, the same at every fold."""
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return f"{instance_id[:100]}-{digest}"
