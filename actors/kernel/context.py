"""Context: what the author of a workflow sees.

    async def order(ctx: Context, order: Order) -> Receipt:
        charge = await ctx.call("payments", "charge", order, returns=Charge)
        with ctx.timeout(86_400):
            await ctx.signal("packed")
        return Receipt(charge.id)

Everything here is a durable operation, or a value that the fold determines. The place in the
tree of paths comes from the task that runs, never from the context object: it may be handed
to every branch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from actors.kernel.again import asked_again
from actors.kernel.alarms import Alarm
from actors.kernel.answers import Update
from actors.kernel.artifacts import Artifacts
from actors.kernel.branches import Joined, Scope, Winner, branches_of
from actors.kernel.calling import Absent, call_name, call_options
from actors.kernel.children import Child, UndoableChild
from actors.kernel.clock import moment
from actors.kernel.compensation import Saga, UndoableStep, UndoStep, undo_of
from actors.kernel.interpreting import Interpreting
from actors.kernel.ledger import Ledger
from actors.kernel.log import Log
from actors.kernel.nursery import Nursery
from actors.kernel.operations import AnySignal, Deadline, Idle, Listen, Operation, T
from actors.kernel.sleeping import Sleeping
from actors.kernel.step import Step
from actors.kernel.tasks import CancelScope, ContinueAs, Frame, dispose
from actors.kernel.telling import Telling
from actors.kernel.undoing import UNDOABLE, Undoing
from actors.kernel.updates import UpdateWait
from protocols import codec
from protocols.compensation import Undo, UndoRequest
from protocols.definition import Workflow
from protocols.effects import LocalCall, Send
from protocols.errors import GatherError, InvalidIdError
from protocols.events import RESERVED
from protocols.guardrails.book import no_rules
from protocols.policy import STEP_DEFAULTS, Retry, StepOptions
from protocols.rng import Rng
from protocols.subjects import check_id, check_name, check_step_name, step_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from protocols.guardrails.book import RuleBook

ANY: Final[Any] = Any
LOCAL: Final = "_local"
"""The service that runs ``ctx.run`` functions in the daemon."""


class Context(Interpreting, Sleeping, Telling, Artifacts):
    """The durable operations of one instance. Handed to its workflow function."""

    __slots__ = ("_defaults", "_ledger", "log", "traceparent", "workflow")

    def __init__(
        self, ledger: Ledger, workflow: str, traceparent: str, defaults: StepOptions
    ) -> None:
        self._ledger = ledger
        self._defaults = defaults
        self.workflow: Final = workflow
        self.traceparent: Final = traceparent
        self.log: Final = Log(ledger)

    @property
    def id(self) -> str:
        """The instance's id."""
        return self._ledger.instance_id

    @property
    def generation(self) -> int:
        """1, and one more each time the workflow goes on as new."""
        return self._ledger.generation

    def call(
        self,
        service: str,
        operation: str,
        input: Any = None,  # noqa: A002 - the word that authors use
        *,
        name: str | None = None,
        returns: type[T] = ANY,
        options: StepOptions | None = None,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        absent: Absent | None = None,
        idempotent: bool | None = None,
        undo: str | Undo | None = None,
        undoes: str = "",
        guardrails: str | Sequence[str] = (),
    ) -> Operation[T]:
        """Ask a service, again and again as the options say, and return its reply.

        ``undo`` names the operation that undoes the step, should the instance or a saga around
        it fail or be cancelled; ``undoes`` is the key of a step that this call undoes.
        ``guardrails`` name rules of the workflow that the step is held to, beside those that are
        for every step: what they do not let pass fails with kind ``compliance``,
        ``invalid_output`` or ``rejected``.

        Raises ConfigurationError for a guardrail that nobody has defined, StepFailedError when
        the attempts are used up or the failure is final, and ResultTypeError when the reply does
        not fit ``returns``.
        """
        if guardrails:
            raise no_rules(guardrails)
        if options is None:
            options = self._defaults
        if (
            retry is not None
            or timeout_s is not None
            or absent is not None
            or idempotent is not None
        ):
            options = call_options(options, retry, timeout_s, absent, idempotent)
        elif options is not STEP_DEFAULTS:
            options = call_options(options, None, None, None, None)
        called = call_name(service, operation) if name is None else check_step_name(name)
        ledger = self._ledger
        if undo is not None:
            how = undo_of(undo)
            step = UndoableStep(ledger, service, operation, input, called, returns, options, None)
            return step.undone_by(how)
        if undoes:
            other = UndoStep(ledger, service, operation, input, called, returns, options, None)
            return other.undoing(undoes)
        return Step(ledger, service, operation, input, called, returns, options, None)

    def again(
        self,
        of: str,
        service: str,
        operation: str,
        input: Any = None,  # noqa: A002 - the word that authors use
        *,
        name: str | None = None,
        options: StepOptions | None = None,
        guardrails: str | Sequence[str] = (),
    ) -> Operation[Any]:
        """Ask once more for the work of an earlier call, under its key. ``of`` is its path.

        For work that was given up and is wanted again: a service that has done it meanwhile
        answers what it answered then. A call with an undo keeps it, and it is undone once; when
        that undo was asked for already, the work is asked for under a key of its own. Raises as
        ``call`` does; blocks when a call with an undo has not ended yet.
        """
        if guardrails:
            raise no_rules(guardrails)
        return asked_again(
            self._ledger,
            of,
            service,
            operation,
            input,
            call_name(service, operation) if name is None else check_step_name(name),
            call_options(options or self._defaults, None, None, None, None),
        )

    def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        name: str | None = None,
        returns: type[T] = ANY,
        options: StepOptions | None = None,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        undo: Callable[[UndoRequest], Any] | None = None,
        **kwargs: Any,
    ) -> Operation[T]:
        """Run a function of your own as a step, outside of the fold; its result is recorded.

        The function runs in the daemon, in a thread; it may do I/O and may run twice. ``undo``
        is a function that undoes it: it gets the positional arguments as the input of an
        UndoRequest, and is called for an outcome that nobody knows as well.
        """
        if name is None:
            name = getattr(function, "__name__", "")
            if not name.replace("_", "").isalnum():
                raise self._ledger.scheduler.misuse(
                    "ctx.run needs a name for a function that has none: pass name='...'"
                )
        called = check_step_name(name.strip("_") or "run")
        options = call_options(options or self._defaults, retry, timeout_s, None, None)
        local = LocalCall(function, args, kwargs)
        operation = getattr(function, "__qualname__", name)
        ledger = self._ledger
        if undo is not None:
            step = UndoableStep(ledger, LOCAL, operation, None, called, returns, options, local)
            return step.undone_by(Undo(getattr(undo, "__qualname__", "undo")), undo)
        return Step(ledger, LOCAL, operation, None, called, returns, options, local)

    def signal(
        self, name: str, *, returns: type[T] = ANY, guardrails: str | Sequence[str] = ()
    ) -> Operation[T]:
        """Wait for the next signal of that name and return its data.

        Signals and waiters of one name meet in order; signals from before the start count.
        ``guardrails`` are as those of ``call``.
        """
        if guardrails:
            raise no_rules(guardrails)
        return Listen(self._ledger, check_name(name, "signal name"), returns)

    def update(self, name: str, *, takes: type[T] = ANY) -> Operation[Update[T]]:
        """Wait for the next signal of that name, to answer its sender.

        One whose data are no ``takes`` is rejected, and the wait goes on. What was taken and is
        not answered when the workflow ends, or continues as new, has failed for its sender.
        """
        return UpdateWait(self._ledger, check_name(name, "signal name"), takes)

    def any_signal(self) -> Operation[tuple[str, Any]]:
        """Wait for the next signal that nobody waits for by its name; return name and data."""
        return AnySignal(self._ledger)

    def idle(self, detail: str) -> Operation[None]:
        """Wait until the block around it is cancelled; ``detail`` tells people what may end it."""
        return Idle(self._ledger, detail)

    def child(
        self,
        workflow: str | Workflow[Any],
        input: Any = None,  # noqa: A002 - the word that authors use
        *,
        id: str | None = None,  # noqa: A002 - the word that authors use
        name: str | None = None,
        returns: type[T] = ANY,
        on_cancel: Literal["cancel", "abandon"] = "cancel",
        undo: bool = False,
        guardrails: str | Sequence[str] = (),
    ) -> Operation[T]:
        """Start another workflow and return its result. Raises ChildFailedError.

        ``undo``: what it did is undone when this instance, or a saga around it, fails.
        ``guardrails`` are as those of ``call``; what they do not let pass is a StepFailedError.
        """
        if guardrails:
            raise no_rules(guardrails)
        called = workflow if isinstance(workflow, str) else workflow.name
        kind = UndoableChild if undo else Child
        return kind(
            self._ledger,
            check_name(called, "workflow"),
            input,
            child="" if id is None else check_id(id),
            name=check_step_name(name or called),
            returns=returns,
            on_cancel=on_cancel,
        )

    async def gather(
        self,
        *works: Awaitable[Any],
        name: str = "gather",
        collect: bool = False,
        **named: Awaitable[Any],
    ) -> Any:
        """Run branches side by side; return their results as a list, or a dict when named.

        The first error cancels the other branches, waits for them, and is raised. With
        ``collect`` all branches go to their end; errors come together as GatherError.
        """
        branches = branches_of(works, named)
        nursery = self._nursery(name, "never" if collect else "error", branches)
        tasks = [nursery.start(work, key) for key, work in branches.items()]
        await Joined(nursery)
        nursery.close()
        errors = [(task.key, task.error) for task in tasks if task.error is not None]
        results = {task.key: task.value for task in tasks if task.error is None}
        if errors:
            raise GatherError(nursery.path, errors, results=results)
        return results if named else list(results.values())

    async def race(
        self, *works: Awaitable[Any], name: str = "race", **named: Awaitable[Any]
    ) -> Winner:
        """Run branches side by side until one ends; cancel the others and wait for them.

        Returns the winner's key (its name or its index as text) and value; raises its error
        when the first to end failed.
        """
        branches = branches_of(works, named)
        if not branches:
            raise ValueError("a race needs at least one branch")
        nursery = self._nursery(name, "first", branches)
        for key, work in branches.items():
            nursery.start(work, key)
        await Joined(nursery)
        nursery.close()
        assert nursery.first is not None
        return Winner(nursery.first.key, nursery.first.value)

    def scope(self, *, name: str = "scope") -> Scope:
        """Open a block of tasks: ``async with ctx.scope() as scope: scope.start(work(ctx))``."""
        return Scope(self._ledger, check_step_name(name))

    def saga(self, *, name: str = "saga") -> Saga:
        """Open a scope that undoes its steps when it fails: ``async with ctx.saga(): ...``.

        Its own steps and those of all branches and scopes in it, the newest first; then the
        error goes on. It is undone as well when the block is cancelled.
        """
        return Saga(self._ledger, check_step_name(name))

    def pivot(self) -> None:
        """Mark the point of no return: what was done and what comes is not undone any more.

        But for what nobody wants: a step that is cancelled in flight and happens all the same.
        """
        self._frame()
        if self._ledger.undoing is None:
            self._ledger.undoing = Undoing()
        self._ledger.undoing.pivot()

    def timeout(self, seconds: float, *, name: str = "timeout") -> Deadline:
        """Bound a block: ``with ctx.timeout(60): ...``. Raises TimedOutError when cut short."""
        return Deadline(self._ledger, seconds, check_step_name(name), raises=True)

    def move_on_after(self, seconds: float, *, name: str = "timeout") -> Deadline:
        """Bound a block and go on after it; ``scope.expired`` tells whether it was cut short."""
        return Deadline(self._ledger, seconds, check_step_name(name), raises=False)

    def warn_after(self, seconds: float, *, name: str = "late", **about: Any) -> Alarm:
        """Tell when a block takes longer: ``with ctx.warn_after(3600): ...``; it goes on.

        The event ``running_late`` is published once, with ``about`` in its data, and the run is
        listed as late until the block has ended.
        """
        return Alarm(self._ledger, seconds, check_step_name(name), about)

    def shield(self) -> CancelScope:
        """Hide a block from cancellation outside of it: ``with ctx.shield(): await undo``."""
        return CancelScope(self._ledger.scheduler, shield=True)

    def held_to(self, book: RuleBook, given: Any = None) -> Context:
        """Return a context whose steps are held to rules as well; ``given`` is their input."""
        from actors.kernel.guarding import Memory  # noqa: PLC0415 - few are held to anything
        from actors.kernel.held import HeldContext  # noqa: PLC0415 - it is one of these

        parts = (self._ledger, self.workflow, self.traceparent, self._defaults)
        return HeldContext(parts, self, book, given, Memory(self))

    def continue_as(self, input: Any = None) -> NoReturn:  # noqa: A002 - as authors say
        """End this generation and begin the next one, with a new input, in the same mailbox.

        Never returns. It leaves the code like an error: ``finally`` blocks run and may await,
        what runs beside is cancelled and waited for. Then the workflow's function is called
        anew: its paths, timers and keys are new ones; id, definition, parent, time, state that
        was shown, and signals that nobody has taken stay. A cancelled instance ends instead.
        One that has something left to undo is blocked: ``ctx.pivot`` says that it is to stay.
        """
        scheduler = self._ledger.scheduler
        body = codec.encode(input)
        if self._ledger.undoing is not None and self._ledger.undoing.holds:
            raise scheduler.misuse(UNDOABLE)
        scheduler.enter()
        scheduler.continuing = True
        raise ContinueAs(body)

    def send(self, instance_id: str, signal: str, data: Any = None) -> None:
        """Send a signal to another instance; delivered once, not awaited."""
        ledger = self._ledger
        path = self._frame().path(f"send.{check_name(signal, 'signal name')}")
        if ledger.outcome(step_token(path)) is not None:
            return
        ledger.effects.append(
            Send(
                cause=ledger.cause,
                to=check_id(instance_id),
                name=signal,
                body=ledger.encode(data),
                id=ledger.identity(path),
            )
        )

    def emit(self, kind: str, data: Any = None) -> None:
        """Publish an event about this instance."""
        if kind in RESERVED:
            raise InvalidIdError(
                f"event {kind!r} is movant's own",
                hint=f"choose a name other than {', '.join(RESERVED)}",
            )
        ledger = self._ledger
        path = self._frame().path(f"emit.{check_name(kind, 'event kind')}")
        if ledger.outcome(step_token(path)) is not None:
            return
        ledger.effects.append(ledger.event(kind, data, path))

    def set_state(self, **facts: Any) -> None:
        """Show facts about the instance to people; replaces facts of the same names."""
        self._frame()
        for key, value in facts.items():
            self._ledger.state[key] = codec.encode(value)

    def now(self) -> datetime:
        """Return the time of the latest message folded, in UTC."""
        return moment(self._ledger.now)

    def random(self) -> float:
        """Return a number in [0, 1), the same at every fold."""
        return self._rng().random()

    def randint(self, low: int, high: int) -> int:
        """Return an integer in [low, high], the same at every fold."""
        return self._rng().integer(low, high)

    def uuid(self) -> str:
        """Return a version 4 UUID, the same at every fold."""
        return self._rng().uuid()

    def _frame(self) -> Frame:
        return self._ledger.scheduler.current().frame

    def _rng(self) -> Rng:
        frame = self._frame()
        frame.draws += 1
        if frame.rng is None:
            frame.rng = Rng(self._ledger.identity(f"{frame.prefix}/random"))
        return frame.rng

    def _nursery(
        self,
        name: str,
        until: Literal["error", "first", "never"],
        branches: dict[str, Awaitable[Any]],
    ) -> Nursery:
        scheduler = self._ledger.scheduler
        try:
            return Nursery(scheduler, name, until)
        except BaseException:
            dispose(branches.values())
            raise
