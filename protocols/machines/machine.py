"""Machines: a motion's states, who works in each, and where it may go from there. Data only.

    Machine(
        name="permits",
        initial="FILED",
        states={
            "FILED": State(owner="clerk", operation="check", next="REVIEWED"),
            "REVIEWED": State(
                owner="council",
                timeout="7d",
                next=[Next(to="GRANTED", when="result.ayes > result.noes"), "DENIED"],
                on_error={"timeout": "halt_and_alert"},
            ),
            "GRANTED": State(terminal=True),
            "DENIED": State(terminal=True),
        },
    )

In a YAML file the same fields have the same names. Nothing here is code: a machine is
compared, hashed, stored and drawn as it is. Whether it makes sense as a whole is told by
``protocols.machines.check``; who runs it is ``actors.motions.interpreter``.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, cast

import msgspec

from protocols.compensation import UNDO_RETRY, Undo
from protocols.directives import Directive, Do, Table
from protocols.durations import seconds
from protocols.graphs.profile import Limits
from protocols.guardrails.guardrail import Rules
from protocols.policy import Retry

STATE_TIMEOUT_S: Final = 86_400.0
"""Where neither state nor machine says how long: a day, so that nothing waits unseen for ever."""
HISTORY_MAX: Final = 20
"""Transitions that a motion shows; all of them are events."""
OWN_SIGNALS: Final = "motion."
"""Signals of the interpreter begin with this: a machine declares none of them."""
RESUME: Final = "motion.resume"
"""An operator lets a halted motion go on."""
REVIEW: Final = "motion.review"
"""A person decides where a directive asked for a review."""
TRANSITION: Final = "motion.transition"
"""Somebody asks for a transition. It is one of the state's signals, or it is refused."""

Ended = Literal["completed", "failed"]


