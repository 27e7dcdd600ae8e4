"""Motions: one interpreter for every machine, on the kernel's public operations."""
