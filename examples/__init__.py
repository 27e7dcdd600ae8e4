"""Runnable examples; each folder is one story with its workflow, services and demonstration."""
