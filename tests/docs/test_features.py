"""The page on features: the tests that it names are there."""

from __future__ import annotations

import re

import pytest

from tests import features
from tests.docs.tables import DOCS, ROOT


@pytest.mark.parametrize("area", features.AREAS)
def test_every_capability_is_shown_by_tests_that_exist(area: str) -> None:
    """Each names a file with tests, or one test in it."""
    lost = [
        f"{text}: {name}"
        for text, names in features.AREAS[area].items()
        for name in names.split() or ["none"]
        if not _exists(name)
    ]

    assert lost == []


def test_every_area_has_a_table_on_the_page() -> None:
    """And what is missing, too."""
    page = (DOCS / "features.md").read_text()

    assert re.findall(r"<!-- table: (\w+) -->", page) == [*features.AREAS, "missing"]


def _exists(name: str) -> bool:
    path, _, function = name.partition("::")
    file = ROOT / "tests" / f"{path}.py"
    return file.is_file() and f"def {function or 'test_'}" in file.read_text()
