"""Redaction: what people are shown of runs, with what is sensitive masked, in one place.

    handler -> answer -> masked by key and by value -> client
                         '-- asked for raw: logged, or refused; hidden fields stay hidden

The mailbox keeps what was sent: it is the truth, and folds need it. Fields of the input that a
definition marks as ``sensitive`` are never shown, wherever their values stand. Whoever waits for
the result of a run gets it as it is: that is for programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from actors.graphs.interpreter import GraphWorkflow
from protocols.api import runs as api
from protocols.errors import MovantError, RefusedError
from protocols.failure import Failure
from protocols.guardrails.hidden import covered, hides, values_of
from protocols.guardrails.sensitive import SORTS, Redactor

if TYPE_CHECKING:
    from protocols.graphs.field import Field
    from protocols.witness import Operator
    from runtime.api.queries import RunQueries
    from runtime.daemon import Daemon

REDACTED: Final = frozenset({"run.show", "run.history", "gate.ls", "gate.show"})
"""Verbs whose answers people read."""
MESSAGES: Final = "run.messages"
"""Answers with the bytes that are stored, for checks and exports: always raw."""

log = structlog.get_logger()


class Redaction:
    """Masks the answers of the API."""

    def __init__(self, daemon: Daemon, queries: RunQueries) -> None:
        self._daemon = daemon
        self._queries = queries
        chosen = daemon.config.redaction
        self._plain: Final = Redactor(chosen.find or SORTS, chosen.keys)
        self._raw: Final = Redactor(())

    async def answer(self, verb: str, request: Any, result: Any) -> Any:
        """Return an answer as it may be shown. Raises RefusedError when raw ones are not."""
        if verb == MESSAGES:
            self._permit(verb, request.id, None)
        if verb not in REDACTED:
            return result
        redactor = self._plain
        if request.raw:
            self._permit(verb, getattr(request, "id", None) or "", request.by)
            redactor = self._raw
        match result:
            case api.RunView():
                return await self._view(result, redactor)
            case api.HistoryPage():
                return await self._history(request.id, result, redactor)
            case api.GateView():
                return await self._gate(result, redactor)
            case api.GatePage():
                return await self._gates(result, redactor)
            case _:
                return result

    def _permit(self, verb: str, run: str, by: Operator | None) -> None:
        """Note who is shown a run as it is. Raises RefusedError when nobody is."""
        if not self._daemon.config.redaction.raw:
            raise RefusedError(
                "this daemon shows nobody what is sensitive",
                hint="redaction.raw of its configuration permits it",
            )
        log.warning("redaction.raw", verb=verb, run=run, by="" if by is None else by.who)

    async def _view(self, view: api.RunView, redactor: Redactor) -> api.RunView:
        fields = await self._fields(view.workflow, view.definition)
        mask = _hiding(redactor, fields, view.input)
        return msgspec.structs.replace(
            view,
            input=mask.value(covered(view.input, fields)),
            result=mask.value(view.result),
            failure=_failure(view.failure, mask),
            state=mask.value(view.state),
            blocked=mask.text(view.blocked),
            waiting=[
                msgspec.structs.replace(
                    each,
                    detail=mask.text(each.detail),
                    beat=mask.value(each.beat),
                    failed=mask.text(each.failed),
                )
                for each in view.waiting
            ],
        )

    async def _history(
        self, run: str, page: api.HistoryPage, redactor: Redactor
    ) -> api.HistoryPage:
        fields, mask = await self._of_run(run, redactor)
        entries = []
        for each in page.entries:
            given = each.kind in {"start", "owner.continued"}
            body = covered(each.body, fields) if given else each.body
            entries.append(
                msgspec.structs.replace(
                    each,
                    body=mask.value(body),
                    failure=_failure(each.failure, mask),
                    summary=mask.text(each.summary),
                )
            )
        return msgspec.structs.replace(page, entries=entries)

    async def _gate(self, view: api.GateView, redactor: Redactor) -> api.GateView:
        _, mask = await self._of_run(view.id, redactor)
        decision = view.decision
        if decision is not None:
            decision = msgspec.structs.replace(
                decision,
                values=mask.value(decision.values),
                changes=tuple(
                    msgspec.structs.replace(
                        each,
                        before=mask.value(each.before, each.field),
                        after=mask.value(each.after, each.field),
                    )
                    for each in decision.changes
                ),
            )
        return msgspec.structs.replace(
            view,
            title=mask.text(view.title),
            text=mask.text(view.text),
            values=mask.value(view.values),
            decision=decision,
        )

    async def _gates(self, page: api.GatePage, redactor: Redactor) -> api.GatePage:
        rows = []
        for each in page.gates:
            _, mask = await self._of_run(each.id, redactor)
            rows.append(msgspec.structs.replace(each, title=mask.text(each.title)))
        return msgspec.structs.replace(page, gates=rows)

    async def _of_run(
        self, run: str, redactor: Redactor
    ) -> tuple[dict[str, Field] | None, Redactor]:
        """Return the fields of a run's input that are hidden, and what masks their values."""
        index = self._queries.index
        if run not in index.rows:
            await index.refresh(blocked=False)
        row = index.rows.get(run)
        if row is not None and row.definition:
            fields = await self._fields(row.workflow, row.definition)
            if fields is not None and not any(map(hides, fields.values())):
                return fields, redactor
        view = await self._queries.view(run)
        fields = await self._fields(view.workflow, view.definition)
        return fields, _hiding(redactor, fields, view.input)

    async def _fields(self, workflow: str, definition: str) -> dict[str, Field] | None:
        """Return the fields of a workflow's input; None: nobody can tell what is hidden."""
        if not definition:
            return {}
        try:
            found = await self._daemon.parts.definitions.find(workflow, definition)
        except MovantError:
            return None
        return (found.graph.fields or {}) if isinstance(found, GraphWorkflow) else {}


def _hiding(redactor: Redactor, fields: dict[str, Field] | None, given: Any) -> Redactor:
    values = values_of(given, fields)
    return redactor.hiding(values) if values else redactor


def _failure(failure: Failure | None, mask: Redactor) -> Failure | None:
    if failure is None:
        return None
    return msgspec.structs.replace(
        failure, message=mask.text(failure.message), details=mask.value(failure.details)
    )
