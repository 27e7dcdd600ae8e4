"""Random programs with undo, and failures at every step and at every undo.

The world is simulated: services that do, refuse, fail, lose requests and replies, or do it when
everybody has given up. ``p`` refuses a key after its undo, ``q`` cannot if it never saw it.
Children end in every way, also after their cancel, and their undo may fail.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.kernel.context import Context
from actors.kernel.undoing import NEVER
from protocols.compensation import NEVER_SEEN, Undo
from protocols.definition import Workflow
from protocols.effects import FINAL, Ask, CancelChild, Emit, Spawn, UndoChild
from protocols.errors import FailError, WorkflowError
from protocols.policy import Retry, StepOptions
from protocols.rng import Rng
from tests.kernel.mailbox import Mailbox

UNDO: Final = {
    "p": Undo("undo", retry=Retry(attempts=2, jitter=0.0)),
    "q": Undo("undo", retry=Retry(attempts=2, jitter=0.0), settle_s=5),
}
RETRY: Final = Retry(attempts=2, jitter=0.0)
OPTIONS: Final = StepOptions(retry=RETRY, timeout_s=10)
TURNS_MAX: Final = 300
"""Far above what the largest program takes; only a defect gets there."""

LEAVES: Final = (
    *("p", "q", "p", "q", "p!", "q!", "p?", "q?", "child", "child"),
    *("plain", "fail", "pivot"),
)
"""``!``: asked for again when it fails; ``?``: cut short, and asked for again later."""
KINDS: Final = ("seq", "seq", "gather", "race", "saga", "catch", "timeout")


def grown(rng: Rng, depth: int) -> Any:
    """Return a random program of so many levels."""
    if depth == 0:
        return LEAVES[rng.integer(0, len(LEAVES) - 1)]
    parts = [grown(rng, depth - rng.integer(1, depth)) for _ in range(rng.integer(1, 3))]
    return (KINDS[rng.integer(0, len(KINDS) - 1)], parts)


def grown_with_choices(seed: int) -> tuple[Any, list[int]]:
    """Return a program and what happens to it; half of them fail when all is done."""
    rng = Rng(f"undo/{seed}")
    program = ("seq", [grown(rng, rng.integer(1, 3)) for _ in range(rng.integer(1, 3))])
    if rng.integer(0, 1):
        program = ("seq", [program, "fail"])
    return program, [rng.integer(0, 839) for _ in range(200)]


WORLDS: Final = st.integers(0, 2**32).map(grown_with_choices)
CHECKED = settings(
    deadline=None,
    derandomize=True,
    max_examples=500,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


async def execute(ctx: Context, program: Any) -> None:
    """Run a program."""
    if isinstance(program, str):
        await _leaf(ctx, program)
        return
    kind, parts = program
    if kind == "gather":
        await ctx.gather(*(execute(ctx, part) for part in parts))
    elif kind == "race":
        await ctx.race(*(execute(ctx, part) for part in parts))
    elif kind == "saga":
        async with ctx.saga():
            await _all(ctx, parts)
    elif kind == "catch":
        try:
            await _all(ctx, parts)
        except WorkflowError:
            await ctx.sleep(1)
    elif kind == "timeout":
        with ctx.timeout(15):
            await _all(ctx, parts)
    else:
        await _all(ctx, parts)


async def _all(ctx: Context, parts: list[Any]) -> None:
    for part in parts:
        await execute(ctx, part)


async def _leaf(ctx: Context, leaf: str) -> None:
    if leaf == "fail":
        await ctx.sleep(1)
        raise FailError("broken", "on purpose")
    if leaf == "pivot":
        ctx.pivot()
    elif leaf == "child":
        await ctx.child("w", name="c", undo=True)
    elif leaf == "plain":
        await ctx.call("p", "do", name="plain", retry=RETRY, timeout_s=10)
    elif leaf[1:]:
        await _twice(ctx, leaf[0], cut=leaf[1] == "?")
    else:
        await ctx.call(leaf, "do", name="s", undo=UNDO[leaf], retry=RETRY, timeout_s=10)


async def _twice(ctx: Context, service: str, *, cut: bool) -> None:
    """Give a step up, do something else, and ask again for what it should have done."""
    step = ctx.call(service, "do", name="s", undo=UNDO[service], retry=RETRY, timeout_s=10)
    try:
        with ctx.move_on_after(3 if cut else 100) as bound:
            await step
        if not bound.expired:
            return
    except WorkflowError:
        pass
    await ctx.call("p", "do", name="s", undo=UNDO["p"], retry=RETRY, timeout_s=10)
    await ctx.again(step.path, service, "do", name="s", options=OPTIONS)


@dataclass(frozen=True)
class Sent:
    """A request that is on its way, or a success whose reply is."""

    path: str
    attempt: int
    service: str
    key: str


class World:
    """What really happens, beside the instance that it happens for."""

    def __init__(self, program: Any, choices: list[int]) -> None:
        async def code(ctx: Context) -> None:
            await execute(ctx, program)

        self.box = Mailbox(Workflow("random", code))
        self.undoes_values = "saga" in str(program)
        self.choices = choices[::-1]
        self.there: set[tuple[str, str]] = set()
        """Effects that are in the world, by service and key."""
        self.refused: set[tuple[str, str]] = set()
        self.undone: Counter[tuple[str, str]] = Counter()
        self.requests: list[Sent] = []
        self.replies: list[Sent] = []
        self.answered: set[tuple[str, int]] = set()
        self.late: set[str] = set()
        self.known: set[tuple[str, str]] = set()
        """Successes that came in time to be undone, and were nobody's value any more."""
        self.valued: set[str] = set()
        """Keys whose step gave its value to the code, as paths."""
        self.flying: dict[str, int] = {}
        """Steps without an answer, and the deadline of each."""
        self.children: list[str] = []
        """Paths of the children that run."""
        self.cancelled: set[str] = set()
        self.orders: list[UndoChild] = []
        """Undos of children that are under way."""

    def choose(self, count: int) -> int:
        """Return the next choice; the first one when there are none left."""
        return self.choices.pop() % count if self.choices else 0

    def play(self) -> None:
        """Go on until the instance has ended and nothing is on its way."""
        self.take(self.box.start())
        for turn in range(TURNS_MAX):
            if self.box.instance.status in FINAL and not (self.requests or self.replies):
                return
            self.turn(turn)
        raise AssertionError(f"does not end: {self.box.instance.waiting()}")

    def take(self, effects: list[Any]) -> None:
        """Note what was asked for; no undo is, while an attempt is undecided at the end."""
        box = self.box
        ending = any(isinstance(x, Emit) and x.event == "compensating" for x in box.effects)
        for each in effects:
            if isinstance(each, Spawn):
                self.children.append(each.parent.path)
                self.flying[each.parent.path] = NEVER
            elif isinstance(each, UndoChild):
                assert each.id not in {x.id for x in self.orders}, "asked for twice"
                self.orders.append(each)
            elif isinstance(each, CancelChild):
                self.cancelled.add(each.id.removeprefix("i-1/1").removesuffix("/cancel"))
            if not isinstance(each, Ask | UndoChild):
                continue
            path = each.path if isinstance(each, Ask) else each.parent.path
            step = path.rpartition("/undo")[0]
            if isinstance(each, Ask) and not each.undoes:
                self.flying[each.path] = max(each.due, box.at) + 10_000_000_000
            elif ending and step not in self.late:
                undecided = {path for path, due in self.flying.items() if due > box.at}
                assert not undecided, (path, undecided)

    def turn(self, number: int) -> None:
        """Let one thing happen."""
        box = self.box
        self.box.pass_time(0.5)
        if self.requests and (self.choose(3) == 1 or number > TURNS_MAX // 2):
            self.arrive(self.requests.pop(0))
            return
        if self.replies and (self.choose(3) == 1 or number > TURNS_MAX // 2):
            self.answer(self.replies.pop(0))
            return
        if box.instance.status in FINAL:
            return
        if self.choose(12) == 11:
            self.take(box.cancel())
            return
        asked = [
            each
            for each in box.effects
            if isinstance(each, Ask)
            and box.instance.is_open(each)
            and (each.path, each.attempt) not in self.answered
        ]
        if asked:
            self.serve(asked[self.choose(len(asked))])
        elif self.orders and (self.choose(2) or not self.moves):
            self.undo_child(self.orders.pop(0))
        elif self.children and (self.choose(2) or not self.moves):
            self.end_child(self.children.pop(self.choose(len(self.children))))
        else:
            self.pass_on()

    @property
    def moves(self) -> bool:
        """Whether anything happens when time passes."""
        return any(each.kind in {"timer", "step"} for each in self.box.instance.waiting())

    def end_child(self, path: str) -> None:
        """Let a child end: as it likes, or because it was cancelled."""
        endings = ["completed", "completed", "failed", "compensation_incomplete", "compensated"]
        if path in self.cancelled:
            endings.append("cancelled")
        status = endings[self.choose(len(endings))]
        key = ("", f"i-1/1{path}")
        if status in {"completed", "compensation_incomplete"}:
            self.there.add(key)
        if status == "completed":
            waited = {each.path for each in self.box.instance.waiting() if each.kind == "child"}
            if path in waited and path not in self.cancelled:
                self.valued.add(path)
            else:
                self.known.add(key)
        del self.flying[path]
        self.take(self.box.end_child(path, status=status))
        if self.choose(4) == 1:
            assert self.box.end_child(path, status="failed") == [], "told twice"

    def undo_child(self, order: UndoChild) -> None:
        """Let the run end that undoes a child."""
        path = order.parent.path
        key = ("", f"i-1/1{path.removesuffix('/undo')}")
        if self.choose(4) == 1:
            self.take(self.box.end_child(path, status="failed"))
            return
        self.there.remove(key)
        self.undone[key] += 1
        self.take(self.box.end_child(path, [{"path": "/s", "fate": "undone"}]))

    def answer(self, sent: Sent) -> None:
        """Deliver a success, which may come too late."""
        instance = self.box.instance
        path = sent.key.removeprefix("i-1/1")
        if any(each.path == sent.path for each in instance.waiting() if each.kind == "step"):
            self.valued.add(path)
        elif path not in self.valued:
            if self.flying.get(sent.path, 0) <= self.box.at:
                self.late.add(path)
            if instance.status not in FINAL:
                self.known.add((sent.service, sent.key))
        self.flying.pop(sent.path, None)
        self.take(self.box.reply(sent.path, attempt=sent.attempt))

    def pass_on(self) -> None:
        """Let the next timer fire, or the next attempt run out of time."""
        box = self.box
        timers = [each for each in box.instance.waiting() if each.kind == "timer"]
        steps = [each for each in box.instance.waiting() if each.kind == "step"]
        if timers and not (steps and self.choose(2)):
            first = min(timers, key=lambda each: each.due)
            box.at = max(box.at, first.due)
            self.take(box.fire(first.path))
        elif steps:
            box.at = max(box.at, steps[0].due + 10_000_000_000)
            self.flying.pop(steps[0].path, None)
            self.take(box.time_out(steps[0].path, attempt=steps[0].attempt))

    def serve(self, ask: Ask) -> None:
        """Let a service take a request, or not."""
        self.answered.add((ask.path, ask.attempt))
        sent = Sent(ask.path, ask.attempt, ask.service, ask.undoes or ask.key)
        key = (ask.service, sent.key)
        if ask.undoes:
            self.undo(ask, key)
            return
        choice = self.choose(8)
        if choice in {4, 5}:
            self.requests.append(sent)  # nobody knows when it comes
        elif key in self.refused or (choice in {1, 2} and key not in self.there):
            kind = "failed" if choice == 2 and key not in self.refused else "refused"
            self.flying.pop(ask.path, None)
            self.take(self.box.fail(ask.path, kind, attempt=ask.attempt))
        else:
            self.there.add(key)
            if choice == 3:
                self.replies.append(sent)
            elif choice != 6:  # else it is lost
                self.answer(sent)

    def undo(self, ask: Ask, key: tuple[str, str]) -> None:
        """Let a service undo a key."""
        choice = self.choose(8)
        if choice == 1:
            self.take(self.box.fail(ask.path, "stuck", attempt=ask.attempt))
            return
        if key in self.there:
            self.there.discard(key)
            self.undone[key] += 1
            self.refused.add(key)
        elif key[0] == "q" and key not in self.refused:
            self.take(self.box.fail(ask.path, NEVER_SEEN, attempt=ask.attempt, retryable=False))
            return
        self.refused.add(key)
        if choice != 2:  # else its reply is lost
            self.take(self.box.reply(ask.path, attempt=ask.attempt))

    def arrive(self, sent: Sent) -> None:
        """Let a late request arrive: it is done, or refused for ever."""
        key = (sent.service, sent.key)
        if key not in self.refused:
            self.there.add(key)
            if self.choose(2):
                self.replies.append(sent)

    def check(self) -> None:
        """Each effect that is in the world is a value that counts, or is listed."""
        instance = self.box.instance
        assert instance.status in FINAL, instance.blocked
        fates = {(x.service, x.path): x.fate for x in instance.steps}
        told = {
            (each.data["service"], each.data["path"])
            for each in self.box.effects
            if isinstance(each, Emit) and each.event == "incident"
        }
        for service, key in self.there:
            path = key.removeprefix("i-1/1")
            if path.rpartition("/")[2].startswith("plain"):
                continue
            fate = fates.get((service, path))
            listed = fate in {"done", "unknown", "could_not"}
            assert listed or (service, path) in told, (path, fate)
            assert fate != "done" or path in self.valued, path
            if (service, key) in self.known and path not in self.valued:
                assert fate == "could_not", (path, fate)
        assert all(times == 1 for times in self.undone.values())
        undone = {path for (_, path), fate in fates.items() if fate == "undone"}
        left = {key.removeprefix("i-1/1") for _, key in self.there}
        assert not undone & left, "what is shown as undone is there"
        if instance.status == "completed" and not self.undoes_values:
            assert not undone & self.valued, "a value was undone"


@CHECKED
@given(WORLDS)
def test_whatever_happens_each_effect_is_undone_once_or_listed(
    seeded: tuple[Any, list[int]],
) -> None:
    """A step is undone at most once; what is in the world is a value, or somebody is told."""
    world = World(*seeded)

    world.play()

    world.check()


@CHECKED
@given(WORLDS)
def test_the_order_is_reversed(seeded: tuple[Any, list[int]]) -> None:
    """Among the undos of the end, what was begun later is undone earlier."""
    world = World(*seeded)

    world.play()

    keys = [
        x.id if isinstance(x, Spawn) else x.key
        for x in world.box.effects
        if isinstance(x, Spawn) or (isinstance(x, Ask) and x.attempt == 1)
    ]
    begun = {key.removeprefix("i-1/1"): at for at, key in enumerate(keys)}
    at = next(
        (x.cause for x in world.box.effects if isinstance(x, Emit) and x.event == "compensating"),
        None,
    )
    asked = [
        x.undoes.removeprefix("i-1/1")
        if isinstance(x, Ask)
        else x.parent.path.removesuffix("/undo")
        for x in world.box.effects
        if (isinstance(x, UndoChild) or (isinstance(x, Ask) and x.undoes and x.attempt == 1))
        and at is not None
        and x.cause >= at
    ]
    places = [begun[path] for path in asked if path not in world.late]
    assert places == sorted(places, reverse=True)


@settings(CHECKED, max_examples=250)
@given(WORLDS)
def test_folded_again_the_plan_is_the_same(seeded: tuple[Any, list[int]]) -> None:
    """At every moment: what would be undone is a function of the mailbox."""
    world = World(*seeded)
    plans: list[Any] = []
    fold = world.box.fold

    def noted(mail: Any) -> Any:
        effects = fold(mail)
        plans.append(msgspec.to_builtins(world.box.instance.undo_plan()))
        return effects

    world.box.fold = noted  # type: ignore[method-assign]

    world.play()

    again = type(world.box.instance)("i-1", world.box.load)
    refolded = []
    for mail in world.box.mails:
        again.fold(mail)
        refolded.append(msgspec.to_builtins(again.undo_plan()))
    assert refolded == plans
    world.box.refold()
