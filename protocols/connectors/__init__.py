"""Connectors as data: their settings, and what they may be asked for."""
