"""The API: what clients ask the daemon, verb by verb."""
