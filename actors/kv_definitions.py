"""KvDefinitionStore: definitions in a key-value bucket, as all daemons see them.

d.<hash>   the packed definition         m.<hash>   its row (StoredDefinition)
w.<name>   the hash that new instances of a workflow start with, with that of its routing table
t.<hash>   a routing table
g.<hash>   a set of guardrails            r          the one that counts
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import msgspec

from actors.bundle import Packed
from actors.definitions import (
    StoredDefinition,
    stored,
    tables_of,
    unknown_definition,
    unknown_table,
    unknown_workflow,
)
from actors.kv import Entry, Kv
from protocols.errors import AlreadyExistsError, UnavailableError
from protocols.routes import joined, split

TRIES: Final = 10


class KvDefinitionStore:
    """``actors.definitions.DefinitionStore`` on JetStream."""

    def __init__(self, kv: Kv) -> None:
        self._kv = kv

    async def put(self, packed: Packed) -> None:
        """Store a definition and make it the latest of each of its workflows."""
        for key, value in (
            (f"d.{packed.hash}", packed.data),
            (f"m.{packed.hash}", msgspec.json.encode(stored(packed, {}))),
        ):
            try:
                await self._kv.put(key, value, revision=0)
            except AlreadyExistsError:
                continue  # the same content: its key is its hash
        for name in packed.workflows:
            await self._point(name, lambda known: joined(packed.hash, split(known)[1]))

    async def _point(self, name: str, to: Callable[[str], str]) -> None:
        """Change what new instances of a workflow start with; others may do so at the same time.

        Raises UnavailableError when they do it all the time.
        """
        for _ in range(TRIES):
            entry = await self._kv.leader(f"w.{name}")
            known = entry.value.decode() if entry is not None else ""
            try:
                await self._kv.put(
                    f"w.{name}", to(known).encode(), revision=entry.revision if entry else 0
                )
            except AlreadyExistsError:
                continue
            return
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
        """Store a set of guardrails; graphs that are registered from now on get them."""
        with suppress(AlreadyExistsError):  # the same content: its key is its hash
            await self._kv.put(f"g.{digest}", data, revision=0)
        await self._kv.put("r", data)

    async def rules(self) -> tuple[bytes, int]:
        """Return the set that counts, and since when, in ns since 1970; empty: there is none."""
        entry = await self._kv.leader("r")
        if entry is None:
            return b"", 0
        at = next((each.at for each in await self._kv.last("r")), 0)
        return entry.value, at

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
