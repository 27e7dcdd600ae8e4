"""Projects to pack: files written into a temporary directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors.definitions import loading

FLOW = """
from protocols.definition import workflow

@workflow(name="greet")
async def greet(ctx, who: str) -> str:
    return "hello " + who
"""

WriteProject = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path) -> WriteProject:
    """Return a function that writes ``{path: text}`` and returns the directory."""

    def write(files: dict[str, str], below: str = "project") -> Path:
        for path, text in files.items():
            file = tmp_path / below / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path / below

    return write


@pytest.fixture(autouse=True)
def _forget_definitions() -> Iterator[None]:
    yield
    for digest in list(loading._capsules):
        loading.unload(digest)
