"""Graphs: one interpreter for all of them, on the kernel's public operations."""
