"""The client: a library for any trio program."""
