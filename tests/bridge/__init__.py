"""Tests of the bridge between trio and NATS."""
