"""Tools: what a client of the Model Context Protocol can ask for, each with a Struct it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from protocols.api import runs as api
from protocols.effects import Status
from protocols.errors import NotFoundError, RefusedError
from protocols.graphs.graph import SHOWN
from protocols.witness import Operator
from runtime.client.client import Client, new_id

WHERE: Final = "mcp"
BEFORE: Final = "-approval"
"""What the gate before a phase is called, behind the name of the phase."""
HASH_CHARS: Final = 8
SCAN_MAX: Final = 5_000
"""Runs among which one is looked for by a part of its id."""

RunId = Annotated[str, Meta(description="Id of the run.")]
Limit = Annotated[int, Meta(description="At most this many.", ge=1, le=200)]
Who = Annotated[str, Meta(description="Who asks for it: it stands in the history.")]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what tools take."""


class Start(Request, frozen=True, kw_only=True):
    """Start a run of a registered workflow, or of one that is made of a template."""

    technology: Annotated[
        str, Meta(description="Template to make a workflow of: see get_workflow_templates.")
    ] = ""
    workflow: Annotated[str, Meta(description="A registered workflow, without a template.")] = ""
    parameters: Annotated[
        dict[str, Any], Meta(description="Values of the template's parameters.")
    ] = {}
    requirements: Annotated[str, Meta(description="Field of the input.")] = ""
    output_path: Annotated[str, Meta(description="Field of the input.")] = ""
    approval_mode: Annotated[
        Literal["", "interactive", "auto", "batch"], Meta(description="Field of the input.")
    ] = ""
    input: Annotated[dict[str, Any], Meta(description="More fields of the input.")] = {}
    workflow_id: Annotated[
        str, Meta(description="Id of the run; with the same id it is started once.")
    ] = ""
    user_id: Who = ""


class OfRun(Request, frozen=True, kw_only=True):
    """One run."""

    workflow_id: RunId


class Approval(Request, frozen=True, kw_only=True):
    """Decide at a gate; the first decision stands."""

    workflow_id: RunId
    phase_id: Annotated[str, Meta(description="The phase behind the gate, or the gate's name.")]
    action: Literal["approve", "modify", "reject", "retry", "skip", "cancel"]
    modifications: Annotated[
        dict[str, Any] | None, Meta(description="With `modify`: the fields that change.")
    ] = None
    step: Annotated[str, Meta(description="With `retry`: the step to do once more.")] = ""
    role: Annotated[str, Meta(description="The role of who decides.")] = ""
    reason: Annotated[str, Meta(description="Why, for the history.")] = ""
    user_id: Who = ""


class Pending(Request, frozen=True, kw_only=True):
    """What waits for a person."""

    workflow_id: Annotated[str, Meta(description="Only that run; empty: all.")] = ""
    limit: Limit = 50


class Nothing(Request, frozen=True, kw_only=True):
    """Takes nothing."""


class Search(Request, frozen=True, kw_only=True):
    """Runs, the newest first."""

    status: Annotated[Status | None, Meta(description="Only these.")] = None
    workflow: Annotated[str, Meta(description="Only runs of this workflow.")] = ""
    contains: Annotated[str, Meta(description="Only ids that contain this.")] = ""
    limit: Limit = 50


class History(Request, frozen=True, kw_only=True):
    """What has happened to a run."""

    workflow_id: RunId
    after: Annotated[int, Meta(description="Only behind this `seq`.")] = 0
    limit: Limit = 100


class Cancel(Request, frozen=True, kw_only=True):
    """Cancel a run: what it did is undone, where that is possible."""

    workflow_id: RunId
    reason: Annotated[str, Meta(description="Why, for the history.")] = ""
    user_id: Who = ""


class Validate(Request, frozen=True, kw_only=True):
    """Check a definition; nothing is deployed."""

    definition: Annotated[str, Meta(description="The text of its YAML file.", max_length=262_144)]


