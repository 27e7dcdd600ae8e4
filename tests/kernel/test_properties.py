"""Random programs against random mailboxes: compared with the model, and folded again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.kernel.context import Context
from actors.kernel.instance import Instance
from protocols.definition import Workflow
from protocols.effects import FINAL
from protocols.mail import AttemptTimedOut, Fired, Mail
from protocols.rng import Rng
from protocols.subjects import step_token
from tests.kernel.mailbox import Mailbox, asks
from tests.kernel.model import Model
from tests.kernel.programs import PROGRAMS, SIGNALS, Catch, Node, Seq, execute, grown

SEEDS_PER_BLOCK: Final = 150
ACTIONS: Final = (
    "reply",
    "reply",
    "reply",
    "reply",
    "reply",
    "fail",
    "refuse",
    "lose",
    "fire",
    "fire",
    "early",
    "signal",
    "signal",
    "late",
    "stale",
    "cancel",
)
SCHEDULES: Final = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 7), st.integers(0, 3)),
    min_size=10,
    max_size=40,
)
CHECKED = settings(
    deadline=None,
    derandomize=True,
    max_examples=600,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


if TYPE_CHECKING:
    from collections.abc import Iterable


class Duel:
    """The same mails for kernel and model."""

    def __init__(self, *programs: Node) -> None:
        async def code(ctx: Context) -> Any:
            return await execute(ctx, programs[ctx.generation - 1])

        self.box = Mailbox(Workflow("random", code))
        self.model = Model(*programs)
        self.hashes: list[str] = []

    def play(self, schedule: list[tuple[str, int, int]]) -> None:
        """Play the whole schedule, comparing after every mail."""
        self.model.now = self.box.at
        self.box.start()
        self.model.start()
        self.compare()
        for number, (action, choice, seconds) in enumerate(schedule):
            self.box.pass_time(seconds)
            self.act(action, choice, number)

    def act(self, action: str, choice: int, number: int) -> None:
        """Write one mail that fits the action, when there is something that it fits."""
        box, model = self.box, self.model
        if action == "signal":
            self.tick()
            name = SIGNALS[choice % len(SIGNALS)]
            box.signal(name, number, message_id=f"m{number}")
            model.signal(name, number)
        elif action == "cancel":
            if choice > 1:
                return
            self.tick()
            box.cancel(message_id=f"m{number}")
            model.cancel()
        elif action in {"fire", "early"} and model.timers:
            path = _pick(model.timers, choice)
            if action == "fire":
                box.at = max(box.at, model.dues[path])
            self.tick()
            box.fire(path)
            model.fire(path, box.at)
        elif action == "late" and model.winners:
            path, attempt = _pick(model.winners, choice), 1 + choice % 3
            self.tick()
            box.reply(path, "late", attempt=attempt)
            model.reply(path, attempt, "late")
        elif model.asks:
            self.tick()
            self.answer(action, _pick(model.asks, choice), number)
        self.compare()

    def tick(self) -> None:
        """Let the model know the time of the next mail."""
        self.model.now = self.box.at

    def answer(self, action: str, path: str, number: int) -> None:
        """End the current attempt of an open step in one of several ways."""
        box, model = self.box, self.model
        attempt = model.asks[path].attempt
        if action == "stale":
            box.fail(path, attempt=attempt - 1)
        elif action == "lose":
            box.time_out(path, attempt=attempt)
            model.time_out(path, attempt, box.at)
        elif action in {"fail", "refuse"}:
            kind = "refused" if action == "refuse" else "broken"
            box.fail(path, kind, attempt=attempt)
            model.fail(path, attempt, kind)
        else:
            box.reply(path, number, attempt=attempt)
            model.reply(path, attempt, number)

    def compare(self) -> None:
        """Check that kernel and model wait for the same, or ended the same way."""
        instance, model = self.box.instance, self.model
        if len(self.hashes) < len(self.box.mails):
            self.hashes.append(instance.state_hash())
        assert instance.status == model.status, instance.blocked
        assert instance.generation == model.generation
        waiting = instance.waiting()
        steps = {one.path: (one.attempt, one.due) for one in waiting if one.kind == "step"}
        assert steps == {path: (wait.attempt, wait.due) for path, wait in model.asks.items()}
        timers = {one.path: one.due for one in waiting if one.kind == "timer"}
        assert timers == {path: model.dues[path] for path in model.timers}
        takers = sorted(one.path for one in waiting if one.kind == "signal")
        assert takers == sorted(wait.path for queue in model.takers.values() for wait in queue)
        late = {(step_token(path), attempt) for path, attempt in model.late}
        assert set(instance.late_successes) == late
        open_asks = {ask.path for ask in asks(self.box.effects) if instance.is_open(ask)}
        assert open_asks == set(model.asks)
        if instance.status == "completed":
            assert self.box.result == model.outcome.value
        elif instance.status == "failed":
            assert instance.failure is not None
            assert instance.failure.kind == model.outcome.value
        if instance.status in FINAL:
            assert waiting == []


@CHECKED
@given(PROGRAMS, SCHEDULES)
def test_the_kernel_does_what_the_model_does(
    program: Node, schedule: list[tuple[str, int, int]]
) -> None:
    """After every mail both wait for the same, and both end with the same outcome."""
    duel = Duel(program)

    duel.play(schedule)

    duel.box.refold()
    duel.box.instance.close()


@pytest.mark.parametrize("block", range(8))
def test_the_kernel_does_what_the_model_does_with_large_programs(block: int) -> None:
    """Seeded programs of up to five levels against long mailboxes; the seed is the number."""
    for seed in range(block * SEEDS_PER_BLOCK, (block + 1) * SEEDS_PER_BLOCK):
        rng = Rng(f"kernel/{seed}")
        program = Seq(tuple(Catch(grown(rng, rng.integer(1, 5))) for _ in range(3)))
        schedule = [
            (ACTIONS[rng.integer(0, len(ACTIONS) - 1)], rng.integer(0, 30), rng.integer(0, 3))
            for _ in range(60)
        ]
        duel = Duel(program)

        duel.play(schedule)

        duel.box.refold()
        duel.box.instance.close()


@settings(CHECKED, max_examples=150)
@given(PROGRAMS, SCHEDULES)
def test_folding_again_passes_through_the_same_states(
    program: Node, schedule: list[tuple[str, int, int]]
) -> None:
    """Every prefix of the mailbox has one state, whoever folds it and whenever."""
    duel = Duel(program)
    duel.play(schedule)
    again = Instance("i-1", duel.box.load)
    again.refolding = True

    hashes = []
    for mail in duel.box.mails:
        again.fold(mail)
        hashes.append(again.state_hash())

    assert hashes == duel.hashes


@settings(CHECKED, max_examples=250)
@given(PROGRAMS, SCHEDULES, st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))))
def test_repeats_change_nothing(
    program: Node, schedule: list[tuple[str, int, int]], repeats: list[tuple[int, int]]
) -> None:
    """A mail that comes again later has no effect and leaves the state as it is."""
    duel = Duel(program)
    duel.play(schedule)
    mails = duel.box.mails
    places: dict[int, list[Mail]] = {}
    for number, pick in repeats:
        place = number % len(mails)
        places.setdefault(place, []).append(mails[pick % (place + 1)])
    again = Instance("i-1", duel.box.load)

    seq = 0
    for place, mail in enumerate(mails):
        seq += 1
        again.fold(_at(mail, seq, mail.at))
        assert again.state_hash() == duel.hashes[place]
        for repeat in places.get(place, []):
            if _counts_later(repeat, duel):
                continue
            seq += 1
            effects = again.fold(_at(repeat, seq, again.now))
            assert effects == []
            assert again.state_hash() == duel.hashes[place]


def _pick(paths: Iterable[str], choice: int) -> str:
    found = sorted(paths)
    return found[choice % len(found)]


def _at(mail: Mail, seq: int, at: int) -> Mail:
    """Return the mail as it stands at another place."""
    fields = {name: getattr(mail, name) for name in mail.__struct_fields__}
    return type(mail)(**{**fields, "seq": seq, "at": at})


def _counts_later(mail: Mail, duel: Duel) -> bool:
    """Tell whether a mail that came too early would count at a later time."""
    if isinstance(mail, AttemptTimedOut):
        return True
    return isinstance(mail, Fired) and mail.at < duel.model.dues[_path(mail.name, duel)]


def _path(token: str, duel: Duel) -> str:
    return next(path for path in duel.model.dues if step_token(path) == token)
