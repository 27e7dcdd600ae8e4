"""What the API says about gates: which are open, what they show, and a person's decision."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from protocols.api.base import (
    After,
    At,
    By,
    Cursor,
    Id,
    Limit,
    Message,
    MessageId,
    Raw,
    Standing,
    WorkflowName,
)
from protocols.gates.words import Delegation, GateDecision, Said, Vote

GateName = Annotated[
    str, Meta(description="Its name or its path; empty: the only one that is open.")
]
Title = Annotated[str, Meta(description="What is to be decided, in one line.")]
Path = Annotated[str, Meta(description="Its path in the run.")]
Due = Annotated[int, Meta(description="When its time is over, in ns since 1970; 0: never.")]
Approved = Annotated[int, Meta(description="How many have approved.")]
Quorum = Annotated[int, Meta(description="How many have to approve.")]
People = Annotated[list[str], Meta(description="Who may decide, by name; with roles: or those.")]
Roles = Annotated[list[str], Meta(description="Which roles may decide.")]
OnExpiry = Annotated[str, Meta(description="What happens when nobody has decided by then.")]
Role = Annotated[
    str, Meta(description="The role that the person has: as the client says it, not checked.")
]
Mode = Annotated[
    str,
    Meta(description="`batch`: may be approved with others; `interactive`: never; empty: may be."),
]
Escalated = Annotated[
    bool, Meta(description="Whether others may decide as well because nobody did in time.")
]


class GateList(Message, frozen=True, kw_only=True):
    """List the open gates of all runs, the oldest first."""

    workflow: Annotated[
        WorkflowName | None, Meta(description="Only those of runs of this workflow.")
    ] = None
    run: Annotated[Id | None, Meta(description="Only those of this run.")] = None
    name: Annotated[str, Meta(description="Only gates of this name; empty: all.")] = ""
    who: Annotated[
        str, Meta(description="Only those where this person may decide, also for who is away.")
    ] = ""
    role: Annotated[str, Meta(description="With `who`: the role that the person has.")] = ""
    limit: Limit = 50
    after: After = ""
    raw: Raw = False
    by: By = None


class GateRow(Message, frozen=True, kw_only=True):
    """One open gate."""

    id: Id
    gate: Path
    name: Annotated[str, Meta(description="Its name.")]
    workflow: WorkflowName = ""
    title: Title = ""
    opened_at: At = 0
    due: Due = 0
    on_expiry: OnExpiry = ""
    decisions: Annotated[list[str], Meta(description="What may be decided.")] = []
    quorum: Quorum = 1
    approved: Approved = 0
    approvers: People = []
    roles: Roles = []
    escalated: Escalated = False
    mode: Mode = ""
    instead_of: Annotated[
        list[str], Meta(description="In whose place `who` may decide; empty: in the own name.")
    ] = []


class GatePage(Message, frozen=True, kw_only=True):
    """A page of open gates."""

    gates: Annotated[list[GateRow], Meta(description="The rows.")] = []
    total: Annotated[int, Meta(description="How many there are on all pages.")] = 0
    unread: Annotated[
        int, Meta(description="Old runs that are being looked at, and may have more gates.")
    ] = 0
    next: Cursor = ""
    server_time: At = 0


class GateAbsence(Message, frozen=True, kw_only=True):
    """Somebody who may decide is away."""

    who: Annotated[str, Meta(description="Who is away.")]
    until: At
    instead: Annotated[
        list[str], Meta(description="Who may decide in the place of that person.")
    ] = []
    reason: Annotated[str, Meta(description="Why.")] = ""


class GateShow(Message, frozen=True, kw_only=True):
    """Show a gate of a run, also one that was decided."""

    id: Id
    gate: GateName = ""
    raw: Raw = False
    by: By = None


class GateView(Message, frozen=True, kw_only=True):
    """All that a person has to know to decide; or how it was decided."""

    id: Id
    workflow: WorkflowName
    status: Standing
    gate: Path
    name: Annotated[str, Meta(description="Its name.")]
    open: Annotated[bool, Meta(description="Whether it waits for a decision.")]
    title: Title = ""
    text: Annotated[str, Meta(description="What one has to know for it.")] = ""
    values: Annotated[Any, Meta(description="The values that are to be approved.")] = None
    fields: Annotated[
        Any, Meta(description="Those that `modify` may change, with their types.")
    ] = None
    decisions: Annotated[
        dict[str, str], Meta(description="What may be decided, and what each leads to.")
    ] = {}
    quorum: Quorum = 1
    votes: Annotated[list[Vote], Meta(description="Who has approved.")] = []
    approvers: People = []
    roles: Roles = []
    excluded: Annotated[list[str], Meta(description="Who may not decide.")] = []
    opened_at: At = 0
    due: Due = 0
    on_expiry: OnExpiry = ""
    escalated: Escalated = False
    mode: Mode = ""
    retry: Annotated[
        list[str], Meta(description="Steps that `retry` may do once more, the default first.")
    ] = []
    delegations: Annotated[
        list[Delegation], Meta(description="Who has handed his say to whom.")
    ] = []
    away: Annotated[
        list[GateAbsence], Meta(description="Who may decide and is away, and who instead.")
    ] = []
    done: Annotated[
        list[str], Meta(description="Paths of the steps that were done, the latest last.")
    ] = []
    steps: Annotated[
        dict[str, str], Meta(description="Of a graph: what its steps have come to, by name.")
    ] = {}
    next: Annotated[
        list[str], Meta(description="Of a graph: the steps behind the gate, in their order.")
    ] = []
    artifacts: Annotated[
        list[str], Meta(description="Names of the artifacts that the run has until now.")
    ] = []
    undoes: Annotated[
        list[str], Meta(description="Paths of what is undone if the run fails or is cancelled.")
    ] = []
    decision: Annotated[
        GateDecision | None, Meta(description="How it was decided, when it was.")
    ] = None


class GateDecide(Message, frozen=True, kw_only=True):
    """Decide at a gate, or hand that over. The first decision stands."""

    id: Id
    do: Annotated[Said, Meta(description="The decision, or `delegate`.")]
    gate: GateName = ""
    values: Annotated[
        dict[str, Any] | None, Meta(description="With `modify`: the fields that change.")
    ] = None
    role: Role = ""
    to: Annotated[str, Meta(description="With `delegate`: who decides instead.")] = ""
    step: Annotated[
        str, Meta(description="With `retry`: the step to do once more; empty: the gate's first.")
    ] = ""
    message_id: MessageId = ""
    by: By = None


class GateDecided(Message, frozen=True, kw_only=True):
    """What became of a word: the decision stands, more people have to approve, or it waits."""

    id: Id
    gate: Path
    open: Annotated[bool, Meta(description="Whether others have to approve as well.")] = False
    approved: Approved = 0
    quorum: Quorum = 1
    decision: Annotated[
        GateDecision | None, Meta(description="How the gate was decided, if it is.")
    ] = None
    delegated: Annotated[str, Meta(description="To whom it was handed over.")] = ""


_AT: Final = 1_700_000_000_000_000_000
_PATH: Final = "/gate.payout"
_BY: Final = {"who": "ann", "where": "desk-4", "why": "I know them"}
_DECISION: Final = {
    "gate": _PATH,
    "do": "modify",
    "at": _AT,
    "values": {"amount": 90},
    "changes": [{"field": "amount", "before": 120, "after": 90}],
    "by": _BY,
    "message_id": "m-1",
}
EXAMPLES: Final[dict[str, tuple[Any, Any]]] = {
    "gate.ls": (
        {"workflow": "claim"},
        {
            "gates": [
                {
                    "id": "claim-7",
                    "gate": _PATH,
                    "name": "payout",
                    "workflow": "claim",
                    "title": "Pay 120?",
                    "opened_at": _AT,
                    "decisions": ["approve", "modify", "reject"],
                    "roles": ["finance"],
                }
            ],
            "total": 1,
            "server_time": _AT,
        },
    ),
    "gate.show": (
        {"id": "claim-7", "gate": "payout"},
        {
            "id": "claim-7",
            "workflow": "claim",
            "status": "running",
            "gate": _PATH,
            "name": "payout",
            "open": True,
            "title": "Pay 120?",
            "values": {"amount": 120},
            "decisions": {"approve": "the run goes on, with the values as they are"},
            "opened_at": _AT,
            "done": ["/office.assess"],
        },
    ),
    "gate.decide": (
        {"id": "claim-7", "gate": "payout", "do": "modify", "values": {"amount": 90}, "by": _BY},
        {"id": "claim-7", "gate": _PATH, "decision": _DECISION},
    ),
}
"""For the catalogue: a request and its answer by verb."""
