"""The owner of partitions: hosts instances, and acts for them."""
