"""Tests of graphs: references, files, runs, plans."""
