"""An independent model of the kernel: programs run by continuations, without a coroutine.

Every strand has a position in the tree of strands, a scope, and at most one wait. A wait holds
the continuation to call with an outcome. What becomes runnable stands in one queue; that and
the order by position (parents before children, older before younger) is all that decides who
goes first.

A program that continues leaves its signals and what it knows of decided steps to the program of
the next generation.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.kernel import programs as p

if TYPE_CHECKING:
    from collections.abc import Callable

NS: Final = 1_000_000_000


@dataclass(frozen=True)
class Outcome:
    """How a node ended. ``detail`` is the path of a timer that ran out."""

    kind: Literal["value", "error", "cancelled", "continue"]
    value: Any = None
    detail: str = ""


CANCELLED: Final = Outcome("cancelled")
CONTINUE: Final = Outcome("continue")


@dataclass(eq=False)
class Region:
    """A cancel scope."""

    outer: Region | None
    shield: bool = False
    asked: bool = False

    def dead(self) -> bool:
        """Whether waits in here end as cancelled."""
        if self.asked:
            return True
        return not self.shield and self.outer is not None and self.outer.dead()


@dataclass(eq=False)
class Names:
    """Counts names at one place of the tree of paths."""

    prefix: str
    used: dict[str, int] = field(default_factory=dict)

    def next(self, name: str) -> str:
        """Return the next path of that name."""
        self.used[name] = self.used.get(name, 0) + 1
        suffix = f"#{self.used[name]}" if self.used[name] > 1 else ""
        return f"{self.prefix}/{name}{suffix}"


@dataclass(eq=False)
class Strand:
    """One strand of the program."""

    position: tuple[int, ...]
    names: Names
    region: Region
    children: int = 0


@dataclass(eq=False)
class Wait:
    """A suspended operation."""

    strand: Strand
    then: Callable[[Outcome], None]
    path: str
    call: p.Call | None = None
    attempt: int = 1
    due: int = 0


@dataclass(eq=False)
class Group:
    """Strands that begin and end together."""

    path: str
    region: Region
    until: Literal["error", "first", "never"]
    live: int = 0
    first: tuple[str, Outcome] | None = None
    error: Outcome | None = None
    continues: bool = False
    cut: bool = False
    results: dict[str, Outcome] = field(default_factory=dict)
    joined: Callable[[], None] | None = None


class Model:
    """Runs a program per generation against mails that are given as method calls."""

    def __init__(self, *programs: p.Node) -> None:
        self.programs = programs
        self.generation = 1
        self.went = False
        self.now = 0
        self.status = "pending"
        self.outcome = Outcome("value")
        self.asks: dict[str, Wait] = {}
        self.timers: dict[str, Wait | Region] = {}
        self.dues: dict[str, int] = {}
        self.takers: dict[str, list[Wait]] = {}
        self.signals: dict[str, deque[Any]] = {}
        self.winners: dict[str, int] = {}
        self.late: set[tuple[str, int]] = set()
        self.whole = Region(None)
        self.cancel_came = False
        self._queue: deque[Callable[[], None]] = deque()

    # Mails

    def start(self) -> None:
        """Begin the program."""
        self.status = "running"
        self._begin("")
        self._settle()

    def _begin(self, root: str) -> None:
        strand = Strand((), Names(root), self.whole)
        program = self.programs[self.generation - 1]
        self._queue.append(lambda: self._run(program, strand, self._end))

    def reply(self, path: str, attempt: int, value: Any) -> None:
        """Take a success."""
        if self.status == "blocked":
            return
        wait = self.asks.get(path)
        if wait is None:
            if attempt != self.winners[path]:
                self.late.add((path, attempt))
            return
        self._decide(path, attempt)
        self._later(wait, Outcome("value", value))

    def fail(self, path: str, attempt: int, kind: str) -> None:
        """Take a failure of an attempt."""
        wait = self.asks.get(path)
        if wait is None or wait.attempt != attempt:
            return
        assert wait.call is not None
        if attempt < wait.call.attempts and kind != "refused":
            wait.attempt += 1
            wait.due = self.now + p.RETRY_DELAY_S * NS
            return
        self._decide(path, 0)
        self._later(wait, Outcome("error", kind))

    def time_out(self, path: str, attempt: int, at: int) -> None:
        """Take the word that an attempt is lost."""
        wait = self.asks.get(path)
        if wait is not None and at >= wait.due + p.ATTEMPT_TIMEOUT_S * NS:
            self.fail(path, attempt, "timeout")

    def fire(self, path: str, at: int) -> None:
        """Let a timer fire."""
        target = self.timers.get(path)
        if target is None or at < self.dues[path]:
            return
        del self.timers[path]
        if isinstance(target, Wait):
            self._later(target, Outcome("value"))
        else:
            self._kill(target)
            self._settle()

    def signal(self, name: str, value: Any) -> None:
        """Take a signal."""
        if self.status not in {"running", "pending"}:
            return
        takers = self.takers.get(name, [])
        if takers:
            self._later(takers.pop(0), Outcome("value", value))
        else:
            self.signals.setdefault(name, deque()).append(value)

    def cancel(self) -> None:
        """Cancel the whole."""
        if self.status == "blocked":
            self.status = "cancelled"
        elif self.status == "running":
            self.cancel_came = True
            self._kill(self.whole)
            self._settle()

    # The machinery

    def _settle(self) -> None:
        while self._queue:
            self._queue.popleft()()

    def _later(self, wait: Wait, outcome: Outcome) -> None:
        self._queue.append(lambda: wait.then(outcome))
        self._settle()

    def _decide(self, path: str, attempt: int) -> None:
        del self.asks[path]
        self.winners[path] = attempt

    def _waits(self) -> list[Wait]:
        timers = [wait for wait in self.timers.values() if isinstance(wait, Wait)]
        takers = [wait for queue in self.takers.values() for wait in queue]
        return [*self.asks.values(), *timers, *takers]

    def _kill(self, region: Region) -> None:
        if region.asked:
            return
        region.asked = True
        hit = [wait for wait in self._waits() if wait.strand.region.dead()]
        for wait in sorted(hit, key=lambda wait: wait.strand.position):
            if wait.path in self.asks:
                self._decide(wait.path, 0)
            self.timers.pop(wait.path, None)
            for queue in self.takers.values():
                if wait in queue:
                    queue.remove(wait)
            self._queue.append(partial(wait.then, CANCELLED))

    def _end(self, outcome: Outcome) -> None:
        if outcome.kind == "continue" and not self.cancel_came:
            self.generation += 1
            self.whole, self.went = Region(None), False
            self._begin(f"/@{self.generation}")
            return
        if outcome.kind == "value" and self.went:
            self.status = "blocked"
            return
        if outcome.kind == "continue":
            outcome = CANCELLED
        self.outcome = outcome
        self.status = {"value": "completed", "error": "failed", "cancelled": "cancelled"}[
            outcome.kind
        ]
        self.signals.clear()

    # The language

    def _run(self, node: p.Node, strand: Strand, then: Callable[[Outcome], None]) -> None:
        getattr(self, f"_run_{type(node).__name__.lower()}")(node, strand, then)

    def _run_call(self, node: p.Call, strand: Strand, then: Callable[[Outcome], None]) -> None:
        if strand.region.dead():
            then(CANCELLED)
            return
        path = strand.names.next(f"svc.{node.name}")
        self.asks[path] = Wait(strand, then, path, call=node, due=self.now)

    def _run_sleep(self, node: p.Sleep, strand: Strand, then: Callable[[Outcome], None]) -> None:
        if strand.region.dead():
            then(CANCELLED)
            return
        path = strand.names.next("sleep")
        self.dues[path] = self.now + node.seconds * NS
        self.timers[path] = Wait(strand, then, path)

    def _run_take(self, node: p.Take, strand: Strand, then: Callable[[Outcome], None]) -> None:
        if strand.region.dead():
            then(CANCELLED)
            return
        path = strand.names.next(f"signal.{node.name}")
        buffered = self.signals.get(node.name)
        if buffered:
            then(Outcome("value", buffered.popleft()))
        else:
            self.takers.setdefault(node.name, []).append(Wait(strand, then, path))

    def _run_fail(self, node: p.Fail, _strand: Strand, then: Callable[[Outcome], None]) -> None:
        then(Outcome("error", node.kind))

    def _run_go(self, _node: p.Go, strand: Strand, then: Callable[[Outcome], None]) -> None:
        if self.generation == p.GENERATIONS:
            then(Outcome("value"))
        elif strand.region.dead():
            then(CANCELLED)
        else:
            self.went = True
            then(CONTINUE)

    def _run_seq(self, node: p.Seq, strand: Strand, then: Callable[[Outcome], None]) -> None:
        values: list[Any] = []

        def go_on(outcome: Outcome | None) -> None:
            if outcome is not None:
                if outcome.kind != "value":
                    then(outcome)
                    return
                values.append(outcome.value)
            if len(values) == len(node.parts):
                then(Outcome("value", values))
            else:
                self._run(node.parts[len(values)], strand, go_on)

        go_on(None)

    def _run_catch(self, node: p.Catch, strand: Strand, then: Callable[[Outcome], None]) -> None:
        def caught(outcome: Outcome) -> None:
            if outcome.kind != "error":
                then(outcome)
            elif outcome.detail:
                then(Outcome("value", ["caught", "timeout", outcome.detail]))
            else:
                then(Outcome("value", ["caught", outcome.value]))

        self._run(node.body, strand, caught)

    def _run_shield(self, node: p.Shield, strand: Strand, then: Callable[[Outcome], None]) -> None:
        self._inside(Region(strand.region, shield=True), node.body, strand, then)

    def _run_finally(
        self, node: p.Finally, strand: Strand, then: Callable[[Outcome], None]
    ) -> None:
        def clean_up(outcome: Outcome) -> None:
            def done(cleaned: Outcome) -> None:
                then(outcome if cleaned.kind == "value" else cleaned)

            self._inside(Region(strand.region, shield=True), node.cleanup, strand, done)

        self._run(node.body, strand, clean_up)

    def _run_timeout(
        self, node: p.Timeout, strand: Strand, then: Callable[[Outcome], None]
    ) -> None:
        region = Region(strand.region)
        path = strand.names.next("timeout")
        if node.seconds == 0:
            region.asked = True
        elif not region.dead():
            self.timers[path] = region
            self.dues[path] = self.now + node.seconds * NS

        def left(outcome: Outcome) -> None:
            self.timers.pop(path, None)
            if outcome.kind != "cancelled" or not region.asked:
                then(outcome)
            elif node.raises:
                then(Outcome("error", "timeout", path))
            else:
                then(Outcome("value", "moved on"))

        self._inside(region, node.body, strand, left)

    def _inside(
        self, region: Region, body: p.Node, strand: Strand, then: Callable[[Outcome], None]
    ) -> None:
        strand.region = region

        def left(outcome: Outcome) -> None:
            assert region.outer is not None
            strand.region = region.outer
            then(outcome)

        self._run(body, strand, left)

    def _run_gather(self, node: p.Gather, strand: Strand, then: Callable[[Outcome], None]) -> None:
        if strand.region.dead():
            then(CANCELLED)
            return
        group = self._group(strand, "gather", "never" if node.collect else "error")
        keys = self._spawn(group, strand, {str(i): part for i, part in enumerate(node.parts)})

        def joined() -> None:
            errors = [key for key in keys if group.results[key].kind == "error"]
            if group.continues:
                then(CONTINUE)
            elif group.error is not None:
                then(group.error)
            elif group.cut and not group.region.asked:
                then(CANCELLED)
            elif errors:
                then(Outcome("error", group.results[errors[0]].value))
            else:
                then(Outcome("value", [group.results[key].value for key in keys]))

        group.joined = joined

    def _run_race(self, node: p.Race, strand: Strand, then: Callable[[Outcome], None]) -> None:
        if strand.region.dead():
            then(CANCELLED)
            return
        group = self._group(strand, "race", "first")
        self._spawn(group, strand, {str(i): part for i, part in enumerate(node.parts)})

        def joined() -> None:
            if group.continues:
                then(CONTINUE)
            elif group.error is not None:
                then(group.error)
            elif group.cut and not group.region.asked:
                then(CANCELLED)
            else:
                assert group.first is not None
                key, outcome = group.first
                then(Outcome("value", [key, outcome.value]))

        group.joined = joined

    def _run_scope(self, node: p.Scope, strand: Strand, then: Callable[[Outcome], None]) -> None:
        if strand.region.dead():
            then(CANCELLED)
            return
        group = self._group(strand, "scope", "error")
        around, outer = strand.names, strand.region
        strand.names, strand.region = Names(group.path), group.region
        keys = self._spawn(
            group,
            strand,
            {str(i): task for i, task in enumerate(node.tasks)},
            names=strand.names,
        )

        def body_ended(outcome: Outcome) -> None:
            if outcome.kind == "error":
                group.error = group.error or outcome
                self._kill(group.region)
            elif outcome.kind == "continue":
                group.continues = True
                self._kill(group.region)

            def joined() -> None:
                strand.names, strand.region = around, outer
                if group.continues:
                    then(CONTINUE)
                elif group.error is not None:
                    then(group.error)
                elif outcome.kind == "cancelled" or group.cut:
                    then(CANCELLED)
                else:
                    rest = [group.results[key].value for key in keys]
                    then(Outcome("value", [outcome.value, *rest]))

            if group.live:
                group.joined = joined
            else:
                joined()

        self._run(node.body, strand, body_ended)

    def _group(
        self, strand: Strand, name: str, until: Literal["error", "first", "never"]
    ) -> Group:
        return Group(strand.names.next(name), Region(strand.region), until)

    def _spawn(
        self,
        group: Group,
        parent: Strand,
        parts: dict[str, p.Node],
        *,
        names: Names | None = None,
    ) -> list[str]:
        for key, part in parts.items():
            prefix = names.next("task") if names is not None else f"{group.path}/{key}"
            parent.children += 1
            strand = Strand((*parent.position, parent.children), Names(prefix), group.region)
            group.live += 1

            ended = partial(self._branch_ended, group, key)
            self._queue.append(partial(self._run, part, strand, ended))
        return list(parts)

    def _branch_ended(self, group: Group, key: str, outcome: Outcome) -> None:
        group.live -= 1
        group.results[key] = outcome
        if outcome.kind == "cancelled":
            group.cut = True
        else:
            won = group.first is None
            if won:
                group.first = (key, outcome)
            if outcome.kind == "continue":
                group.continues = True
                if group.until != "never":
                    self._kill(group.region)
            elif outcome.kind == "error" and group.until != "never":
                if group.error is None and (group.until == "error" or won):
                    group.error = outcome
                self._kill(group.region)
            elif group.until == "first":
                self._kill(group.region)
        if not group.live and group.joined is not None:
            self._queue.append(group.joined)
