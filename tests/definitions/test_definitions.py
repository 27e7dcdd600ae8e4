"""Definitions: stored once, loaded on demand, found by hash."""

from __future__ import annotations

import threading

import msgspec
import pytest

from actors.definitions.loading import load
from actors.definitions.packing import pack
from actors.definitions.registry import Definitions, MemoryDefinitionStore
from protocols.errors import BadValueError, ConfigurationError, NotFoundError, OverloadedError
from tests.definitions.conftest import FLOW, WriteProject

LOADS: list[int] = []
"""Threads on which a definition of these tests was loaded."""


async def test_a_registered_workflow_is_found_by_name_and_hash(project: WriteProject) -> None:
    """Register stores and loads; both ways to look it up give the same workflow."""
    packed = pack(project({"flow.py": FLOW}) / "flow.py")
    definitions = Definitions(MemoryDefinitionStore())

    await definitions.register(packed)

    flow = definitions.workflow("greet", packed.hash)
    assert flow.name == "greet"
    assert await definitions.latest("greet") == (packed.hash, flow)


async def test_another_daemon_loads_from_the_store_on_demand(project: WriteProject) -> None:
    """A definition registered elsewhere is unknown until it is awaited, then cached."""
    store = MemoryDefinitionStore()
    packed = pack(project({"flow.py": FLOW}) / "flow.py")
    await store.put(packed)
    definitions = Definitions(store)

    with pytest.raises(NotFoundError, match="no definition"):
        definitions.workflow("greet", packed.hash)
    found = await definitions.find("greet", packed.hash)

    assert definitions.workflow("greet", packed.hash) is found
    assert await definitions.find("greet", packed.hash) is found


async def test_a_new_version_leaves_the_old_one_in_place(project: WriteProject) -> None:
    """Deploying changes what new instances start with, and nothing else (feature row 18)."""
    root = project({"flow.py": FLOW})
    old = pack(root / "flow.py")
    (root / "flow.py").write_text(FLOW.replace("hello", "bye"))
    new = pack(root / "flow.py")
    store = MemoryDefinitionStore()
    definitions = Definitions(store)

    await definitions.register(old)
    await definitions.register(new)

    assert (await definitions.latest("greet"))[0] == new.hash
    assert definitions.workflow("greet", old.hash) is not definitions.workflow("greet", new.hash)
    assert [(row.hash, row.latest_of) for row in await store.list()] == [
        (old.hash, ()),
        (new.hash, ("greet",)),
    ]


async def test_registering_an_old_version_again_rolls_back(project: WriteProject) -> None:
    """The store keeps the first bytes of a hash and makes it latest again."""
    root = project({"flow.py": FLOW})
    old = pack(root / "flow.py")
    (root / "flow.py").write_text(FLOW.replace("hello", "bye"))
    store = MemoryDefinitionStore()
    await store.put(old)
    await store.put(pack(root / "flow.py"))

    await store.put(old)

    assert await store.latest("greet") == old.hash
    assert await store.get(old.hash) == old.data


async def test_what_is_not_there_is_not_found(project: WriteProject) -> None:
    """Each lookup says what is missing and how to get it."""
    packed = pack(project({"flow.py": FLOW}) / "flow.py")
    definitions = Definitions(MemoryDefinitionStore())
    await definitions.register(packed)

    with pytest.raises(NotFoundError, match="no workflow 'leave', it has greet"):
        await definitions.find("leave", packed.hash)
    with pytest.raises(NotFoundError, match="no workflow 'leave'; registered: greet"):
        await definitions.latest("leave")
    with pytest.raises(NotFoundError, match="no definition '0000'") as caught:
        await definitions.find("greet", "0000")
    assert caught.value.hint


async def test_what_cannot_run_is_never_stored(project: WriteProject) -> None:
    """A definition is loaded before it is deployed, and its hash is not taken on trust."""
    root = project({"flow.py": FLOW, "bad.py": FLOW})
    packed = pack(root / "flow.py")
    store = MemoryDefinitionStore()
    definitions = Definitions(store)

    with pytest.raises(BadValueError, match="not ffff"):
        await definitions.register(msgspec.structs.replace(packed, hash="ffff"))
    with pytest.raises(BadValueError):
        await definitions.register(msgspec.structs.replace(packed, data=b"zip"))

    assert await store.list() == []


async def test_what_is_registered_is_loaded_once_and_not_by_whoever_hosts_runs(
    project: WriteProject,
) -> None:
    """To open, to register and to use a definition is one load of its code, on a thread."""
    code = "import threading\nfrom tests.definitions import test_definitions as here\n"
    code += "here.LOADS.append(threading.get_ident())\n"
    packed = pack(project({"flow.py": code + FLOW}) / "flow.py")
    definitions = Definitions(MemoryDefinitionStore())
    LOADS.clear()

    opened = await definitions.opened(packed)
    await definitions.register(opened)

    assert definitions.workflow("greet", packed.hash).name == "greet"
    assert len(LOADS) == 1
    assert threading.get_ident() not in LOADS


async def test_a_claimed_list_of_workflows_does_not_count(project: WriteProject) -> None:
    """Nobody becomes latest of a name that his code does not define."""
    packed = pack(project({"flow.py": FLOW}) / "flow.py")
    store = MemoryDefinitionStore()

    await Definitions(store).register(msgspec.structs.replace(packed, workflows=("payroll",)))

    assert [row.workflows for row in await store.list()] == [("greet",)]


async def test_a_flood_of_definitions_is_refused(project: WriteProject) -> None:
    """One process loads a bounded number; what is loaded stays usable."""
    root = project({"a.py": FLOW, "b.py": FLOW + "B = 1\n"})
    first, second = pack(root / "a.py"), pack(root / "b.py")
    definitions = Definitions(MemoryDefinitionStore(), loaded_max=1)
    await definitions.register(first)

    with pytest.raises(OverloadedError, match="the limit"):
        await definitions.register(second)

    await definitions.register(first)
    assert definitions.workflow("greet", first.hash).name == "greet"


async def test_workflows_without_a_pack_can_be_added(project: WriteProject) -> None:
    """Graphs, machines and functions in tests need no zip."""
    packed = pack(project({"flow.py": FLOW}) / "flow.py")
    flow = load(packed.data, packed.hash)["greet"]
    definitions = Definitions(MemoryDefinitionStore())

    definitions.add("built-in", {"greet": flow})

    assert definitions.workflow("greet", "built-in") is flow


async def test_a_definition_that_needs_what_is_not_here_says_so(
    project: WriteProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that the packing machine had and this one lacks is named with its version."""
    root = project({"flow.py": "import msgspec\n" + FLOW})
    packed = pack(root / "flow.py")
    store = MemoryDefinitionStore()
    await store.put(packed)
    monkeypatch.setitem(__import__("sys").modules, "msgspec", None)

    with pytest.raises((NotFoundError, ConfigurationError), match="msgspec") as caught:
        await Definitions(store).find("greet", packed.hash)

    assert "msgspec 0" in caught.value.hint
