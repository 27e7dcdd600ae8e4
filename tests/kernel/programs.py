"""Random workflow programs: a small language, and how the kernel runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from actors.kernel.outcome import failure_of
from protocols.errors import FailError, TimedOutError, WorkflowError
from protocols.policy import Retry
from protocols.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.kernel.context import Context

RETRY_DELAY_S: Final = 2
ATTEMPT_TIMEOUT_S: Final = 5
GENERATIONS: Final = 4
SIGNALS: Final = ("red", "blue")


@dataclass(frozen=True)
class Call:
    """A step that is tried up to ``attempts`` times."""

    name: str
    attempts: int


@dataclass(frozen=True)
class Sleep:
    """A durable sleep."""

    seconds: int


@dataclass(frozen=True)
class Take:
    """Take the next signal."""

    name: str


@dataclass(frozen=True)
class Fail:
    """Raise an error of the workflow."""

    kind: str


@dataclass(frozen=True)
class Go:
    """Continue as new; nothing in the last generation."""


@dataclass(frozen=True)
class Seq:
    """One after the other; a list of results."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Gather:
    """Side by side."""

    parts: tuple[Node, ...]
    collect: bool


@dataclass(frozen=True)
class Race:
    """Side by side, the first wins."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Scope:
    """A nursery with tasks and a body."""

    tasks: tuple[Node, ...]
    body: Node


@dataclass(frozen=True)
class Timeout:
    """A bounded block, which raises or moves on."""

    seconds: int
    body: Node
    raises: bool


@dataclass(frozen=True)
class Shield:
    """A block hidden from cancellation."""

    body: Node


@dataclass(frozen=True)
class Catch:
    """A block whose error becomes its result."""

    body: Node


@dataclass(frozen=True)
class Finally:
    """A block with a shielded clean-up."""

    body: Node
    cleanup: Node


Node = (
    Call
    | Sleep
    | Take
    | Fail
    | Go
    | Seq
    | Gather
    | Race
    | Scope
    | Timeout
    | Shield
    | Catch
    | Finally
)


async def execute(ctx: Context, node: Node) -> Any:  # noqa: C901, PLR0912 - one case per node
    """Run a program on the kernel."""
    match node:
        case Call(name, attempts):
            retry = Retry(attempts=attempts, backoff="fixed", delay_s=RETRY_DELAY_S, jitter=0)
            return await ctx.call("svc", name, retry=retry, timeout_s=ATTEMPT_TIMEOUT_S)
        case Sleep(seconds):
            return await ctx.sleep(seconds)
        case Take(name):
            return await ctx.signal(name)
        case Fail(kind):
            raise FailError(kind, "on purpose")
        case Go():
            if ctx.generation < GENERATIONS:
                ctx.continue_as(ctx.generation)
            return None
        case Seq(parts):
            return [await execute(ctx, part) for part in parts]
        case Gather(parts, collect):
            return await ctx.gather(*(execute(ctx, part) for part in parts), collect=collect)
        case Race(parts):
            winner = await ctx.race(*(execute(ctx, part) for part in parts))
            return [winner.key, winner.value]
        case Scope(tasks, body):
            async with ctx.scope() as scope:
                handles = [scope.start(execute(ctx, task)) for task in tasks]
                value = await execute(ctx, body)
            return [value, *(handle.result() for handle in handles)]
        case Timeout(seconds, body, raises):
            with ctx.timeout(seconds) if raises else ctx.move_on_after(seconds):
                return await execute(ctx, body)
            return "moved on"
        case Shield(body):
            with ctx.shield():
                return await execute(ctx, body)
        case Catch(body):
            try:
                return await execute(ctx, body)
            except TimedOutError as error:
                return ["caught", "timeout", error.path]
            except WorkflowError as error:
                return ["caught", failure_of(error).kind]
        case Finally(body, cleanup):
            try:
                return await execute(ctx, body)
            finally:
                with ctx.shield():
                    await execute(ctx, cleanup)


_calls = st.builds(Call, st.sampled_from(["a", "b"]), st.integers(1, 3))
_sleeps = st.builds(Sleep, st.integers(0, 4))
_takes = st.builds(Take, st.sampled_from(SIGNALS))
_fails = st.builds(Fail, st.sampled_from(["unfit", "unripe"]))
_waits: st.SearchStrategy[Node] = st.one_of(_calls, _calls, _calls, _sleeps, _takes, _takes)
_leaves: st.SearchStrategy[Node] = st.one_of(_waits, _waits, _waits, _fails)


def _compose(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    parts = st.lists(inner, min_size=1, max_size=3).map(tuple)
    pair = st.tuples(inner, inner)
    return st.one_of(
        st.builds(Seq, pair),
        st.builds(Gather, pair, st.booleans()),
        st.builds(Gather, parts, st.booleans()),
        st.builds(Race, pair),
        st.builds(Race, parts),
        st.builds(Scope, parts, inner),
        st.builds(Timeout, st.integers(0, 4), inner, st.booleans()),
        st.builds(Timeout, st.integers(1, 4), inner, st.booleans()),
        st.builds(Shield, inner),
        st.builds(Catch, inner),
        st.builds(Finally, inner, inner),
    )


_small = _compose(_leaves)
_middle = _compose(st.one_of(_leaves, _small, _small))
_large = _compose(st.one_of(_leaves, _small, _middle, _middle))
_part = st.one_of(_large, st.builds(Catch, _large), st.builds(Catch, _middle))

PROGRAMS: Final[st.SearchStrategy[Node]] = st.one_of(
    _part, st.builds(Seq, st.lists(_part, min_size=2, max_size=4).map(tuple))
)


_going = _compose(st.one_of(_leaves, _leaves, st.builds(Go), _small, _compose(st.builds(Go))))
CONTINUING: Final[st.SearchStrategy[list[Node]]] = st.lists(
    st.builds(Seq, st.tuples(st.one_of(_going, st.builds(Catch, _going)), st.builds(Go))),
    min_size=GENERATIONS,
    max_size=GENERATIONS,
)
"""A program for each generation."""


def grown(rng: Rng, depth: int, *, goes: bool = False) -> Node:
    """Return a random program of up to ``depth`` levels; larger than hypothesis likes them."""
    if depth == 0:
        return Go() if goes and rng.integer(0, 9) == 0 else _grown_leaf(rng)

    def inner() -> Node:
        return grown(rng, depth - 1 if rng.integer(0, 3) else 0, goes=goes)

    def several() -> tuple[Node, ...]:
        return tuple(inner() for _ in range(rng.integer(1, 3)))

    makers: list[Callable[[], Node]] = [
        lambda: Seq(several()),
        lambda: Seq(several()),
        lambda: Gather(several(), collect=False),
        lambda: Gather(several(), collect=True),
        lambda: Race(several()),
        lambda: Scope(several(), inner()),
        lambda: Timeout(rng.integer(0, 6), inner(), raises=rng.integer(0, 1) == 1),
        lambda: Shield(inner()),
        lambda: Finally(inner(), inner()),
        lambda: Catch(inner()),
    ]
    return makers[rng.integer(0, len(makers) - 1)]()


def _grown_leaf(rng: Rng) -> Node:
    pick = rng.integer(0, 19)
    if pick == 0:
        return Fail("unfit")
    if pick <= 4:
        return Sleep(rng.integer(0, 4))
    if pick <= 8:
        return Take(SIGNALS[rng.integer(0, 1)])
    return Call("ab"[rng.integer(0, 1)], rng.integer(1, 3))
