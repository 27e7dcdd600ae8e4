"""A mailbox for tests: writes mails, folds them, and folds them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors.kernel.instance import Instance
from protocols import codec
from protocols.blobs import BLOB_BYTES_MAX, LARGE
from protocols.definition import Workflow
from protocols.effects import AnyEffect, Ask, Emit, Finish
from protocols.failure import Failure
from protocols.gates.words import GateWord
from protocols.headers import JSON
from protocols.mail import (
    AttemptRefused,
    AttemptTimedOut,
    Cancel,
    ChildEnded,
    Decided,
    Fired,
    Fork,
    Mail,
    Origin,
    Parent,
    Pinned,
    Reply,
    Signal,
    Start,
    Switch,
    SwitchOrder,
    Taken,
    Woken,
    start_digest,
)
from protocols.subjects import step_token
from protocols.witness import leaf

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND: Final = 1_000_000_000
BEGIN: Final = 1_800_000_000 * SECOND
DEFINITION: Final = "d" * 16


class Mailbox:
    """One instance and its mails. Every verb writes a mail, folds it, returns its effects."""

    def __init__(self, code: Workflow[Any] | Callable[..., Any], instance_id: str = "i-1") -> None:
        self.code = code if isinstance(code, Workflow) else Workflow(code.__name__, code)
        self.others: dict[str, Workflow[Any]] = {}
        """Definitions that it may go over to, by hash."""
        self.instance = Instance(instance_id, self.load)
        self.mails: list[Mail] = []
        self.effects: list[AnyEffect] = []
        self.at = BEGIN

    def load(self, _name: str, definition: str) -> Workflow[Any]:
        """Return the code that is under test."""
        return self.others.get(definition, self.code)

    def pass_time(self, seconds: float) -> None:
        """Let the next mails be written later."""
        self.at += round(seconds * SECOND)

    def fold(self, mail: Mail) -> list[AnyEffect]:
        """Fold a mail and keep it."""
        self.mails.append(mail)
        effects = self.instance.fold(mail)
        assert all(effect.cause == mail.seq for effect in effects)
        self.effects.extend(effects)
        return effects

    def start(
        self,
        value: Any = None,
        *,
        definition: str = DEFINITION,
        message_id: str = "",
        parent: Parent | None = None,
        kernel: int = 1,
    ) -> list[AnyEffect]:
        """Start the instance; return the effects behind the event."""
        effects = self.fold(
            Start(
                **self._stamp(),
                workflow=self.code.name,
                body=codec.encode(value),
                definition=definition,
                message_id=message_id,
                parent=parent,
                kernel=kernel,
            )
        )
        return [effect for effect in effects if not is_event(effect, "started")]

    def pin(self, definition: str = DEFINITION) -> list[AnyEffect]:
        """Pin the definition of a raw start."""
        return self.fold(Pinned(**self._stamp(), epoch=1, definition=definition))

    def reply(
        self, path: str, value: Any = None, *, attempt: int = 1, body: bytes | None = None
    ) -> list[AnyEffect]:
        """Answer an attempt with success; what is large comes as it is fetched from a blob."""
        body = codec.encode(value, limit=BLOB_BYTES_MAX) if body is None else body
        large = JSON + LARGE if len(body) > codec.PAYLOAD_BYTES_MAX else ""
        return self.fold(
            Reply(
                **self._stamp(),
                step=step_token(path),
                attempt=attempt,
                body=body,
                content_type=large,
            )
        )

    def fail(
        self, path: str, kind: str = "failed", *, attempt: int = 1, **more: Any
    ) -> list[AnyEffect]:
        """Answer an attempt with a failure."""
        failure = Failure(kind=kind, message="no luck", **more)
        step = step_token(path)
        return self.fold(Reply(**self._stamp(), step=step, attempt=attempt, failure=failure))

    def time_out(self, path: str, *, attempt: int = 1) -> list[AnyEffect]:
        """Give an attempt up."""
        step = step_token(path)
        return self.fold(AttemptTimedOut(**self._stamp(), epoch=1, step=step, attempt=attempt))

    def refuse(self, path: str, kind: str, *, attempt: int = 1) -> list[AnyEffect]:
        """Do not dispatch an attempt."""
        failure = Failure(kind=kind, message="not sent")
        return self.fold(
            AttemptRefused(
                **self._stamp(), epoch=1, step=step_token(path), attempt=attempt, failure=failure
            )
        )

    def fire(self, path: str) -> list[AnyEffect]:
        """Let a timer fire now."""
        return self.fold(Fired(**self._stamp(), name=step_token(path)))

    def fold_fired(self, token: str) -> list[AnyEffect]:
        """Let the timer of a token fire now."""
        return self.fold(Fired(**self._stamp(), name=token))

    def signal(
        self,
        name: str,
        value: Any = None,
        *,
        message_id: str = "",
        body: bytes | None = None,
        asks: bool = False,
    ) -> list[AnyEffect]:
        """Send a signal; ``asks``: its sender waits to be told what becomes of it."""
        body = codec.encode(value) if body is None else body
        return self.fold(
            Signal(**self._stamp(), name=name, body=body, message_id=message_id, asks=asks)
        )

    def end_child(
        self,
        path: str,
        value: Any = None,
        *,
        status: str = "completed",
        failure: Failure | None = None,
    ) -> list[AnyEffect]:
        """Tell the end of a child."""
        return self.fold(
            ChildEnded(
                **self._stamp(),
                step=step_token(path),
                child="c",
                status=status,
                body=codec.encode(value),
                failure=failure,
            )
        )

    def cancel(self, reason: str = "enough", *, message_id: str = "") -> list[AnyEffect]:
        """Ask the instance to cancel."""
        return self.fold(Cancel(**self._stamp(), reason=reason, message_id=message_id))

    def switch(
        self, definition: str, *, message_id: str = "", accept: tuple[str, ...] = (), **moves: str
    ) -> list[AnyEffect]:
        """Go on with another definition from here; ``moves`` are names, old to new."""
        order = SwitchOrder(definition=definition, moves=moves, accept=accept, whole=True)
        return self.fold(Switch(**self._stamp(), order=order, message_id=message_id))

    def decide(self, gate: str, do: str) -> list[AnyEffect]:
        """Say a person's word at a gate."""
        word = msgspec.convert({"gate": gate, "do": do}, GateWord)
        return self.fold(Decided(**self._stamp(), word=word))

    def fork(
        self, step: str, standing: dict[str, Any], value: Any = None, *, message_id: str = "m"
    ) -> list[AnyEffect]:
        """Begin with what another run has done, and with an input; return the start's effects."""
        told = start_digest(self.code.name, DEFINITION, codec.encode(value))
        origin = Origin(run="i-0", step=step, through=9, head="7f")
        taken = Taken(origin=origin, start=told, standing=standing)
        body = codec.encode(msgspec.to_builtins(taken))
        self.fold(Fork(**self._stamp(), body=body, message_id=message_id))
        return self.start(value, message_id=message_id)

    def wake(self) -> list[AnyEffect]:
        """Wake the host."""
        return self.fold(Woken(**{**self._stamp(), "leaf": b""}, number=1, epoch=1, since=1))

    def refold(self) -> Instance:
        """Fold all mails again, from the start, and check that it comes out the same."""
        again = Instance(self.instance.id, self.load)
        again.refolding = True
        effects = [effect for mail in self.mails for effect in again.fold(mail)]
        assert effects == self.effects
        assert again.state_hash() == self.instance.state_hash()
        assert again.waiting() == self.instance.waiting()
        return again

    @property
    def result(self) -> Any:
        """The decoded result; fails unless the instance has completed."""
        assert self.instance.status == "completed", (self.instance.status, self.instance.blocked)
        assert self.instance.result is not None
        return codec.decode(self.instance.result)

    def _stamp(self) -> dict[str, Any]:
        seq = len(self.mails) + 1
        return {"seq": seq, "at": self.at, "leaf": leaf(seq, self.at, "", b"", b"")}


def paths(effects: list[AnyEffect]) -> list[str]:
    """Return the paths of the steps that were asked for."""
    return [effect.path for effect in effects if isinstance(effect, Ask)]


def asks(effects: list[AnyEffect]) -> list[Ask]:
    """Return the steps that were asked for."""
    return [effect for effect in effects if isinstance(effect, Ask)]


def events(effects: list[AnyEffect]) -> list[str]:
    """Return the names of the events."""
    return [effect.event for effect in effects if isinstance(effect, Emit)]


def finish(effects: list[AnyEffect]) -> Finish:
    """Return the one outcome."""
    (found,) = [effect for effect in effects if isinstance(effect, Finish)]
    return found


def is_event(effect: AnyEffect, name: str) -> bool:
    """Tell whether an effect is the event ``name``."""
    return isinstance(effect, Emit) and effect.event == name
