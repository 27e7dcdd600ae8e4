"""movant."""
