"""Definitions: immutable, content-addressed workflow code, stored once and loaded on demand.

    file --pack--> Packed {hash, data} --put--> DefinitionStore --get--> load --> Workflow

An instance names the hash that it is pinned to (hazard F3), so deploying a new version is
storing one more value: running instances go on with theirs, and no process restarts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal, Protocol

import msgspec
import trio

from actors.definitions.bundle import Packed, unpack
from actors.definitions.loading import load
from actors.definitions.packing import open_pack
from actors.definitions.shared_rules import check_names, with_rules
from actors.motions.interpreter import MotionWorkflow
from protocols.definition import Workflow
from protocols.errors import BadValueError, NotFoundError, OverloadedError
from protocols.machines.check import asked
from protocols.routes import (
    RoutingTable,
    checked,
    encoded,
    joined,
    split,
    table_hash,
    table_of,
)
from protocols.witness import Operator

LATEST_S: Final = 0.5
"""How long another daemon's deployment may go unnoticed; saves a round trip per start."""
LOADED_MAX: Final = 1_000
"""Definitions in one process. Each is some 100 kB; a daemon that meets more is being flooded."""


class StoredDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the store: what a definition offers, and which workflows it is latest for."""

    hash: str
    workflows: tuple[str, ...]
    latest_of: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    libraries: dict[str, str] = {}
    latest_at: dict[str, int] = {}
    """When it became the latest of a workflow, in nanoseconds since 1970, if the store knows."""
    tables: dict[str, str] = {}
    """Hash of the routing table of each workflow that it is the latest of and that has one."""


class Deployment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a definition became the one that new instances of a workflow start with."""

    hash: str = ""
    what: Literal["registered", "rolled_back"] = "registered"
    source: str = ""
    """Where it comes from, for people."""
    by: Operator | None = None
    at: int = 0
    """When, in nanoseconds since 1970, as the store tells."""


NOTHING_TOLD: Final = Deployment()


class DefinitionStore(Protocol):
    """Where packed definitions are kept. Nothing in it ever changes but ``latest``."""

    async def put(self, packed: Packed, told: Deployment = NOTHING_TOLD) -> None:
        """Store a definition and make it the latest of each of its workflows.

        Storing a hash again keeps the first bytes, and makes it latest again.
        """
        ...

    async def deploy(self, workflow: str, digest: str, told: Deployment) -> bool:
        """Make a stored definition the latest of one workflow; its routing table stays.

        ``told`` is kept for those who ask for ``deployments``. False: it was the latest.
        """
        ...

    async def deployments(self, workflow: str) -> list[Deployment]:
        """Return how definitions became the latest of a workflow, in order."""
        ...

    async def get(self, digest: str) -> bytes:
        """Return the bytes of a definition. Raises NotFoundError."""
        ...

    async def latest(self, workflow: str) -> str:
        """Return the hash that new instances of a workflow start with. Raises NotFoundError."""
        ...

    async def list(self) -> list[StoredDefinition]:
        """Return all definitions, in the order in which they were first stored."""
        ...

    async def put_table(self, data: bytes, digest: str, workflows: Iterable[str]) -> None:
        """Store a routing table and let new instances of some workflows start with it.

        Without data they start without a table. Raises NotFoundError for an unknown workflow.
        """
        ...

    async def table(self, digest: str) -> bytes:
        """Return the bytes of a routing table. Raises NotFoundError."""
        ...

    async def put_rules(self, data: bytes, digest: str) -> None:
        """Store a set of guardrails; what is registered from now on gets them."""
        ...

    async def rules(self) -> tuple[bytes, int]:
        """Return the set that counts, and since when, in ns since 1970; empty: there is none."""
        ...

    async def put_template(self, name: str, digest: str, text: bytes) -> None:
        """Store the text of a template; its name leads to it from now on."""
        ...

    async def templates(self) -> dict[str, bytes]:
        """Return the texts of all templates, by name."""
        ...

    async def template(self, name: str) -> bytes:
        """Return the text of a template, by its name or its hash. Raises NotFoundError."""
        ...


