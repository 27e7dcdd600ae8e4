"""Fixtures for the tests of connectors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.web import Web


@pytest.fixture(scope="session")
def web() -> Iterator[Web]:
    """Start the web server, as a process of its own."""
    with Web() as server:
        yield server
