"""Three daemons on three NATS servers, and what happens when one of each is killed."""