class Desk(NamedTuple):
    """Who answers: a client of the daemon, and for whom it speaks (empty: as each call says)."""

    client: Client
    speaks_for: str = ""

    def by(self, who: str, why: str = "") -> Operator:
        """Return who asks. Raises RefusedError for a name that this server may not use."""
        if self.speaks_for and who not in {"", self.speaks_for}:
            raise RefusedError(
                f"this server speaks for {self.speaks_for!r}, not for {who[:60]!r}",
                hint="leave user_id out",
            )
        return Operator(who=who or self.speaks_for, where=WHERE, why=why)


class Tool(NamedTuple):
    """One tool: what it is for, what it takes, and who answers."""

    description: str
    request: type[Request]
    answer: Callable[[Desk, Any], Awaitable[Mapping[str, Any]]]
    reads: bool = True


async def start(desk: Desk, given: Start) -> Mapping[str, Any]:
    """Start a run; its id is returned at once."""
    if bool(given.workflow) == bool(given.technology):
        raise RefusedError("name either a workflow or a technology", hint="one of the two")
    by = desk.by(given.user_id)
    workflow = given.workflow or await _made(desk.client, given, by)
    named = {
        "requirements": given.requirements,
        "output_path": given.output_path,
        "approval_mode": given.approval_mode,
    }
    value = {key: each for key, each in named.items() if each} | given.input
    run = given.workflow_id or new_id()
    started = await desk.client.start(workflow, value, id=run, by=by)
    return {
        "workflow_id": started.id,
        "workflow": workflow,
        "status": started.status,
        "created": started.created,
    }


async def _made(client: Client, given: Start, by: Operator) -> str:
    """Return the workflow that a template gives; no other one loses its name to it."""
    made = await client.instantiate(given.technology, given.parameters)
    name = made.workflow
    try:
        view = await client.workflow(name)
    except NotFoundError:
        pass
    else:
        if view.definition == made.definition:
            return name
        name = f"{name}-{made.definition[:HASH_CHARS]}"
    found = await client.instantiate(
        given.technology, given.parameters, name=name, register=True, by=by
    )
    return found.workflow


async def status(desk: Desk, given: OfRun) -> Mapping[str, Any]:
    """Tell how a run stands: progress, phases, what waits for a person, files, result."""
    view = await desk.client.show(given.workflow_id)
    waiting = await desk.client.gates(run=view.id, limit=200)
    files = await desk.client.artifacts(view.id)
    shown: dict[str, Any] = view.state or {}
    told = view.progress
    return {
        "workflow_id": view.id,
        "workflow": view.workflow,
        "status": view.status,
        "started_at": view.started_at,
        "finished_at": view.finished_at,
        "progress": None
        if told is None
        else {"percentage": told.percent, **msgspec.to_builtins(told)},
        "phases": {
            name.removeprefix(SHOWN): text
            for name, text in shown.items()
            if name.startswith(SHOWN)
        },
        "pending_approvals": [_pending(each) for each in waiting.gates],
        "artifacts": [{"name": each.name, "size": each.size} for each in files],
        "failure": view.failure,
        "blocked": view.blocked,
        "result": view.result,
    }


async def handle(desk: Desk, given: Approval) -> Mapping[str, Any]:
    """Decide at the gate of a phase."""
    by = desk.by(given.user_id, given.reason)
    rows = (await desk.client.gates(run=given.workflow_id, limit=200)).gates
    names = {given.phase_id, given.phase_id + BEFORE}
    gate = next((each.gate for each in rows if names & {each.name, each.gate}), given.phase_id)
    decided = await desk.client.decide(
        given.workflow_id,
        given.action,
        gate,
        values=given.modifications,
        role=given.role,
        step=given.step,
        by=by,
    )
    return {"workflow_id": given.workflow_id, **msgspec.to_builtins(decided)}


async def pending(desk: Desk, given: Pending) -> Mapping[str, Any]:
    """List the open gates of one run or of all, the oldest first."""
    page = await desk.client.gates(run=given.workflow_id or None, limit=given.limit)
    return {"approvals": [_pending(each) for each in page.gates], "total": page.total}


