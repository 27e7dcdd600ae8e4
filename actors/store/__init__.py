"""JetStream by the Transport port: streams, buckets, readers and writers."""
