"""TemplateCommands: templates are stored, shown, and made into definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
import trio

from actors.definitions.templates import Template, hash_of, instantiate, template_of
from actors.files.definitions import as_yaml, pack_data
from protocols.api import runs as api
from protocols.errors import MovantError

if TYPE_CHECKING:
    from actors.definitions.registry import DefinitionStore
    from runtime.api.daemon import DaemonQueries

log: Final = structlog.get_logger()


class TemplateCommands:
    """Answers about templates. Reading one takes a thread: it is a file of somebody's."""

    def __init__(self, store: DefinitionStore, queries: DaemonQueries) -> None:
        self._store = store
        self._queries = queries

    async def register(self, request: api.TemplateRegister) -> api.Message:
        """Check a template and store it."""
        found = await _read(request.text.encode())
        await self._store.put_template(found.head.template, found.hash, found.text)
        log.info("template.registered", template=found.head.template, hash=found.hash)
        return _row(found)

    async def list(self, _: api.Empty) -> api.Message:
        """List the templates."""
        texts = await self._store.templates()
        return api.TemplatePage(templates=[await _listed(*each) for each in sorted(texts.items())])

    async def show(self, request: api.TemplateShow) -> api.Message:
        """Show a template; of one that cannot be read here its text, and why."""
        text = await self._store.template(request.name)
        try:
            found = await _read(text)
        except MovantError as error:
            row = _unusable(request.name, text, error)
            return api.TemplateView(
                name=row.name, hash=row.hash, text=text.decode(errors="replace"), error=row.error
            )
        return api.TemplateView(
            name=found.head.template,
            hash=found.hash,
            description=found.head.description,
            schema=found.head.schema(),
            text=found.text.decode(),
        )

    async def instantiate(self, request: api.TemplateInstantiate) -> api.Message:
        """Make a definition of a template, and register it when that is asked for."""
        text = await self._store.template(request.template)
        found = await _read(text, f"template {request.template}")
        definition = await trio.to_thread.run_sync(
            instantiate, found, request.parameters, request.name
        )
        packed = pack_data(definition)
        if request.register:
            source = f"template {found.head.template}@{found.hash[:8]}"
            await self._queries.register(
                api.WorkflowRegister(
                    data=packed.data, hash=packed.hash, source=source, by=request.by
                )
            )
        return api.TemplateInstance(
            workflow=definition.name,
            definition=packed.hash,
            text=as_yaml(definition),
            registered=request.register,
        )


async def _read(text: bytes, called: str = "the template") -> Template:
    return await trio.to_thread.run_sync(template_of, text, called)


async def _listed(name: str, text: bytes) -> api.TemplateRow:
    try:
        return _row(await _read(text))
    except MovantError as error:
        return _unusable(name, text, error)


def _unusable(name: str, text: bytes, error: MovantError) -> api.TemplateRow:
    """Return the row of what an older or newer movant has stored, and this one cannot read."""
    return api.TemplateRow(name=name, hash=hash_of(text), error=error.message)


def _row(template: Template) -> api.TemplateRow:
    return api.TemplateRow(
        name=template.head.template,
        hash=template.hash,
        description=template.head.description,
        parameters=list(template.head.fields),
    )
