"""The flow orchestrator as other programs use it: a port, and movant behind it.

    async with movant.Client.connect() as client:
        orchestrator = FlowOrchestrator(client, machine)
        await orchestrator.process_motion("harbour-lamps", text)

There is no engine here. A motion is a workflow's mailbox: the branch that has done its work
answers into it, and transition and next request follow from that. So this module submits, asks,
and tells in the words of the orchestrator what movant tells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

import movant
from actors.definitions.packing import pack
from actors.files.definitions import pack_data
from examples.governance.config import FlowOrchestrator as Settings
from examples.governance.session import MOTION, Opening, Petition
from examples.governance.tables import Told, told
from protocols import headers
from protocols.api import runs as api
from protocols.errors import BadValueError
from protocols.events import from_wire
from protocols.machines.machine import RESUME, TRANSITION
from protocols.ports import Frame, Subscription

HERE: Final = Path(__file__).parent
SESSION: Final = "session"


class BranchResult(msgspec.Struct, frozen=True):
    """What a branch says when its work is done."""

    motion_id: str
    branch: str
    success: bool
    output: dict[str, Any]
    next_state: str | None = None
    error: str | None = None


class FlowOrchestratorProtocol(Protocol):
    """The port."""

    async def process_motion(self, motion_id: str, text: str) -> None:
        """Take a motion into the pipeline; one that is in it already changes nothing."""

    async def route_to_branch(self, motion_id: str, state: str) -> None:
        """Ask for a motion to go to a state, and so to the branch that works in it."""

    async def handle_completion(self, motion_id: str, result: BranchResult) -> None:
        """Hand in by hand what a branch has done for a motion that is halted."""


class FlowOrchestrator:
    """The port on movant."""

    def __init__(self, client: movant.Client, machine: movant.Machine, who: str = "clerk") -> None:
        self._client = client
        self._machine = machine
        self._who = movant.Operator(who=who)

    async def open(self, settings: Settings) -> None:
        """Deploy machine and session, and begin the session, unless it goes on already."""
        for packed in (pack_data(self._machine), pack(HERE / "session.py")):
            await self._client.register(packed.data, packed.hash)
        opening = Opening(settings.max_concurrent_motions)
        await self._client.start("governance.session", opening, id=SESSION)

    async def process_motion(
        self,
        motion_id: str,
        text: str,
        *,
        state: str | None = None,
        work_done: bool = True,
        output: Any = None,
    ) -> None:
        """Take a motion into the pipeline, or into its queue.

        One that enters in a later state is handed on: its work there counts as done, with
        ``output``, unless ``work_done`` is false.
        """
        petition = Petition(motion_id, text, state, work_done, output)
        await self._client.signal(
            SESSION, "petition", petition, message_id=f"petition.{motion_id}", by=self._who
        )

    async def route_to_branch(self, motion_id: str, state: str, why: str = "") -> None:
        """Ask for a motion to go to a state. The machine decides; a refusal is an event."""
        asked = {"to": state, "who": self._who.who, "why": why}
        await self._client.signal(motion_id, TRANSITION, asked, by=self._who)

    async def handle_completion(self, motion_id: str, result: BranchResult) -> None:
        """Hand in what a branch has done for a motion that is halted.

        A branch's own answer goes into the motion's mailbox and does not come by here. This one
        is judged like it: a state that may not follow is refused.
        """
        said: dict[str, Any] = {"who": result.branch, "why": result.error or "done by hand"}
        if result.success:
            said |= {"to": result.next_state or "", "result": result.output}
        else:
            said |= {"do": "halt"}
        await self._client.signal(motion_id, RESUME, said, by=self._who)

    async def resume(self, motion_id: str, why: str) -> None:
        """Have the owner of a halted motion asked again."""
        said = {"do": "retry", "who": self._who.who, "why": why}
        await self._client.signal(motion_id, RESUME, said, by=self._who)

    async def get_pipeline_status(self, limit: int = 50) -> api.PipelineStatus:
        """Return all active motions: counted, and a page of them, those that wait longest first.

        The queue of those that are not in yet is the session's: ``movant run show session``.
        """
        return await self._client.pipeline(machine=self._machine.name, limit=limit)

    async def get_motion_status(self, motion_id: str) -> api.RunView:
        """Return where a motion is, since when, what it waits for, and how it came there."""
        return await self._client.show(motion_id)

    async def listen(self, sink: Callable[[Told], None]) -> Subscription:
        """Have every event of the orchestrator told from now on, each once."""
        seen: set[tuple[str, str]] = set()

        def take(frames: Sequence[Frame]) -> None:
            for frame in frames:
                try:
                    event = from_wire(headers.decode(frame.headers) or {}, frame.payload)
                except BadValueError:
                    continue
                for each in told(event, self._machine):
                    if (each.id, each.kind) not in seen:
                        seen.add((each.id, each.kind))
                        sink(each)

        transport = self._client.calls.transport
        return await transport.subscribe(f"movant.event.{MOTION}.>", take)
