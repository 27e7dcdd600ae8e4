"""Motions: machines, their interpreter, their files."""
