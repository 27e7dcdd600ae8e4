"""Twenty motions on their way through seven branches, of which not all are always there.

    python -m examples.governance.demo          (make governance)

The daemon, its NATS server and each branch are processes of their own. Some motions break rules,
each in its own way; the printing house is closed at first; the Knight, without whom nothing
moves, is ended and comes back; the Duke too, after another has done his work; the Prince falls
asleep. The exit code is 0 only if every motion ended as it should, every state, directive and
error kind was seen, and all that was witnessed is verified.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
import trio

import movant
from examples.governance.chronicle import Chronicle, not_visited, wrong_ends
from examples.governance.config import DEMO, MACHINE, configured, load, read
from examples.governance.orchestrator import SESSION, FlowOrchestrator
from examples.governance.stage import Stage
from examples.governance.tables import BRANCH_COMPLETED, MOTION_ROUTED, ORCHESTRATOR_ERROR
from protocols.effects import FINAL
from protocols.errors import MovantError

MOTIONS: Final = Path(__file__).parent / "motions"
FIRST: Final = slice(0, 12)
SECOND: Final = slice(12, 18)
THIRD: Final = slice(18, 20)
"""Of the motions: the second come when the Knight is away, the last when the Prince sleeps."""
SHOWN: Final = "market-notice"
"""The motion whose history is printed."""
STEP_S_MAX: Final = 90.0
STILL_S: Final = 2.0
"""So long nothing moves without the Knight."""
POLL_S: Final = 0.1


class Demo:
    """Plays the story and tells it."""

    def __init__(self, stage: Stage, client: movant.Client) -> None:
        self.settings = read(DEMO)
        self.machine = configured(load(MACHINE), self.settings)
        self.texts = {
            path.stem.partition("-")[2]: path.read_text() for path in sorted(MOTIONS.glob("*.txt"))
        }
        self.orchestrator = FlowOrchestrator(client, self.machine)
        self.chronicle = Chronicle()
        self._stage = stage
        self._client = client
        self._began = trio.current_time()

    def tell(self, text: str) -> None:
        """Print what happens, with the time."""
        print(f"  {trio.current_time() - self._began:5.1f} s  {text}", flush=True)

    async def run(self) -> list[str]:
        """Play; return what is wrong."""
        await self.orchestrator.open(self.settings)
        await self.orchestrator.listen(self.chronicle.take)
        await self._hand_in(FIRST)
        await self._queue()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._open_gazette)
            nursery.start_soon(self._repair_rules)
            nursery.start_soon(self._take_up)
            wrong = await self._lose_the_knight()
            nursery.start_soon(self._welcome_the_duke)
            await self._wake_the_prince()
            await self._until("all motions to end", self._all_ended)
        await self._client.signal(SESSION, "adjourn")
        return wrong + await self._report()

    async def _hand_in(self, petitions: slice) -> None:
        """Hand in some of the motions, in their order."""
        for motion in list(self.texts)[petitions]:
            await self.orchestrator.process_motion(motion, self.texts[motion])

    async def _queue(self) -> None:
        """Tell who is in and who waits."""
        session: Any = (await self._client.show(SESSION)).state
        came = len(session["active"]) + session["in_queue"] + sum(session["ended"].values())
        self.tell(f"{came} petitions have come; {session['room']} may be in the house at once")
        waiting = ", ".join(session["waiting"])
        self.tell(f"in the house: {', '.join(session['active'])}")
        self.tell(f"in the queue, in this order: {waiting or 'nobody'}")

    async def _open_gazette(self) -> None:
        """Open the printing house when the notice that needs it most has done without it."""
        await self._until("a fallback", self._notice_is_out)
        self.tell("network: the gazette was closed; the Earl nails the notice to a board instead")
        self._stage.open_gazette()

    async def _repair_rules(self) -> None:
        """Repair the rule book that nobody could read, and let the motion go on."""
        book = self._stage.rules / "harbour.yaml"
        await self._until("a halt", partial(self._has_followed, "halt_and_alert", "system"))
        self.tell("system: the rule book of the harbour cannot be read; harbour-crane is halted")
        book.write_text(book.with_suffix(".good").read_text())
        await self.orchestrator.resume("harbour-crane", "the rule book is repaired")
        self.tell("the clerk has repaired the book and lets it go on")

    async def _take_up(self) -> None:
        """Take up a tabled motion, after somebody tried to have it skip what is before it."""
        await self._until("dog-park to be tabled", partial(self._is_in, "dog-park", "TABLED"))
        self.tell("dog-park has no quorum and lies on the table; a minister wants it done now")
        minister = FlowOrchestrator(self._client, self.machine, "minister")
        await minister.route_to_branch("dog-park", "WITNESSING", "it is urgent")
        await self._until("a refusal", self._refused)
        self.tell("refused, and witnessed: WITNESSING does not follow TABLED, for nobody")
        await self.orchestrator.route_to_branch("dog-park", "DELIBERATING", "second reading")

    async def _lose_the_knight(self) -> list[str]:
        """Without the Knight there is no transition, and with him they all go on."""
        await self._until("three ends", lambda: self._ended(3))
        await self._until("a fallback", self._notice_is_out)
        pid = self._stage.end("knight")
        self.tell(f"ENDED the Knight, process {pid}: nobody witnesses. More petitions come")
        await self._hand_in(SECOND)
        await self._queue()
        await trio.sleep(STILL_S / 2)
        before = self._transitions()
        await trio.sleep(STILL_S)
        moved = self._transitions() - before
        views = await self._views()
        held = [
            name
            for name, view in views.items()
            if view.status == "running" and "knight" in (view.state or {}).get("next_action", "")
        ]
        self.tell(f"{moved} transitions in {STILL_S:g} s; {len(held)} motions wait for the Knight")
        print("\nThe pipeline without the Knight (movant pipeline)\n")
        print(self._stage.movant("pipeline").stdout)
        self.tell(f"the Duke (process {self._stage.end('duke')}) has left")
        before = self._transitions()
        self._stage.start_branch("knight")
        await self._until("a transition", lambda: self._transitions() > before)
        self.tell("the Knight is back, and the motions go on")
        return [f"{moved} transitions without the Knight"] if moved else []

    async def _welcome_the_duke(self) -> None:
        """Start him again when another has done his work: only he can undo what he did before."""
        await self._until("a fallback", partial(self._has_followed, "fallback", "no_responders"))
        self.tell("no responders: the Earl has stood in for the Duke, who is back now")
        self._stage.start_branch("duke")

    async def _wake_the_prince(self) -> None:
        """Let him sleep until somebody's request to him has timed out."""
        pid = self._stage.freeze("prince")
        self.tell(f"the Prince sleeps (process {pid} is stopped). The last petitions come")
        await self._hand_in(THIRD)
        await self._until("a motion to judge", self._judging)
        await trio.sleep(1.1 * self.machine.timeout_s("JUDGING"))
        self._stage.thaw("prince")
        self.tell("timeout: the Prince was asked again, and is awake now")

    async def _report(self) -> list[str]:
        views = await self._views()
        for motion in views:
            entries = [each async for each in self._client.history(motion)]
            self.chronicle.read(motion, entries)
        print("\nHow the motions ended, and which failures led where\n")
        for motion, view in views.items():
            followed = sorted(self.chronicle.followed(motion))
            why = ", ".join(f"{kind}: {do}" for do, kind in followed)
            state = (view.state or {}).get("state", "")
            print(f"  {motion:<17} {view.status:<12} {state:<13} {why}".rstrip())
        self._print_history()
        counted = Counter(each.kind for each in self.chronicle.told)
        kinds = (MOTION_ROUTED, BRANCH_COMPLETED, ORCHESTRATOR_ERROR)
        print(f"\nEvents: {', '.join(f'{counted[kind]} {kind}' for kind in kinds)}")
        print("\nVerification (movant verify --all)\n")
        verified = self._stage.movant("verify", "--all")
        print(verified.stdout or verified.stderr)
        wrong = wrong_ends(views, self.chronicle)
        wrong += [f"{each} was not seen" for each in not_visited(self.machine, self.chronicle)]
        return wrong + (["verify has findings"] if verified.returncode else [])

    def _print_history(self) -> None:
        print(f"\nThe witnessed history of {SHOWN}\n")
        for each in self.chronicle.told:
            if each.motion_id != SHOWN:
                continue
            data = each.data
            at = f"{(each.at - self.chronicle.told[0].at) / 1e9:6.2f} s"
            if each.kind == BRANCH_COMPLETED:
                print(f"  {at}  {data['branch']} has done {data['state']}")
                said = data["statement"]
                print(f"            Knight: {said['text']}  [{said['hash'][:12]}]")
            elif each.kind == MOTION_ROUTED:
                print(f"  {at}  {data['to_state']} -> {data['to_service']} ({data['table']})")
            elif "directive" in data:
                print(f"  {at}  {data['kind']}: {data['message']} -> {data['directive']}")

    # What is looked for

    async def _until(self, what: str, there: Callable[[], bool | Awaitable[bool]]) -> None:
        with trio.move_on_after(STEP_S_MAX):
            while True:
                found = there()
                if not isinstance(found, bool):
                    found = await found
                if found:
                    return
                self._stage.check()
                await trio.sleep(POLL_S)
        for motion, view in (await self._views()).items():
            if view.status not in FINAL:
                self.tell(self._stage.movant("why", motion).stdout.strip())
        raise TimeoutError(f"{what}: not after {STEP_S_MAX:g} s")

    def _notice_is_out(self) -> bool:
        return ("fallback", "network") in self.chronicle.followed(SHOWN)

    def _has_followed(self, do: str, kind: str) -> bool:
        return (do, kind) in self.chronicle.followed()

    def _refused(self) -> bool:
        errors = self.chronicle.of(ORCHESTRATOR_ERROR, "dog-park")
        return any(each.data["what"] == "transition_refused" for each in errors)

    def _transitions(self) -> int:
        return len(self.chronicle.of(MOTION_ROUTED)) + len(self.chronicle.of(BRANCH_COMPLETED))

    async def _is_in(self, motion: str, state: str) -> bool:
        view = (await self._views()).get(motion)
        return view is not None and (view.state or {}).get("state") == state

    async def _judging(self) -> bool:
        views = (await self._views()).values()
        return any("prince" in (view.state or {}).get("next_action", "") for view in views)

    async def _ended(self, wanted: int) -> bool:
        views = (await self._views()).values()
        return sum(view.status in FINAL for view in views) >= wanted

    async def _all_ended(self) -> bool:
        return await self._ended(len(self.texts))

    async def _views(self) -> dict[str, Any]:
        """Return the motions that have begun."""
        found = {}
        for motion in self.texts:
            try:
                found[motion] = await self._client.show(motion)
            except movant.NotFoundError:
                continue
        return found


