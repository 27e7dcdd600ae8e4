"""The flow orchestrator with real daemons and branches; and the demonstration as a whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import trio

from examples.governance.branches.knight import unbroken
from examples.governance.config import DEMO, MACHINE, configured, load, read
from examples.governance.demo import MOTIONS
from examples.governance.orchestrator import SESSION, BranchResult, FlowOrchestrator
from examples.governance.records import Records
from examples.governance.serve import NAMES, branch
from examples.governance.tables import BRANCH_COMPLETED, MOTION_ROUTED, Told
from runtime.client.client import Client
from tests.examples.governance import STATE_SERVICE_MAP
from tests.support.daemon import daemon, offered
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

ROOT: Final = Path(__file__).parent.parent.parent
ROOM: Final = 4
MANY: Final = 12
END_S_MAX: Final = 45.0
TEXT: Final = (MOTIONS / "01-harbour-lamps.txt").read_text()
SETTINGS: Final = msgspec.structs.replace(
    read(DEMO), max_concurrent_motions=ROOM, state_timeout_hours={}
)
GOVERNANCE: Final = configured(load(MACHINE), SETTINGS)


async def _ended(client: Client, motions: list[str]) -> list[Any]:
    """Return the views of motions when the session has seen the end of all."""
    with trio.fail_after(END_S_MAX):
        while True:
            session: Any = (await client.show(SESSION)).state or {}
            if sum(session.get("ended", {}).values()) == len(motions):
                return [await client.show(each) for each in motions]
            await trio.sleep(0.05)


async def test_ac6_many_motions_go_their_way_though_the_daemon_dies(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """So many at once as there is room; each work is done once; each transition is witnessed."""
    motions = [f"m-{number}" for number in range(MANY)]
    branches = [branch(name, tmp_path) for name in NAMES]
    seen: list[Told] = []
    async with offered(nats_server.url, *branches):
        async with (
            daemon(nats_server.url, workflows=()) as movant,
            Client.connect(nats_server.url) as client,
        ):
            orchestrator = FlowOrchestrator(client, GOVERNANCE)
            await orchestrator.open(SETTINGS)
            await orchestrator.listen(seen.append)
            for motion in (*motions, *motions):
                await orchestrator.process_motion(motion, TEXT)
            with trio.fail_after(END_S_MAX):
                while not any(each.data.get("state") == "PLANNING" for each in seen):
                    await trio.sleep(0.02)
            status = await orchestrator.get_pipeline_status()
            movant.crash()
        async with (
            daemon(nats_server.url, workflows=()),
            Client.connect(nats_server.url) as client,
        ):
            views = await _ended(client, motions)
            verified = [await client.verify(each) for each in motions]

    assert 0 < status.active_motions <= ROOM
    assert all(each.next_action or each.waiting for each in status.motions)
    assert {view.status for view in views} == {"completed"}
    begun = [
        sum(other.started_at <= view.started_at < other.finished_at for other in views)
        for view in views
    ]
    assert max(begun) <= ROOM
    works = Records(tmp_path / "duke.sqlite").rows(
        "SELECT motion, clause, count(*) FROM works GROUP BY 1, 2"
    )
    assert sorted(works) == sorted(
        (motion, clause, 1) for motion in motions for clause in (1, 2, 3)
    )
    knight = Records(tmp_path / "knight.sqlite")
    stated = knight.rows("SELECT motion, count(*) FROM statements GROUP BY 1")
    assert dict(stated) == dict.fromkeys(motions, 8)
    assert unbroken(knight)
    assert [each.findings for each in verified] == [[]] * MANY


async def test_a_completion_by_hand_is_judged_like_a_branch_s_own(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """For a motion that is halted: what may not follow is refused, what may goes on."""
    text = TEXT.replace("roads", "harbour")
    (tmp_path / "harbour.yaml").write_text("- rule: [\n")
    branches = [branch(name, tmp_path, rules=tmp_path) for name in NAMES]
    seen: list[Told] = []
    done = BranchResult("one", "prince", success=True, output={"verdict": "compliant"})
    async with (
        offered(nats_server.url, *branches),
        daemon(nats_server.url, workflows=()),
        Client.connect(nats_server.url) as client,
    ):
        orchestrator = FlowOrchestrator(client, GOVERNANCE)
        await orchestrator.open(SETTINGS)
        await orchestrator.listen(seen.append)
        await orchestrator.process_motion("one", text)
        await _told(seen, "incident")
        halted: Any = (await orchestrator.get_motion_status("one")).state
        skip = msgspec.structs.replace(done, next_state="ACKNOWLEDGED")
        await orchestrator.handle_completion("one", skip)
        await _told(seen, "transition_refused")
        await orchestrator.handle_completion(
            "one", msgspec.structs.replace(done, next_state="WITNESSING")
        )
        (view,) = await _ended(client, ["one"])

    assert halted["blocked"].startswith("halted: error: ParserError")
    assert view.result["data"]["JUDGING"] == {"verdict": "compliant"}
    states = [each.data["state"] for each in seen if each.kind == BRANCH_COMPLETED]
    assert states == [each for each in GOVERNANCE.states if each in STATE_SERVICE_MAP]
    tables = [each.data["table"] for each in seen if each.kind == MOTION_ROUTED]
    assert tables == ["worker", *["handoff"] * 5, "worker", "handoff"]


async def _told(seen: list[Told], what: str) -> None:
    """Wait until something was told."""
    with trio.fail_after(END_S_MAX):
        while not any(each.data.get("what") == what for each in seen):
            await trio.sleep(0.02)


@pytest.mark.long
@pytest.mark.slow
def test_the_demonstration_plays_to_its_end(nats_binary: str) -> None:
    """Exit code 0 says that every motion ended as it should, and that all kinds were seen."""
    ended = subprocess.run(
        [sys.executable, "-m", "examples.governance.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )

    assert nats_binary
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 transitions in 2 s" in ended.stdout
    assert "compensated  REJECTED" in ended.stdout
    assert "0 with findings" in ended.stdout
    assert "All as expected." in ended.stdout