class MemoryDefinitionStore:
    """A store for tests and single-process use; the promises are those of the port."""

    def __init__(self) -> None:
        self._packed: dict[str, Packed] = {}
        self._latest: dict[str, str] = {}
        self._tables: dict[str, bytes] = {}
        self._rules = b""
        self._deployments: dict[str, list[Deployment]] = {}
        self._templates: dict[str, tuple[str, bytes]] = {}

    async def put(self, packed: Packed, told: Deployment = NOTHING_TOLD) -> None:
        """Store a definition and make it the latest of each of its workflows."""
        self._packed.setdefault(packed.hash, packed)
        for name in packed.workflows:
            await self.deploy(name, packed.hash, told)

    async def deploy(self, workflow: str, digest: str, told: Deployment) -> bool:
        """Make a stored definition the latest of one workflow; its routing table stays."""
        code, table = split(self._latest.get(workflow, ""))
        if code == digest:
            return False
        self._latest[workflow] = joined(digest, table)
        log = self._deployments.setdefault(workflow, [])
        log.append(msgspec.structs.replace(told, hash=digest))
        return True

    async def deployments(self, workflow: str) -> list[Deployment]:
        """Return how definitions became the latest of a workflow, in order."""
        return list(self._deployments.get(workflow, ()))

    async def get(self, digest: str) -> bytes:
        """Return the bytes of a definition. Raises NotFoundError."""
        if digest not in self._packed:
            raise unknown_definition(digest)
        return self._packed[digest].data

    async def latest(self, workflow: str) -> str:
        """Return the hash that new instances of a workflow start with. Raises NotFoundError."""
        if workflow not in self._latest:
            raise unknown_workflow(workflow, self._latest)
        return self._latest[workflow]

    async def list(self) -> list[StoredDefinition]:
        """Return all definitions, in the order in which they were first stored."""
        return [stored(packed, self._latest) for packed in self._packed.values()]

    async def put_table(self, data: bytes, digest: str, workflows: Iterable[str]) -> None:
        """Store a routing table and let new instances of some workflows start with it."""
        named = list(workflows)
        for name in named:
            await self.latest(name)
        if data:
            self._tables.setdefault(digest, data)
        for name in named:
            self._latest[name] = joined(split(self._latest[name])[0], digest)

    async def table(self, digest: str) -> bytes:
        """Return the bytes of a routing table. Raises NotFoundError."""
        if digest not in self._tables:
            raise unknown_table(digest)
        return self._tables[digest]

    async def put_rules(self, data: bytes, digest: str) -> None:  # noqa: ARG002 - as in the port
        """Store a set of guardrails; what is registered from now on gets them."""
        self._rules = data

    async def rules(self) -> tuple[bytes, int]:
        """Return the set that counts; empty: there is none."""
        return self._rules, 0

    async def put_template(self, name: str, digest: str, text: bytes) -> None:
        """Store the text of a template; its name leads to it from now on."""
        self._templates[name] = self._templates[digest] = (digest, text)

    async def templates(self) -> dict[str, bytes]:
        """Return the texts of all templates, by name."""
        return {name: text for name, (digest, text) in self._templates.items() if name != digest}

    async def template(self, name: str) -> bytes:
        """Return the text of a template, by its name or its hash. Raises NotFoundError."""
        if name not in self._templates:
            raise unknown_template(name)
        return self._templates[name][1]


