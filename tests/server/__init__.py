"""Tests of the NATS server that movant starts."""
