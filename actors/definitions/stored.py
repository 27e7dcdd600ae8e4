"""KvDefinitionStore: definitions in a key-value bucket, as all daemons see them.

d.<hash>   the packed definition         m.<hash>   its row (StoredDefinition)
w.<name>   the hash that new instances of a workflow start with, with that of its routing table
t.<hash>   a routing table
g.<hash>   a set of guardrails            rules      the one that counts
x.<hash>   the text of a template    y.<name>   the hash that the name of a template leads to
r.<revision>.<name>   how ``w.<name>`` came to that revision (Deployment)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from types import EllipsisType
from typing import Final

import msgspec
import trio

from actors.definitions.bundle import Packed
from actors.definitions.registry import (
    NOTHING_TOLD,
    Deployment,
    StoredDefinition,
    stored,
    tables_of,
    unknown_definition,
    unknown_table,
    unknown_template,
    unknown_workflow,
)
from actors.store.kv import Entry, Kv
from protocols.errors import AlreadyExistsError, MovantError, UnavailableError
from protocols.routes import joined, split

TRIES: Final = 10


class KvDefinitionStore:
    """``actors.definitions.registry.DefinitionStore`` on JetStream."""

    def __init__(self, kv: Kv) -> None:
        self._kv = kv

    async def put(self, packed: Packed, told: Deployment = NOTHING_TOLD) -> None:
        """Store a definition and make it the latest of each of its workflows."""
        for key, value in (
            (f"d.{packed.hash}", packed.data),
            (f"m.{packed.hash}", msgspec.json.encode(stored(packed, {}))),
        ):
            try:
                await self._kv.put(key, value, revision=0)
            except AlreadyExistsError:
                continue  # the same content: its key is its hash
        errors: list[MovantError] = []

        async def one(name: str) -> None:
            try:
                await self.deploy(name, packed.hash, told)
            except MovantError as error:
                errors.append(error)  # as it is: out of a nursery it would come in a group

        async with trio.open_nursery() as nursery:
            for name in packed.workflows:
                nursery.start_soon(one, name)
        if errors:
            raise errors[0]

    async def deploy(self, workflow: str, digest: str, told: Deployment) -> bool:
        """Make a stored definition the latest of one workflow; its routing table stays."""
        before = await self._kv.leader(f"w.{workflow}")
        if before is not None and split(before.value.decode())[0] == digest:
            revision = before.revision
            changed = False
        else:
            revision = await self._point(
                workflow, lambda known: joined(digest, split(known)[1]), before
            )
            changed = True
        value = msgspec.json.encode(msgspec.structs.replace(told, hash=digest))
        with suppress(AlreadyExistsError):  # told before; a crash may have come between the two
            await self._kv.put(f"r.{revision:020}.{workflow}", value, revision=0)
        return changed

    async def deployments(self, workflow: str) -> list[Deployment]:
        """Return how definitions became the latest of a workflow, in order."""
        return [
            msgspec.structs.replace(msgspec.json.decode(each.value, type=Deployment), at=each.at)
            for each in await self._kv.all(f"r.*.{workflow}")
        ]

    async def _point(
        self, name: str, to: Callable[[str], str], entry: Entry | EllipsisType | None = ...
    ) -> int:
        """Change what new instances of a workflow start with; others may do so at the same time.

        ``entry`` is what was read a moment ago. Returns the revision. Raises UnavailableError
        when others do it all the time.
        """
        for _ in range(TRIES):
            if entry is ...:
                entry = await self._kv.leader(f"w.{name}")
            known = entry.value.decode() if entry is not None else ""
            try:
                return await self._kv.put(
                    f"w.{name}", to(known).encode(), revision=entry.revision if entry else 0
                )
            except AlreadyExistsError:
                entry = ...
        raise UnavailableError(f"others deploy {name} at this moment", hint="try again")

    async def put_table(self, data: bytes, digest: str, workflows: Iterable[str]) -> None:
        """Store a routing table and let new instances of some workflows start with it."""
        named = list(workflows)
        for name in named:
            await self.latest(name)
        if data:
            with suppress(AlreadyExistsError):  # the same content: its key is its hash
                await self._kv.put(f"t.{digest}", data, revision=0)
        for name in named:
            await self._point(name, lambda known: joined(split(known)[0], digest))

    async def table(self, digest: str) -> bytes:
        """Return the bytes of a routing table. Raises NotFoundError."""
        entry = await self._kv.get(f"t.{digest}")
        if entry is None:
            raise unknown_table(digest)
        return entry.value

    async def put_rules(self, data: bytes, digest: str) -> None:
        """Store a set of guardrails; what is registered from now on gets them."""
        with suppress(AlreadyExistsError):  # the same content: its key is its hash
            await self._kv.put(f"g.{digest}", data, revision=0)
        await self._kv.put("rules", data)

    async def rules(self) -> tuple[bytes, int]:
        """Return the set that counts, and since when, in ns since 1970; empty: there is none."""
        entry = await self._kv.leader("rules")
        if entry is None:
            return b"", 0
        at = next((each.at for each in await self._kv.last("rules")), 0)
        return entry.value, at

    async def put_template(self, name: str, digest: str, text: bytes) -> None:
        """Store the text of a template; its name leads to it from now on."""
        with suppress(AlreadyExistsError):  # the same content: its key is its hash
            await self._kv.put(f"x.{digest}", text, revision=0)
        await self._kv.put(f"y.{name}", digest.encode())

    async def templates(self) -> dict[str, bytes]:
        """Return the texts of all templates, by name."""
        texts = {each.key[2:]: each.value for each in await self._kv.all("x.>")}
        named = {each.key[2:]: each.value.decode() for each in await self._kv.all("y.>")}
        return {name: texts[digest] for name, digest in named.items() if digest in texts}

    async def template(self, name: str) -> bytes:
        """Return the text of a template, by its name or its hash. Raises NotFoundError."""
        pointer = await self._kv.get(f"y.{name}")
        entry = await self._kv.get(f"x.{pointer.value.decode() if pointer else name}")
        if entry is None:
            raise unknown_template(name)
        return entry.value

    async def get(self, digest: str) -> bytes:
        """Return the bytes of a definition. Raises NotFoundError."""
        entry = await self._kv.get(f"d.{digest}")
        if entry is None:
            raise unknown_definition(digest)
        return entry.value

    async def latest(self, workflow: str) -> str:
        """Return the hash that new instances of a workflow start with. Raises NotFoundError."""
        entry = await self._kv.get(f"w.{workflow}")
        if entry is None:
            raise unknown_workflow(workflow, await self._latest())
        return entry.value.decode()

    async def list(self) -> list[StoredDefinition]:
        """Return all definitions, in the order in which they were first stored."""
        latest = await self._latest()
        rows = [
            msgspec.json.decode(each.value, type=StoredDefinition)
            for each in await self._kv.all("m.>")
        ]
        found = []
        for row in rows:
            since = {
                name: latest[name].at
                for name in row.workflows
                if name in latest and split(latest[name].value.decode())[0] == row.hash
            }
            tables = tables_of({name: latest[name].value.decode() for name in since})
            found.append(
                msgspec.structs.replace(
                    row, latest_of=tuple(since), latest_at=since, tables=tables
                )
            )
        return found

    async def _latest(self) -> dict[str, Entry]:
        return {each.key[2:]: each for each in await self._kv.all("w.>")}
