"""Tests of packed definitions."""
