"""Fixtures of the supervisor tests."""

from __future__ import annotations

import pytest

from tests.supervisors.stage import Stage


@pytest.fixture
def stage() -> Stage:
    """Return an empty stage."""
    return Stage()
