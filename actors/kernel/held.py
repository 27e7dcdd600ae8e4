"""HeldContext: the context of a workflow in Python that has guardrails.

    await ctx.call("web", "ask", note, guardrails=["private"])
        /web.ask                     its place: all that belongs to it stands below
        /web.ask/guardrail.private   a verdict that is asked for
        /web.ask/web.ask             the call itself

Code awaits such a step like any other operation. What is evaluated is what is sent: the value is
encoded once, so nothing that runs beside can change it while a person is waited for.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from actors.kernel.again import can_be_undone
from actors.kernel.calling import call_name, call_options
from actors.kernel.context import ANY, Context
from actors.kernel.guarding import Gave, Held, Memory, run_of
from actors.kernel.operations import Operation, T
from actors.kernel.tasks import Frame
from protocols import codec
from protocols.blobs import LARGE
from protocols.errors import BadValueError, FailedError, StepFailedError
from protocols.failure import Failure
from protocols.policy import NO_RETRY, StepOptions
from protocols.subjects import check_name, check_step_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from actors.kernel.ledger import Ledger
    from actors.kernel.tasks import Wait
    from protocols.compensation import Undo
    from protocols.definition import Workflow
    from protocols.guardrails.book import RuleBook
    from protocols.guardrails.evaluation import Guard

ONCE: Final = StepOptions(retry=NO_RETRY)
"""Of a signal and a child: what they gave is what there is."""


class HeldContext(Context):
    """Holds the steps of one run to the rules of a book. Local functions are the code's own."""

    __slots__ = ("_book", "_free", "_memory", "_names")

    def __init__(
        self,
        parts: tuple[Ledger, str, str, StepOptions],
        free: Context,
        book: RuleBook,
        given: Any,
        memory: Memory,
    ) -> None:
        super().__init__(*parts)
        self._book = book
        self._free = free
        """Held to nothing: what the rules themselves ask goes through it."""
        self._memory = memory
        self._names: dict[str, Any] = {"run": run_of(free, free.now())}
        with suppress(BadValueError):  # a default of the code's own: no rule can look at it
            self._names["input"] = codec.decode(self._ledger.encode(given), LARGE)

    def held_to(self, book: RuleBook, given: Any = None) -> Context:
        """Return a context whose steps are held to both; calls are counted together."""
        parts = (self._ledger, self.workflow, self.traceparent, self._defaults)
        return HeldContext(parts, self._free, book.beside(self._book), given, self._memory)

    def call(  # noqa: D102 - as in Context
        self,
        service: str,
        operation: str,
        input: Any = None,  # noqa: A002 - as in Context
        *,
        name: str | None = None,
        returns: type[T] = ANY,
        options: StepOptions | None = None,
        undo: str | Undo | None = None,
        undoes: str = "",
        guardrails: str | Sequence[str] = (),
        **how: Any,
    ) -> Operation[T]:
        guards = self._book.of(guardrails)
        rest: dict[str, Any] = {"options": options, "undo": undo, **how}
        if undoes or not guards:  # no rule stops an undo
            return super().call(
                *(service, operation, input), name=name, returns=returns, undoes=undoes, **rest
            )
        called = call_name(service, operation) if name is None else check_step_name(name)
        chosen = [how.get(each) for each in ("retry", "timeout_s", "absent", "idempotent")]
        how_often = call_options(options or self._defaults, *chosen)
        asked = Asked(called, "service", how_often, service, operation, undo is not None)

        def make(value: Any, _: bool) -> Operation[Any]:  # noqa: FBT001 - as HeldStep asks
            return self._free.call(service, operation, value, **rest)

        return self._held(guards, asked, input, returns, make)

    def again(  # noqa: D102 - as in Context
        self,
        of: str,
        service: str,
        operation: str,
        input: Any = None,  # noqa: A002 - as in Context
        *,
        name: str | None = None,
        options: StepOptions | None = None,
        guardrails: str | Sequence[str] = (),
    ) -> Operation[Any]:
        guards = self._book.of(guardrails)
        if not guards:
            return super().again(of, service, operation, input, name=name, options=options)
        called = call_name(service, operation) if name is None else check_step_name(name)
        undoable = can_be_undone(self._ledger, of)
        chosen = options or self._defaults
        asked = Asked(called, "service", chosen, service, operation, undoable)

        def make(value: Any, anew: bool) -> Operation[Any]:  # noqa: FBT001 - as HeldStep asks
            if anew and not undoable:  # else an undo has spent the key
                return self._free.call(service, operation, value, options=options)
            return self._free.again(of, service, operation, value, options=options)

        return self._held(guards, asked, input, ANY, make)

    def signal(  # noqa: D102 - as in Context
        self, name: str, *, returns: type[T] = ANY, guardrails: str | Sequence[str] = ()
    ) -> Operation[T]:
        guards = self._book.of(guardrails)
        if not guards:
            return super().signal(name, returns=returns)
        asked = Asked(f"signal.{check_name(name, 'signal name')}", "signal", ONCE)
        return self._held(guards, asked, name, returns, lambda *_: self._free.signal(name))

    def child(  # noqa: D102 - as in Context
        self,
        workflow: str | Workflow[Any],
        input: Any = None,  # noqa: A002 - as in Context
        *,
        id: str | None = None,  # noqa: A002 - as in Context
        name: str | None = None,
        returns: type[T] = ANY,
        on_cancel: Literal["cancel", "abandon"] = "cancel",
        undo: bool = False,
        guardrails: str | Sequence[str] = (),
    ) -> Operation[T]:
        guards = self._book.of(guardrails)
        called = workflow if isinstance(workflow, str) else workflow.name
        rest: dict[str, Any] = {"id": id, "on_cancel": on_cancel, "undo": undo}
        if not guards:
            return super().child(called, input, name=name, returns=returns, **rest)
        asked = Asked(check_step_name(name or called), "child", ONCE, undoable=undo)

        def make(value: Any, _: bool) -> Operation[Any]:  # noqa: FBT001 - as HeldStep asks
            return self._free.child(called, value, **rest)

        return self._held(guards, asked, input, returns, make)

    def _held(
        self,
        guards: Sequence[Guard],
        asked: Asked,
        value: Any,
        returns: type[T],
        make: Callable[[Any, bool], Operation[Any]],
    ) -> Operation[T]:
        def held(place: str) -> Held:
            rules = (self._free, guards, self._book.functions, self._memory)
            return Held(*rules, where=place, name=asked.name)

        return HeldStep(self._ledger, self._names, asked, value, returns, make, held)