class _Part(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Base of the parts of a machine."""


class Next(_Part, frozen=True, kw_only=True):
    """A state that may follow, and the condition under which (see ``protocols.conditions``)."""

    to: Annotated[str, msgspec.Meta(description="The state that may follow.")]
    when: Annotated[str, msgspec.Meta(description="The condition under which it does.")] = ""


class Hook(_Part, frozen=True, kw_only=True):
    """A step at a boundary of a state. When it fails, the motion halts, or it is not critical.

    It is tried as ``policy`` says; ``timeout`` bounds one attempt, in seconds or as text.
    """

    service: Annotated[str, msgspec.Meta(description="Who is asked.")]
    operation: Annotated[str, msgspec.Meta(description="For what.")]
    critical: Annotated[
        bool, msgspec.Meta(description="Whether the motion halts when it fails.")
    ] = True
    policy: Annotated[Retry, msgspec.Meta(description="How often it is tried.")] = Retry()
    timeout: Annotated[float | str, msgspec.Meta(description="How long one call may take.")] = 60.0

    def __post_init__(self) -> None:
        """Read the timeout."""
        _positive(self, "timeout")


class StateUndo(_Part, frozen=True, kw_only=True):
    """How the work of a state is undone: what is asked of whom, should the motion be undone.

    ``service`` is the one that did the work when empty. The undo is tried as ``policy`` says;
    ``timeout`` bounds one attempt. ``settle`` is for a service that cannot refuse a key after
    its undo: how long after its time is over a request may still begin. Both in seconds or as
    text.
    """

    operation: Annotated[str, msgspec.Meta(description="The operation that undoes the work.")]
    service: Annotated[
        str, msgspec.Meta(description="Whose operation; the one that did the work when absent.")
    ] = ""
    policy: Annotated[Retry, msgspec.Meta(description="How often it is tried.")] = UNDO_RETRY
    timeout: Annotated[float | str, msgspec.Meta(description="How long one call may take.")] = 60.0
    settle: Annotated[
        float | str | None,
        msgspec.Meta(
            description="Where an undo may come first: how long a late request may begin."
        ),
    ] = None

    def __post_init__(self) -> None:
        """Read the times."""
        _positive(self, "timeout")
        if self.settle is not None:
            _set(self, "settle", seconds(self.settle, "settle"))


class State(_Part, frozen=True, kw_only=True):
    """One state: an owner works in it, or it is parked until a signal comes, or it is the end.

    ``owner`` is a service, asked for ``operation`` (the state's name in small letters when
    empty). ``next`` lists the states that may follow, in the order in which their conditions
    are tried; a single name may stand alone. ``timeout`` is how long the owner has, in seconds
    or as text such as ``7d``, ``heartbeat`` how long it may be silent. ``on_error`` maps an
    error kind to a directive. ``signals`` maps the name of a signal to the state that it leads
    to. ``terminal`` ends the motion: as ``completed`` (true) or ``failed``; an owner of a
    terminal state works before the end. ``undo`` is the operation that undoes the owner's work,
    should the motion fail or be
    cancelled. ``guardrails`` name the rules that this work is held to, whoever does it.
    ``pivot``: nothing is undone any more as soon as the work of this state is done.
    """

    owner: Annotated[str, msgspec.Meta(description="The service that works in it.")] = ""
    operation: Annotated[
        str,
        msgspec.Meta(
            description="For what it is asked; the state's name in small letters when absent."
        ),
    ] = ""
    next: Annotated[
        str | tuple[str | Next, ...],
        msgspec.Meta(
            description="The states that may follow, in the order in which they are tried."
        ),
    ] = ()
    timeout: Annotated[
        float | str | None,
        msgspec.Meta(description="How long the owner has; as the machine says when absent."),
    ] = None
    warn_after: Annotated[
        float | str | None,
        msgspec.Meta(description="How long a stay may last before `running_late` tells of it."),
    ] = None
    heartbeat: Annotated[
        float | str | None,
        msgspec.Meta(
            description="How long the owner may be silent while it works; then its time is over."
        ),
    ] = None
    idempotent: Annotated[
        bool,
        msgspec.Meta(description="Whether a call may be repeated when its outcome is not known."),
    ] = True
    on_error: Annotated[
        dict[str, Directive | Do],
        msgspec.Meta(description="What a failure leads to, by its kind."),
    ] = {}
    signals: Annotated[
        dict[str, str | Next], msgspec.Meta(description="Where each signal leads.")
    ] = {}
    on_entry: Annotated[
        tuple[Hook, ...], msgspec.Meta(description="Steps before the owner works.")
    ] = ()
    on_exit: Annotated[
        tuple[Hook, ...], msgspec.Meta(description="Steps before the motion leaves it.")
    ] = ()
    undo: Annotated[
        str | StateUndo | None, msgspec.Meta(description="How the owner's work is undone.")
    ] = None
    guardrails: Annotated[
        str | tuple[str, ...],
        msgspec.Meta(description="Rules that the owner's work is held to, by name."),
    ] = ()
    pivot: Annotated[
        bool, msgspec.Meta(description="Nothing is undone any more when its work is done.")
    ] = False
    terminal: Annotated[
        bool | Ended,
        msgspec.Meta(description="The motion ends here: completed (`true`), or `failed`."),
    ] = False
    parked: Annotated[
        bool, msgspec.Meta(description="It has no owner and waits for one of its signals.")
    ] = False
    description: Annotated[str, msgspec.Meta(description="What it is for, for people.")] = ""

    def __post_init__(self) -> None:
        """Bring short forms to the long ones."""
        given = (self.next,) if isinstance(self.next, str) else self.next
        _set(self, "next", tuple(_next(each) for each in given))
        _set(self, "signals", {name: _next(each) for name, each in self.signals.items()})
        _set(self, "on_error", _directives(self.on_error))
        if isinstance(self.undo, str):
            _set(self, "undo", StateUndo(operation=self.undo))
        if isinstance(self.guardrails, str):
            _set(self, "guardrails", (self.guardrails,))
        _set(self, "terminal", "completed" if self.terminal is True else self.terminal)
        for key in ("timeout", "warn_after", "heartbeat"):
            if getattr(self, key) is not None:
                _positive(self, key)

    @property
    def nexts(self) -> tuple[Next, ...]:
        """The states that may follow."""
        return cast("tuple[Next, ...]", self.next)

    @property
    def signalled(self) -> dict[str, Next]:
        """Where each signal leads."""
        return cast("dict[str, Next]", self.signals)

    @property
    def directives(self) -> Table:
        """The directives by error kind."""
        return cast("Table", self.on_error)

    @property
    def undone_by(self) -> Undo | None:
        """How the work is undone; None: it cannot be."""
        undo = self.undo
        if not isinstance(undo, StateUndo):
            return None
        return Undo(
            undo.operation,
            undo.service,
            retry=undo.policy,
            timeout_s=float(undo.timeout),
            settle_s=None if undo.settle is None else float(undo.settle),
        )

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that the work is held to, by name."""
        return tuple(self.guardrails)

    @property
    def ends(self) -> Ended | None:
        """How a motion ends here; None: it does not."""
        return self.terminal if isinstance(self.terminal, str) else None


class Machine(_Part, frozen=True, kw_only=True):
    """A state machine. ``reviewer`` is the service that reviews where a directive names none.

    ``on_error`` holds for states that say nothing else; ``kinds`` are error kinds of its
    services' own, beside those of ``protocols.error_kinds``. ``on_transition`` are steps before
    each transition takes effect: without them it does not. ``witness`` is the last of them, and
    its answer, the statement, is part of the transition. ``guardrails`` are rules that the work
    of states is held to (``protocols.guardrails.guardrail``). ``begin`` lists other
    states in which a motion may begin: its input names one as ``state``, and may say that its
    work is done already (``work_done: true``, ``output``). ``history`` is how many transitions a
    motion shows. Raises ValueError for what has the wrong form; whether the
    parts fit each other is for ``protocols.machines.check``.
    """

    name: Annotated[str, msgspec.Meta(description="The name of the workflow.")]
    initial: Annotated[str, msgspec.Meta(description="The state in which a motion begins.")]
    states: Annotated[dict[str, State], msgspec.Meta(description="The states by their names.")]
    description: Annotated[str, msgspec.Meta(description="What it is for, for people.")] = ""
    timeout: Annotated[
        float | str,
        msgspec.Meta(description="How long an owner has where its state says nothing."),
    ] = STATE_TIMEOUT_S
    begin: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Other states in which the input may let a motion begin."),
    ] = ()
    reviewer: Annotated[
        str, msgspec.Meta(description="Who reviews where a directive names nobody.")
    ] = ""
    kinds: Annotated[
        tuple[str, ...], msgspec.Meta(description="Error kinds of its services' own.")
    ] = ()
    on_error: Annotated[
        dict[str, Directive | Do],
        msgspec.Meta(description="What failures lead to where a state says nothing."),
    ] = {}
    on_transition: Annotated[
        tuple[Hook, ...],
        msgspec.Meta(
            description="Steps before each transition; without them it does not take effect."
        ),
    ] = ()
    guardrails: Annotated[
        Rules,
        msgspec.Meta(
            description="Rules by name; or names of shared ones that are for every state."
        ),
    ] = {}
    limits: Annotated[
        Limits | None,
        msgspec.Meta(description="How many motions may be active, and who goes first."),
    ] = None
    retention: Annotated[
        float | str | None,
        msgspec.Meta(
            description="How long an ended motion is kept, and its artifacts; as the daemon says "
            "without it."
        ),
    ] = None
    witness: Annotated[
        Hook | None,
        msgspec.Meta(description="The last of them; its answer is a part of the transition."),
    ] = None
    history: Annotated[
        int, msgspec.Meta(description="How many transitions a motion shows.", ge=0, le=200)
    ] = HISTORY_MAX

    def __post_init__(self) -> None:
        """Bring short forms to the long ones."""
        _positive(self, "timeout")
        _set(self, "on_error", _directives(self.on_error))
        if self.retention is not None:
            _positive(self, "retention")

    @property
    def directives(self) -> Table:
        """The directives by error kind."""
        return cast("Table", self.on_error)

    @property
    def signal_names(self) -> tuple[str, ...]:
        """Every signal that some state takes, sorted."""
        return tuple(sorted({name for each in self.states.values() for name in each.signals}))

    def timeout_s(self, state: str) -> float:
        """Return how long a state's owner has, in seconds; 0 for a state that just waits."""
        told = self.states[state].timeout
        if told is None:
            return 0.0 if self.states[state].parked else float(self.timeout)
        return float(told)

    def operation(self, state: str) -> str:
        """Return what the owner of a state is asked for."""
        return self.states[state].operation or state.lower().replace("_", "-")


def _next(given: str | Next) -> Next:
    return Next(to=given) if isinstance(given, str) else given


def _directives(given: dict[str, Directive | Do]) -> dict[str, Directive]:
    return {
        kind: Directive(do=each) if isinstance(each, str) else each for kind, each in given.items()
    }


def _positive(part: Hook | StateUndo | State | Machine, field: str) -> None:
    value = seconds(getattr(part, field), field)
    if not value:
        raise ValueError(f"{field} is 0: nobody could answer in time")
    _set(part, field, value)


def _set(part: msgspec.Struct, field: str, value: object) -> None:
    msgspec.structs.force_setattr(part, field, value)
