"""Tests of connectors against real counterparts on loopback."""
