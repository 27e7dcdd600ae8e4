"""Settings of the property tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine makes single examples slow; pytest's own timeout bounds the whole test.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
