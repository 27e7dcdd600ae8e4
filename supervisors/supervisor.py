"""The supervisor: a trio nursery and one loop that carries out pure decisions.

    children ──exit──┐                        ┌── restarts(), affected(), window.admit(),
    callers ─command─┼──> events ──> the loop ┤   backoff.before()      (pure, told the time)
    due restarts ────┘                        └── start in order, stop in reverse, escalate

The loop does one thing at a time, as OTP's does: a restart that fails goes back into it, and a
request to stop overtakes everything because it cancels the scope in which the loop works.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Literal, NoReturn

import structlog
import trio

from actors.core.future import TrioFuture
from protocols.errors import (
    AlreadyExistsError,
    MovantError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
)
from supervisors import report as reports
from supervisors.backoff import Backoff, failures_in_a_row
from supervisors.child import (
    ChildKilledError,
    ChildSpec,
    ChildStatus,
    StartFailedError,
    check,
    restarts,
)
from supervisors.incarnation import Child, ChildView, Run, view_of
from supervisors.intensity import Intensity, RestartIntensityExceededError, RestartWindow
from supervisors.strategy import Strategy, affected

log = structlog.get_logger()

COMMANDS_MAX: Final = 1_000
"""Commands (start, terminate, restart a child) that may wait; each is carried out in turn."""


class _Command:
    def __init__(self, work: Callable[[], Awaitable[Any]]) -> None:
        self.work = work
        self.answer: TrioFuture[Any] = TrioFuture()


class Supervisor:
    """Starts children in order, restarts them by its strategy, stops them in reverse order.

    ``run`` is itself a start function, so a supervisor is a child like any other. A run that is
    cancelled kills its children at once; ``request_stop`` is the orderly way.
    """

    def __init__(
        self,
        name: str,
        children: Iterable[ChildSpec] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: Intensity | None = None,
        backoff: Backoff | None = None,
        report: reports.Told | None = None,
        seed: str = "",
    ) -> None:
        specs = tuple(children)
        check(specs)
        self.name = name
        self.strategy = strategy
        self._children = {spec.id: Child(spec) for spec in specs}
        self._intensity = intensity or Intensity()
        self._backoff = backoff or Backoff()
        self._window = RestartWindow(self._intensity)
        self._report = report
        self._seed = f"{seed}/{name}"
        self._events: deque[Run | _Command] = deque()
        self._wake = trio.Event()
        self._work = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._state: Literal["new", "running", "ended"] = "new"

    # What callers use.

    async def run(self, *, task_status: ChildStatus | None = None) -> None:
        """Start the children, report ``started``, and supervise until asked to stop.

        Raises StartFailedError and RestartIntensityExceededError, after the children have been
        stopped.
        """
        assert self._state == "new", "a supervisor runs once: make a new one"
        self._state = "running"
        failure: MovantError | None = None
        try:
            async with trio.open_nursery() as self._nursery:
                try:
                    with self._work:
                        await self._start_first()
                        if task_status is not None:
                            task_status.started(self, stop=self.request_stop)
                        await self._serve()
                except (StartFailedError, RestartIntensityExceededError) as error:
                    failure = error
                self._state = "ended"
                await self._stop_group(list(self._children))
        finally:
            self._state = "ended"
            self._refuse_commands()
        if failure is not None:
            raise failure

    def request_stop(self) -> None:
        """Stop all children in reverse order and end ``run``. Idempotent, does not wait."""
        self._work.cancel()

    async def start_child(self, spec: ChildSpec) -> Any:
        """Add a child behind the others and start it; return what it reported.

        Raises AlreadyExistsError, ConfigurationError, StartFailedError (the child is then not
        kept), UnavailableError.
        """
        check([spec])
        return await self._command(partial(self._do_start, spec))

    async def terminate_child(self, child_id: str) -> None:
        """Stop a child and keep its spec; a temporary one is forgotten. Raises NotFoundError."""
        await self._command(partial(self._do_terminate, child_id))

    async def restart_child(self, child_id: str) -> Any:
        """Start a child again that has ended or was terminated, or stop and start a running one.

        An operator's restart does not count against the intensity.
        """
        return await self._command(partial(self._do_restart, child_id))

    def kill_child(self, child_id: str) -> None:
        """Cancel a child where it stands; it exits as ``killed`` and is restarted as such."""
        run = self._child(child_id).run
        if run is not None:
            run.scope.cancel()

    def value_of(self, child_id: str) -> Any:
        """Return what the current incarnation of a child reported, or None."""
        run = self._child(child_id).run
        return None if run is None else run.value

    def view(self) -> ChildView:
        """Return this supervisor and everything below it as data."""
        now = trio.current_time()
        return ChildView(
            id=self.name,
            type="supervisor",
            status={"new": "starting", "running": "running", "ended": "finished"}[self._state],  # type: ignore[arg-type]  # the values are Status
            restarts=sum(child.restarts for child in self._children.values()),
            strategy=self.strategy,
            children=tuple(view_of(child, now) for child in self._children.values()),
        )

    # The loop.

    async def _start_first(self) -> None:
        for child in self._children.values():
            run = await self._start(child)
            if not run.is_started:
                raise self._start_failed(run)

    async def _serve(self) -> NoReturn:
        while True:
            await self._restart_due()
            if not self._events:
                self._wake = trio.Event()
                with trio.move_on_at(self._next_due()):
                    await self._wake.wait()
                continue
            event = self._events.popleft()
            if isinstance(event, Run):
                await self._exited(event)
            else:
                await self._carry_out(event)

    async def _carry_out(self, command: _Command) -> None:
        try:
            command.answer.set(await command.work())
        except MovantError as error:
            command.answer.fail(error)
        finally:
            if not command.answer.done:
                command.answer.fail(self._gone())

    async def _exited(self, run: Run) -> None:
        """Decide what follows from the end of an incarnation that had started."""
        child = run.child
        if run is not child.run or child.status != "running":
            return  # stopped by us meanwhile
        child.run = None
        self._note_exit(run, "run")
        await self._after_exit(run)

    async def _after_exit(self, run: Run) -> None:
        child = run.child
        if not restarts(child.spec.restart, run.exit):
            child.status = "finished"
            if child.spec.restart == "temporary":
                del self._children[child.id]
            return
        now = trio.current_time()
        if not self._window.admit(now):
            self._tell("supervisor.escalated", child, "run", "intensity", error=run.error)
            child.status = "finished"
            raise RestartIntensityExceededError(
                self.name,
                child.id,
                restarts_max=self._intensity.restarts_max,
                period_s=self._intensity.period_s,
            ) from run.error
        ran_s = 0.0 if child.started_at is None else now - child.started_at
        child.failures = failures_in_a_row(child.failures, ran_s, self._intensity.period_s)
        child.restarts += 1
        delay_s = self._backoff.before(child.failures, f"{self._seed}/{child.id}")
        self._tell("child.restarting", child, "run", run.exit, error=run.error, delay_s=delay_s)
        group = list(affected(self.strategy, list(self._children), child.id))
        child.status = "restarting"
        await self._stop_group(group)
        self._plan(group, trio.current_time() + delay_s)

    def _plan(self, group: Sequence[str], due: float) -> None:
        """Mark a group for a restart at ``due``; who was to come earlier waits with it."""
        for child_id in group:
            child = self._children.get(child_id)
            if child is None or child.status == "terminated":
                continue
            if child.spec.restart == "temporary":
                del self._children[child_id]
                continue
            child.due = max(due, child.due) if child.status == "restarting" else due
            child.status = "restarting"

    def _next_due(self) -> float:
        return min(
            (child.due for child in self._children.values() if child.status == "restarting"),
            default=float("inf"),
        )

    async def _restart_due(self) -> None:
        for child in list(self._children.values()):
            if child.status == "restarting" and child.due <= trio.current_time():
                run = await self._start(child)
                if not run.is_started:
                    # OTP: a failed restart is one more failure, and shutdown may come first.
                    await self._after_exit(run)
                    return

    # Commands.

    async def _command(self, work: Callable[[], Awaitable[Any]]) -> Any:
        if self._state == "ended" or self._work.cancel_called:
            raise self._gone()
        if len(self._events) >= COMMANDS_MAX + len(self._children):
            raise OverloadedError(f"{COMMANDS_MAX} commands wait for supervisor {self.name}")
        command = _Command(work)
        self._post(command)
        return await command.answer

    async def _do_start(self, spec: ChildSpec) -> Any:
        if spec.id in self._children:
            raise AlreadyExistsError(
                f"{self.name} has a child {spec.id!r} already",
                hint="restart_child starts it again",
            )
        child = self._children[spec.id] = Child(spec)
        run = await self._start(child)
        if not run.is_started:
            del self._children[spec.id]
            raise self._start_failed(run)
        return run.value

    async def _do_terminate(self, child_id: str) -> None:
        child = self._child(child_id)
        await self._stop(child)
        child.status = "terminated"
        if child.spec.restart == "temporary":
            del self._children[child_id]

    async def _do_restart(self, child_id: str) -> Any:
        child = self._child(child_id)
        await self._stop(child)
        child.restarts += 1
        run = await self._start(child)
        if not run.is_started:
            child.status = "terminated"
            raise self._start_failed(run)
        return run.value

    # Mechanism: one incarnation.

    async def _start(self, child: Child) -> Run:
        """Start an incarnation and wait until it reports, ends or runs out of time."""
        assert self._nursery is not None
        child.status = "starting"
        child.due = 0.0
        child.started_at = None
        run = child.run = Run(child)
        self._nursery.start_soon(self._run_child, run, name=f"{self.name}/{child.id}")
        with trio.move_on_after(child.spec.start_timeout_s):
            await run.settled.wait()
        if not run.is_started:
            if not run.ended.is_set():
                run.error = trio.TooSlowError(
                    f"not started within {child.spec.start_timeout_s:g} s"
                )
                run.scope.cancel()
                await run.ended.wait()
                run.exit = "error"
            elif run.exit == "normal":
                run.error = RuntimeError("it returned without reporting that it has started")
                run.exit = "error"
            child.run = None
            self._note_exit(run, "start")
            return run
        child.status = "running"
        child.started_at = trio.current_time()
        self._tell("child.started", child, "start", "started")
        return run

    async def _run_child(self, run: Run) -> None:
        try:
            with run.scope:
                await run.child.spec.start(task_status=run)
                run.exit = "normal"
        except ChildKilledError:
            run.exit = "killed"
        except Exception as error:  # noqa: BLE001  # the boundary where a child's crash ends
            run.exit, run.error = "error", error
        finally:
            run.ended.set()
            run.settled.set()
            if run.is_started:
                self._post(run)

    async def _stop_group(self, group: Sequence[str]) -> None:
        for child_id in reversed(group):
            child = self._children.get(child_id)
            if child is not None:
                await self._stop(child)

    async def _stop(self, child: Child) -> None:
        """Ask a child to end, wait as long as its spec allows, then kill it."""
        run = child.run
        if run is None:
            return
        resumes = child.status
        child.status = "stopping"
        shutdown = child.spec.shutdown
        if shutdown == "brutal" or not run.ask_to_stop():
            run.scope.cancel()
        with trio.move_on_after(float("inf") if isinstance(shutdown, str) else shutdown):
            await run.ended.wait()
        overdue = not run.ended.is_set()
        if overdue:
            run.scope.cancel()
            # A child that shields its clean-up from a kill is waited for: trio, on purpose, has
            # no way to abandon a task.
            await run.ended.wait()
        child.run = None
        child.status = "finished" if resumes in {"running", "stopping"} else resumes
        self._note_exit(run, "shutdown", "overdue" if overdue else "")

    # Helpers.

    def _note_exit(self, run: Run, context: reports.Context, reason: str = "") -> None:
        if run.error is not None:
            run.child.last_error = run.error
        failed = run.error is not None or (run.exit == "killed" and context == "run")
        event: reports.Event = "child.failed" if failed else "child.stopped"
        self._tell(event, run.child, context, reason or run.exit, error=run.error)

    def _tell(
        self,
        event: reports.Event,
        child: Child,
        context: reports.Context,
        reason: str,
        *,
        error: BaseException | None = None,
        delay_s: float = 0.0,
    ) -> None:
        report = reports.Report(
            event=event,
            supervisor=self.name,
            child=child.id,
            context=context,
            reason=reason,
            restarts=child.restarts,
            at=trio.current_time(),
            delay_s=delay_s,
            error=error,
        )
        reports.write(report)
        if self._report is not None:
            self._report(report)

    def _post(self, event: Run | _Command) -> None:
        self._events.append(event)
        self._wake.set()

    def _child(self, child_id: str) -> Child:
        child = self._children.get(child_id)
        if child is None:
            raise NotFoundError(f"{self.name} has no child {child_id!r}", hint="movant actor tree")
        return child

    def _start_failed(self, run: Run) -> StartFailedError:
        error = StartFailedError(self.name, run.child.id, str(run.error or run.exit))
        error.__cause__ = run.error
        return error

    def _gone(self) -> UnavailableError:
        return UnavailableError(f"supervisor {self.name} is stopping or has ended")

    def _refuse_commands(self) -> None:
        for event in self._events:
            if isinstance(event, _Command):
                event.answer.fail(self._gone())
        self._events.clear()
