"""Workflows that tests run."""
