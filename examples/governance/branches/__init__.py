"""The seven branches. Each is a service; what it knows of the work of others is the request."""