def _pending(row: api.GateRow) -> dict[str, Any]:
    return {
        "workflow_id": row.id,
        "phase_id": row.name.removesuffix(BEFORE),
        "gate": row.gate,
        "title": row.title,
        "actions": row.decisions,
        "opened_at": row.opened_at,
        "expires_at": row.due,
        "approvers": row.approvers,
        "roles": row.roles,
    }


async def templates(desk: Desk, _: Nothing) -> Mapping[str, Any]:
    """List templates with the JSON Schema of what each takes."""
    found: list[dict[str, Any]] = []
    for row in (await desk.client.templates()).templates:
        if row.error:
            found.append({"name": row.name, "error": row.error})
            continue
        view = await desk.client.template(row.name)
        found.append({"name": row.name, "description": row.description, "parameters": view.schema})
    return {"templates": found}


async def search(desk: Desk, given: Search) -> Mapping[str, Any]:
    """List runs by status, workflow and a part of the id."""
    found: list[api.RunRow] = []
    after, seen = "", 0
    while len(found) < given.limit and seen < SCAN_MAX:
        page = await desk.client.list(
            status=given.status,
            workflow=given.workflow or None,
            limit=500 if given.contains else given.limit,
            after=after,
        )
        seen += len(page.runs)
        found += (each for each in page.runs if given.contains in each.id)
        after = page.next
        if not after:
            break
    return {"runs": found[: given.limit], "more": len(found) > given.limit or bool(after)}


async def history(desk: Desk, given: History) -> Mapping[str, Any]:
    """Tell what has happened to a run, in order; who decided what stands there too."""
    entries: list[api.HistoryEntry] = []
    async for each in desk.client.history(given.workflow_id, after=given.after):
        entries.append(each)
        if len(entries) > given.limit:
            break
    page = entries[: given.limit]
    return {"entries": page, "next": page[-1].seq if len(entries) > given.limit else 0}


async def cancel(desk: Desk, given: Cancel) -> Mapping[str, Any]:
    """Ask a run to cancel."""
    by = desk.by(given.user_id, given.reason)
    accepted = await desk.client.cancel(given.workflow_id, reason=given.reason, by=by)
    return {"workflow_id": accepted.id, "seq": accepted.seq}


async def validate(_: Desk, given: Validate) -> Mapping[str, Any]:
    """Check a graph or a state machine: each mistake with line, column and advice."""
    from actors.files.definitions import parse  # noqa: PLC0415 - most clients never check one

    document = parse(given.definition.encode())
    problems = [
        {
            "line": each.line,
            "column": each.column,
            "severity": each.severity,
            "message": each.message,
            "hint": each.hint,
        }
        for each in document.problems
    ]
    wrong = any(each["severity"] == "error" for each in problems)
    return {"valid": not wrong, "problems": problems}


TOOLS: Final[dict[str, Tool]] = {
    "start_enhanced_workflow": Tool(
        "Start a workflow, of a template (technology) or a registered one; returns its id.",
        Start,
        start,
        reads=False,
    ),
    "get_enhanced_workflow_status": Tool(
        "How a run stands: status, progress, phases, pending approvals, artifacts, result.",
        OfRun,
        status,
    ),
    "handle_enhanced_approval": Tool(
        "Decide at a gate: approve, modify, reject, retry, skip or cancel. Ask the person first.",
        Approval,
        handle,
        reads=False,
    ),
    "get_enhanced_pending_approvals": Tool("What waits for a person.", Pending, pending),
    "get_workflow_templates": Tool("Templates and their parameters.", Nothing, templates),
    "search_runs": Tool("Runs by status, workflow and a part of the id.", Search, search),
    "get_run_history": Tool("All that has happened to a run, in order.", History, history),
    "cancel_run": Tool("Cancel a run; what it did is undone.", Cancel, cancel, reads=False),
    "validate_definition": Tool("Check the YAML text of a definition.", Validate, validate),
}
"""All tools, by name."""


def schema(tool: Tool) -> dict[str, Any]:
    """Return the JSON Schema of what a tool takes, as one object."""
    whole = msgspec.json.schema(tool.request)
    found: dict[str, Any] = whole["$defs"][tool.request.__name__]
    return found
