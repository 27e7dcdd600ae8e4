"""A motion of the governance example on virtual time, with a Knight who speaks or is silent."""

from __future__ import annotations

from typing import Any, Final

from actors.motions.interpreter import MotionWorkflow
from examples.governance.config import CONFIG, MACHINE, configured, load, read
from examples.governance.tables import MOTION_ROUTED, Told, told
from protocols.effects import Ask, Emit
from protocols.events import Event
from tests.kernel.mailbox import Mailbox

GOVERNANCE: Final = configured(load(MACHINE), read(CONFIG))

# The two tables of the story, word for word.
AC1: Final = {
    "INTRODUCED": "conclave_service",
    "RATIFIED": "president_service",
    "PLANNING": "duke_service",
    "EXECUTING": "prince_service",
    "JUDGING": "knight_witness_service",
    "WITNESSING": "conclave_service",
}
STATE_SERVICE_MAP: Final = {
    "INTRODUCED": "conclave_service",
    "DELIBERATING": "conclave_service",
    "RATIFIED": "president_service",
    "PLANNING": "president_service",
    "EXECUTING": "duke_service",
    "JUDGING": "prince_service",
    "WITNESSING": "knight_witness_service",
}
WAY: Final = (*STATE_SERVICE_MAP, "ACKNOWLEDGED")
OUTPUTS: Final[dict[str, Any]] = {
    "DELIBERATING": {"quorum": True, "ayes": 5, "noes": 2},
    "PLANNING": {"tasks": []},
}
STATEMENT: Final = {"number": 1, "text": "I saw it", "hash": "00"}


class Flow(Mailbox):
    """The mailbox of a motion. The Knight states what he sees, unless he is ``away``."""

    def __init__(self, *, away: bool = False) -> None:
        super().__init__(MotionWorkflow(GOVERNANCE), "m-1")
        self.away = away
        self.stated: set[str] = set()

    @property
    def state(self) -> str:
        """Where the motion is."""
        return str(self.instance.state.get("state", ""))

    @property
    def asked(self) -> list[Ask]:
        """Every request to a branch; those to the witness are apart."""
        return [each for each in self._asks() if not _is_witness(each)]

    @property
    def last(self) -> Ask:
        """The latest request to a branch."""
        return self.asked[-1]

    @property
    def orchestrated(self) -> list[Told]:
        """What the orchestrator has told."""
        events = [
            Event(id=each.id, kind=each.event, workflow="governance", instance="m-1", at=0, data=d)
            for each in self.effects
            if isinstance(each, Emit) and isinstance(d := each.data, dict)
        ]
        return [found for each in events for found in told(each, GOVERNANCE)]

    def routes(self) -> list[dict[str, Any]]:
        """Return where the motion was routed."""
        return [each.data for each in self.orchestrated if each.kind == MOTION_ROUTED]

    def enter(self, state: str, *, work_done: bool = False) -> None:
        """Let the motion begin in a state."""
        given = {"state": state, "work_done": work_done, "output": OUTPUTS.get(state, {})}
        self.start({"motion": {}, **given})
        self.witness()

    def complete(self, state: str, output: Any = None) -> None:
        """Let the branch that works in a state answer."""
        said = OUTPUTS.get(state, {"done": state}) if output is None else output
        self.reply(self.last.path, said, attempt=self.last.attempt)
        self.witness()

    def witness(self) -> None:
        """Let the Knight state what he was asked to."""
        while not self.away and (waits := self._unstated()):
            self.stated.add(waits[0].path)
            self.reply(waits[0].path, STATEMENT)

    def _unstated(self) -> list[Ask]:
        return [
            each for each in self._asks() if _is_witness(each) and each.path not in self.stated
        ]

    def _asks(self) -> list[Ask]:
        return [each for each in self.effects if isinstance(each, Ask)]


def _is_witness(ask: Ask) -> bool:
    return (ask.service, ask.operation) == ("knight_witness_service", "witness")
