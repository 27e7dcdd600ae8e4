"""movant on a cluster of three nats-servers with R3 streams, under faults."""