async def play(stage: Stage) -> list[str]:
    """Start everything, play the story, and return what is wrong."""
    print("Starting a daemon with a NATS server of its own, and seven branches …", flush=True)
    book = stage.rules / "harbour.yaml"
    book.rename(book.with_suffix(".good"))
    book.write_text("- rule: [\n")
    stage.start_daemon()
    await stage.ready()
    stage.start_branches()
    settings = read(DEMO)
    delays = ", ".join(f"{each:g}" for each in settings.retry.backoff_seconds)
    print(
        f"Times are those of config/{DEMO.name}, not of the real config: the Prince has "
        f"{settings.state_timeout_hours['judging'] * 3600:.1f} s, retries come after {delays} s."
    )
    print("The printing house is closed, and one rule book is damaged.\n", flush=True)
    async with movant.Client.connect(stage.url, store=stage.store) as client:
        wrong = await Demo(stage, client).run()
    for problem in wrong:
        print(f"WRONG: {problem}")
    print("All as expected." if not wrong else "Not as expected.")
    return wrong


def main() -> int:
    """Run the demonstration and return the exit code."""
    argparse.ArgumentParser(description="twenty motions through seven branches").parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    with tempfile.TemporaryDirectory(prefix="movant-governance-") as folder:
        stage = Stage(Path(folder))
        try:
            return 1 if trio.run(play, stage) else 0
        except (
            RuntimeError,
            MovantError,
            TimeoutError,
            trio.TooSlowError,
            BaseExceptionGroup,
        ) as error:
            print(f"The demonstration failed: {error!r}\n{stage.log('daemon')}")
            return 1
        except KeyboardInterrupt:
            print("stopped")
            return 130
        finally:
            stage.clear()


if __name__ == "__main__":
    sys.exit(main())
