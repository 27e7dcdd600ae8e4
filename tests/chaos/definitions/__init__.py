"""Workflows that the campaign registers: a file of their own, because it is packed."""