class Asked(NamedTuple):
    """What a step does, for its rules."""

    name: str
    kind: str
    options: StepOptions
    service: str = ""
    operation: str = ""
    undoable: bool = False


class HeldStep(Operation[T]):
    """A step between its checks. ``make`` gives the operation; anew where its key is spent."""

    __slots__ = ("asked", "begun", "error", "held", "input", "make", "names")

    def __init__(  # noqa: PLR0917 - built in one place
        self,
        ledger: Ledger,
        names: dict[str, Any],
        asked: Asked,
        value: Any,
        returns: Any,
        make: Callable[[Any, bool], Operation[Any]],
        held: Callable[[str], Held],
    ) -> None:
        super().__init__(ledger, returns)
        self.names = names
        self.asked = asked
        self.input = value
        self.make = make
        self.held = held
        self.begun = False
        self.error: FailedError | None = None

    def __await__(self) -> Generator[Wait, Any, T]:
        scheduler = self.ledger.scheduler
        if self.begun:
            raise scheduler.misuse(f"{self.asked.name} was awaited twice: make a new operation")
        self.begun = True
        self.ledger.unawaited.pop(self, None)
        task = scheduler.current()
        around = task.frame
        place = around.path(self.asked.name)
        task.frame = Frame(place)
        try:
            value = yield from self._work(place).__await__()
        finally:
            task.frame = around
        typed: T = self.typed(value)
        return typed

    async def _work(self, place: str) -> Any:
        asked = self.asked
        body = codec.Encoded(self.ledger.encode(self.input))
        told = {
            "name": asked.name,
            "service": asked.service,
            "operation": asked.operation,
            "kind": asked.kind,
        }
        facts = {**self.names, "params": codec.decode(body.body, LARGE), "step": told}
        held = self.held(place)

        async def ask(anew: bool) -> Gave | Failure:  # noqa: FBT001 - as ``through`` asks
            operation = self.make(body, anew)
            try:
                value = await operation
            except FailedError as error:
                self.error = error
                return error.failure
            finally:
                self.path = held.path = operation.path or place
            return Gave(value, getattr(operation, "attempt", 1))

        found = await held.through(facts, ask, asked.options, undoable=asked.undoable)
        self.path = self.path or place
        if not isinstance(found, Failure):
            return found.result
        if self.error is not None and self.error.failure is found:
            raise self.error
        raise StepFailedError(self.path, found)
