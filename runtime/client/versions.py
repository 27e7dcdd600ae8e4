"""VersionCalls: the part of the Client about definitions, and runs that change theirs."""
# ruff: noqa: A002 - an id is called id and a hash hash, as in the API

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import trio
from msgspec import UNSET

from protocols.api import runs as api
from protocols.subjects import check_id
from protocols.witness import Operator
from runtime.client.calls import Calls, new_message_id

ID_CHARS_KEPT: Final = 100
"""Of the id of a run, in the id that a fork of it is given."""


class VersionCalls:
    """Register, look at, compare and take back definitions; migrate runs."""

    _calls: Calls

    async def register(
        self, data: bytes, hash: str, *, source: str = "", by: Operator | None = None
    ) -> api.WorkflowRegistered:
        """Register a packed definition (see ``actors.definitions.packing.pack``).

        ``source`` says for people where it comes from; ``by`` who deploys it.
        """
        request = api.WorkflowRegister(data=data, hash=hash, source=source, by=by)
        return await self._calls.call("workflow.register", request, api.WorkflowRegistered)

    async def register_source(
        self, source: Path | str, *, by: Operator | None = None
    ) -> api.WorkflowRegistered:
        """Pack a workflow file, package or module, and register it."""
        from actors.definitions.packing import pack  # noqa: PLC0415 - most clients never pack

        packed = await trio.to_thread.run_sync(pack, source)
        return await self.register(packed.data, packed.hash, source=str(source), by=by)

    async def workflows(self) -> api.WorkflowPage:
        """Return all registered workflows."""
        return await self._calls.call("workflow.ls", api.Empty(), api.WorkflowPage)

    async def workflow(self, name: str = "", *, hash: str = "") -> api.WorkflowView:
        """Return a workflow and its definition, by name or by hash. Raises NotFoundError."""
        request = api.WorkflowShow(name=name, hash=hash)
        return await self._calls.call("workflow.show", request, api.WorkflowView)

    async def packed(self, hash: str) -> bytes:
        """Return the bytes of a definition. Raises NotFoundError."""
        request = api.WorkflowFetch(hash=hash)
        return (await self._calls.call("workflow.fetch", request, api.WorkflowPacked)).data

    async def versions(self, name: str) -> api.WorkflowVersions:
        """Return the deployments of a workflow, the newest first. Raises NotFoundError."""
        request = api.WorkflowVersionsOf(name=name)
        return await self._calls.call("workflow.versions", request, api.WorkflowVersions)

    async def roll_back(
        self, name: str, *, to: str = "", by: Operator | None = None
    ) -> api.WorkflowRolledBack:
        """Let new runs start with an earlier definition; empty: the one before.

        Not repeated when its answer is lost: a second one could go back further. Raises
        RefusedError when there is none, UnknownOutcomeError.
        """
        request = api.WorkflowRollback(name=name, to=to, by=by)
        return await self._calls.call(
            "workflow.rollback", request, api.WorkflowRolledBack, repeat=bool(to)
        )

    async def register_template(self, text: str, *, by: Operator | None = None) -> api.TemplateRow:
        """Store a template. Raises ConfigurationError for a text that is wrong."""
        request = api.TemplateRegister(text=text, by=by)
        return await self._calls.call("template.register", request, api.TemplateRow)

    async def templates(self) -> api.TemplatePage:
        """Return all templates."""
        return await self._calls.call("template.ls", api.Empty(), api.TemplatePage)

    async def template(self, name: str) -> api.TemplateView:
        """Return a template, by its name or hash. Raises NotFoundError."""
        request = api.TemplateShow(name=name)
        return await self._calls.call("template.show", request, api.TemplateView)

    async def instantiate(
        self,
        template: str,
        parameters: Mapping[str, Any],
        *,
        name: str = "",
        register: bool = False,
        by: Operator | None = None,
    ) -> api.TemplateInstance:
        """Make a definition of a template; ``register``: new runs start with it.

        Raises InvalidInputError for parameters that do not fit, ConfigurationError when the
        definition is wrong with them.
        """
        request = api.TemplateInstantiate(
            template=template, parameters=dict(parameters), name=name, register=register, by=by
        )
        return await self._calls.call("template.instantiate", request, api.TemplateInstance)

    async def fork(
        self,
        id: str,
        step: str,
        *,
        new_id: str = "",
        input: Any = UNSET,
        changes: Mapping[str, Any] | None = None,
        definition: str = "",
        moves: Mapping[str, str] | None = None,
        accept: Iterable[str] = (),
        preview: bool = False,
        permissions: Iterable[str] = (),
        by: Operator | None = None,
    ) -> api.RunForked:
        """Start a run that begins at a step of one that has ended, with what that did before.

        Without ``input`` it has that of the other run, with ``changes`` by dotted names;
        ``definition`` is that of the other run, a hash, or ``latest``. ``preview`` writes nothing
        and returns the problems. Raises RefusedError for what is not possible,
        AlreadyExistsError for a ``new_id`` that is taken.
        """
        request = api.RunFork(
            id=check_id(id),
            step=step,
            # Chosen here: a request that is repeated must not start another run.
            new_id=check_id(new_id or f"{id[:ID_CHARS_KEPT]}-{new_message_id()[:8]}"),
            input=input,
            changes=dict(changes or {}),
            definition=definition,
            moves=dict(moves or {}),
            accept=tuple(accept),
            preview=preview,
            permissions=tuple(permissions),
            by=by,
        )
        return await self._calls.call("run.fork", request, api.RunForked)

    async def migrate(
        self,
        id: str,
        *,
        definition: str = "",
        how: Literal["", "switch", "fold"] = "",
        moves: Mapping[str, str] | None = None,
        accept: Iterable[str] = (),
        preview: bool = False,
        force: bool = False,
        message_id: str = "",
        by: Operator | None = None,
    ) -> api.RunMigrated:
        """Let a run go on with another definition; empty: the latest of its workflow.

        A graph or a machine goes over from where it stands, under names that ``moves`` maps;
        code, and what is blocked, is folded from its start. ``preview`` writes nothing and
        returns the problems. Raises RefusedError for what is not possible.
        """
        request = api.RunMigrate(
            id=check_id(id),
            definition=definition,
            how=how,
            moves=dict(moves or {}),
            accept=tuple(accept),
            preview=preview,
            force=force,
            message_id=message_id or new_message_id(),
            by=by,
        )
        return await self._calls.call("run.migrate", request, api.RunMigrated)