class Definitions:
    """The definitions that this process has loaded, in front of the store.

    ``workflow`` never waits, because a fold must not; whoever activates an instance awaits
    ``find`` first, which loads what is missing.
    """

    def __init__(self, store: DefinitionStore, *, loaded_max: int = LOADED_MAX) -> None:
        self._store = store
        self._loaded_max = loaded_max
        self._workflows: dict[str, dict[str, Workflow[Any]]] = {}
        self._latest: dict[str, tuple[str, float]] = {}

    def workflow(self, name: str, digest: str) -> Workflow[Any]:
        """Return a workflow of a loaded definition. Raises NotFoundError."""
        known = self._workflows.get(digest)
        if known is None:
            raise unknown_definition(digest)
        if name not in known:
            raise NotFoundError(
                f"definition {digest} has no workflow {name!r}, it has {', '.join(sorted(known))}",
                hint="start the instance with the name of a workflow of this definition",
            )
        return known[name]

    async def find(self, name: str, digest: str) -> Workflow[Any]:
        """Return a workflow, loading its definition from the store when it is not loaded.

        Raises NotFoundError, and what ``load`` raises for a definition that cannot run here.
        """
        await self.prefetch(digest)
        return self.workflow(name, digest)

    def is_loaded(self, digest: str) -> bool:
        """Tell whether ``workflow`` can answer for a definition."""
        return digest in self._workflows

    async def prefetch(self, digest: str) -> None:
        """Load a definition from the store when it is not loaded. Raises as ``find`` does."""
        if digest in self._workflows:
            return
        code, table = split(digest)
        if code not in self._workflows:
            data = await self._store.get(code)
            self._keep(code, load(data, code))
        if table:
            stored_table = table_of(await self._store.table(table))
            if table_hash(stored_table) != table:
                raise BadValueError(f"what is stored as routing table {table} is another one")
            routes = checked(stored_table)
            loaded = self._workflows[code].items()
            self._keep(digest, {name: each.with_routes(routes) for name, each in loaded})

    async def latest(self, name: str) -> tuple[str, Workflow[Any]]:
        """Return hash and workflow that a new instance starts with. Raises NotFoundError.

        The answer is at most ``LATEST_S`` old; what is registered here counts at once.
        """
        now = trio.current_time()
        digest, asked = self._latest.get(name, ("", 0.0))
        if not digest or now - asked > LATEST_S:
            digest = await self._store.latest(name)
            self._latest[name] = (digest, now)
        return digest, await self.find(name, digest)

    async def opened(self, packed: Packed) -> Packed:
        """Return a definition with the shared guardrails that it gets, checked and loaded.

        It is loaded once, on a thread: a graph of thousands of steps takes its time. ``register``
        finds it loaded. Raises what ``load`` raises.
        """
        rules, _ = await self._store.rules()

        def opened() -> Packed:
            return open_pack(with_rules(packed.data, rules), keep=True)

        return await trio.to_thread.run_sync(opened)

    async def register(self, packed: Packed, told: Deployment = NOTHING_TOLD) -> None:
        """Check and load a definition, then store it: what cannot run is never deployed.

        The list of its workflows is taken from the code, not from the caller. Raises
        ConfigurationError when a routing table in use knows nobody for what a machine asks.
        """
        content = unpack(packed.data)
        digest = content.manifest.hash
        if digest != packed.hash:
            raise BadValueError(
                f"the definition has the hash {digest}, not {packed.hash}",
                hint="pack the workflow again; the bytes were changed on their way",
            )
        opened = await trio.to_thread.run_sync(partial(open_pack, packed.data, keep=True))
        workflows = load(packed.data, digest)  # it is loaded by now
        if content.manifest.entries:
            check_names(content.sources, workflows.values())
        await self._check_owners(workflows)
        self._keep(packed.hash, workflows)
        await self._store.put(opened, told)
        for name in opened.workflows:
            self._latest.pop(name, None)

    async def roll_back(self, name: str, digest: str, told: Deployment) -> None:
        """Let new instances of a workflow start with a stored definition again.

        Raises NotFoundError when it has no such workflow, and as ``register`` does.
        """
        workflow = await self.find(name, digest)
        await self._check_owners({name: workflow})
        await self._store.deploy(name, digest, told)
        self._latest.pop(name, None)

    async def route(self, table: RoutingTable, workflows: Iterable[str]) -> str:
        """Check and store a routing table for new instances of some workflows; return its hash.

        A table without routes takes theirs away. Raises what ``checked`` raises, and
        NotFoundError for a workflow that nobody registered.
        """
        named = list(workflows)
        owned: dict[str, str] = {}
        if table.routes:
            for name in named:
                _, workflow = await self.latest(name)
                owned |= asked_by(workflow)
        checked(table, owned)
        digest = table_hash(table) if table.routes else ""
        await self._store.put_table(encoded(table) if digest else b"", digest, named)
        for name in named:
            self._latest.pop(name, None)
        return digest

    async def _check_owners(self, workflows: Mapping[str, Workflow[Any]]) -> None:
        """Refuse machines that ask for what their routing table does not know."""
        for name, each in workflows.items():
            owned = asked_by(each)
            if not owned:
                continue
            with suppress(NotFoundError):  # it is new
                _, digest = split(await self._store.latest(name))
                if digest:
                    checked(table_of(await self._store.table(digest)), owned)

    def add(self, digest: str, workflows: Mapping[str, Workflow[Any]]) -> None:
        """Make workflows known that need no loading: graphs, machines, functions in tests."""
        self._keep(digest, dict(workflows))

    def _keep(self, digest: str, workflows: dict[str, Workflow[Any]]) -> None:
        if digest not in self._workflows and len(self._workflows) >= self._loaded_max:
            raise OverloadedError(
                f"{self._loaded_max} definitions are loaded in this process, the limit",
                hint="restart the daemon: it loads only what its instances need",
            )
        self._workflows[digest] = workflows


def asked_by(workflow: Workflow[Any]) -> dict[str, str]:
    """Return the services that a machine asks, each with where; of code nobody can tell."""
    if not isinstance(workflow, MotionWorkflow):
        return {}
    return {
        name: f"asked by {workflow.name}: {where}"
        for name, where in asked(workflow.machine).items()
    }


def tables_of(latest: Mapping[str, str]) -> dict[str, str]:
    """Return the hash of each workflow's routing table, of those that have one."""
    found = {name: split(digest)[1] for name, digest in latest.items()}
    return {name: table for name, table in found.items() if table}


def stored(packed: Packed, latest: Mapping[str, str]) -> StoredDefinition:
    """Return the row of a definition; ``latest`` maps a workflow's name to its newest hash."""
    mine = {
        name: digest
        for name in packed.workflows
        if split(digest := latest.get(name, ""))[0] == packed.hash
    }
    return StoredDefinition(
        hash=packed.hash,
        workflows=packed.workflows,
        latest_of=tuple(mine),
        modules=packed.modules,
        libraries=packed.libraries,
        tables=tables_of(mine),
    )


def unknown_definition(digest: str) -> NotFoundError:
    """Return the error for a hash that nobody stored."""
    return NotFoundError(
        f"no definition {digest!r}",
        hint="movant workflow ls shows what is registered",
    )


def unknown_table(digest: str) -> NotFoundError:
    """Return the error for a routing table that nobody stored."""
    return NotFoundError(
        f"no routing table {digest!r}", hint="movant route register FILE WORKFLOW stores one"
    )


def unknown_template(name: str) -> NotFoundError:
    """Return the error for a template that nobody stored."""
    return NotFoundError(f"no template {name!r}", hint="movant template ls")


def unknown_workflow(name: str, known: Iterable[str]) -> NotFoundError:
    """Return the error for a name that no definition offers."""
    names = ", ".join(sorted(known)) or "none"
    return NotFoundError(
        f"no workflow {name!r}; registered: {names}",
        hint="movant workflow register FILE registers a workflow",
    )
