"""The client, its configuration, and the small servers of the daemon's rim."""
