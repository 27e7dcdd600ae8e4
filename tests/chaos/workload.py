"""The workload: what a seed asks for, and what has to come of it, told without running it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

KINDS: Final = (
    *("sequence", "gather", "scope", "race", "sleep", "timeout", "gives_up", "refused"),
    *("nobody", "once", "signals", "send", "parent", "waits", "local", "nested", "late"),
)


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the driver does at a time of the run."""

    at_s: float
    verb: Literal["api", "raw", "signal", "raw_signal", "cancel"]
    id: str
    workflow: str = ""
    data: Any = None
    message_id: str = ""
    msgpack: bool = False


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """An effect in the world: how often a recorder of keys may hold it."""

    least: int = 1
    calls_max: int = 0
    """Most calls at the service; 0: as many as asked again."""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """How an instance has to end. Any of ``results``, compared after ``signals`` collapse."""

    status: str = "completed"
    results: tuple[Any, ...] = ()
    failure: str = ""


class Plan(msgspec.Struct):
    """One seed's workload."""

    seed: int
    deeds: list[Deed] = []
    expected: dict[str, Expected] = {}
    effects: dict[str, Effect] = {}


class Planner:
    """Draws a plan from a seed."""

    def __init__(self, seed: int, count: int, spread_s: float, prefix: str = "") -> None:
        self._spread_s = spread_s
        self.plan = Plan(seed)
        self._chance = random.Random(seed)  # noqa: S311 - a seed that replays it
        self._id = ""
        self._works = 0
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            self._id = f"{prefix}{kind.replace('_', '-')}-{number}"
            self._works = 0
            make: Callable[[], None] = getattr(self, f"_{kind}")
            make()

    def _work(self, *, least: int = 1, **more: Any) -> dict[str, Any]:
        """Return one piece of work, and expect its effect."""
        chance = self._chance
        self._works += 1
        tag = f"{self._id}.{self._works}"
        service, operation = chance.choice(
            [("hosted", "do"), ("hosted", "block"), ("plain", "do"), ("plain", "pack")]
        )
        work: dict[str, Any] = {"tag": tag, "service": service, "operation": operation, **more}
        if not more:
            dice = chance.random()
            if dice < 0.2:
                work["fail"] = chance.randint(1, 3)
            elif dice < 0.35 and operation != "block":
                work["slow_s"] = round(chance.choice([0.1, 0.5, 1.0, 3.0]), 2)
            elif dice < 0.45 and service == "hosted" and operation == "do":
                work |= {"slow_s": 0.8, "timeout_s": 0.5}
            elif dice < 0.5 and service == "plain":
                work |= {"mute": 1, "timeout_s": 1.0}
        self.plan.effects[tag] = Effect(least=least)
        return work

    def _late_work(self) -> dict[str, Any]:
        work = self._work()
        return {**work, "service": "late", "operation": "do"}

    def _start(self, workflow: str, data: Any) -> float:
        """Start the instance, by the API or raw, and now and then again."""
        chance = self._chance
        when = chance.uniform(0.0, self._spread_s)
        verb: Literal["api", "raw"] = chance.choice(["api", "raw"])
        deed = Deed(
            at_s=when,
            verb=verb,
            id=self._id,
            workflow=f"chaos.{workflow}",
            data=data,
            msgpack=chance.random() < 0.3,
        )
        self.plan.deeds.append(deed)
        for _ in range(chance.choice([0, 0, 1, 2])):
            again = when + chance.uniform(0.0, 3.0)
            self.plan.deeds.append(msgspec.structs.replace(deed, at_s=again))
        return when

    def _expect(self, *results: Any, **how: Any) -> None:
        self.plan.expected[self._id] = Expected(results=results, **how)

    def _some(self, least: int, most: int) -> list[dict[str, Any]]:
        return [self._work() for _ in range(self._chance.randint(least, most))]

    def _sequence(self) -> None:
        works = self._some(1, 6)
        self._start("sequence", {"works": works})
        self._expect([each["tag"] for each in works])

    def _late(self) -> None:
        works = [self._work(), self._late_work(), self._work()]
        self._start("sequence", {"works": works})
        self._expect([each["tag"] for each in works])

    def _gather(self) -> None:
        works = [
            {**each, "sleep_s": round(self._chance.uniform(0.0, 0.5), 2)}
            for each in self._some(2, 6)
        ]
        self._start("gather", {"works": works})
        self._expect({f"b{n}": each["tag"] for n, each in enumerate(works)})

    def _scope(self) -> None:
        works = self._some(2, 5)
        self._start("scope", {"works": works})
        self._expect([each["tag"] for each in works])

    def _race(self) -> None:
        work = self._work()
        self._start("race", {"works": [work], "sleep_s": self._seconds()})
        self._expect(["short", "work", work["tag"]])

    def _sleep(self) -> None:
        sleeps = [self._seconds() for _ in range(self._chance.randint(1, 4))]
        self._start("sleep", {"sleeps": sleeps})
        self._expect([True] * len(sleeps))

    def _timeout(self) -> None:
        work = self._work()
        self._start("timeout", {"works": [work], "sleep_s": self._seconds()})
        self._expect([True, True, work["tag"]])

    def _gives_up(self) -> None:
        work = self._work(least=0, fail=99, attempts=self._chance.randint(1, 5))
        self.plan.effects[work["tag"]] = Effect(least=0)
        self._start("gives_up", {"works": [work]})
        self._expect(status="failed", failure="busy")

    def _refused(self) -> None:
        works = [self._work(least=0, refuse=True), self._work()]
        self._start("refused", {"works": works})
        self._expect(["closed", works[1]["tag"]])

    def _nobody(self) -> None:
        self._start("nobody", {})
        self._expect("no_responders")

    def _once(self) -> None:
        # Plain services show every request: a hosted one answers a repeat from its memory.
        work = {**self._work(least=0, slow_s=0.1), "operation": "do"}
        work["service"] = self._chance.choice(["plain", "late"])
        self.plan.effects[work["tag"]] = Effect(least=0, calls_max=1)
        self._start("once", {"works": [work]})
        self._expect(work["tag"], "timeout")

    def _signals(self) -> None:
        chance = self._chance
        start_s = self._start("signals", {})
        when = max(0.0, start_s + chance.uniform(-2.0, 1.0))
        data: list[Any] = [f"d{n}" for n in range(chance.randint(1, 6))]
        for each in (*data, "end"):
            identity = f"{self._id}.{each}" if chance.random() < 0.6 else ""
            deed = Deed(
                at_s=when,
                verb="raw_signal" if when <= start_s + 0.5 else chance.choice(_SIGNAL_VERBS),
                id=self._id,
                workflow="go",
                data=each,
                message_id=identity,
                msgpack=chance.random() < 0.3,
            )
            self.plan.deeds += [deed] * (2 if identity and chance.random() < 0.5 else 1)
            when += chance.uniform(0.0, 0.5)
        self._expect([*data, "end"])

    def _send(self) -> None:
        sender = self._id
        data = [f"d{n}" for n in range(self._chance.randint(1, 5))]
        self._id = f"{sender}-to"
        self._start("signals", {})
        self._expect([*data, "end"])
        self._id = sender
        self._start("send", {"to": f"{sender}-to", "data": [*data, "end"]})
        self._expect("sent")

    def _parent(self) -> None:
        works, undo = self._some(1, 3), self._work()
        value = {
            "good": {"works": works},
            "endless": {"works": [undo]},
            "sleep_s": self._seconds() + 0.3,
        }
        self._start("parent", value)
        self._expect([[each["tag"] for each in works], "broken", "sleep"])
        expected = self.plan.expected
        expected[f"{self._id}-good"] = Expected(results=([each["tag"] for each in works],))
        expected[f"{self._id}-bad"] = Expected(status="failed", failure="broken")
        expected[f"{self._id}-endless"] = Expected(status="cancelled", failure="cancelled")
        # A cancel that stands before the pin ends it before its code began.
        self.plan.effects[undo["tag"]] = Effect(least=0)

    def _waits(self) -> None:
        work = self._work()
        start_s = self._start("waits", {"works": [work]})
        self.plan.deeds += [
            Deed(at_s=start_s + 0.1, verb="cancel", id=self._id, message_id=f"{self._id}.cancel")
        ] * self._chance.randint(1, 2)
        self._expect(status="cancelled", failure="cancelled")
        self.plan.effects[work["tag"]] = Effect(least=0)

    def _local(self) -> None:
        number = self._chance.randint(0, 1_000)
        self._start("local", {"n": number})
        self._expect([number + 1, number + 2, "code"])

    def _nested(self) -> None:
        works = [self._work() for _ in range(3)]
        first, second, third = (each["tag"] for each in works)
        self._start("nested", {"works": works, "sleep_s": self._seconds()})
        self._expect([first, [2, second], [third]])
        self.plan.expected[f"{self._id}-child"] = Expected(results=([third],))

    def _seconds(self) -> float:
        """Return a time to wait; now and then one that outlasts the time in memory."""
        long = self._chance.random() < 0.2
        return round(
            self._chance.uniform(2.5, 5.0) if long else self._chance.uniform(0.05, 1.5), 2
        )


_SIGNAL_VERBS: Final[tuple[Literal["signal", "raw_signal"], ...]] = ("signal", "raw_signal")


def plan(seed: int, count: int, spread_s: float, prefix: str = "") -> Plan:
    """Return the workload of a seed, begun over some seconds, in the order of its time.

    ``prefix`` begins every id, so that several workloads can follow each other.
    """
    drawn = Planner(seed, count, spread_s, prefix).plan
    drawn.deeds.sort(key=lambda each: each.at_s)
    return drawn
